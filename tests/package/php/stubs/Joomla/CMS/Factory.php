<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\CMS;

/** The container has one thing in it: the database. */
class Factory
{
    public static $application;

    public static $database;

    public static function getApplication()
    {
        return self::$application;
    }

    public static function getContainer()
    {
        return new class () {
            public function get($name)
            {
                return Factory::$database;
            }
        };
    }
}
