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
 * How an event is published: best effort, or with an exception on failure; through the outbox table, or by HTTP.
 *
 * @since  0.1.0
 */
final class Options
{
    /**
     * Through the table. The event belongs to the open transaction and is delivered after the commit. Clients that were
     * away recover it.
     */
    public const OUTBOX = 'outbox';

    /** By the server's HTTP API, at once, outside of the transaction. It is lost if the server does not answer. */
    public const HTTP = 'http';

    /**
     * @param   bool         $strict    throw {@see NotPublished} or {@see InvalidEvent} instead of returning false
     * @param   string       $via       Options::OUTBOX or Options::HTTP
     * @param   string|null  $socketId  the socket that does not get the event; the client script has it as `socketId`
     *
     * @throws  \InvalidArgumentException  if `$via` is neither
     */
    public function __construct(
        public readonly bool $strict = false,
        public readonly string $via = self::OUTBOX,
        public readonly ?string $socketId = null
    ) {
        if (!\in_array($via, [self::OUTBOX, self::HTTP], true)) {
            throw new \InvalidArgumentException('The way to publish must be Options::OUTBOX or Options::HTTP.');
        }
    }
}
