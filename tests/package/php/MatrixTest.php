<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Tests\Package;

use Joomla\CMS\Application\CMSApplication;
use Joomla\Event\Event;
use Joomla\Event\EventInterface;
use Joomla\Registry\Registry;
use PHPUnit\Framework\TestCase;

/**
 * The plugin does what the table "What the plugin publishes" of docs/joomla.md says. Each row is tested with all forms
 * of Joomla's events, and every subscribed event has a row.
 */
final class MatrixTest extends TestCase
{
    /** The positional arguments of Joomla 4, with the names of Joomla 5 and 6. */
    private const ARGUMENTS = [
        'onContentBeforeSave'          => ['context', 'subject', 'isNew', 'data'],
        'onContentAfterSave'           => ['context', 'subject', 'isNew', 'data'],
        'onContentBeforeChangeState'   => ['context', 'subject', 'value'],
        'onContentChangeState'         => ['context', 'subject', 'value'],
        'onContentBeforeDelete'        => ['context', 'subject'],
        'onContentAfterDelete'         => ['context', 'subject'],
        'onUserAfterSave'              => ['subject', 'isNew', 'savingResult', 'errorMessage'],
        'onUserAfterDelete'            => ['subject', 'deletingResult', 'errorMessage'],
        'onUserLogout'                 => ['subject', 'options'],
        'onUserAfterSaveGroup'         => ['context', 'subject', 'isNew', 'data'],
        'onUserAfterDeleteGroup'       => ['data', 'deletingResult', 'errorMessage', 'context', 'subject'],
        'onExtensionAfterSave'         => ['context', 'subject', 'isNew'],
        'onApplicationAfterSave'       => ['subject'],
        // Joomla 4 names these too, in this order.
        'onContentAfterChangeFeatured' => null,
        'onBeforeBatch'                => null,
    ];

    /**
     * The meaning of the second column for an article or a category: before and after, as [visible, category, level].
     */
    private const STORIES = [
        'new, visible'                                             => [null, [true, 9, 1]],
        'new, hidden'                                              => [null, [false, 9, 1]],
        'visible before and after'                                 => [[true, 9, 1], [true, 9, 1]],
        'hidden before and after'                                  => [[false, 9, 1], [false, 9, 1]],
        'hidden, now visible'                                      => [[false, 9, 1], [true, 9, 1]],
        'visible, now hidden'                                      => [[true, 9, 1], [false, 9, 1]],
        'visible, moved to category 12'                            => [[true, 9, 1], [true, 12, 1]],
        'visible, now with a view level that its category has not' => [[true, 9, 1], [true, 9, 3]],
        'visible, with such a view level before and after'         => [[true, 9, 3], [true, 9, 3]],
    ];

    /** The meaning of the second column for other items. */
    private const OTHERS = [
        'onUserAfterSave'   => ['new' => ['isNew' => true], 'blocked' => ['block' => '1'], 'could not be saved' => ['result' => false]],
        'onUserAfterDelete' => ['could not be deleted' => ['result' => false]],
    ];

    public function testEachRowInThreeStyles(): void
    {
        foreach ($this->table() as $line => [$name, $context, $story, $hints, $control]) {
            foreach (['numbered', 'named', 'named, with results first'] as $style) {
                $site = $this->tell($name, $context, $story, $style);
                $site->fire('onAfterRespond');

                $this->assertSame([], \Joomla\CMS\Log\Log::$lines, "$line $style");
                $this->assertSame($hints, $this->hintsOf($site->outbox->events), "$line $style");
                $this->assertSame($control, $this->controlOf($site->outbox->events), "$line $style");
                $this->assertSame($hints || $control ? 1 : 0, $site->outbox->inserts, "$line $style");
            }
        }
    }

    /** With JOOMLA_ROOT, each row with the classes of that Joomla, created as in its triggerEvent(). */
    public function testEachRowWithTheEventsOfThisJoomla(): void
    {
        if (!trait_exists(\Joomla\CMS\Event\CoreEventAware::class)) {
            $this->assertFalse(getenv('JOOMLA_ROOT'), 'There is no Joomla in JOOMLA_ROOT.');

            return;
        }

        foreach ($this->table() as $line => [$name, $context, $story, $hints, $control]) {
            $site = $this->tell($name, $context, $story, 'real');
            $site->fire('onAfterRespond');

            $this->assertSame([], \Joomla\CMS\Log\Log::$lines, $line);
            $this->assertSame($hints, $this->hintsOf($site->outbox->events), $line);
            $this->assertSame($control, $this->controlOf($site->outbox->events), $line);
        }
    }

