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
 * The work of a server on the table, which PHP does if no server is alive. First rows get their numbers, so that a
 * server that starts later does not take months of rows for news. Then old rows are deleted, so that the table stays
 * small.
 *
 * It runs after the response and delays nobody. It does nothing inside an open transaction, gives up where it would
 * wait for a lock, and restores the session's variables. Its statements have the same form as those of the server,
 * which were chosen by measurement: a list of ids with the hint PRIMARY in UPDATE, and single ids in DELETE and in
 * SELECT … FOR UPDATE, lock these rows and no others. Rejected: a list of ids in DELETE, and a range of numbers,
 * because they wait for rows of open transactions, or make writers wait.
 *
 * @since  0.2.0
 */
final class Upkeep
{
    /** The most rows that one call numbers, and the most that it deletes. */
    public const BATCH = 200;

    /** Seconds after which a row is old. */
    public const RETENTION = 3600;

    /** The most digits of a number that PHP can increment. */
    private const LONGEST = 18;

    /** MySQL waits for a locked table despite NOWAIT, but not longer than this hint says. MariaDB ignores the hint. */
    private const NO_WAIT = 'SELECT /*+ MAX_EXECUTION_TIME(100) */ ';

    /** The timeouts of locks and statements in seconds: the shortest that each server allows. */
    private const MYSQL = ['lock_wait_timeout' => 1, 'innodb_lock_wait_timeout' => 1];

    private const MARIADB = ['lock_wait_timeout' => 0, 'innodb_lock_wait_timeout' => 0, 'max_statement_time' => 1];

    /** The isolation level of the transactions. */
    private string $isolation = 'READ COMMITTED';

    /**
     * @param   Outbox             $outbox  knows whether a server is alive
     * @param   DatabaseInterface  $db      the site's database
     */
    public function __construct(private readonly Outbox $outbox, private readonly DatabaseInterface $db)
    {
    }

    /**
     * Numbers and deletes some rows, if no server is alive.
     *
     * @return  void
     *
     * @throws  \RuntimeException  if the database refuses for another reason than a lock
     */
    public function run(): void
    {
        try {
            // The database refuses this inside a transaction. Otherwise the level is valid only for the next statement.
            $this->isolate();
            $this->withoutWaiting(function (): void {
                if (!$this->outbox->isServed()) {
                    $this->transaction(fn (): bool => $this->stamp());
                    $this->transaction(fn (): bool => $this->delete());
                }
            });
        } catch (\Throwable $error) {
            $cause = new DatabaseError($error);

            if (!$cause->isBusy() && !$cause->isOpenTransaction()) {
                throw $error;
            }
        }
    }

    /** Runs a function with the shortest timeouts that the database allows, and restores the session's variables. */
    private function withoutWaiting(\Closure $do): void
    {
        $names  = $this->db->quote(['version', 'log_bin', 'binlog_format', ...array_keys(self::MARIADB)]);
        $rows   = $this->db->setQuery('SHOW SESSION VARIABLES WHERE Variable_name IN (' . implode(', ', $names) . ')')
            ->loadObjectList();
        $before = array_column($rows ?: [], 'Value', 'Variable_name');
        $least  = stripos($before['version'] ?? '', 'mariadb') === false ? self::MYSQL : self::MARIADB;
        // A binary log of statements refuses READ COMMITTED.
        $isStatementLog = ($before['log_bin'] ?? '') === 'ON' && ($before['binlog_format'] ?? '') === 'STATEMENT';
        $this->isolation   = $isStatementLog ? 'REPEATABLE READ' : 'READ COMMITTED';

        try {
            $this->set($least);
            $do();
        } finally {
            $this->set(array_filter(array_intersect_key($before, $least), 'is_numeric'));
        }
    }

    /** @param  array<string, int|string>  $variables  variables of the session */
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

    /** Runs a function in a transaction, and rolls back if it returns false. */
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
            // The connection has ended, and the transaction with it.
        }
    }

    /** Gives committed rows their numbers. The numbers have no gaps, and control rows come first. */
    private function stamp(): bool
    {
        // Each process that numbers rows holds this lock until its commit.
        $position = $this->lock(Outbox::STATE, 'value', "name = 'position'");
        $newest   = (int) $this->db->setQuery('SELECT MAX(seq) FROM ' . Outbox::ROWS)->loadResult();
        $isValid  = preg_match(Outbox::POSITION, (string) $position, $part) && \strlen($part[2]) <= self::LONGEST;

        if (!$isValid || (int) $part[2] < $newest) {
            // Only a server can start a new epoch.
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
        // Joomla's driver reconnects by itself, and would then go on outside of the transaction.
        $isHere  = 'CONNECTION_ID() = ' . (int) $now->connection;
        $last    = (int) $part[2];
        $numbers = '';

        foreach ($ids as $id) {
            $numbers .= ' WHEN ' . $id . ' THEN ' . ++$last;
        }

        // This fails at once if the table is locked.
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
     * Rows without a number, in the order in which they get one. Control rows are read after the others, so that every
     * control row that was committed before one of the others is included.
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

    /** Deletes old rows, but never the newest row, because the next position continues from it. */
    private function delete(): bool
    {
        // Each process that deletes rows holds this lock.
        if ($this->lock(Outbox::STATE, 'name', "name = 'deleter'") === null) {
            return false;
        }

        $rows = $this->db->setQuery(
            self::NO_WAIT . 'id, stamped < UTC_TIMESTAMP(3) - INTERVAL ' . self::RETENTION . ' SECOND AS old'
            . ' FROM ' . Outbox::ROWS . ' FORCE INDEX (idx_seq)'
            . ' WHERE seq IS NOT NULL ORDER BY seq LIMIT ' . (self::BATCH + 1)
        )->loadObjectList() ?: [];
        // The last row may be the newest of all.
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

    /** Locks a row, or fails at once. It returns a column of the row; null: there is no such row. */
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
