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
 * Checks the facts and lists what is wrong: the worst first, then in the order of the chain. The chain test
 * (media/js/status.js) checks what only a browser can find out.
 *
 * @since  0.1.0
 */
final class Diagnosis
{
    /** The version of the tables for this package, and the first version of jsocketd that can read it. */
    public const SCHEMA  = '2';
    private const SERVER = '0.2.0';

    /** Milliseconds of delay that users notice: of the server's loop, and of reading the table. */
    private const SLOW_LOOP = 50.0;
    private const SLOW_OUTBOX = 2000;

    /** Open pages from which an Apache with Debian's MaxRequestWorkers (150) may soon have no worker for the site. */
    private const MANY_PAGES = 100;

    /**
     * @param   Facts  $facts  The state of the site and its server
     *
     * @since   0.1.0
     */
    public function __construct(private readonly Facts $facts)
    {
    }

    /**
     * Everything that is wrong; empty: nothing is.
     *
     * @return  CheckResult[]
     *
     * @since   0.1.0
     */
    public function results(): array
    {
        $results = [...$this->options(), ...$this->webServer(), ...$this->tables(), ...$this->server()];
        $order    = [CheckResult::ERROR => 0, CheckResult::WARNING => 1, CheckResult::NOTICE => 2];
        usort($results, static fn (CheckResult $a, CheckResult $b): int => $order[$a->level] <=> $order[$b->level]);

        return $results;
    }

    /**
     * @return  \Generator<CheckResult>
     *
     * @since   0.1.0
     */
    private function options(): \Generator
    {
        $settings = $this->facts->settings;
        $site     = $this->facts->site;

        if (!$settings->enabled) {
            yield new CheckResult(CheckResult::WARNING, 'DISABLED');
        }

        if ($settings->appId === '' || $settings->appKey === '' || $settings->appSecret === '') {
            yield new CheckResult(CheckResult::ERROR, 'NO_CREDENTIALS');
        }

        if (!$this->facts->plugin) {
            yield new CheckResult(CheckResult::ERROR, 'NO_PLUGIN');
        }

        if ($settings->serverUrl === '') {
            yield new CheckResult(CheckResult::ERROR, 'NO_URL', [], [$site->suggestion()]);
        } elseif ($site->socket === null) {
            yield new CheckResult(CheckResult::ERROR, 'BAD_URL', [$settings->serverUrl], [$site->suggestion()]);
        } elseif ($site->isMixed()) {
            yield new CheckResult(CheckResult::ERROR, 'MIXED', [$settings->serverUrl], [$site->suggestion()]);
        } elseif ($site->own !== null && !$site->sharesCookie()) {
            yield new CheckResult(
                CheckResult::WARNING,
                'OTHER_HOST',
                [$site->socket['host'], $site->own['host']],
                [$site->suggestion()]
            );
        } elseif ($site->isSameHostAndPort() && $site->socket['path'] === '') {
            yield new CheckResult(CheckResult::NOTICE, 'NO_PATH', [$settings->serverUrl], [$site->suggestion()]);
        }
    }

    /**
     * Apache gives each open page one of its workers. It is asked about only if the socket is on the site's own host and
     * port: there the site's web server passes it on.
     *
     * @return  \Generator<CheckResult>
     *
     * @since   0.2.0
     */
    private function webServer(): \Generator
    {
        if (stripos($this->facts->software, 'Apache') !== 0 || !$this->facts->site->isSameHostAndPort()) {
            return;
        }

        if ($this->facts->modPhp) {
            yield new CheckResult(CheckResult::WARNING, 'APACHE_MOD_PHP');
        } elseif ($this->facts->reported('int', 'connections') >= self::MANY_PAGES) {
            yield new CheckResult(CheckResult::WARNING, 'APACHE');
        } else {
            yield new CheckResult(CheckResult::NOTICE, 'APACHE');
        }
    }

    /**
     * @return  \Generator<CheckResult>
     *
     * @since   0.1.0
     */
    private function tables(): \Generator
    {
        foreach ($this->facts->missing as $table) {
            yield new CheckResult(CheckResult::ERROR, 'NO_TABLE', [$table]);
        }

        $versions = [$this->facts->schema ?? '–', self::SCHEMA];

        if ($this->facts->missing === [] && $this->tablesAge() < 0) {
            yield new CheckResult(CheckResult::ERROR, 'OLD_TABLES', $versions);
        } elseif ($this->facts->missing === [] && $this->tablesAge() > 0) {
            yield new CheckResult(CheckResult::ERROR, 'OLD_PACKAGE', $versions);
        }
    }

