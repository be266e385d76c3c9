<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

/*
 * Loads the package's classes from their folders, and stand-ins for Joomla's classes from stubs/. A stand-in has the
 * name of the real class and the signatures that the package uses. With JOOMLA_ROOT the events are those of that
 * Joomla.
 */

\define('_JEXEC', 1);
\define('JOOMLA_PACKAGE', \dirname(__DIR__, 3) . '/joomla');
\define('JPATH_ROOT', sys_get_temp_dir() . '/websockets-' . getmypid());
\define('JVERSION', '5.3.2');
\define('JPATH_PLATFORM', '');

mkdir(JPATH_ROOT . '/media/com_websockets', 0700, true);
touch(JPATH_ROOT . '/media/com_websockets/joomla.asset.json');
register_shutdown_function(static function (): void {
    unlink(JPATH_ROOT . '/media/com_websockets/joomla.asset.json');
    array_map(static fn (string $folder) => rmdir(JPATH_ROOT . $folder), ['/media/com_websockets', '/media', '']);
});

spl_autoload_register(static function (string $class): void {
    $folders = [
        'Jsocketd\\Component\\Websockets\\Administrator\\' => JOOMLA_PACKAGE . '/com_websockets/admin/src/',
        'Jsocketd\\Plugin\\System\\Websockets\\'           => JOOMLA_PACKAGE . '/plg_system_websockets/src/',
        'Jsocketd\\Tests\\Package\\'                       => __DIR__ . '/',
    ];

    if ($real = getenv('JOOMLA_ROOT')) {
        $folders['Joomla\\CMS\\Event\\'] = $real . '/libraries/src/Event/';
        $folders['Joomla\\Event\\']      = $real . '/libraries/vendor/joomla/event/src/';
    }

    foreach ($folders + ['' => __DIR__ . '/stubs/'] as $prefix => $folder) {
        $file = $folder . str_replace('\\', '/', substr($class, \strlen($prefix))) . '.php';

        if (str_starts_with($class, $prefix) && is_file($file)) {
            require $file;

            return;
        }
    }
});
