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
 * PHP's use of the two tables that it shares with jsocketd. This class writes events, and reads the position of the
 * stream and the heartbeats of servers. It does not check events, and its callers decide when to write. It throws what
 * the database throws. The work of a server on the table, which PHP does if no server is alive, is in {@see Upkeep}.
 *
 * @since  0.1.0
 */
class Outbox
{
    public const ROWS = '#__websockets_outbox';

    public const STATE = '#__websockets_state';

    /** The form of a position: the epoch, the number of a row, and the row's mark. */
    public const POSITION = '/^o([0-9a-f]{8}):([0-9]{1,20})\.([0-9a-z]{1,13})$/D';

    /** Seconds without a heartbeat after which a server counts as dead. */
    public const FRESH = 60;

    private const HEARTBEAT = 'process.';

    public function __construct(private readonly DatabaseInterface $db)
    {
    }

    /**
     * Writes events as one INSERT. This is the only statement, so the rows belong to the open transaction.
     *
     * @param   Event  ...$events  the events to publish
     *
     * @return  void
     *
     * @throws  \RuntimeException  if the database refuses
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
     * The position of the newest row with a number. A page takes the position before it reads its content, and then
     * gets every event that is committed later. One read by the primary key.
     *
     * In a transaction at SERIALIZABLE each SELECT locks the rows that it reads, and no process could number rows until
     * the transaction ends. So the first condition, which is constant, makes the statement read no row at that level.
     * The variable has different names in MySQL and MariaDB. Each server reads the comment with its own name.
     *
     * @return  string|null  null: there is no position, or it cannot be read
     *
     * @throws  \RuntimeException  if the database refuses
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
     * The servers with a heartbeat in the table, the latest first.
     *
     * @return  array<int, array{process: string, position: string, age_ms: int, fresh: bool}>
     *
     * @throws  \RuntimeException  if the database refuses
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
     * Does the work of a server on the table, if no server is alive. Call it after the response.
     *
     * @return  void
     *
     * @throws  \RuntimeException  if the database refuses
     */
    public function upkeep(): void
    {
        (new Upkeep($this, $this->db))->run();
    }

    /**
     * Whether a server is alive. One read of few rows.
     *
     * @return  bool
     *
     * @throws  \RuntimeException  if the database refuses
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
