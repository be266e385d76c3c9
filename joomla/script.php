<?php

/**
 * @package     jsocketd
 * @subpackage  pkg_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

use Joomla\CMS\Factory;
use Joomla\CMS\Installer\InstallerAdapter;
use Joomla\CMS\Installer\InstallerScriptInterface;
use Joomla\CMS\Language\Text;
use Joomla\Database\DatabaseInterface;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * The package's part of an installation: it checks the requirements and enables the plugin. The component's script
 * makes credentials and tables. This file uses no syntax that is newer than PHP 7.2, so that an old PHP shows a
 * sentence and not a syntax error.
 */
return new class () implements InstallerScriptInterface {
    private const PHP = '8.1.0';
    private const JOOMLA = '4.4.0';
    private const MYSQL = '8.0.13';
    private const MARIADB = '10.4.0';

    /**
     * Stops the installation with a sentence where a requirement is missing.
     *
     * @param   string            $type     install, update, discover_install or uninstall
     * @param   InstallerAdapter  $adapter  the installer
     *
     * @return  boolean  false: the installation stops
     */
    public function preflight(string $type, InstallerAdapter $adapter): bool
    {
        if ($type === 'uninstall') {
            return true;
        }

        $refusal = $this->refusal(PHP_VERSION, JVERSION, $this->database());

        if ($refusal === null) {
            return true;
        }

        Factory::getApplication()->enqueueMessage($refusal, 'error');

        return false;
    }

    /**
     * Enables a new plugin and names the next step.
     *
     * @param   string            $type     install, update, discover_install or uninstall
     * @param   InstallerAdapter  $adapter  the installer
     *
     * @return  boolean  true
     */
    public function postflight(string $type, InstallerAdapter $adapter): bool
    {
        if ($type !== 'install' && $type !== 'discover_install') {
            return true;
        }

        $db = $this->database();
        $db->setQuery(
            'UPDATE ' . $db->quoteName('#__extensions') . ' SET ' . $db->quoteName('enabled') . ' = 1'
            . ' WHERE ' . $db->quoteName('type') . ' = ' . $db->quote('plugin')
            . ' AND ' . $db->quoteName('folder') . ' = ' . $db->quote('system')
            . ' AND ' . $db->quoteName('element') . ' = ' . $db->quote('websockets')
        )->execute();

        Factory::getApplication()->enqueueMessage(Text::_('PKG_WEBSOCKETS_NEXT'), 'notice');

        return true;
    }

    /**
     * @param   InstallerAdapter  $adapter  the installer
     *
     * @return  boolean  true
     */
    public function install(InstallerAdapter $adapter): bool
    {
        return true;
    }

    /**
     * @param   InstallerAdapter  $adapter  the installer
     *
     * @return  boolean  true
     */
    public function update(InstallerAdapter $adapter): bool
    {
        return true;
    }

    /**
     * @param   InstallerAdapter  $adapter  the installer
     *
     * @return  boolean  true
     */
    public function uninstall(InstallerAdapter $adapter): bool
    {
        return true;
    }

    /**
     * The requirement that is missing, as a sentence; null: none is.
     *
     * @param   string             $php     the version of PHP
     * @param   string             $joomla  the version of Joomla
     * @param   DatabaseInterface  $db      the site's database
     *
     * @return  string|null
     */
    public function refusal(string $php, string $joomla, DatabaseInterface $db): ?string
    {
        if (version_compare($php, self::PHP, '<')) {
            return Text::sprintf('PKG_WEBSOCKETS_OLD_PHP', self::PHP, $php);
        }

        if (version_compare($joomla, self::JOOMLA, '<')) {
            return Text::sprintf('PKG_WEBSOCKETS_OLD_JOOMLA', self::JOOMLA, $joomla);
        }

        if ($db->getServerType() !== 'mysql') {
            return Text::sprintf('PKG_WEBSOCKETS_OTHER_DATABASE', $db->getServerType());
        }

        // 10.11.6-MariaDB, or 5.5.5-10.11.6-MariaDB with the prefix that old clients need.
        $version = $db->getVersion();

        if (stripos($version, 'mariadb') !== false) {
            $version = (string) preg_replace('/^5\.5\.5-/', '', $version);

            return version_compare($this->number($version), self::MARIADB, '<')
                ? Text::sprintf('PKG_WEBSOCKETS_OLD_MARIADB', self::MARIADB, $version)
                : null;
        }

        return version_compare($this->number($version), self::MYSQL, '<')
            ? Text::sprintf('PKG_WEBSOCKETS_OLD_MYSQL', self::MYSQL, $version)
            : null;
    }

    /**
     * The digits and dots at the beginning of a version.
     *
     * @param   string  $version  the version that the database reports
     *
     * @return  string
     */
    private function number(string $version): string
    {
        return preg_match('/^[0-9.]+/', $version, $found) ? rtrim($found[0], '.') : '0';
    }

    /**
     * @return  DatabaseInterface
     */
    private function database(): DatabaseInterface
    {
        return Factory::getContainer()->get(DatabaseInterface::class);
    }
};
