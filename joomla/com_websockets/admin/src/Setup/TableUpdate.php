<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Setup;

use Joomla\Database\DatabaseInterface;
use Jsocketd\Component\Websockets\Administrator\Publish\DatabaseError;

\defined('_JEXEC') or die;

/**
 * Makes version 2 of the outbox's tables of version 1, while the site goes on: columns, then the numbers of the rows in
 * small steps, then what the state table says. It may be stopped anywhere, and the next call goes on from there. Where
 * there are no tables, or newer ones, it does nothing. `jsocketd schema --update` does the same.
 *
 * The script of the installation loads this file and DatabaseError.php by hand, from the package, before Joomla knows
 * the classes of the new version. So it uses no other class of the component.
 *
 * @since  0.2.0
 */
final class TableUpdate
{
    /** Seconds that locks are waited for, in all. Web servers give up after 60. */
    public const LOCK_WAIT = 40;

    /** Rows that get their number in one step: about 20 ms. */
    public const STEP = 500;

    private const ROWS = '#__websockets_outbox';

    private const STATE = '#__websockets_state';

    /**
     * @param   DatabaseInterface  $db        the site's database
     * @param   float              $lockWait  seconds that are left for locks
     */
    public function __construct(private readonly DatabaseInterface $db, private float $lockWait = self::LOCK_WAIT)
    {
    }

    /**
     * Updates the tables, as far as they are of version 1.
     *
     * @return  void
     *
     * @throws  \RuntimeException  when the database refuses; {@see DatabaseError} tells why
     */
    public function run(): void
    {
        if (!$this->columns()) {
            return;
        }

        $before = [];

        foreach (['lock_wait_timeout', 'innodb_lock_wait_timeout'] as $name) {
            $before[$name] = (int) $this->db->setQuery('SELECT @@SESSION.' . $name)->loadResult();
        }

        try {
            // Whoever waits for a table holds up everybody behind, so nobody waits for long.
            $this->set(array_fill_keys(array_keys($before), 1));
            $this->update();
        } finally {
            $this->set($before);
        }
    }

    private function update(): void
    {
        $isOld = $this->retryWhileLocked(fn (): bool => $this->addColumns());

        if ($isOld || $this->schema() === '1') {
            $this->numberRows();
        }

        if ($this->schema() === '1') {
            $this->retryWhileLocked(fn () => $this->finish());
        }
    }

    /** The first step. Whether there was something to do. */
    private function addColumns(): bool
    {
        if (\in_array('seq', $this->columns(), true)) {
            return false;
        }

        $this->db->setQuery(
            'ALTER TABLE ' . self::ROWS
            . ' ADD COLUMN `seq` bigint unsigned DEFAULT NULL AFTER `id`,'
            . ' ADD COLUMN `stamped` datetime(3) DEFAULT NULL AFTER `seq`,'
            . ' ADD UNIQUE KEY `idx_seq` (`seq`),'
            . ' DROP KEY `idx_channel`, ADD KEY `idx_channel_seq` (`channel`, `seq`)'
        )->execute();

        return true;
    }

    /**
     * The second step: rows that are there have their id for a number. Rows of transactions that are still open get
     * theirs later, like new ones.
     */
    private function numberRows(): void
    {
        $last = 0;
        $top  = (int) $this->db->setQuery('SELECT MAX(id) FROM ' . self::ROWS)->loadResult();

        do {
            $ids = array_map(
                static fn (object $row): int => (int) $row->id,
                $this->db->setQuery(
                    'SELECT id FROM ' . self::ROWS . ' WHERE id > ' . $last . ' AND id <= ' . $top
                    . ' AND seq IS NULL ORDER BY id LIMIT ' . self::STEP
                )->loadObjectList() ?: []
            );

            if ($ids) {
                $last = end($ids);
                $this->retryWhileLocked(fn () => $this->db->setQuery(
                    'UPDATE ' . self::ROWS . ' FORCE INDEX (PRIMARY) SET seq = id, stamped = created'
                    . ' WHERE id IN (' . implode(', ', $ids) . ') AND seq IS NULL'
                )->execute());
            }
        } while ($ids);
    }

