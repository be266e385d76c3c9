<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Publish;

\defined('_JEXEC') or die;

/**
 * How something is published: as far as it goes, or with an exception when it does not; by the outbox table, or by HTTP.
 *
 * @since  0.1.0
 */
final class Options
{
    /** By the table: part of the transaction that is open, delivered when that is committed, recovered by who was away. */
    public const OUTBOX = 'outbox';

    /** By the server's HTTP API, at once, whatever becomes of the transaction; a server that is away has not heard it. */
    public const HTTP = 'http';

    /**
     * @param   bool         $strict    throw {@see NotPublished} or {@see InvalidEvent} instead of returning false
     * @param   string       $via       Options::OUTBOX or Options::HTTP
     * @param   string|null  $socketId  the socket that does not get a copy, as the client script told it
     *
     * @throws  \InvalidArgumentException  when `$via` is neither
     */
    public function __construct(
        public readonly bool $strict = false,
        public readonly string $via = self::OUTBOX,
        public readonly ?string $socketId = null
    ) {
        if (!\in_array($via, [self::OUTBOX, self::HTTP], true)) {
            throw new \InvalidArgumentException('Events are published by Options::OUTBOX or Options::HTTP.');
        }
    }
}
