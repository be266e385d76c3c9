<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\CMS\Component;

use Joomla\Registry\Registry;

class ComponentHelper
{
    /** @var  array<string, array>  the options of those that are enabled */
    public static array $components = [];

    public static function isEnabled($option)
    {
        return isset(self::$components[$option]);
    }

    public static function getParams($option, $strict = false)
    {
        return new Registry(self::$components[$option] ?? []);
    }
}
