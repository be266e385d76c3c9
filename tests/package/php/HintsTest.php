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
use Joomla\CMS\Application\ConsoleApplication;
use Joomla\CMS\Log\Log;
use Joomla\Event\Event;
use Jsocketd\Plugin\System\Websockets\Extension\Websockets;
use Jsocketd\Plugin\System\Websockets\Hints\EventArguments;
use Jsocketd\Plugin\System\Websockets\Hints\VisibilityQuery;
use PHPUnit\Framework\TestCase;

/**
 * How the changes of a whole request are collected and written. MatrixTest checks single changes by docs/joomla.md.
 */
final class HintsTest extends TestCase
{
    private const ARTICLES = <<<'SQL'
        CREATE TABLE #__categories (id INT PRIMARY KEY, level INT, lft INT, rgt INT, extension VARCHAR(50), published INT, access INT);
        INSERT INTO #__categories VALUES
            (1, 0, 0, 21, 'system', 1, 1), (9, 1, 1, 6, 'com_content', 1, 1),
            (10, 2, 2, 3, 'com_content', 1, 2), (11, 2, 4, 5, 'com_content', 2, 1),
            (12, 1, 7, 10, 'com_content', 0, 1), (13, 2, 8, 9, 'com_content', 1, 1), (14, 1, 11, 12, 'com_contact', -2, 1);
        CREATE TABLE #__content (id INT PRIMARY KEY, catid INT, state INT, access INT, publish_up DATETIME, publish_down DATETIME);
        INSERT INTO #__content VALUES
            (1, 9, 1, 1, NULL, NULL), (2, 9, 0, 1, NULL, NULL),
            (3, 9, 2, 1, UTC_TIMESTAMP(), NULL), (4, 9, -2, 1, NULL, NULL),
            (5, 9, 1, 1, UTC_TIMESTAMP() + INTERVAL 1 HOUR, NULL), (6, 9, 1, 1, NULL, UTC_TIMESTAMP() - INTERVAL 1 SECOND),
            (7, 9, 1, 1, NULL, UTC_TIMESTAMP() + INTERVAL 1 HOUR), (8, 9, 1, 2, NULL, NULL), (10, 10, 1, 2, NULL, NULL), (11, 10, 1, 1, NULL, NULL),
            (12, 10, 1, 3, NULL, NULL), (13, 11, 1, 1, NULL, NULL),
            (14, 12, 1, 1, NULL, NULL), (15, 13, 1, 1, NULL, NULL), (16, 99, 1, 1, NULL, NULL);
        SQL;

    public function testWhoCanBeSeen(): void
    {
        $db     = (new Database('package_stored'))->run(self::ARTICLES);
        $stored = new VisibilityQuery($db);
        $read   = array_map(static fn ($one): array => [$one->isVisible, $one->category, $one->isListed], $stored->articles([...range(1, 16), 99]));

        ksort($read);
        $this->assertSame(
            [
                1  => [true, 9, true], 2 => [false, 9, false], 3 => [true, 9, true], 4 => [false, 9, false], 5 => [false, 9, false],
                6  => [false, 9, false], 7 => [true, 9, true],
                // A view level that the category has not; has; a public article; a level that it has not.
                8  => [true, 9, false], 10 => [true, 10, true], 11 => [true, 10, true], 12 => [true, 10, false],
                // In an archived category, in an unpublished one, in one below that, without a category.
                13 => [true, 11, true], 14 => [false, 12, false], 15 => [false, 13, false], 16 => [false, 99, false],
            ],
            $read
        );
        $categories = array_map(static fn ($one): array => [$one->isVisible, $one->component], $stored->categories([9, 10, 11, 12, 13, 14, 99]));
        ksort($categories);
        $this->assertSame(
            [
                9  => [true, 'com_content'], 10 => [true, 'com_content'], 11 => [true, 'com_content'], 12 => [false, 'com_content'],
                13 => [false, 'com_content'], 14 => [false, 'com_contact'],
            ],
            $categories
        );
        $this->assertCount(2, $db->statements);
        $this->assertSame([[], []], [$stored->articles([]), $stored->categories([])]);
        $this->assertCount(2, $db->statements);
    }

    public function testAWholeRequestIsTwoReadsAndOneInsert(): void
    {
        $db     = (new Database('package_hints'))->install()->run(self::ARTICLES);
        $site   = new Site(new CMSApplication('administrator'), $db);
        $pks    = ['1', '3', '7', '10'];
        $before = ['com_content.article', $pks, 0];

        $site->dispatch(new Event('onContentBeforeChangeState', $before));
        $db->run('UPDATE #__content SET state = 0 WHERE id IN (1, 3, 7, 10)');
        $site->dispatch(new Event('onContentChangeState', $before));
        $site->dispatch(new Event('onContentChangeState', $before));
        $site->fire('application.after_respond', 'onAfterRespond');
        $this->assertCount(3, $db->statements);
        $this->assertSame([], Log::$lines);

        $rows = array_map(
            static fn (array $row): string => $row['channel'] . ' ' . $row['event'],
            $db->published('channel, event')
        );
        $this->assertCount(16, $rows);
        $this->assertSame('private-com_content.article.1 gone', $rows[0]);
        $this->assertSame(array_fill(0, 4, '#control recheck-item'), \array_slice($rows, 12));
    }