    /** The third step, in one transaction: where the stream is. That the tables have version 2 is written last. */
    private function finish(): void
    {
        $db = $this->db;
        $db->transactionStart();

        try {
            // Of several that update at the same time the first one does it.
            $schema = 'SELECT value FROM ' . self::STATE . " WHERE name = 'schema' FOR UPDATE";

            if ($db->setQuery($schema)->loadResult() === '1') {
                $this->writePosition();
                $db->setQuery(
                    'DELETE FROM ' . self::STATE
                    . " WHERE name IN ('epoch', 'made', 'deleted_to', 'mark') OR name LIKE 'position.%'"
                )->execute();
                $this->write('deleter', '');
                $this->write('schema', '2');
            }

            $db->transactionCommit();
        } catch (\Throwable $error) {
            $db->transactionRollback();

            throw $error;
        }
    }

    private function writePosition(): void
    {
        $db     = $this->db;
        $mark   = "LOWER(CONV(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', stamped) DIV 1000, 10, 36))";
        $newest = 'SELECT seq, ' . $mark . ' AS mark FROM ' . self::ROWS
            . ' WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1';
        $row    = $db->setQuery($newest)->loadObjectList()[0] ?? null;

        if ($row === null) {
            $db->setQuery(
                'INSERT INTO ' . self::ROWS . ' (seq, stamped, channel, event, data, created)'
                . " VALUES (1, UTC_TIMESTAMP(3), '#control', 'begin', '{}', UTC_TIMESTAMP(3))"
            )->execute();
            $row = $db->setQuery($newest)->loadObjectList()[0];
        }

        do {
            $epoch = bin2hex(random_bytes(4));
        } while ($epoch === '00000000');

        $this->write('position', 'o' . $epoch . ':' . $row->seq . '.' . $row->mark);
    }

    private function write(string $name, string $value): void
    {
        $this->db->setQuery(
            'REPLACE INTO ' . self::STATE . ' (name, value, updated)'
            . ' VALUES (' . implode(', ', $this->db->quote([$name, $value])) . ', UTC_TIMESTAMP(3))'
        )->execute();
    }

    /** Does something again and again as long as a lock prevents it, and nobody lost patience. */
    private function retryWhileLocked(\Closure $do): mixed
    {
        while (true) {
            $began = microtime(true);

            try {
                return $do();
            } catch (\Throwable $error) {
                if (!(new DatabaseError($error))->isBusy() || $this->lockWait <= 0) {
                    throw $error;
                }
            }

            // As long as this waited, others go on: they waited behind it.
            usleep(1000000);
            $this->lockWait -= microtime(true) - $began;
        }
    }

    /** @return  string[]  of the table with the rows; none if there is no such table */
    private function columns(): array
    {
        return array_map(
            static fn (object $row): string => $row->name,
            $this->db->setQuery(
                'SELECT column_name AS name FROM information_schema.columns WHERE table_schema = DATABASE()'
                . ' AND table_name = ' . $this->db->quote($this->db->replacePrefix(self::ROWS))
            )->loadObjectList() ?: []
        );
    }

    /** The version of the tables; null if there is no state table. */
    private function schema(): ?string
    {
        $db    = $this->db;
        $count = 'SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()'
            . ' AND table_name = ' . $db->quote($db->replacePrefix(self::STATE));

        if ((int) $db->setQuery($count)->loadResult() === 0) {
            return null;
        }

        return (string) $db->setQuery('SELECT value FROM ' . self::STATE . " WHERE name = 'schema'")->loadResult();
    }

    /** @param  array<string, int>  $variables  of the session */
    private function set(array $variables): void
    {
        foreach ($variables as $name => $value) {
            $this->db->setQuery('SET SESSION ' . $name . ' = ' . $value)->execute();
        }
    }
}
