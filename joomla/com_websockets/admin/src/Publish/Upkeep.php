<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Publish;

use Joomla\Database\DatabaseInterface;

\defined('_JEXEC') or die;

/**
 * What a server does for the table, done by PHP where none is alive: first rows get their numbers, so that a server
 * that is started later does not take months of them for news, then old rows are deleted, so that the table stays
 * small.
 *
 * It runs when the response is out, and never holds anybody up: it does nothing inside a transaction of somebody else,
 * gives up wherever it would wait for a lock, and leaves the session as it was. The forms of the statements are those
 * of the server, and were chosen by measurement: a list of ids with the hint PRIMARY in UPDATE, single ids in DELETE
 * and in SELECT … FOR UPDATE touch these rows and no others. Other forms (a list of ids in DELETE, a range of numbers)
 * wait for rows of transactions that are open, or make writers wait.
 *
 * @since  0.2.0
 */
final class Upkeep
{
    /** Rows that one call numbers at most, and that it deletes at most. */
    public const BATCH = 200;

    /** Seconds that a row stays. */
    public const RETENTION = 3600;

    /** Digits of a number that PHP can count on from. */
    private const LONGEST = 18;

    /** MySQL waits for a table that is locked in spite of NOWAIT, but not longer than this. MariaDB skips the hint. */
    private const NO_WAIT = 'SELECT /*+ MAX_EXECUTION_TIME(100) */ ';

    /** Seconds that a lock is waited for, and that a statement takes: the least that each server allows. */
    private const MYSQL = ['lock_wait_timeout' => 1, 'innodb_lock_wait_timeout' => 1];

    private const MARIADB = ['lock_wait_timeout' => 0, 'innodb_lock_wait_timeout' => 0, 'max_statement_time' => 1];

    /** How the transactions are isolated. */
    private string $isolation = 'READ COMMITTED';

    /**
     * @param   Outbox             $outbox  tells whether a server is alive
     * @param   DatabaseInterface  $db      the site's database
     */
    public function __construct(private readonly Outbox $outbox, private readonly DatabaseInterface $db)
    {
    }

    /**
     * Numbers and deletes some rows, if no server is alive that does it.
     *
     * @return  void
     *
     * @throws  \RuntimeException  when the database refuses for another reason than a lock
     */
    public function run(): void
    {
        try {
            // Refused where a transaction is open. Elsewhere it holds for the next statement alone.
            $this->isolate();
            $this->withoutWaiting(function (): void {
                if (!$this->outbox->isServed()) {
                    $this->transaction(fn (): bool => $this->stamp());
                    $this->transaction(fn (): bool => $this->delete());
                }
            });
        } catch (\Throwable $error) {
            $why = new DatabaseError($error);

            if (!$why->isBusy() && !$why->isOpenTransaction()) {
                throw $error;
            }
        }
    }

    /** Does something while the session waits for nothing, as far as the database allows, and sets the session back. */
    private function withoutWaiting(\Closure $do): void
    {
        $names  = $this->db->quote(['version', 'log_bin', 'binlog_format', ...array_keys(self::MARIADB)]);
        $rows   = $this->db->setQuery('SHOW SESSION VARIABLES WHERE Variable_name IN (' . implode(', ', $names) . ')')
            ->loadObjectList();
        $before = array_column($rows ?: [], 'Value', 'Variable_name');
        $least  = stripos($before['version'] ?? '', 'mariadb') === false ? self::MYSQL : self::MARIADB;
        // A log of statements refuses READ COMMITTED.
        $isLogOfStatements = ($before['log_bin'] ?? '') === 'ON' && ($before['binlog_format'] ?? '') === 'STATEMENT';
        $this->isolation   = $isLogOfStatements ? 'REPEATABLE READ' : 'READ COMMITTED';

        try {
            $this->set($least);
            $do();
        } finally {
            $this->set(array_filter(array_intersect_key($before, $least), 'is_numeric'));
        }
    }

    /** @param  array<string, int|string>  $variables  of the session */
    private function set(array $variables): void
    {
        foreach ($variables as $name => $value) {
            $this->db->setQuery('SET SESSION ' . $name . ' = ' . $value)->execute();
        }
    }

    private function isolate(): void
    {
        $this->db->setQuery('SET TRANSACTION ISOLATION LEVEL ' . $this->isolation)->execute();
    }

    /** Does something in a transaction, which is rolled back if it says false. */
    private function transaction(\Closure $do): void
    {
        $this->isolate();
        $this->db->transactionStart();

        try {
            if ($do()) {
                $this->db->transactionCommit();

                return;
            }
        } catch (\Throwable $error) {
            $this->rollBack();

            throw $error;
        }

        $this->rollBack();
    }

    private function rollBack(): void
    {
        try {
            $this->db->transactionRollback();
        } catch (\Throwable) {
            // The connection is gone, and the transaction with it.
        }
    }

