<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Model;

use Joomla\CMS\MVC\Model\BaseDatabaseModel;
use Joomla\CMS\Plugin\PluginHelper;
use Joomla\CMS\Uri\Uri;
use Joomla\CMS\User\User;
use Jsocketd\Component\Websockets\Administrator\Extension\WebsocketsComponent;
use Jsocketd\Component\Websockets\Administrator\Publish\Outbox;
use Jsocketd\Component\Websockets\Administrator\Server\ServerFailure;
use Jsocketd\Component\Websockets\Administrator\Setup\Site;
use Jsocketd\Component\Websockets\Administrator\Status\Facts;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * Collects the facts for the status page from options, database and server. A server that does not answer is a fact
 * here, not an error. Status\Diagnosis judges the facts.
 *
 * @since  0.1.0
 */
class StatusModel extends BaseDatabaseModel
{
    /**
     * The facts of this moment.
     *
     * @param   WebsocketsComponent  $component  The component
     * @param   User                 $user       The user who sees the page
     *
     * @return  Facts
     *
     * @since   0.1.0
     */
    public function facts(WebsocketsComponent $component, User $user): Facts
    {
        $settings = $component->settings();
        $status   = null;
        $failure  = null;
        $began    = hrtime(true);

        try {
            $status = $component->server()->status();
        } catch (ServerFailure $e) {
            $failure = $component->failureFor($e, $user);
        }

        $took = (hrtime(true) - $began) / 1e6;

        [$missing, $schema, $heartbeats] = $this->tables($component->outbox());

        return new Facts(
            $settings,
            new Site(Uri::root(), JPATH_ROOT, $settings->serverUrl, $settings->serverAddress),
            JVERSION,
            $this->packageVersion(),
            PluginHelper::isEnabled('system', 'websockets'),
            $status,
            $failure,
            $took,
            $missing,
            $schema,
            $heartbeats,
            (string) ($_SERVER['SERVER_SOFTWARE'] ?? ''),
            PHP_SAPI === 'apache2handler'
        );
    }

    /**
     * The missing tables, the version of the tables, and the positions of the server processes.
     *
     * @param   Outbox  $outbox  The tables
     *
     * @return  array{string[], ?string, list<array{process: string, position: string, age_ms: int, fresh: bool}>}
     *
     * @since   0.1.0
     */
    private function tables(Outbox $outbox): array
    {
        $db      = $this->getDatabase();
        $missing = [];

        foreach (['#__websockets_outbox', '#__websockets_state'] as $table) {
            $name  = $db->replacePrefix($table);
            $query = 'SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ';

            if ((int) $db->setQuery($query . $db->quote($name))->loadResult() === 0) {
                $missing[] = $name;
            }
        }

        if ($missing !== []) {
            return [$missing, null, []];
        }

        $schema = $db->setQuery(
            'SELECT ' . $db->quoteName('value') . ' FROM ' . $db->quoteName('#__websockets_state')
            . ' WHERE ' . $db->quoteName('name') . ' = ' . $db->quote('schema')
        )->loadResult();

        return [$missing, $schema === null ? null : (string) $schema, $outbox->heartbeats()];
    }

    /**
     * The version that Joomla stored at the installation.
     *
     * @return  ?string
     *
     * @since   0.1.0
     */
    private function packageVersion(): ?string
    {
        $db    = $this->getDatabase();
        $query = 'SELECT ' . $db->quoteName('manifest_cache') . ' FROM ' . $db->quoteName('#__extensions')
            . ' WHERE ' . $db->quoteName('type') . ' = ' . $db->quote('component')
            . ' AND ' . $db->quoteName('element') . ' = ' . $db->quote('com_websockets');
        $manifest = json_decode((string) $db->setQuery($query)->loadResult(), true);

        return \is_array($manifest) && \is_string($manifest['version'] ?? null) ? $manifest['version'] : null;
    }
}
