<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

use Joomla\CMS\Factory;
use Joomla\CMS\Installer\InstallerAdapter;
use Joomla\CMS\Installer\InstallerScriptInterface;
use Joomla\CMS\Language\Text;
use Joomla\Database\DatabaseInterface;
use Jsocketd\Component\Websockets\Administrator\Publish\DatabaseError;
use Jsocketd\Component\Websockets\Administrator\Setup\TableUpdate;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * The component's part of an installation: it updates tables of an older version, makes the site's credentials, and
 * drops the tables if the options say so. New tables come from sql/. The package's script checks the requirements.
 *
 * An update leaves class files of an older version where they are. A request that began before the update, and PHP's
 * cache of compiled files, may still load them. No class of this version does.
 */
return new class () implements InstallerScriptInterface {
    /**
     * Updates tables of an older version, also those that an uninstalled component left. This happens before any file
     * is changed: if it fails, the site keeps the version that it has.
     *
     * @param   string            $type     install, update, discover_install or uninstall
     * @param   InstallerAdapter  $adapter  the installer
     *
     * @return  boolean  false: the installation stops
     */
    public function preflight(string $type, InstallerAdapter $adapter): bool
    {
        return $type === 'uninstall' || $this->updateTables();
    }

    /**
     * Makes the site's credentials, unless there are some.
     *
     * @param   string            $type     install, update, discover_install or uninstall
     * @param   InstallerAdapter  $adapter  the installer
     *
     * @return  boolean  true
     */
    public function postflight(string $type, InstallerAdapter $adapter): bool
    {
        if ($type === 'uninstall') {
            return true;
        }

        $params = $this->params();

        if (($params['app_secret'] ?? '') !== '') {
            return true;
        }

        $db     = $this->database();
        $params = array_merge($params, [
            'app_id'     => 'site-' . bin2hex(random_bytes(4)),
            'app_key'    => bin2hex(random_bytes(16)),
            'app_secret' => bin2hex(random_bytes(16)),
        ]);
        $db->setQuery(
            'UPDATE ' . $db->quoteName('#__extensions') . ' SET ' . $db->quoteName('params') . ' = '
            . $db->quote(json_encode($params, JSON_THROW_ON_ERROR)) . ' WHERE ' . $this->isOurs($db)
        )->execute();

        return true;
    }

    /**
     * Updates the tables again: one of them may have existed before, in an older version.
     *
     * @param   InstallerAdapter  $adapter  the installer
     *
     * @return  boolean  whether the tables are up to date
     */
    public function install(InstallerAdapter $adapter): bool
    {
        return $this->updateTables();
    }

    /**
     * Creates tables that are missing. Joomla runs the SQL of the installation only for a new component.
     *
     * @param   InstallerAdapter  $adapter  the installer
     *
     * @return  boolean  whether the tables are up to date
     */
    public function update(InstallerAdapter $adapter): bool
    {
        return $adapter->getParent()->parseSQLFiles($adapter->getManifest()->install->sql) !== false
            && $this->updateTables();
    }

    /**
     * Drops the tables if the options say so. Otherwise they stay, and the next installation uses them.
     *
     * @param   InstallerAdapter  $adapter  the installer
     *
     * @return  boolean  true
     */
    public function uninstall(InstallerAdapter $adapter): bool
    {
        if ((int) ($this->params()['delete_data'] ?? 0) === 1) {
            $db = $this->database();

            foreach (['#__websockets_outbox', '#__websockets_state'] as $table) {
                $db->setQuery('DROP TABLE IF EXISTS ' . $db->quoteName($table))->execute();
            }
        }

        return true;
    }

    /**
     * Updates tables of an older version, or shows why that failed. Joomla cannot load the classes of the new version
     * yet, so they are loaded by hand from the folder of this file: the package, or the component's folder.
     *
     * @return  boolean  whether the tables are up to date
     */
    private function updateTables(): bool
    {
        $classes = [
            DatabaseError::class => 'Publish/DatabaseError.php',
            TableUpdate::class   => 'Setup/TableUpdate.php',
        ];

        foreach ($classes as $class => $file) {
            if (!class_exists($class, false)) {
                require_once __DIR__ . (is_dir(__DIR__ . '/admin/src') ? '/admin/src/' : '/src/') . $file;
            }
        }

        try {
            (new TableUpdate($this->database()))->run();

            return true;
        } catch (\Throwable $error) {
            $cause   = new DatabaseError($error);
            $reason  = $error->getMessage();
            $message = match (true) {
                $cause->isBusy()   => Text::sprintf('COM_WEBSOCKETS_UPDATE_BUSY', (string) TableUpdate::LOCK_WAIT, $reason),
                $cause->isDenied() => Text::sprintf('COM_WEBSOCKETS_UPDATE_DENIED', $reason),
                default            => Text::sprintf('COM_WEBSOCKETS_UPDATE_FAILED', $reason),
            };
            Factory::getApplication()->enqueueMessage($message, 'error');

            return false;
        }
    }

    /**
     * The component's options from the database. Joomla's cache may hold older ones.
     *
     * @return  array<string, mixed>
     */
    private function params(): array
    {
        $db     = $this->database();
        $query  = 'SELECT ' . $db->quoteName('params') . ' FROM ' . $db->quoteName('#__extensions') . ' WHERE ' . $this->isOurs($db);
        $params = json_decode((string) $db->setQuery($query)->loadResult(), true);

        return \is_array($params) ? $params : [];
    }

    /**
     * @param   DatabaseInterface  $db  the site's database
     *
     * @return  string  the condition for the component's row of #__extensions
     */
    private function isOurs(DatabaseInterface $db): string
    {
        return $db->quoteName('type') . ' = ' . $db->quote('component')
            . ' AND ' . $db->quoteName('element') . ' = ' . $db->quote('com_websockets');
    }

    /**
     * @return  DatabaseInterface
     */
    private function database(): DatabaseInterface
    {
        return Factory::getContainer()->get(DatabaseInterface::class);
    }
};