    public function testWhatHappensTwiceIsToldOnce(): void
    {
        $this->assertSame(
            ['private-manage-com_contact created'],
            $this->told(fn (Site $site) => [
                $site->dispatch(new Event('onContentAfterSave', ['com_contact.contact', (object) ['id' => 5], true])),
                $site->dispatch(new Event('onContentChangeState', ['com_contact.contact', [5, '5', 5], 1])),
            ])
        );
        $this->assertSame(
            ['private-manage-com_contact gone', '#control recheck-item'],
            $this->told(fn (Site $site) => [
                $site->dispatch(new Event('onContentAfterSave', ['com_contact.contact', (object) ['id' => 5], false])),
                $site->dispatch(new Event('onContentAfterDelete', ['com_contact.contact', (object) ['id' => 5]])),
            ])
        );
        $this->assertSame(
            ['#control recheck-user', '#control recheck-access'],
            $this->told(fn (Site $site) => [
                $site->dispatch(new Event('onUserLogout', [['id' => 42], []])),
                $site->dispatch(new Event('onUserLogout', [['id' => '42'], []])),
                $site->fire('onUserAfterSaveGroup', 'onUserAfterDeleteGroup', 'onApplicationAfterSave', 'onBeforeBatch'),
            ])
        );
    }

    public function testWhatIsNoChangeOfAnItemIsNotTold(): void
    {
        $this->assertSame([], $this->told(fn (Site $site) => [
            $site->dispatch(new Event('onContentAfterSave', ['com_media.file', (object) ['name' => 'a.png'], true])),
            $site->dispatch(new Event('onContentAfterSave', ['nonsense', (object) ['id' => 5], true])),
            $site->dispatch(new Event('onContentAfterSave', ['com_x.y z', (object) ['id' => 5], true])),
            $site->dispatch(new Event('onContentAfterSave', ['com_x.y', (object) ['id' => 'abc'], true])),
            $site->dispatch(new Event('onContentAfterSave', ['com_x.y', null, true])),
            $site->dispatch(new Event('onContentAfterSave', [])),
            $site->dispatch(new Event('onContentChangeState', ['com_x.y', 'none', 1])),
            $site->dispatch(new Event('onContentChangeState', ['com_x.y', [0, -1, [], 'x', null], 1])),
            $site->dispatch(new Event('onContentAfterChangeFeatured', [])),
            $site->dispatch(new Event('onUserAfterSave', [])),
            $site->dispatch(new Event('onUserLogout', [['id' => 0], []])),
            $site->fire('onContentAfterSave', 'onContentAfterDelete', 'onUserAfterDelete', 'onExtensionAfterSave', 'onContentBeforeDisplay'),
        ]));
        $this->assertSame([], Log::$lines);
    }

    /** Keys of other extensions may be any text. A text that begins with a number is not that number. */
    public function testWhatIsNotWrittenLikeAnIdIsNone(): void
    {
        $texts = ['+1002', '01002', '1002abc', ' 1002', '1002 ', "1002\n", "1002\0", '1002.0', '1e3', '0x3ea', '-1002', '', '9999999999999999999'];

        foreach ([...$texts, 1002.0, true, [1002], null] as $id) {
            $this->assertSame(0, EventArguments::idOf(['id' => $id]), json_encode($id));
            $this->assertSame(0, EventArguments::idOf((object) ['id' => $id]), json_encode($id));
            $this->assertSame([7], EventArguments::ids([$id, 7]), json_encode($id));
        }

        foreach ([1002, '1002'] as $id) {
            $this->assertSame(1002, EventArguments::idOf(['id' => $id]));
            $this->assertSame([1002], EventArguments::ids([$id, '1002']));
            $this->assertSame([1002], EventArguments::ids($id));
        }
    }

    public function testOtherKeysThanId(): void
    {
        $row = new class () {
            public int $level_id = 7;

            public function getKeyName($multiple = false)
            {
                return 'level_id';
            }
        };
        $this->assertSame(
            ['private-manage-com_x created'],
            $this->told(fn (Site $site) => $site->dispatch(new Event('onContentAfterSave', ['com_x.y', $row, true])))
        );
    }

