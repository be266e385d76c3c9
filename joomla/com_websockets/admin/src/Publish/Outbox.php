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
 * The two tables that PHP and jsocketd share, as PHP uses them: writes events, reads how far the server is, and deletes old
 * rows while no server does it. It neither checks events nor decides when; all of it throws what the database throws.
 *
 * @since  0.1.0
 */
class Outbox
{
    /** Seconds after which a server that wrote no position is taken for dead. */
    public const FRESH = 60;

    /** Seconds that a row stays. */
    public const RETENTION = 3600;

    /** Rows that one trimming deletes. */
    public const TRIMMED = 200;

    private const ROWS = '#__websockets_outbox';

    private const STATE = '#__websockets_state';

    public function __construct(private readonly DatabaseInterface $db)
    {
    }

    /**
     * Writes events as one INSERT. Nothing else is done, so it is part of the transaction that is open.
     *
     * @param   Event  ...$events  what is to be published
     *
     * @return  void
     *
     * @throws  \RuntimeException  when the database refuses
     */
    public function insert(Event ...$events): void
    {
        if (!$events) {
            return;
        }

        $db     = $this->db;
        $values = array_map(
            fn (Event $event): string => '(' . implode(', ', $db->quote([$event->channel, $event->event, $event->json])) . ', '
                . ($event->socketId === null ? 'NULL' : $db->quote($event->socketId)) . ', UTC_TIMESTAMP(3))',
            $events
        );
        $columns = $db->quoteName(['channel', 'event', 'data', 'socket_id', 'created']);
        $db->setQuery(
            'INSERT INTO ' . $db->quoteName(self::ROWS) . ' (' . implode(', ', $columns) . ') VALUES ' . implode(', ', $values)
        )->execute();
    }

    /**
     * How far the slowest server is that is alive: what a page takes before it reads what it shows, so that it hears of
     * everything that is committed later. One read by the primary key.
     *
     * @return  string|null  null when no server is alive
     *
     * @throws  \RuntimeException  when the database refuses
     */
    public function position(): ?string
    {
        $position = $this->db->setQuery(
            'SELECT ' . $this->name('value') . ' FROM ' . $this->name(self::STATE)
            . ' WHERE ' . $this->isOfOneAlive()
            // A server that ended lately may have left one of an epoch that is over.
            . ' AND LEFT(' . $this->name('value') . ", 10) = CONCAT('o', (SELECT " . $this->name('e.value') . ' FROM '
            . $this->name(self::STATE) . ' AS ' . $this->name('e') . ' WHERE ' . $this->name('e.name') . " = 'epoch'), ':')"
            . ' ORDER BY CAST(SUBSTRING_INDEX(' . $this->name('value') . ", ':', -1) AS UNSIGNED) LIMIT 1"
        )->loadResult();

        return \is_string($position) && preg_match('/^o[0-9a-f]{8}:[0-9]{1,20}$/D', $position) ? $position : null;
    }

    /**
     * The servers that wrote a position, the latest first.
     *
     * @return  array<int, array{process: string, position: string, age_ms: int, fresh: bool}>
     *
     * @throws  \RuntimeException  when the database refuses
     */
    public function heartbeats(): array
    {
        $rows = $this->db->setQuery(
            'SELECT ' . $this->name('name') . ', ' . $this->name('value')
            . ', TIMESTAMPDIFF(MICROSECOND, ' . $this->name('updated') . ', UTC_TIMESTAMP(3)) DIV 1000 AS ' . $this->name('age')
            . ' FROM ' . $this->name(self::STATE) . ' WHERE ' . $this->name('name') . " LIKE 'position.%'"
            . ' ORDER BY ' . $this->name('updated') . ' DESC'
        )->loadObjectList();

        return array_map(
            static fn (object $row): array => [
                'process'  => substr($row->name, \strlen('position.')),
                'position' => $row->value,
                'age_ms'   => (int) $row->age,
                'fresh'    => (int) $row->age < self::FRESH * 1000,
            ],
            $rows ?: []
        );
    }

