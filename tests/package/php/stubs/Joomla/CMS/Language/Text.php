<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\CMS\Language;

/** Speaks the English of the package. */
class Text
{
    /** @var  array<string, bool>  keys that were handed to JavaScript */
    public static array $scripts = [];

    public static function _($string)
    {
        return self::texts()[$string] ?? $string;
    }

    public static function sprintf($string, ...$values)
    {
        return sprintf(self::_($string), ...$values);
    }

    public static function script($string = null)
    {
        self::$scripts[$string] = true;

        return self::$scripts;
    }

    private static function texts(): array
    {
        static $texts = null;

        return $texts ??= array_merge(...array_map('parse_ini_file', glob(JOOMLA_PACKAGE . '{,/*,/*/*}/language/en-GB/*.ini', GLOB_BRACE)));
    }
}