    public function testWithoutHintsTheServerIsStillTold(): void
    {
        foreach ($this->table() as $line => [$name, $context, $story, , $control]) {
            $site = $this->tell($name, $context, $story, 'named', ['hints' => '0']);
            $site->fire('onAfterRespond');
            $this->assertSame([[], $control], [$this->hintsOf($site->outbox->events), $this->controlOf($site->outbox->events)], $line);
        }
    }

    public function testSwitchedOffNothingIsReadOrWritten(): void
    {
        foreach ($this->table() as $line => [$name, $context, $story]) {
            $site = $this->tell($name, $context, $story, 'named', ['enabled' => 0]);
            $site->fire('onAfterRespond');
            $this->assertSame([[], []], [$site->outbox->events, $site->db->statements], $line);
        }
    }

    public function testEveryEventHasARow(): void
    {
        $known      = array_column($this->table(), 0);
        $subscribed = array_keys(\Jsocketd\Plugin\System\Websockets\Extension\Websockets::getSubscribedEvents());
        $changes    = preg_grep('/^on(Content|User|Extension|Application|BeforeBatch)/', $subscribed);
        $changes    = array_diff($changes, preg_grep('/^onContentBefore/', $changes));

        $this->assertSame([], array_diff($changes, $known));
        $this->assertSame([], array_diff($known, $subscribed));
    }

    /** @return  array<string, array>  by the line: event, context, story, hints, control rows */
    private function table(): array
    {
        $document = file_get_contents(\dirname(JOOMLA_PACKAGE) . '/docs/joomla.md');
        $section  = strstr(strstr($document, "\n## What the plugin publishes\n"), "\n## ", false);
        $section  = strstr(substr($section, 1), "\n## ", true);
        preg_match_all('/^\| `(on\w+)`(?: `([\w.]+)`)? \| (.+?) \| (.*?) ?\| (.*?) ?\|$/m', $section, $rows, PREG_SET_ORDER);
        $this->assertCount(substr_count($section, "\n| `on"), $rows, 'each row can be read');
        $this->assertGreaterThan(40, \count($rows));
        $table = [];

        foreach ($rows as [$line, $name, $context, $story, $told, $control]) {
            $hints = [];

            foreach (array_filter(explode('; ', $told)) as $part) {
                $this->assertSame(1, preg_match('/^`(created|changed|gone)` (.+)$/', $part, $found), $line);

                foreach (explode(', ', $found[2]) as $channel) {
                    $hints[] = $channel . ' ' . $found[1];
                }
            }

            sort($hints);
            $table[$line] = [$name, $context, $story, $hints, str_replace('`', '', $control) === '' ? [] : [str_replace('`', '', $control)]];
        }

        return $table;
    }

    private function tell(string $name, string $context, string $story, string $style, array $options = []): Site
    {
        $isArticle  = \in_array($context, ['com_content.article', 'com_content.form'], true);
        $isCategory = $context === 'com_categories.category';
        $id         = $isArticle ? 17 : ($isCategory ? 9 : 5);
        $told       = self::OTHERS[$name][$story] ?? [];
        $isNew      = str_starts_with($story, 'new') && !str_contains($story, 'demanded');
        $answers    = [];

        if ($isArticle || $isCategory) {
            $this->assertArrayHasKey($story, self::STORIES);
            [$before, $after] = self::STORIES[$story];
            $isFeatured       = $name === 'onContentAfterChangeFeatured';
            $isDeleted        = $name === 'onContentAfterDelete';
            $answers          = array_values(array_filter([
                $isNew || $isFeatured ? null : $this->rowOf($before, $isArticle),
                $isDeleted ? null : $this->rowOf($after, $isArticle),
            ]));
        }

        $site    = new Site(new CMSApplication('administrator'), new Rows($answers), $options, new Noted());
        $row     = (object) ['id' => $id, 'title' => 'not to be told'];
        $user    = ['id' => '42', 'username' => 'not-told', 'block' => $told['block'] ?? '0'];
        $isUser  = str_starts_with($name, 'onUser') && !str_ends_with($name, 'Group');
        $row     = $name === 'onApplicationAfterSave' ? new Registry(['secret' => 'not to be told']) : $row;
        $given   = [
            'context'        => $context,
            'extension'      => $context,
            'subject'        => $isUser ? $user : $row,
            'isNew'          => $told['isNew'] ?? $isNew,
            'data'           => ['title' => 'not to be told'],
            'value'          => 1,
            'pks'            => [(string) $id],
            'savingResult'   => $told['result'] ?? true,
            'deletingResult' => $told['result'] ?? true,
            'errorMessage'   => null,
            'options'        => ['clientid' => 0],
            'src'            => $row,
            'type'           => 'access',
        ];

        if ($name === 'onContentChangeState') {
            $given['subject'] = [(string) $id];
        }

        $before = [
            'onContentAfterSave'   => 'onContentBeforeSave',
            'onContentChangeState' => 'onContentBeforeChangeState',
            'onContentAfterDelete' => 'onContentBeforeDelete',
        ];

        foreach (array_filter([$before[$name] ?? null, $name]) as $one) {
            $site->dispatch($this->event($one, $given, $style));
        }

        return $site;
    }

