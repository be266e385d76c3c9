<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Status;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * Judges the facts: what is wrong, the worst and the first in the chain first. What can only be known in a browser is the
 * chain test's (media/js/status.js).
 *
 * @since  0.1.0
 */
final class Diagnosis
{
    /** The version of the tables that this package knows, and the first jsocketd that knows it. */
    public const SCHEMA  = '2';
    private const SERVER = '0.2.0';

    /** Milliseconds of the loop's delay, and of the table's, above which users can feel it. */
    private const SLOW_LOOP = 50.0;
    private const SLOW_OUTBOX = 2000;

    /**
     * @param   Facts  $facts  What was found out
     *
     * @since   0.1.0
     */
    public function __construct(private readonly Facts $facts)
    {
    }

    /**
     * What is wrong; nothing where all is well.
     *
     * @return  Finding[]
     *
     * @since   0.1.0
     */
    public function findings(): array
    {
        $findings = [...$this->options(), ...$this->tables(), ...$this->server()];
        $order    = [Finding::ERROR => 0, Finding::WARNING => 1, Finding::NOTICE => 2];
        usort($findings, static fn (Finding $a, Finding $b): int => $order[$a->level] <=> $order[$b->level]);

        return $findings;
    }

    /**
     * @return  \Generator<Finding>
     *
     * @since   0.1.0
     */
    private function options(): \Generator
    {
        $settings = $this->facts->settings;
        $site     = $this->facts->site;

        if (!$settings->enabled) {
            yield new Finding(Finding::WARNING, 'DISABLED');
        }

        if ($settings->appId === '' || $settings->appKey === '' || $settings->appSecret === '') {
            yield new Finding(Finding::ERROR, 'NO_CREDENTIALS');
        }

        if (!$this->facts->plugin) {
            yield new Finding(Finding::ERROR, 'NO_PLUGIN');
        }

        if ($settings->serverUrl === '') {
            yield new Finding(Finding::ERROR, 'NO_URL', [], [$site->suggestion()]);
        } elseif ($site->socket === null) {
            yield new Finding(Finding::ERROR, 'BAD_URL', [$settings->serverUrl], [$site->suggestion()]);
        } elseif ($site->isMixed()) {
            yield new Finding(Finding::ERROR, 'MIXED', [$settings->serverUrl], [$site->suggestion()]);
        } elseif ($site->own !== null && !$site->sharesCookie()) {
            yield new Finding(
                Finding::WARNING,
                'OTHER_HOST',
                [$site->socket['host'], $site->own['host']],
                [$site->suggestion()]
            );
        } elseif ($site->isBeside() && $site->socket['path'] === '') {
            yield new Finding(Finding::NOTICE, 'NO_PATH', [$settings->serverUrl], [$site->suggestion()]);
        }
    }

    /**
     * @return  \Generator<Finding>
     *
     * @since   0.1.0
     */
    private function tables(): \Generator
    {
        foreach ($this->facts->missing as $table) {
            yield new Finding(Finding::ERROR, 'NO_TABLE', [$table]);
        }

        $versions = [$this->facts->schema ?? '–', self::SCHEMA];

        if ($this->facts->missing === [] && $this->tablesAge() < 0) {
            yield new Finding(Finding::ERROR, 'OLD_TABLES', $versions);
        } elseif ($this->facts->missing === [] && $this->tablesAge() > 0) {
            yield new Finding(Finding::ERROR, 'OLD_PACKAGE', $versions);
        }
    }

    /**
     * @return  \Generator<Finding>
     *
     * @since   0.1.0
     */
    private function server(): \Generator
    {
        $facts = $this->facts;

        if ($facts->status === null) {
            if ($facts->failure !== null) {
                yield Finding::ofFailure($facts->failure, $facts->settings);
            }

            if ($this->hasHeartbeat()) {
                yield new Finding(Finding::NOTICE, 'ALIVE', [], [$facts->settings->serverAddress]);
            }

            return;
        }

        $version = $facts->said('string', 'version');

        if ($this->isOldServer()) {
            yield new Finding(Finding::ERROR, 'OLD_SERVER', [$version], [$facts->package ?? self::SERVER]);
        } elseif ($facts->package !== null && $version !== $facts->package && $this->tablesAge() <= 0) {
            yield new Finding(Finding::WARNING, 'VERSION', [$version ?? '–', $facts->package], [$facts->package]);
        }

        if ($facts->said('bool', 'draining')) {
            yield new Finding(Finding::NOTICE, 'DRAINING');
        }

        if (($facts->said('float', 'loop', 'delay_ms_p99') ?? 0.0) > self::SLOW_LOOP) {
            yield new Finding(Finding::WARNING, 'SLOW_LOOP', [(string) round($facts->said('float', 'loop', 'delay_ms_p99'))]);
        }

        yield from $this->site();
    }

    /**
     * @return  \Generator<Finding>
     *
     * @since   0.1.0
     */
    private function site(): \Generator
    {
        $facts = $this->facts;
        $root  = $facts->site->root;

        if (!\is_array($facts->status['site'] ?? null)) {
            yield new Finding(Finding::ERROR, 'NO_SITE', [], [$root]);

            return;
        }

        $joomla = $facts->said('string', 'site', 'joomla');

        if ($joomla !== null && $joomla !== $facts->joomla) {
            yield new Finding(Finding::ERROR, 'OTHER_SITE', [$joomla, $facts->joomla], [$root]);
        }

        $enabled = $facts->said('bool', 'site', 'enabled');

        if ($enabled === false && $facts->settings->enabled) {
            yield new Finding(Finding::ERROR, 'DISABLED_THERE');
        }

        if ($facts->said('bool', 'site', 'offline')) {
            yield new Finding(Finding::NOTICE, 'OFFLINE');
        }

        if ($facts->said('bool', 'database', 'available') !== true) {
            yield new Finding(Finding::ERROR, 'NO_DATABASE', [], [$root]);

            return;
        }

        if ($facts->missing !== [] || $this->tablesAge() !== 0 || $this->isOldServer()) {
            // That the table is not read follows from it.
            return;
        }

        if ($facts->said('bool', 'outbox', 'available') !== true) {
            yield new Finding(Finding::ERROR, 'NO_OUTBOX', [], [$root]);

            return;
        }

        if (($facts->said('int', 'outbox', 'lag_ms') ?? 0) > self::SLOW_OUTBOX) {
            yield new Finding(Finding::WARNING, 'SLOW_OUTBOX', [(string) $facts->said('int', 'outbox', 'lag_ms')]);
        }

        if (!$this->hasHeartbeat()) {
            yield new Finding(Finding::ERROR, 'NO_HEARTBEAT', [], [$root]);
        }
    }

    /**
     * Whether the tables are older than this package (negative) or newer (positive).
     *
     * @return  integer
     *
     * @since   0.2.0
     */
    private function tablesAge(): int
    {
        return (int) $this->facts->schema <=> (int) self::SCHEMA;
    }

    /**
     * Whether the tables are right, and the server is one that does not know them yet.
     *
     * @return  boolean
     *
     * @since   0.2.0
     */
    private function isOldServer(): bool
    {
        $version = $this->facts->said('string', 'version') ?? '';

        return $this->facts->missing === [] && $this->tablesAge() === 0
            && preg_match('/^\d+\.\d+/', $version) && version_compare($version, self::SERVER, '<');
    }

    /**
     * Whether some jsocketd left its heartbeat in the table lately.
     *
     * @return  boolean
     *
     * @since   0.1.0
     */
    private function hasHeartbeat(): bool
    {
        return \in_array(true, array_column($this->facts->heartbeats, 'fresh'), true);
    }
}
