<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\CMS\Uri;

class Uri
{
    public static string $base = '/joomla';

    public static function root($pathonly = false, $path = null)
    {
        return $pathonly ? self::$base : 'https://example.org' . self::$base . '/';
    }
}
