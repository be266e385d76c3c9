<?php

/**
 * @package     jsocketd
 * @subpackage  plg_system_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Plugin\System\Websockets\Hints;

use Jsocketd\Component\Websockets\Administrator\Publish\Event;

\defined('_JEXEC') or die;

/**
 * Collects the changes of a request and returns, at its end, the events to publish: hints for pages, and control rows
 * that make the server check permissions again. Hints hold ids and kinds, never names or texts. The table "What the
 * plugin publishes" in docs/joomla.md is tested against this class. Visibility is read twice: before the first change
 * of an item, and at the end for all items together.
 *
 * @since  0.1.0
 */
final class Hints
{
    public const CREATED = 'created';

    public const CHANGED = 'changed';

    public const GONE = 'gone';

    /** The context for changes of users. Their events have no context. */
    public const USER = 'com_users.user';

    private const ARTICLE = 'com_content.article';

    /** Other contexts of the same items. The form of the front end has its own context. */
    private const SAME = ['com_content.form' => self::ARTICLE];

    private const CATEGORY = 'com_categories.category';

    private const LEVEL = 'com_users.level';

    /**
     * @var  array<string, array<int, ?Visibility>>  by context and id, before the request; null: the item did not exist
     */
    private array $before = [];

    /** @var  array<string, array<int, string>>  by context and id, the kind */
    private array $changes = [];

    /**
     * @var  int  the time of the last change, in Unix milliseconds; pages that were requested later show that change
     */
    private int $at = 0;

    /** @var  array<string, Event> */
    private array $control = [];

    public function __construct(private readonly VisibilityQuery $query)
    {
    }

    /**
     * Notes the visibility of items that are about to change.
     *
     * @param   string  $context  the context of the event
     * @param   int[]   $ids      the ids of the items
     */
    public function beforeChange(string $context, array $ids): void
    {
        $context = self::SAME[$context] ?? $context;

        if (!\in_array($context, [self::ARTICLE, self::CATEGORY], true)) {
            return;
        }

        $ids = array_filter($ids, fn (int $id): bool => !\array_key_exists($id, $this->before[$context] ?? []));

        foreach ($ids ? $this->read($context, $ids) : [] as $id => $visibility) {
            $this->before[$context][$id] = $visibility;
        }
    }

    /**
     * Notes items that changed.
     *
     * @param   string  $context  the context of the event
     * @param   int[]   $ids      the ids of the items
     * @param   string  $kind     the change: CREATED, CHANGED or GONE
     */
    public function afterChange(string $context, array $ids, string $kind): void
    {
        $context = self::SAME[$context] ?? $context;

        if (!preg_match('/^com_[A-Za-z0-9_]+\.[A-Za-z0-9_-]+$/D', $context)) {
            return;
        }

        $this->at = (int) (microtime(true) * 1000);

        foreach ($ids as $id) {
            $earlier = $this->changes[$context][$id] ?? null;

            if ($earlier === null && $kind === self::CREATED) {
                $this->before[$context][$id] = null;
            }

            $this->changes[$context][$id] = $earlier === self::CREATED && $kind === self::CHANGED ? self::CREATED : $kind;
        }

        if ($context === self::LEVEL) {
            $this->recheckAccess();
        }
    }

    /** A user was saved, perhaps with other groups or another password. */
    public function recheckUser(int $userId): void
    {
        $this->control(Event::recheckUser($userId));
    }

    /** A user was blocked or deleted. */
    public function terminateUser(int $userId): void
    {
        $this->control(Event::terminateUser($userId));
    }

    /** Groups, view levels, permissions or options changed, or items changed that no event names. */
    public function recheckAccess(): void
    {
        $this->control(Event::recheckAccess());
    }

    /** The number of collected changes. */
    public function count(): int
    {
        return \count($this->control) + array_sum(array_map('count', $this->changes));
    }

