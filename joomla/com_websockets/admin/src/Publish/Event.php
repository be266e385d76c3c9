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
 * One event for one channel, by the rules of the server, so that nothing reaches the table which it would skip. Rows for the
 * server itself (`#control`) are made by the named constructors alone.
 *
 * @since  0.1.0
 */
final class Event
{
    /** Bytes of a channel's name. */
    public const LONGEST_CHANNEL = 164;

    /** Characters of an event's name. */
    public const LONGEST_NAME = 200;

    /** Bytes of the data as JSON. */
    public const LONGEST_DATA = 10240;

    /** Characters of an item type's name. */
    private const LONGEST_TYPE = 100;

    private const CONTROL = '#control';

    private const TO_USER = '#server-to-user-';

    public readonly string $channel;

    public readonly string $event;

    /** The data, as it stands in the table and as clients get it. */
    public readonly string $json;

    public readonly ?string $socketId;

    /**
     * @param   string       $channel   the channel's name with its prefix
     * @param   string       $event     the event's name
     * @param   mixed        $data      anything that `json_encode` takes
     * @param   string|null  $socketId  the socket that does not get a copy
     *
     * @throws  InvalidEvent
     */
    public function __construct(string $channel, string $event, mixed $data = null, ?string $socketId = null)
    {
        self::checkChannel($channel);
        self::checkName($event);
        self::checkSocketId($socketId);
        $this->channel  = $channel;
        $this->event    = $event;
        $this->json     = self::encode($data);
        $this->socketId = $socketId;
    }

    /** The server looks at the user's sessions and rights again: after a log-out, another password, other groups. */
    public static function recheckUser(int $userId): self
    {
        return self::control('recheck-user', ['user_id' => self::user($userId)]);
    }

    /** All connections of the user are closed, and stay away. */
    public static function terminateUser(int $userId): self
    {
        return self::control('terminate-user', ['user_id' => self::user($userId)]);
    }

    /** The server looks again at who may read an item (`com_content.article`) or a category (`com_content.category`). */
    public static function recheckItem(string $type, int $id): self
    {
        return self::control('recheck-item', ['type' => self::type($type), 'id' => self::id($id)]);
    }

    /** The server reads groups, view levels and permissions again. */
    public static function recheckAccess(): self
    {
        return self::control('recheck-access', new \stdClass());
    }

    /**
     * The private channel of an item or a category: `private-com_content.article.17`.
     *
     * @throws  InvalidEvent
     */
    public static function channelOf(string $type, int $id): string
    {
        return 'private-' . self::type($type) . '.' . self::id($id);
    }

    /** What tells whether two events are one. */
    public function key(): string
    {
        return implode("\0", [$this->channel, $this->event, $this->json, (string) $this->socketId]);
    }

    private static function control(string $verb, array|object $data): self
    {
        $event           = (new \ReflectionClass(self::class))->newInstanceWithoutConstructor();
        $event->channel  = self::CONTROL;
        $event->event    = $verb;
        $event->json     = self::encode($data);
        $event->socketId = null;

        return $event;
    }

    private static function checkChannel(string $name): void
    {
        if (str_starts_with($name, self::TO_USER)) {
            // User ids have any characters; the column has ASCII.
            if (!preg_match('/^[\x20-\x7e]+$/D', substr($name, \strlen(self::TO_USER)))) {
                throw new InvalidEvent('A server-to-user channel names its user, in ASCII.');
            }
        } elseif ($name === self::CONTROL) {
            throw new InvalidEvent('The channel #control is for kickUser, recheckUser, recheckItem and recheckAccess alone.');
        } elseif ($name === '') {
            throw new InvalidEvent('A channel name is not empty.');
        } elseif (!preg_match('/^[A-Za-z0-9_\-=@,.;]+$/D', $name)) {
            throw new InvalidEvent('A channel name has only letters, digits and _-=@,.;');
        } elseif (str_starts_with($name, 'private-encrypted-')) {
            throw new InvalidEvent('Events of private-encrypted- channels are encrypted by who sends them, which is not done here.');
        }

        if (\strlen($name) > self::LONGEST_CHANNEL) {
            throw new InvalidEvent('A channel name has at most ' . self::LONGEST_CHANNEL . ' characters.');
        }
    }

    private static function checkName(string $name): void
    {
        if ($name === '') {
            throw new InvalidEvent('The name of an event is not empty.');
        }

        $length = preg_match_all('/./su', $name);

        if ($length === false) {
            throw new InvalidEvent('The name of an event is not UTF-8.');
        }

        if ($length > self::LONGEST_NAME) {
            throw new InvalidEvent('The name of an event has at most ' . self::LONGEST_NAME . ' characters, not ' . $length . '.');
        }

        if (preg_match('/^pusher(_internal)?:/', $name)) {
            throw new InvalidEvent('Names that begin with pusher: or pusher_internal: are the server\'s.');
        }
    }

    private static function checkSocketId(?string $socketId): void
    {
        if ($socketId === null) {
            return;
        }

        if (!preg_match('/^([0-9]{1,10})\.([0-9]{1,10})$/D', $socketId, $part) || max((float) $part[1], (float) $part[2]) > 4294967295.0) {
            throw new InvalidEvent('A socket id is two numbers with a dot.');
        }
    }

    private static function encode(mixed $data): string
    {
        try {
            $json = json_encode($data, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
        } catch (\Throwable $error) {
            $why = $error instanceof \JsonException ? $error->getMessage() : \get_class($error);

            throw new InvalidEvent('The data of an event cannot be written as JSON: ' . $why, 0, $error);
        }

        if (\strlen($json) > self::LONGEST_DATA) {
            throw new InvalidEvent(
                'The data of an event has at most ' . self::LONGEST_DATA . ' bytes as JSON, not ' . \strlen($json) . '.'
            );
        }

        return $json;
    }

    private static function user(int $id): int
    {
        if ($id < 1 || $id > 4294967295) {
            throw new InvalidEvent('A user has a positive id.');
        }

        return $id;
    }

    private static function id(int $id): int
    {
        if ($id < 1) {
            throw new InvalidEvent('An item has a positive id.');
        }

        return $id;
    }

    private static function type(string $type): string
    {
        if (\strlen($type) > self::LONGEST_TYPE || !preg_match('/^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$/D', $type)) {
            throw new InvalidEvent('The type of an item is written like com_content.article.');
        }

        return $type;
    }
}
