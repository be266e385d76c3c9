<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Publish;

use Jsocketd\Component\Websockets\Administrator\Log;
use Jsocketd\Component\Websockets\Administrator\Server\Client;
use Jsocketd\Component\Websockets\Administrator\Settings;

\defined('_JEXEC') or die;

/**
 * Publishes events to pages. This is the class for authors of extensions.
 *
 *     $publisher = Factory::getApplication()->bootComponent('com_websockets')->publisher();
 *     $publisher->toUser(42, 'message', ['unread' => 3]);
 *
 * An event is a row of the outbox table, so it belongs to the open transaction. After a commit it is delivered, after a
 * rollback it is not. Without `new Options(strict: true)` nothing here throws, and a failure is logged once a request:
 * with a dead server or a missing table, a page still renders and a save still saves. With `strict` this class throws
 * {@see InvalidEvent} and {@see NotPublished}. Use it for events that a transaction must not lose. The channel decides
 * who gets an event. This class does not check permissions.
 *
 * @since  0.1.0
 */
class Publisher
{
    /** The upkeep of the table runs once for so many rows on average. One run can handle four times as many. */
    private const ROWS_PER_UPKEEP = 50;

    private readonly \Closure $log;

    /** The rows that this request has written since its last nudge. */
    private int $written = 0;

    private bool $hasLogged = false;

    /**
     * @param   Settings       $settings  the component's options
     * @param   Outbox         $outbox    the table
     * @param   Client         $server    the server's HTTP API
     * @param   callable|null  $log       takes a sentence; null: the component's log
     */
    public function __construct(
        private readonly Settings $settings,
        private readonly Outbox $outbox,
        private readonly Client $server,
        ?callable $log = null
    ) {
        $this->log = \Closure::fromCallable($log ?? Log::warning(...));
    }

    /**
     * Publishes an event to a channel.
     *
     * @param   string        $channel  the channel's name with its prefix, at most 164 characters
     * @param   string        $event    the event's name, at most 200 characters
     * @param   mixed         $data     a value for `json_encode`, at most 10240 bytes as JSON
     * @param   Options|null  $options  null: best effort through the table
     *
     * @return  bool  false: the event was not published
     *
     * @throws  InvalidEvent  with `strict`, if the server would refuse the event
     * @throws  NotPublished  with `strict`, if the event could not be published
     */
    public function publish(string $channel, string $event, mixed $data = null, ?Options $options = null): bool
    {
        return $this->send(static fn (): string => $channel, $event, $data, $options);
    }

    /** Publishes to all pages of a user. Parameters, result and exceptions are those of {@see publish()}. */
    public function toUser(int $userId, string $event, mixed $data = null, ?Options $options = null): bool
    {
        return $this->send(fn (): string => $this->channelWithId('private-user-', $userId), $event, $data, $options);
    }

    /** Publishes to all users with a view level. Parameters, result and exceptions are those of {@see publish()}. */
    public function toLevel(int $levelId, string $event, mixed $data = null, ?Options $options = null): bool
    {
        return $this->send(fn (): string => $this->channelWithId('private-level-', $levelId), $event, $data, $options);
    }

    /**
     * Publishes to all users of a user group and of the groups below it. Parameters, result and exceptions are those of
     * {@see publish()}.
     */
    public function toGroup(int $groupId, string $event, mixed $data = null, ?Options $options = null): bool
    {
        return $this->send(fn (): string => $this->channelWithId('private-group-', $groupId), $event, $data, $options);
    }

    /**
     * Publishes to all who may read an item. Parameters, result and exceptions are those of {@see publish()}.
     *
     * @param   string  $context  `com_content.article`, or a type that the server's configuration has under `[[items]]`
     */
    public function toItem(string $context, int $id, string $event, mixed $data = null, ?Options $options = null): bool
    {
        return $this->send(static fn (): string => Event::channelOf($context, $id), $event, $data, $options);
    }

