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
 * What an event tells, under one set of names: Joomla 4 numbers the arguments of most events, Joomla 5 and 6 name them. What
 * listeners answered (`result`) is not looked at.
 *
 * @since  0.1.0
 */
final class EventArguments
{
    /**
     * @param   EventInterface  $event     the event
     * @param   string          ...$names  its arguments as Joomla 5 names them, in the order of Joomla 4
     *
     * @return  array<string, mixed>  each name; null where the event says nothing of it
     */
    public static function of(EventInterface $event, string ...$names): array
    {
        $given = $event instanceof AbstractEvent ? $event->getArguments() : [];
        unset($given['result']);
        $isNumbered = \is_int(array_key_first($given));
        $told       = [];

        foreach ($names as $number => $name) {
            $told[$name] = $given[$isNumbered ? $number : $name] ?? null;
        }

        return $told;
    }

    /**
     * The ids among what an event gives as ids.
     *
     * @return  int[]  positive, each once
     */
    public static function ids(mixed $values): array
    {
        return array_values(array_unique(array_filter(array_map(self::id(...), (array) $values))));
    }

    /**
     * The id of a row, whatever its key is called.
     *
     * @return  int  0 when it has none
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

    /** An id as a database writes it; 0 for all else: the keys of other extensions are names, and `1002abc` is no 1002. */
    private static function id(mixed $value): int
    {
        return preg_match('/\A[1-9][0-9]{0,17}\z/', \is_int($value) || \is_string($value) ? (string) $value : '') === 1 ? (int) $value : 0;
    }
}