    /** Gives rows that were committed their numbers. They have no holes, and rows for the server come first. */
    private function stamp(): bool
    {
        // Whoever gives numbers holds this lock until they are committed.
        $position = $this->lock(Outbox::STATE, 'value', "name = 'position'");
        $newest   = (int) $this->db->setQuery('SELECT MAX(seq) FROM ' . Outbox::ROWS)->loadResult();
        $canBe    = preg_match(Outbox::POSITION, (string) $position, $part) && \strlen($part[2]) <= self::LONGEST;

        if (!$canBe || (int) $part[2] < $newest) {
            // A server makes a new epoch of it.
            return false;
        }

        $ids = $this->unnumbered();

        if (!$ids) {
            return false;
        }

        $now = $this->db->setQuery(
            'SELECT UTC_TIMESTAMP(3) AS stamped, CONNECTION_ID() AS connection,'
            . " LOWER(CONV(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000, 10, 36)) AS mark"
        )->loadObjectList()[0];
        // Joomla's driver reconnects by itself, and would go on outside of the transaction.
        $isHere  = 'CONNECTION_ID() = ' . (int) $now->connection;
        $last    = (int) $part[2];
        $numbers = '';

        foreach ($ids as $id) {
            $numbers .= ' WHEN ' . $id . ' THEN ' . ++$last;
        }

        // A table that is locked is met here, at once.
        $this->lock(Outbox::ROWS, 'id', 'id = ' . $ids[0]);
        $isStamped = $this->changes(
            'UPDATE ' . Outbox::ROWS . ' FORCE INDEX (PRIMARY) SET stamped = ' . $this->db->quote($now->stamped)
            . ', seq = CASE id' . $numbers . ' END'
            . ' WHERE id IN (' . implode(', ', $ids) . ') AND seq IS NULL AND ' . $isHere,
            \count($ids)
        );

        return $isStamped && $this->changes(
            'UPDATE ' . Outbox::STATE . " SET value = 'o" . $part[1] . ':' . $last . '.' . $now->mark . "'"
            . ", updated = UTC_TIMESTAMP(3) WHERE name = 'position' AND " . $isHere,
            1
        );
    }

    /**
     * Rows without a number, in the order in which they get one. Rows for the server are read after the others: so none
     * of them that was committed before one of the others is left out.
     *
     * @return  int[]  ids
     */
    private function unnumbered(): array
    {
        $ids = fn (string $index, string $where): array => array_map(
            static fn (object $row): int => (int) $row->id,
            $this->db->setQuery(
                self::NO_WAIT . 'id FROM ' . Outbox::ROWS . ' FORCE INDEX (' . $index . ')'
                . ' WHERE ' . $where . 'seq IS NULL ORDER BY id LIMIT ' . self::BATCH
            )->loadObjectList() ?: []
        );
        $all     = $ids('idx_seq', '');
        $control = $ids('idx_channel_seq', "channel = '#control' AND ");

        return \array_slice(array_values(array_unique([...$control, ...$all])), 0, self::BATCH);
    }

    /** Deletes rows that are old, but never the newest one: positions are told from it. */
    private function delete(): bool
    {
        // Whoever deletes holds this lock.
        if ($this->lock(Outbox::STATE, 'name', "name = 'deleter'") === null) {
            return false;
        }

        $rows = $this->db->setQuery(
            self::NO_WAIT . 'id, stamped < UTC_TIMESTAMP(3) - INTERVAL ' . self::RETENTION . ' SECOND AS old'
            . ' FROM ' . Outbox::ROWS . ' FORCE INDEX (idx_seq)'
            . ' WHERE seq IS NOT NULL ORDER BY seq LIMIT ' . (self::BATCH + 1)
        )->loadObjectList() ?: [];
        // The last one may be the newest of all.
        array_pop($rows);

        if (!$rows || !$rows[0]->old) {
            return false;
        }

        $this->lock(Outbox::ROWS, 'id', 'id = ' . (int) $rows[0]->id);

        foreach ($rows as $row) {
            if (!$row->old) {
                break;
            }

            $this->db->setQuery('DELETE FROM ' . Outbox::ROWS . ' WHERE id = ' . (int) $row->id)->execute();
        }

        return true;
    }

    /** Locks a row, or is refused at once. Gives a column of it; null if there is no such row. */
    private function lock(string $table, string $column, string $where): mixed
    {
        return $this->db->setQuery(
            self::NO_WAIT . $column . ' FROM ' . $table . ' WHERE ' . $where . ' FOR UPDATE NOWAIT'
        )->loadResult();
    }

    /** Whether a statement changes exactly so many rows. */
    private function changes(string $statement, int $count): bool
    {
        $this->db->setQuery($statement)->execute();

        return (int) $this->db->getAffectedRows() === $count;
    }
}