    /**
     * Publishes to all who may read a category. Parameters, result and exceptions are those of {@see publish()}.
     *
     * @param   string  $component  `com_content`
     */
    public function toCategory(string $component, int $id, string $event, mixed $data = null, ?Options $options = null): bool
    {
        return $this->send(static fn (): string => Event::channelOf($component . '.category', $id), $event, $data, $options);
    }

    /** Closes all connections of a user for good: the user was blocked, deleted or thrown out. */
    public function kickUser(int $userId): bool
    {
        return $this->sendControl(static fn (): Event => Event::terminateUser($userId));
    }

    /** Makes the server check a user's sessions and rights again: after a log-out, a new password, other groups. */
    public function recheckUser(int $userId): bool
    {
        return $this->sendControl(static fn (): Event => Event::recheckUser($userId));
    }

    /**
     * Makes the server check again who may read an item (type `com_content.article`) or a category (type
     * `com_content.category`).
     */
    public function recheckItem(string $type, int $id): bool
    {
        return $this->sendControl(static fn (): Event => Event::recheckItem($type, $id));
    }

    /** Makes the server read groups, view levels and permissions again. */
    public function recheckAccess(): bool
    {
        return $this->sendControl(static fn (): Event => Event::recheckAccess());
    }

    /**
     * Publishes many events as one INSERT, all or none of them. It never throws.
     *
     * @param   Event[]  $events  the events to publish
     *
     * @return  bool  false: the events were not published
     */
    public function publishAll(array $events): bool
    {
        return $this->attempt(static fn (): array => array_values($events), new Options());
    }

    /**
     * Nudges the server if rows were written, and sometimes does the upkeep of the table. Call it after the response. A
     * server that does not answer delays it by at most a tenth of a second. It never throws.
     *
     * @return  void
     */
    public function afterResponse(): void
    {
        if ($this->written === 0) {
            return;
        }

        $rows          = $this->written;
        $this->written = 0;

        try {
            $this->server->nudge();
        } catch (\Throwable) {
            // The server reads the table without a nudge too, a moment later.
        }

        if ($this->isUpkeepDue($rows)) {
            try {
                $this->outbox->upkeep();
            } catch (\Throwable $error) {
                $this->logOnce('The upkeep of the outbox table failed: ' . $error->getMessage());
            }
        }
    }

    /** Whether a request that wrote so many rows does the upkeep of the table. */
    protected function isUpkeepDue(int $rows): bool
    {
        return random_int(1, self::ROWS_PER_UPKEEP) <= $rows;
    }

    private function send(\Closure $channel, string $event, mixed $data, ?Options $options): bool
    {
        $options ??= new Options();

        return $this->attempt(static fn (): array => [new Event($channel(), $event, $data, $options->socketId)], $options);
    }

    private function sendControl(\Closure $event): bool
    {
        return $this->attempt(static fn (): array => [$event()], new Options());
    }

    private function attempt(\Closure $events, Options $options): bool
    {
        if (!$this->settings->enabled) {
            if ($options->strict) {
                throw new NotPublished('Real-time updates are switched off in the options of com_websockets.');
            }

            return false;
        }

        try {
            $events = $events();

            if ($options->via === Options::HTTP) {
                $this->server->publish(...$events);
            } elseif ($events) {
                $this->outbox->insert(...$events);
                $this->written += \count($events);
            }

            return true;
        } catch (\Throwable $error) {
            if ($options->strict) {
                throw $error instanceof InvalidEvent ? $error : new NotPublished($error->getMessage(), 0, $error);
            }

            $this->logOnce('An event was not published: ' . $error->getMessage());

            return false;
        }
    }

    private function logOnce(string $sentence): void
    {
        if ($this->hasLogged) {
            return;
        }

        $this->hasLogged = true;

        try {
            ($this->log)($sentence);
        } catch (\Throwable) {
            // A log that cannot be written must not break a page.
        }
    }

    private function channelWithId(string $prefix, int $id): string
    {
        if ($id < 1) {
            throw new InvalidEvent('The id of a user, a view level or a group must be positive.');
        }

        return $prefix . $id;
    }
}
