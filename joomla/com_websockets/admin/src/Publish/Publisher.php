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
 * Publishes events to the pages that listen: the class for authors of extensions.
 *
 *     $publisher = Factory::getApplication()->bootComponent('com_websockets')->publisher();
 *     $publisher->toUser(42, 'message', ['unread' => 3]);
 *
 * An event is a row of the outbox table, so it belongs to the transaction that is open: committed it is delivered,
 * rolled back it never was. Without `new Options(strict: true)` nothing here throws, and what goes wrong is logged once
 * a request: a page still renders and a save still saves with the server dead or the table missing. With it {@see
 * InvalidEvent} and {@see NotPublished} are thrown: for what a transaction may not be without. Who hears an event is
 * decided by the channel, which this class does not judge.
 *
 * @since  0.1.0
 */
class Publisher
{
    /** After so many rows, on average, the table is looked after: a quarter of what is then done at most. */
    private const ROWS_PER_UPKEEP = 50;

    private readonly \Closure $log;

    /** Rows that were written since the last response. */
    private int $written = 0;

    private bool $hasLogged = false;

    /**
     * @param   Settings       $settings  the component's options
     * @param   Outbox         $outbox    the table
     * @param   Client         $server    the server's HTTP API
     * @param   callable|null  $log       takes a sentence; the component's log if there is none
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
     * @param   string        $channel  its name with its prefix, at most 164 characters
     * @param   string        $event    the event's name, at most 200 characters
     * @param   mixed         $data     anything that `json_encode` takes, at most 10240 bytes as JSON
     * @param   Options|null  $options  best effort through the table if there are none
     *
     * @return  bool  false when it was not published
     *
     * @throws  InvalidEvent  with `strict`, when the server would refuse it
     * @throws  NotPublished  with `strict`, when it could not be published
     */
    public function publish(string $channel, string $event, mixed $data = null, ?Options $options = null): bool
    {
        return $this->send(static fn (): string => $channel, $event, $data, $options);
    }

    /** Publishes to all pages of a user. Takes, returns and throws what {@see publish()} does. */
    public function toUser(int $userId, string $event, mixed $data = null, ?Options $options = null): bool
    {
        return $this->send(fn (): string => $this->channelWithId('private-user-', $userId), $event, $data, $options);
    }

    /** Publishes to whoever has a view level. Takes, returns and throws what {@see publish()} does. */
    public function toLevel(int $levelId, string $event, mixed $data = null, ?Options $options = null): bool
    {
        return $this->send(fn (): string => $this->channelWithId('private-level-', $levelId), $event, $data, $options);
    }

    /** Publishes to whoever is in a user group or in one below it. Takes, returns and throws what {@see publish()} does. */
    public function toGroup(int $groupId, string $event, mixed $data = null, ?Options $options = null): bool
    {
        return $this->send(fn (): string => $this->channelWithId('private-group-', $groupId), $event, $data, $options);
    }

    /**
     * Publishes to whoever may read an item. Takes, returns and throws what {@see publish()} does.
     *
     * @param   string  $context  `com_content.article`, or a type that the server's configuration has under `[[items]]`
     */
    public function toItem(string $context, int $id, string $event, mixed $data = null, ?Options $options = null): bool
    {
        return $this->send(static fn (): string => Event::channelOf($context, $id), $event, $data, $options);
    }

    /**
     * Publishes to whoever may read a category. Takes, returns and throws what {@see publish()} does.
     *
     * @param   string  $component  `com_content`
     */
    public function toCategory(string $component, int $id, string $event, mixed $data = null, ?Options $options = null): bool
    {
        return $this->send(static fn (): string => Event::channelOf($component . '.category', $id), $event, $data, $options);
    }

    /** Closes all connections of a user, who is not to come back: blocked, deleted, thrown out. */
    public function kickUser(int $userId): bool
    {
        return $this->sendControl(static fn (): Event => Event::terminateUser($userId));
    }

    /** Has the server look at a user's sessions and rights again: after a log-out, another password, other groups. */
    public function recheckUser(int $userId): bool
    {
        return $this->sendControl(static fn (): Event => Event::recheckUser($userId));
    }

    /** Has the server look again at who may read an item (`com_content.article`) or a category (`com_content.category`). */
    public function recheckItem(string $type, int $id): bool
    {
        return $this->sendControl(static fn (): Event => Event::recheckItem($type, $id));
    }

    /** Has the server read groups, view levels and permissions again. */
    public function recheckAccess(): bool
    {
        return $this->sendControl(static fn (): Event => Event::recheckAccess());
    }

    /**
     * Publishes many events as one INSERT, all or none of them. Never throws.
     *
     * @param   Event[]  $events  what is to be published
     *
     * @return  bool  false when they were not published
     */
    public function publishAll(array $events): bool
    {
        return $this->attempt(static fn (): array => array_values($events), new Options());
    }

    /**
     * To be called once the response is out: tells the server that there are rows, if some were written, and now and
     * then does for the table what a server would, if none is alive. Takes at most a tenth of a second of a server that
     * does not answer, and never throws.
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
            // The server reads the table anyway, a moment later.
        }

        if ($this->isUpkeepDue($rows)) {
            try {
                $this->outbox->upkeep();
            } catch (\Throwable $error) {
                $this->logOnce('The outbox table could not be looked after: ' . $error->getMessage());
            }
        }
    }

    /** Whether this request, which wrote so many rows, looks after the table. */
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
                throw new NotPublished('Publishing is switched off in the options of com_websockets.');
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
            // A log that cannot be written is no reason to break a page.
        }
    }

    private function channelWithId(string $prefix, int $id): string
    {
        if ($id < 1) {
            throw new InvalidEvent('Users, view levels and groups have positive ids.');
        }

        return $prefix . $id;
    }
}