    /**
     * Deletes some rows that are older than an hour, if no server is alive that would. Like the server it is the only one
     * that deletes meanwhile, writes first what will be out of reach, and gives up rather than wait for a lock.
     *
     * @return  int  rows that were deleted
     *
     * @throws  \RuntimeException  when the database refuses
     */
    public function trim(): int
    {
        if ($this->isServed()) {
            return 0;
        }

        $db   = $this->db;
        $lock = "CONCAT('jsocketd.', MD5(CONCAT(DATABASE(), '.', " . $db->quote($db->replacePrefix(self::ROWS)) . ')))';

        if ((int) $db->setQuery('SELECT GET_LOCK(' . $lock . ', 0)')->loadResult() !== 1) {
            return 0;
        }

        $patience = (int) $db->setQuery('SELECT @@SESSION.innodb_lock_wait_timeout')->loadResult();

        try {
            $db->setQuery('SET SESSION innodb_lock_wait_timeout = 1')->execute();

            // A server that began in between has the lock now or is told of what was deleted.
            return $this->isServed() ? 0 : $this->delete();
        } finally {
            $db->setQuery('SET SESSION innodb_lock_wait_timeout = ' . ($patience ?: 50))->execute();
            $db->setQuery('SELECT RELEASE_LOCK(' . $lock . ')')->loadResult();
        }
    }

    /** Whether a row of the state table is the position of a server that wrote it lately. */
    private function isOfOneAlive(): string
    {
        return $this->name('name') . " LIKE 'position.%'"
            . ' AND ' . $this->name('updated') . ' > UTC_TIMESTAMP(3) - INTERVAL ' . self::FRESH . ' SECOND';
    }

    private function isServed(): bool
    {
        return (bool) $this->db->setQuery(
            'SELECT 1 FROM ' . $this->name(self::STATE) . ' WHERE ' . $this->isOfOneAlive() . ' LIMIT 1'
        )->loadResult();
    }

    private function delete(): int
    {
        $db  = $this->db;
        $old = $this->name('created') . ' < UTC_TIMESTAMP(3) - INTERVAL ' . self::RETENTION . ' SECOND';
        $to  = 0;

        $rows = $db->setQuery(
            'SELECT ' . $this->name('id') . ', ' . $old . ' AS ' . $this->name('old') . ' FROM ' . $this->name(self::ROWS)
            . ' ORDER BY ' . $this->name('id') . ' LIMIT ' . self::TRIMMED
        )->loadObjectList();

        foreach ($rows ?: [] as $row) {
            if (!$row->old) {
                break;
            }

            $to = (int) $row->id;
        }

        if ($to === 0) {
            return 0;
        }

        $this->markDeleted($to);
        $db->setQuery('DELETE FROM ' . $this->name(self::ROWS) . ' WHERE ' . $this->name('id') . ' <= ' . $to . ' AND ' . $old)->execute();

        return $db->getAffectedRows();
    }

    /** Notes up to where rows are gone. Without an epoch no server has ever handed out a position that this could concern. */
    private function markDeleted(int $to): void
    {
        $db    = $this->db;
        $epoch = $db->setQuery(
            'SELECT ' . $this->name('value') . ' FROM ' . $this->name(self::STATE) . ' WHERE ' . $this->name('name') . " = 'epoch'"
        )->loadResult();

        if (!\is_string($epoch) || !preg_match('/^[0-9a-f]{8}$/D', $epoch)) {
            return;
        }

        $known = $db->setQuery(
            'SELECT ' . $this->name('value') . ' FROM ' . $this->name(self::STATE) . ' WHERE ' . $this->name('name') . " = 'deleted_to'"
        )->loadResult();

        if (\is_string($known) && preg_match('/^o([0-9a-f]{8}):([0-9]+)$/D', $known, $part) && $part[1] === $epoch && (int) $part[2] >= $to) {
            return;
        }

        $value = $db->quote('o' . $epoch . ':' . $to);
        $db->setQuery(
            'INSERT INTO ' . $this->name(self::STATE) . ' (' . implode(', ', $db->quoteName(['name', 'value', 'updated'])) . ')'
            . " VALUES ('deleted_to', " . $value . ', UTC_TIMESTAMP(3))'
            . ' ON DUPLICATE KEY UPDATE ' . $this->name('value') . ' = ' . $value . ', ' . $this->name('updated') . ' = UTC_TIMESTAMP(3)'
        )->execute();
    }

    private function name(string $name): string
    {
        return $this->db->quoteName($name);
    }
}
