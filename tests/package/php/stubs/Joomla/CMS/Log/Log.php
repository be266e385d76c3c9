<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\CMS\Log;

class Log
{
    public const ALL = 30719;

    public const WARNING = 16;

    /** @var  string[] */
    public static array $lines = [];

    public static function addLogger(array $options, $priorities = self::ALL, $categories = [], $exclude = false)
    {
    }

    public static function add($entry, $priority = self::WARNING, $category = '', $date = null, array $context = [])
    {
        self::$lines[] = $entry;
    }
}