    public function testASaveIsSavedWithTheDatabaseAway(): void
    {
        $site = new Site(new CMSApplication(), new Rows(), [], new Noted(new \RuntimeException('The table is missing.')));
        $save = ['com_content.article', (object) ['id' => 17], false];
        $site->dispatch(new Event('onContentBeforeSave', $save));
        $site->dispatch(new Event('onContentAfterSave', $save));
        $site->dispatch(new Event('onUserLogout', [['id' => 42], []]));
        $site->fire('onAfterRespond', 'onAfterRespond');
        $this->assertCount(1, Log::$lines);

        $site = new Site(new CMSApplication(), new Rows(), [], new Noted(new \Error('The table is missing.')));
        $site->dispatch(new Event('onUserLogout', [['id' => 42], []]));
        $site->fire('onAfterRespond');
        $this->assertSame(['An event was not published: The table is missing.'], Log::$lines);
    }

    public function testTheServerIsToldOfBeingSwitchedOn(): void
    {
        foreach ([['0', 1], ['0', 0], ['1', 0], ['1', 1]] as [$was, $is]) {
            $outbox = new Noted();
            $site   = new Site(new CMSApplication('administrator'), new Rows(), ['enabled' => $was], $outbox);
            $params = json_encode(['enabled' => $is] + Site::OPTIONS);
            $row    = (object) ['element' => 'com_websockets', 'params' => $params];
            $site->dispatch(new Event('onExtensionAfterSave', ['com_config.component', $row, false]));
            $site->fire('onAfterRespond');
            $told = array_map(static fn ($event): string => $event->channel . ' ' . $event->event, $outbox->events);
            $this->assertSame($was || $is ? ['#control recheck-access'] : [], $told, "from $was to $is");
        }
    }

    public function testAnImportIsWrittenInPieces(): void
    {
        $outbox = new Noted();
        $site   = new Site(new ConsoleApplication(), new Rows(), [], $outbox);

        for ($id = 1; $id <= 2500; $id++) {
            $site->dispatch(new Event('onContentAfterSave', ['com_x.y', (object) ['id' => $id], true]));
        }

        $this->assertSame([2, 2000], [$outbox->inserts, \count($outbox->events)]);
        $site->fire('application.after_execute');
        $this->assertSame([3, 2500], [$outbox->inserts, \count($outbox->events)]);
    }

    public function testWhatIsAboutToChangeIsNotForgottenMeanwhile(): void
    {
        $row    = ['id' => '17', 'catid' => '9', 'state' => '1', 'access' => '1', 'within' => '1', 'published' => '1', 'level' => '1'];
        $outbox = new Noted();
        $site   = new Site(new CMSApplication('administrator'), new Rows([[$row], []]), [], $outbox);

        $site->dispatch(new Event('onContentBeforeDelete', ['com_content.article', (object) ['id' => 17]]));
        $site->dispatch(new Event('onUserLogout', [['id' => 42], []]));
        $site->fire('onAfterRespond');
        $site->dispatch(new Event('onContentAfterDelete', ['com_content.article', (object) ['id' => 17]]));
        $site->fire('onAfterRespond');
        $this->assertSame(
            ['#control', 'private-com_content.article.17', 'private-com_content.category.9', 'private-manage-com_content', '#control'],
            array_column($outbox->events, 'channel')
        );
    }

    public function testARequestThatIsClosedIsWrittenWhenTheProcessEnds(): void
    {
        $php = <<<'PHP'
            namespace Jsocketd\Tests\Package;
            require $argv[1];
            $outbox = new class () extends Noted {
                public function __destruct()
                {
                    echo implode(' ', array_map(static fn ($event) => $event->event, $this->events)), "\n";
                }
            };
            $site = new Site(new \Joomla\CMS\Application\CMSApplication(), new Rows(), [], $outbox);
            $site->dispatch(new \Joomla\Event\Event('onUserLogout', [['id' => 42], []]));
            exit;
            PHP;
        exec(implode(' ', array_map('escapeshellarg', [PHP_BINARY, '-r', $php, __DIR__ . '/bootstrap.php'])) . ' 2>&1', $lines);
        $this->assertSame(['recheck-user'], $lines);
    }

    public function testTheOrderOfThings(): void
    {
        $events   = Websockets::getSubscribedEvents();
        $priority = static fn (string $name): int => \is_array($events[$name]) ? $events[$name][1] : 0;
        $this->assertGreaterThan(0, $priority('onAfterRoute'), 'before the page cache');
        $this->assertLessThan(0, $priority('onBeforeCompileHead'), 'after all that may ask for the script');
        $this->assertLessThan(-2, $priority('onAfterRespond'), 'after the page cache');

        foreach ($events as $name => $listener) {
            $this->assertTrue(method_exists(Websockets::class, ((array) $listener)[0]), $name);
        }
    }

    /** @return  string[]  channel and event of each row of a request */
    private function told(\Closure $request): array
    {
        $outbox = new Noted();
        $site   = new Site(new CMSApplication('administrator'), new Rows(), [], $outbox);
        $request($site);
        $site->fire('onAfterRespond');

        return array_map(static fn ($event): string => $event->channel . ' ' . $event->event, $outbox->events);
    }
}
