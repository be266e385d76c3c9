<?php

/**
 * @package     jsocketd
 * @subpackage  plg_system_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Plugin\System\Websockets\Hints;

use Joomla\Event\AbstractEvent;
use Joomla\Event\EventInterface;

\defined('_JEXEC') or die;

/**
 * Reads the arguments of events under one set of names. Joomla 4 numbers the arguments of most events, Joomla 5 and 6
 * name them. The results of listeners (`result`) are ignored.
 *
 * @since  0.1.0
 */
final class EventArguments
{
    /**
     * @param   EventInterface  $event     the event
     * @param   string          ...$names  its arguments as Joomla 5 names them, in the order of Joomla 4
     *
     * @return  array<string, mixed>  the value of each name in the given order; null: the event does not have it
     */
    public static function of(EventInterface $event, string ...$names): array
    {
        $given = $event instanceof AbstractEvent ? $event->getArguments() : [];
        unset($given['result']);
        $isNumbered = \is_int(array_key_first($given));
        $found       = [];

        foreach ($names as $number => $name) {
            $found[$name] = $given[$isNumbered ? $number : $name] ?? null;
        }

        return $found;
    }

    /**
     * The valid ids of an event's list of ids.
     *
     * @return  int[]  positive ids, each once
     */
    public static function ids(mixed $values): array
    {
        return array_values(array_unique(array_filter(array_map(self::id(...), (array) $values))));
    }

    /**
     * The id of a row, whatever the name of its key.
     *
     * @return  int  0: the row has none
     */
    public static function idOf(mixed $row): int
    {
        if (\is_array($row)) {
            $id = $row['id'] ?? 0;
        } elseif (\is_object($row)) {
            $key = method_exists($row, 'getKeyName') ? $row->getKeyName() : 'id';
            $id  = \is_string($key) ? $row->$key ?? 0 : 0;
        }

        return self::id($id ?? 0);
    }

    /** An id as a database writes it, or 0. Some extensions have names for keys, and `1002abc` is not the id 1002. */
    private static function id(mixed $value): int
    {
        return preg_match('/\A[1-9][0-9]{0,17}\z/', \is_int($value) || \is_string($value) ? (string) $value : '') === 1 ? (int) $value : 0;
    }
}
