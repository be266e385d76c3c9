<?php

/**
 * @package     jsocketd
 * @subpackage  plg_system_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Plugin\System\Websockets\Hints;

use Joomla\Database\DatabaseInterface;

\defined('_JEXEC') or die;

/**
 * Reads from the database which articles and categories are visible, by the server's rules for their channels. One
 * statement reads any number of them.
 *
 * @since  0.1.0
 */
class VisibilityQuery
{
    /** The view level "Public", which everybody has. */
    private const EVERYBODY = 1;

    public function __construct(private readonly DatabaseInterface $db)
    {
    }

    /**
     * @param   int[]  $ids  articles
     *
     * @return  array<int, Visibility>  by id; articles that do not exist are missing
     */
    public function articles(array $ids): array
    {
        if (!$ids) {
            return [];
        }

        $db   = $this->db;
        $name = static fn (string $name): string => $db->quoteName($name);
        $rows = $db->setQuery(
            'SELECT ' . implode(', ', [
               $name('a.id'), $name('a.catid'), $name('a.state'), $name('a.access'),
               '(' . $name('a.publish_up') . ' IS NULL OR ' . $name('a.publish_up') . ' <= UTC_TIMESTAMP()) AND ('
                   . $name('a.publish_down') . ' IS NULL OR ' . $name('a.publish_down') . ' >= UTC_TIMESTAMP()) AS ' . $name('within'),
               $name('p.published'), $name('p.access') . ' AS ' . $name('level'),
            ])
            . ' FROM ' . $name('#__content') . ' AS ' . $name('a')
            . ' LEFT JOIN ' . $name('#__categories') . ' AS ' . $name('c') . ' ON ' . $name('c.id') . ' = ' . $name('a.catid')
            . ' LEFT JOIN ' . $name('#__categories') . ' AS ' . $name('p') . ' ON ' . $this->isAbove()
            . ' WHERE ' . $name('a.id') . ' IN (' . implode(', ', array_map('intval', $ids)) . ')'
        )->loadObjectList();

        $visibilities = [];

        foreach ($this->byId($rows) as $id => $chain) {
            $row       = $chain[0];
            $isVisible = \in_array((int) $row->state, [1, 2], true) && $row->within && $this->isOpen($chain);
            $levels    = array_map(static fn (object $row): int => (int) $row->level, $chain);

            $visibilities[$id] = new Visibility(
                $isVisible,
                (int) $row->catid,
                $isVisible && \in_array((int) $row->access, [self::EVERYBODY, ...$levels], true)
            );
        }

        return $visibilities;
    }

    /**
     * @param   int[]  $ids  categories
     *
     * @return  array<int, Visibility>  by id; categories that do not exist are missing
     */
    public function categories(array $ids): array
    {
        if (!$ids) {
            return [];
        }

        $db   = $this->db;
        $name = static fn (string $name): string => $db->quoteName($name);
        $rows = $db->setQuery(
            'SELECT ' . implode(', ', [$name('c.id'), $name('c.extension'), $name('p.published')])
            . ' FROM ' . $name('#__categories') . ' AS ' . $name('c')
            . ' LEFT JOIN ' . $name('#__categories') . ' AS ' . $name('p') . ' ON ' . $this->isAbove()
            . ' WHERE ' . $name('c.id') . ' IN (' . implode(', ', array_map('intval', $ids)) . ')'
        )->loadObjectList();

        return array_map(
            fn (array $chain): Visibility => new Visibility($this->isOpen($chain), component: (string) $chain[0]->extension),
            $this->byId($rows)
        );
    }

    /** The condition for the category itself and all categories above it, without the root of the tree. */
    private function isAbove(): string
    {
        $name = fn (string $name): string => $this->db->quoteName($name);

        return $name('p.level') . ' > 0 AND ' . $name('p.lft') . ' <= ' . $name('c.lft') . ' AND ' . $name('p.rgt') . ' >= ' . $name('c.rgt');
    }

    /** @return  array<int, object[]> */
    private function byId(?array $rows): array
    {
        $grouped = [];

        foreach ($rows ?: [] as $row) {
            $grouped[(int) $row->id][] = $row;
        }

        return $grouped;
    }

    /** Whether all categories of a chain are published or archived. A missing category counts as unpublished. */
    private function isOpen(array $chain): bool
    {
        foreach ($chain as $row) {
            if ((int) $row->published < 1) {
                return false;
            }
        }

        return true;
    }
}