    /**
     * Takes the events to publish, each once. The server acts on control rows first, wherever they stand in the list.
     * So a visitor who loses access by a change loses the subscription and gets no hint. The collected changes are
     * cleared. The visibility of items that are still about to change is kept.
     *
     * @param   bool  $withHints  false: control rows only
     *
     * @return  Event[]
     */
    public function take(bool $withHints): array
    {
        $hints   = [];
        $recheck = [];

        foreach ($this->changes as $context => $kinds) {
            $after = $this->read($context, array_keys(array_filter($kinds, static fn (string $kind): bool => $kind !== self::GONE)));

            foreach ($kinds as $id => $kind) {
                $isKnown = $this->hasVisibility($context) && \array_key_exists($id, $this->before[$context] ?? []);
                $now     = $after[$id] ?? null;
                $then    = $isKnown ? $this->before[$context][$id] : $now;
                $subject = $context === self::CATEGORY ? $this->categoryOf($then ?? $now) : $context;
                unset($this->before[$context][$id]);

                if ($subject === null) {
                    continue;
                }

                $visible = match ($context) {
                    self::ARTICLE => $this->articleHints($id, $then, $now),
                    self::CATEGORY => $this->categoryHints($subject, $id, $then, $now),
                    default => [],
                };
                $hints   = [...$hints, ...$visible, $this->backEndHint($subject, $id, $kind)];
                $wasSeen = !$isKnown || $then?->isVisible || $now?->isVisible;

                // Users and view levels are no items. The server has other control rows for them.
                if ($kind !== self::CREATED && $wasSeen && !\in_array($context, [self::LEVEL, self::USER], true)) {
                    $recheck[] = Event::recheckItem($subject, $id);
                }
            }
        }

        $events        = [...($withHints ? $hints : []), ...$recheck, ...array_values($this->control)];
        $this->changes = [];
        $this->control = [];

        return array_values(array_combine(array_map(static fn (Event $event): string => $event->key(), $events), $events));
    }

    /** @return  Event[] */
    private function articleHints(int $id, ?Visibility $then, ?Visibility $now): array
    {
        $hints = [];

        if ($kind = $this->transition((bool) $then?->isVisible, (bool) $now?->isVisible)) {
            $hints[] = $this->hint(Event::channelOf(self::ARTICLE, $id), self::ARTICLE, $id, $kind);
        }

        foreach (array_unique(array_filter([(int) $then?->category, (int) $now?->category])) as $category) {
            $was  = $then?->category === $category && $then->isListed;
            $is   = $now?->category === $category && $now->isListed;
            $kind = $this->transition($was, $is);

            if ($kind) {
                $channel = Event::channelOf('com_content.category', $category);
                $hints[] = $this->hint($channel, self::ARTICLE, $id, $kind, ['category' => $category]);
            }
        }

        return $hints;
    }

    /** @return  Event[] */
    private function categoryHints(string $subject, int $id, ?Visibility $then, ?Visibility $now): array
    {
        $kind = $this->transition((bool) $then?->isVisible, (bool) $now?->isVisible);

        return $kind ? [$this->hint(Event::channelOf($subject, $id), $subject, $id, $kind)] : [];
    }

    private function backEndHint(string $subject, int $id, string $kind): Event
    {
        $component = strstr($subject, '.', true);

        return $this->hint('private-manage-' . $component, $subject, $id, $kind);
    }

    /** @param  array<string, int>  $more */
    private function hint(string $channel, string $context, int $id, string $kind, array $more = []): Event
    {
        return new Event($channel, $kind, ['context' => $context, 'id' => $id, 'kind' => $kind, 'at' => $this->at] + $more);
    }

    /** The kind of change that visitors see; null: they see none. */
    private function transition(bool $was, bool $is): ?string
    {
        return match ([$was, $is]) {
            [true, true] => self::CHANGED,
            [false, true] => self::CREATED,
            [true, false] => self::GONE,
            default => null,
        };
    }

    /** The type of a category, like `com_content.category`; null: its component is not known. */
    private function categoryOf(?Visibility $visibility): ?string
    {
        $component = (string) strtok((string) $visibility?->component, '.');

        return preg_match('/^com_[A-Za-z0-9_]+$/D', $component) ? $component . '.category' : null;
    }

    private function hasVisibility(string $context): bool
    {
        return $context === self::ARTICLE || $context === self::CATEGORY;
    }

    /**
     * @param   int[]  $ids
     *
     * @return  array<int, ?Visibility>  for each id; empty for contexts without visibility
     */
    private function read(string $context, array $ids): array
    {
        $found = match ($context) {
            self::ARTICLE => $this->query->articles($ids),
            self::CATEGORY => $this->query->categories($ids),
            default => [],
        };

        return $this->hasVisibility($context) ? $found + array_fill_keys($ids, null) : [];
    }

    private function control(Event $event): void
    {
        $this->control[$event->key()] = $event;
    }
}