    private function event(string $name, array $given, string $style): EventInterface
    {
        $names = self::ARGUMENTS[$name];

        if ($names === null) {
            $names = $name === 'onBeforeBatch' ? ['src', 'type'] : ['subject', 'extension', 'pks', 'value'];
        }

        $arguments = array_combine($names, array_map(static fn (string $one) => $given[$one], $names));

        if ($style === 'real') {
            $core = new class () {
                use \Joomla\CMS\Event\CoreEventAware;

                public function of(string $name): string
                {
                    return self::getEventClassByEventName($name);
                }
            };
            // Joomla 5 and 6 create this one by hand.
            $own   = 'Joomla\\CMS\\Event\\User\\UserGroupAfterDeleteEvent';
            $class = $name === 'onUserAfterDeleteGroup' && class_exists($own) ? $own : $core->of($name);

            try {
                return new $class($name, self::ARGUMENTS[$name] === null ? $arguments : array_values($arguments));
            } catch (\BadMethodCallException) {
                // Some are only created with names.
                return new $class($name, $arguments);
            }
        }

        return new Event($name, match (true) {
            $style === 'numbered' && self::ARGUMENTS[$name] !== null => array_values($arguments) + ['result' => []],
            $style === 'named' => $arguments,
            default => ['result' => [true]] + array_reverse($arguments),
        });
    }

    /** @return  array[]  the rows of the database, with a top category above */
    private function rowOf(array $standing, bool $isArticle): array
    {
        [$isVisible, $category, $level] = $standing;

        if (!$isArticle) {
            return [['id' => '9', 'extension' => 'com_content', 'published' => $isVisible ? '1' : '-2']];
        }

        $chain = ['id' => '17', 'catid' => (string) $category, 'state' => $isVisible ? '1' : '0', 'access' => (string) $level, 'within' => '1'];

        return [$chain + ['published' => '1', 'level' => '1'], $chain + ['published' => '2', 'level' => '2']];
    }

    /** @return  string[]  channel and kind, each checked for its data */
    private function hintsOf(array $events): array
    {
        $hints = [];

        foreach ($events as $event) {
            if ($event->channel !== '#control') {
                $data = json_decode($event->json, true);
                $this->assertSame($event->event, $data['kind']);
                $this->assertStringNotContainsString('told', $event->json);

                if (preg_match('/^private-com_content\.category\.(\d+)$/', $event->channel, $part) && $data['context'] === 'com_content.article') {
                    $this->assertSame((int) $part[1], $data['category']);
                    unset($data['category']);
                }

                $this->assertSame(['context', 'id', 'kind', 'at'], array_keys($data));
                $this->assertEqualsWithDelta(microtime(true) * 1000, $data['at'], 60_000);
                $hints[] = $event->channel . ' ' . $event->event;
            }
        }

        sort($hints);

        return $hints;
    }

    /** @return  string[] */
    private function controlOf(array $events): array
    {
        $control = array_filter($events, static fn ($event): bool => $event->channel === '#control');
        $words   = static fn ($event): string => trim($event->event . ' ' . implode(' ', json_decode($event->json, true)));

        return array_values(array_map($words, $control));
    }
}
