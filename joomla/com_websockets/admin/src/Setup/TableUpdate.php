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
 * Updates the tables of the outbox from version 1 to version 2 while the site is in use: first the columns, then the
 * numbers of the rows in small steps, then the state table. It may be interrupted anywhere. The next call continues
 * from there. If there are no tables, or newer ones, it does nothing. `jsocketd schema --update` does the same.
 *
 * The component's script loads this file and DatabaseError.php by hand from the package, before Joomla can load classes
 * of the new version. So this class uses no other class of the component.
 *
 * @since  0.2.0
 */
final class TableUpdate
{
    /** The total time to wait for locks, in seconds. Web servers give up after 60. */
    public const LOCK_WAIT = 40;

    /** The rows that get their number in one step, which takes about 20 ms. */
    public const STEP = 500;

    private const ROWS = '#__websockets_outbox';

    private const STATE = '#__websockets_state';

    /**
     * @param   DatabaseInterface  $db        the site's database
     * @param   float              $lockWait  the time that is left to wait for locks, in seconds
     */
    public function __construct(private readonly DatabaseInterface $db, private float $lockWait = self::LOCK_WAIT)
    {
    }

    /**
     * Updates tables of version 1.
     *
     * @return  void
     *
     * @throws  \RuntimeException  if the database refuses; {@see DatabaseError} has the reason
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
            // A statement that waits for a table holds up all later ones, so each statement waits for a short time
            // only.
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

    /** The first step. It returns whether columns were missing. */
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
     * The second step: existing rows get their id as their number. Rows of open transactions get a number later, like
     * new rows.
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

    /** The third step, in one transaction: the position of the stream, and at the end version 2. */
    private function finish(): void
    {
        $db = $this->db;
        $db->transactionStart();

        try {
            // If several processes update at the same time, the first one does this.
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

    /** Repeats a function while a lock prevents it and time is left. */
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

            // Other statements waited behind this one. They get as much time as this one took.
            usleep(1000000);
            $this->lockWait -= microtime(true) - $began;
        }
    }

    /** @return  string[]  the columns of the table with the rows; empty: there is no such table */
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

    /** The version of the tables; null: there is no state table. */
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

    /** @param  array<string, int>  $variables  variables of the session */
    private function set(array $variables): void
    {
        foreach ($variables as $name => $value) {
            $this->db->setQuery('SET SESSION ' . $name . ' = ' . $value)->execute();
        }
    }
}