    /**
     * @return  \Generator<CheckResult>
     *
     * @since   0.1.0
     */
    private function server(): \Generator
    {
        $facts = $this->facts;

        if ($facts->status === null) {
            if ($facts->failure !== null) {
                yield CheckResult::fromFailure($facts->failure, $facts->settings);
            }

            if ($this->hasHeartbeat()) {
                yield new CheckResult(CheckResult::NOTICE, 'ALIVE', [], [$facts->settings->serverAddress]);
            }

            return;
        }

        $version = $facts->reported('string', 'version');

        if ($this->isOldServer()) {
            yield new CheckResult(CheckResult::ERROR, 'OLD_SERVER', [$version], [$facts->package ?? self::SERVER]);
        } elseif ($facts->package !== null && $version !== $facts->package && $this->tablesAge() <= 0) {
            yield new CheckResult(CheckResult::WARNING, 'VERSION', [$version ?? '–', $facts->package], [$facts->package]);
        }

        if ($facts->reported('bool', 'draining')) {
            yield new CheckResult(CheckResult::NOTICE, 'DRAINING');
        }

        if (($facts->reported('float', 'loop', 'delay_ms_p99') ?? 0.0) > self::SLOW_LOOP) {
            yield new CheckResult(CheckResult::WARNING, 'SLOW_LOOP', [(string) round($facts->reported('float', 'loop', 'delay_ms_p99'))]);
        }

        if ($facts->reported('string', 'cluster', 'standing') === 'isolated') {
            $seconds = intdiv($facts->reported('int', 'cluster', 'isolated_ms') ?? 0, 1000);
            yield new CheckResult(CheckResult::WARNING, 'ISOLATED', [(string) $seconds]);
        }

        yield from $this->site();
    }

    /**
     * @return  \Generator<CheckResult>
     *
     * @since   0.1.0
     */
    private function site(): \Generator
    {
        $facts = $this->facts;
        $root  = $facts->site->root;

        if (!\is_array($facts->status['site'] ?? null)) {
            yield new CheckResult(CheckResult::ERROR, 'NO_SITE', [], [$root]);

            return;
        }

        $joomla = $facts->reported('string', 'site', 'joomla');

        if ($joomla !== null && $joomla !== $facts->joomla) {
            yield new CheckResult(CheckResult::ERROR, 'OTHER_SITE', [$joomla, $facts->joomla], [$root]);
        }

        $enabled = $facts->reported('bool', 'site', 'enabled');

        if ($enabled === false && $facts->settings->enabled) {
            yield new CheckResult(CheckResult::ERROR, 'DISABLED_THERE');
        }

        if ($facts->reported('bool', 'site', 'offline')) {
            yield new CheckResult(CheckResult::NOTICE, 'OFFLINE');
        }

        if ($facts->reported('bool', 'database', 'available') !== true) {
            yield new CheckResult(CheckResult::ERROR, 'NO_DATABASE', [], [$root]);

            return;
        }

        if ($facts->missing !== [] || $this->tablesAge() !== 0 || $this->isOldServer()) {
            // The server cannot read the table for this reason. Another result for it would be noise.
            return;
        }

        if ($facts->reported('bool', 'outbox', 'available') !== true) {
            yield new CheckResult(CheckResult::ERROR, 'NO_OUTBOX', [], [$root]);

            return;
        }

        if (($facts->reported('int', 'outbox', 'lag_ms') ?? 0) > self::SLOW_OUTBOX) {
            yield new CheckResult(CheckResult::WARNING, 'SLOW_OUTBOX', [(string) $facts->reported('int', 'outbox', 'lag_ms')]);
        }

        if (!$this->hasHeartbeat()) {
            yield new CheckResult(CheckResult::ERROR, 'NO_HEARTBEAT', [], [$root]);
        }
    }

    /**
     * Compares the version of the tables with this package: negative if they are older, positive if they are newer.
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
     * Whether the tables have the right version, but the server is too old to read them.
     *
     * @return  boolean
     *
     * @since   0.2.0
     */
    private function isOldServer(): bool
    {
        $version = $this->facts->reported('string', 'version') ?? '';

        return $this->facts->missing === [] && $this->tablesAge() === 0
            && preg_match('/^\d+\.\d+/', $version) && version_compare($version, self::SERVER, '<');
    }

    /**
     * Whether a jsocketd wrote a fresh heartbeat into the table.
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
