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
 * One event for one channel. It checks the rules of the server, so that the table gets no row that the server would
 * skip. Only the named constructors make rows for the server itself (`#control`).
 *
 * @since  0.1.0
 */
final class Event
{
    /** The most bytes of a channel's name. */
    public const LONGEST_CHANNEL = 164;

    /** The most characters of an event's name. */
    public const LONGEST_NAME = 200;

    /** The most bytes of the data as JSON. */
    public const LONGEST_DATA = 10240;

    /** The most characters of an item type's name. */
    private const LONGEST_TYPE = 100;

    private const CONTROL = '#control';

    private const TO_USER = '#server-to-user-';

    public readonly string $channel;

    public readonly string $event;

    /** The data as JSON, for the table and for clients. */
    public readonly string $json;

    public readonly ?string $socketId;

    /**
     * @param   string       $channel   the channel's name with its prefix
     * @param   string       $event     the event's name
     * @param   mixed        $data      a value for `json_encode`
     * @param   string|null  $socketId  the socket that does not get the event
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

    /** Makes the server check the user's sessions and rights again: after a log-out, a new password, other groups. */
    public static function recheckUser(int $userId): self
    {
        return self::control('recheck-user', ['user_id' => self::user($userId)]);
    }

    /** Makes the server close all connections of the user for good. */
    public static function terminateUser(int $userId): self
    {
        return self::control('terminate-user', ['user_id' => self::user($userId)]);
    }

    /**
     * Makes the server check again who may read an item (type `com_content.article`) or a category (type
     * `com_content.category`).
     */
    public static function recheckItem(string $type, int $id): self
    {
        return self::control('recheck-item', ['type' => self::type($type), 'id' => self::id($id)]);
    }

    /** Makes the server read groups, view levels and permissions again. */
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

    /** A text that is equal for equal events. */
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
            // User ids may have any characters, but the column holds ASCII.
            if (!preg_match('/^[\x20-\x7e]+$/D', substr($name, \strlen(self::TO_USER)))) {
                throw new InvalidEvent('The name of a server-to-user channel must end with the id of the user, in ASCII.');
            }
        } elseif ($name === self::CONTROL) {
            throw new InvalidEvent('Only kickUser, recheckUser, recheckItem and recheckAccess may use the channel #control.');
        } elseif ($name === '') {
            throw new InvalidEvent('The name of a channel must not be empty.');
        } elseif (!preg_match('/^[A-Za-z0-9_\-=@,.;]+$/D', $name)) {
            throw new InvalidEvent('The name of a channel may have only letters, digits and _-=@,.;');
        } elseif (str_starts_with($name, 'private-encrypted-')) {
            throw new InvalidEvent('Events of private-encrypted- channels must be encrypted by the sender. This class does not do that.');
        }

        if (\strlen($name) > self::LONGEST_CHANNEL) {
            throw new InvalidEvent('The name of a channel may have at most ' . self::LONGEST_CHANNEL . ' characters.');
        }
    }

    private static function checkName(string $name): void
    {
        if ($name === '') {
            throw new InvalidEvent('The name of an event must not be empty.');
        }

        $length = preg_match_all('/./su', $name);

        if ($length === false) {
            throw new InvalidEvent('The name of an event must be UTF-8.');
        }

        if ($length > self::LONGEST_NAME) {
            throw new InvalidEvent('The name of an event may have at most ' . self::LONGEST_NAME . ' characters, not ' . $length . '.');
        }

        if (preg_match('/^pusher(_internal)?:/', $name)) {
            throw new InvalidEvent('Only the server may send events whose names begin with pusher: or pusher_internal:.');
        }
    }

    private static function checkSocketId(?string $socketId): void
    {
        if ($socketId === null) {
            return;
        }

        if (!preg_match('/^([0-9]{1,10})\.([0-9]{1,10})$/D', $socketId, $part) || max((float) $part[1], (float) $part[2]) > 4294967295.0) {
            throw new InvalidEvent('A socket id must be two numbers with a dot between them.');
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
                'The data of an event may have at most ' . self::LONGEST_DATA . ' bytes as JSON, not ' . \strlen($json) . '.'
            );
        }

        return $json;
    }

    private static function user(int $id): int
    {
        if ($id < 1 || $id > 4294967295) {
            throw new InvalidEvent('The id of a user must be positive.');
        }

        return $id;
    }

    private static function id(int $id): int
    {
        if ($id < 1) {
            throw new InvalidEvent('The id of an item must be positive.');
        }

        return $id;
    }

    private static function type(string $type): string
    {
        if (\strlen($type) > self::LONGEST_TYPE || !preg_match('/^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$/D', $type)) {
            throw new InvalidEvent('The type of an item must look like com_content.article.');
        }

        return $type;
    }
}
