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
 * The two tables that PHP and jsocketd share, as PHP uses them: writes events, and reads where the stream is and which
 * servers are alive. It neither checks events nor decides when; all of it throws what the database throws. What a
 * server does for the table, and PHP where there is none, is {@see Upkeep}'s.
 *
 * @since  0.1.0
 */
class Outbox
{
    public const ROWS = '#__websockets_outbox';

    public const STATE = '#__websockets_state';

    /** How a position is written: the epoch, the number of a row, and the row's mark. */
    public const POSITION = '/^o([0-9a-f]{8}):([0-9]{1,20})\.([0-9a-z]{1,13})$/D';

    /** Seconds after which a server without a heartbeat is taken for dead. */
    public const FRESH = 60;

    private const HEARTBEAT = 'process.';

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
     * The position of the newest row that has a number: what a page takes before it reads what it shows, so that it
     * hears of everything that is committed later. One read by the primary key.
     *
     * In a transaction at SERIALIZABLE each SELECT locks what it reads, and nobody could number rows until the
     * transaction ends. So the first condition, which is constant, keeps the statement from the row where the session
     * is at that level. MySQL and MariaDB have other names for the variable; each server reads the comment that is for
     * it.
     *
     * @return  string|null  null when there is none, or none that can be read
     *
     * @throws  \RuntimeException  when the database refuses
     */
    public function position(): ?string
    {
        $position = $this->db->setQuery(
            'SELECT ' . $this->name('value') . ' FROM ' . $this->name(self::STATE)
            . " WHERE /*!80000 @@SESSION.transaction_isolation *//*M! @@SESSION.tx_isolation */ <> 'SERIALIZABLE'"
            . ' AND ' . $this->name('name') . " = 'position'"
        )->loadResult();

        return \is_string($position) && preg_match(self::POSITION, $position) ? $position : null;
    }

    /**
     * The servers that left a heartbeat, the latest first.
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
            . ' FROM ' . $this->name(self::STATE) . ' WHERE ' . $this->name('name') . " LIKE '" . self::HEARTBEAT . "%'"
            . ' ORDER BY ' . $this->name('updated') . ' DESC'
        )->loadObjectList();

        return array_map(
            static fn (object $row): array => [
                'process'  => substr($row->name, \strlen(self::HEARTBEAT)),
                'position' => $row->value,
                'age_ms'   => (int) $row->age,
                'fresh'    => (int) $row->age < self::FRESH * 1000,
            ],
            $rows ?: []
        );
    }

    /**
     * Does for the table what a server would, if none is alive. To be called when the response is out.
     *
     * @return  void
     *
     * @throws  \RuntimeException  when the database refuses
     */
    public function upkeep(): void
    {
        (new Upkeep($this, $this->db))->run();
    }

    /**
     * Whether a server is alive. One read, of few rows.
     *
     * @return  bool
     *
     * @throws  \RuntimeException  when the database refuses
     */
    public function isServed(): bool
    {
        return (bool) $this->db->setQuery(
            'SELECT 1 FROM ' . $this->name(self::STATE)
            . ' WHERE ' . $this->name('name') . " LIKE '" . self::HEARTBEAT . "%'"
            . ' AND ' . $this->name('updated') . ' > UTC_TIMESTAMP(3) - INTERVAL ' . self::FRESH . ' SECOND LIMIT 1'
        )->loadResult();
    }

    private function name(string $name): string
    {
        return $this->db->quoteName($name);
    }
}
