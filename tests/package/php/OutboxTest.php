<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Tests\Package;

use Jsocketd\Component\Websockets\Administrator\Publish\Event;
use Jsocketd\Component\Websockets\Administrator\Publish\InvalidEvent;
use Jsocketd\Component\Websockets\Administrator\Publish\NotPublished;
use Jsocketd\Component\Websockets\Administrator\Publish\Options;
use Jsocketd\Component\Websockets\Administrator\Publish\Outbox;
use Jsocketd\Component\Websockets\Administrator\Publish\Publisher;
use Jsocketd\Component\Websockets\Administrator\Server\Client;
use Jsocketd\Component\Websockets\Administrator\Settings;
use PHPUnit\Framework\TestCase;

/**
 * The table as PHP uses it, and what becomes of a publication, on a real MariaDB.
 */
final class OutboxTest extends TestCase
{
    private Database $db;

    private Outbox $outbox;

    /** @var  string[] */
    private array $log = [];

    protected function setUp(): void
    {
        $this->db     = (new Database('package_outbox'))->install();
        $this->outbox = new Outbox($this->db);
        $this->log    = [];
    }

    public function testEventsAreOneInsertAndStandAsTheyWere(): void
    {
        $nasty = ["it's" => '"; DROP TABLE #__websockets_outbox; -- \\ \' :x #__ ä 🙂'];
        $this->outbox->insert(new Event('private-user-42', "App\\E'x", $nasty, '1.2'), Event::recheckAccess(), new Event('news', 'ä', null));

        $this->assertCount(1, $this->db->statements);
        $rows = $this->db->rows(
            'SELECT channel, event, data, socket_id, ABS(TIMESTAMPDIFF(SECOND, created, UTC_TIMESTAMP(3))) < 5 AS now FROM #__websockets_outbox'
        );
        $json = json_encode($nasty, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
        $this->assertSame(
            [
                ['private-user-42', "App\\E'x", $json, '1.2', '1'],
                ['#control', 'recheck-access', '{}', null, '1'],
                ['news', 'ä', 'null', null, '1'],
            ],
            array_map('array_values', $rows)
        );
    }

    public function testItIsPartOfTheTransactionThatIsOpen(): void
    {
        $publisher = $this->publisher();
        $other     = $this->db->another();

        $this->db->transactionStart();
        $this->assertTrue($publisher->toUser(42, 'message', ['unread' => 3]));
        $this->assertSame([], $other->rows('SELECT * FROM #__websockets_outbox'));
        $this->db->transactionCommit();
        $this->assertSame('private-user-42', $other->rows('SELECT * FROM #__websockets_outbox')[0]['channel']);

        $this->db->transactionStart();
        $this->assertTrue($publisher->publish('news', 'e'));
        $this->db->transactionRollback();
        $this->assertCount(1, $other->rows('SELECT * FROM #__websockets_outbox'));
    }

    public function testWhereThingsGo(): void
    {
        $publisher = $this->publisher();
        $done      = [
            $publisher->publish('news', 'e', 1),
            $publisher->toUser(42, 'e', 1),
            $publisher->toLevel(3, 'e', 1),
            $publisher->toGroup(8, 'e', 1),
            $publisher->toItem('com_content.article', 17, 'e', 1),
            $publisher->toCategory('com_content', 9, 'e', 1, new Options(socketId: '3.4')),
            $publisher->kickUser(42),
            $publisher->recheckUser(42),
            $publisher->recheckItem('com_content.article', 17),
            $publisher->recheckAccess(),
            $publisher->publishAll([new Event('a', 'e'), new Event('b', 'e')]),
            $publisher->publishAll([]),
        ];
        $this->assertSame([true], array_unique($done));
        $this->assertSame([], $this->log);
        $this->assertSame(
            [
                'news e', 'private-user-42 e', 'private-level-3 e', 'private-group-8 e', 'private-com_content.article.17 e',
                'private-com_content.category.9 e', '#control terminate-user', '#control recheck-user', '#control recheck-item',
                '#control recheck-access', 'a e', 'b e',
            ],
            array_map(static fn (array $row): string => $row['channel'] . ' ' . $row['event'], $this->db->rows('SELECT * FROM #__websockets_outbox'))
        );
        $this->assertSame('3.4', $this->db->rows("SELECT socket_id FROM #__websockets_outbox WHERE channel LIKE '%category%'")[0]['socket_id']);
    }

    public function testBestEffortNeverThrowsAndIsLoggedOnce(): void
    {
        $this->db->run('DROP TABLE #__websockets_outbox');
        $publisher = $this->publisher();

        $this->assertFalse($publisher->publish('news', 'e'));
        $this->assertFalse($publisher->publish('bad name', 'e'));
        $this->assertFalse($publisher->toUser(0, 'e'));
        $this->assertFalse($publisher->kickUser(42));
        $this->assertFalse($publisher->publishAll([new Event('a', 'e')]));
        $this->assertFalse($publisher->publish('news', 'e', null, new Options(via: Options::HTTP)));
        $publisher->afterResponse();
        $this->assertCount(1, $this->log);
        $this->assertStringContainsString('websockets_outbox', $this->log[0]);
    }

    public function testALogThatFailsBreaksNothing(): void
    {
        $publisher = new Publisher($this->settings(), $this->outbox, new Client($this->settings()), static fn () => throw new \Exception('full'));
        $this->assertFalse($publisher->publish('bad name', 'e'));
    }

    public function testADatabaseThatCannotBeWrittenIsLoggedToo(): void
    {
        $this->db->run("SET SESSION TRANSACTION READ ONLY");
        $this->assertFalse($this->publisher()->publish('news', 'e'));
        $this->assertCount(1, $this->log);
    }

    public function testStrictThrows(): void
    {
        $strict = new Options(strict: true);
        $caught = function (\Closure $do): array {
            try {
                return [$do(), ''];
            } catch (InvalidEvent | NotPublished $error) {
                return [\get_class($error), $error->getMessage()];
            }
        };

        $publisher = $this->publisher();
        $this->assertSame([true, ''], $caught(fn () => $publisher->publish('news', 'e', 1, $strict)));
        $this->assertSame(InvalidEvent::class, $caught(fn () => $publisher->publish('bad name', 'e', 1, $strict))[0]);
        $this->assertSame(InvalidEvent::class, $caught(fn () => $publisher->toLevel(0, 'e', 1, $strict))[0]);
        $this->assertSame(InvalidEvent::class, $caught(fn () => $publisher->publish('private-encrypted-x', 'e', 1, $strict))[0]);
        [$class, $why] = $caught(fn () => $publisher->publish('news', 'e', 1, new Options(strict: true, via: Options::HTTP)));
        $this->assertSame(NotPublished::class, $class);
        $this->assertStringContainsString('server_address', $why);
        $this->db->run('DROP TABLE #__websockets_outbox');
        $this->assertSame(NotPublished::class, $caught(fn () => $publisher->publish('news', 'e', 1, $strict))[0]);
        $off = $this->publisher(['enabled' => '0']);
        $this->assertStringContainsString('switched off', $caught(fn () => $off->publish('news', 'e', 1, $strict))[1]);
        $this->assertSame([], $this->log);
    }

    public function testSwitchedOffItIsSilentlyNothing(): void
    {
        $publisher = $this->publisher(['enabled' => 0]);
        $this->assertFalse($publisher->publish('news', 'e'));
        $this->assertFalse($publisher->kickUser(42));
        $this->assertFalse($publisher->publishAll([new Event('a', 'e')]));
        $publisher->afterResponse();
        $this->assertSame([[], [], []], [$this->log, $this->db->statements, $this->db->rows('SELECT * FROM #__websockets_outbox')]);
    }

    public function testPositionIsTheLowestOfThoseThatLive(): void
    {
        $this->assertNull($this->outbox->position());
        $this->heartbeat('a', 'o0000002a:1000', 59);
        $this->heartbeat('b', 'o0000002a:999', 1);
        $this->heartbeat('d', 'o00000029:7', 3); // of an epoch that is over
        $this->assertNull($this->outbox->position());
        $this->state('epoch', '0000002a');
        $this->heartbeat('c', 'o0000002a:5', 61);
        $this->db->statements = [];
        $this->assertSame('o0000002a:999', $this->outbox->position());
        $this->assertCount(1, $this->db->statements);
        $plan = $this->db->rows('EXPLAIN ' . $this->db->statements[0])[0];
        $this->assertSame(['range', 'PRIMARY'], [$plan['type'], $plan['key']]);

        $beats = $this->outbox->heartbeats();
        $this->assertSame(['b', 'd', 'a', 'c'], array_column($beats, 'process'));
        $this->assertSame([true, true, true, false], array_column($beats, 'fresh'));
        $this->assertSame('o0000002a:5', $beats[3]['position']);
        $this->assertGreaterThanOrEqual(61000, $beats[3]['age_ms']);

        $this->heartbeat('b', '<script>', 1);
        $this->heartbeat('a', '<script>', 1);
        $this->assertNull($this->outbox->position());
    }

    public function testTrimmingDeletesWhatIsOldAndSaysSoFirst(): void
    {
        $this->state('epoch', '0000002a');
        $this->state('deleted_to', 'o0000002a:1');
        $this->rowsAged(7200, 7200, 3700, 3500, 7200, 0);
        $this->heartbeat('a', 'o0000002a:5', 61);
        $patience = $this->db->rows('SELECT @@SESSION.innodb_lock_wait_timeout AS it');

        $this->assertSame(3, $this->outbox->trim());
        $this->assertSame(['4', '5', '6'], array_column($this->db->rows('SELECT id FROM #__websockets_outbox'), 'id'));
        $this->assertSame('o0000002a:3', $this->db->rows("SELECT value FROM #__websockets_state WHERE name = 'deleted_to'")[0]['value']);
        $this->assertSame($patience, $this->db->rows('SELECT @@SESSION.innodb_lock_wait_timeout AS it'));
        $lock = "CONCAT('jsocketd.', MD5('package_outbox.abc_websockets_outbox'))";
        $this->assertSame('1', $this->db->rows("SELECT IS_FREE_LOCK($lock) AS it")[0]['it']);

        $marked  = array_keys(preg_grep("/'deleted_to', /", $this->db->statements));
        $deleted = array_keys(preg_grep('/^DELETE/', $this->db->statements));
        $this->assertLessThan($deleted[0], $marked[0]);
        $this->assertSame(0, $this->outbox->trim());
    }

    public function testTrimmingNeverGoesBack(): void
    {
        $this->state('epoch', '0000002a');
        $this->state('deleted_to', 'o0000002a:9');
        $this->rowsAged(7200);
        $this->assertSame(1, $this->outbox->trim());
        $this->assertSame('o0000002a:9', $this->db->rows("SELECT value FROM #__websockets_state WHERE name = 'deleted_to'")[0]['value']);

        $this->db->run("UPDATE #__websockets_state SET value = '0000002b' WHERE name = 'epoch'");
        $this->rowsAged(7200);
        $this->assertSame(1, $this->outbox->trim());
        $this->assertSame('o0000002b:2', $this->db->rows("SELECT value FROM #__websockets_state WHERE name = 'deleted_to'")[0]['value']);
    }

    public function testWithoutAnEpochNobodyHasAPosition(): void
    {
        $this->rowsAged(7200, 7200);
        $this->assertSame(2, $this->outbox->trim());
        $this->assertSame([], $this->db->rows("SELECT value FROM #__websockets_state WHERE name = 'deleted_to'"));
    }

    public function testAServerThatLivesTrimsItself(): void
    {
        $this->rowsAged(7200);
        $this->heartbeat('a', 'o0000002a:5', 59);
        $this->db->statements = [];
        $this->assertSame(0, $this->outbox->trim());
        $this->assertCount(1, $this->db->statements, 'the check is cheap');
    }

    public function testOneTrimsAtATime(): void
    {
        $this->rowsAged(7200);
        $other = $this->db->another();
        $other->rows("SELECT GET_LOCK(CONCAT('jsocketd.', MD5('package_outbox.abc_websockets_outbox')), 0)");
        $this->assertSame(0, $this->outbox->trim());
        $other->rows("SELECT RELEASE_LOCK(CONCAT('jsocketd.', MD5('package_outbox.abc_websockets_outbox')))");
        $this->assertSame(1, $this->outbox->trim());
    }

    public function testAtMostSoManyRowsAtATime(): void
    {
        $this->rowsAged(...array_fill(0, Outbox::TRIMMED + 10, 7200));
        $this->assertSame(Outbox::TRIMMED, $this->outbox->trim());
        $this->assertSame(10, $this->outbox->trim());
    }

    public function testAfterTheResponse(): void
    {
        $outbox = new class () extends Outbox {
            public int $trimmed = 0;

            public function __construct()
            {
            }

            public function insert(Event ...$events): void
            {
            }

            public function trim(): int
            {
                $this->trimmed++;

                throw new \RuntimeException('the database is away');
            }
        };
        $server = new class ($this->settings()) extends Client {
            public int $nudges = 0;

            public function nudge(): void
            {
                $this->nudges++;

                throw new \RuntimeException('nobody is there');
            }
        };
        $publisher = new class ($this->settings(), $outbox, $server, fn (string $line) => $this->log[] = $line) extends Publisher {
            protected function isTrimDue(): bool
            {
                return true;
            }
        };

        $publisher->afterResponse();
        $this->assertSame([0, 0], [$server->nudges, $outbox->trimmed], 'nothing was written');
        $publisher->publish('news', 'e');
        $publisher->publish('news', 'e');
        $publisher->afterResponse();
        $publisher->afterResponse();
        $this->assertSame([1, 1], [$server->nudges, $outbox->trimmed]);
        $this->assertSame(['Old rows of the outbox table could not be deleted: the database is away'], $this->log);
    }

    private function settings(array $options = []): Settings
    {
        return Settings::of($options + Site::OPTIONS);
    }

    private function publisher(array $options = []): Publisher
    {
        $settings = $this->settings($options);

        return new Publisher($settings, $this->outbox, new Client($settings), fn (string $line) => $this->log[] = $line);
    }

    private function heartbeat(string $process, string $position, int $age): void
    {
        $this->state('position.' . $process, $position, $age);
    }

    private function state(string $name, string $value, int $age = 0): void
    {
        $this->db->run("REPLACE INTO #__websockets_state VALUES ('$name', '$value', UTC_TIMESTAMP(3) - INTERVAL $age SECOND)");
    }

    private function rowsAged(int ...$seconds): void
    {
        $row = static fn (int $age): string => "('c', 'e', '{}', UTC_TIMESTAMP(3) - INTERVAL $age SECOND)";
        $this->db->run('INSERT INTO #__websockets_outbox (channel, event, data, created) VALUES ' . implode(', ', array_map($row, $seconds)));
    }
}
