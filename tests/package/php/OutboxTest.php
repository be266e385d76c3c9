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
 * PHP's use of the table, and the result of each way to publish, on a real MariaDB.
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

    protected function tearDown(): void
    {
        Database::closeAll();
    }

    public function testEventsAreOneInsertAndStandAsTheyWere(): void
    {
        $nasty = ["it's" => '"; DROP TABLE #__websockets_outbox; -- \\ \' :x #__ ä 🙂'];
        $this->outbox->insert(new Event('private-user-42', "App\\E'x", $nasty, '1.2'), Event::recheckAccess(), new Event('news', 'ä', null));

        $this->assertCount(1, $this->db->statements);
        $isNow = 'ABS(TIMESTAMPDIFF(SECOND, created, UTC_TIMESTAMP(3))) < 5';
        $rows  = $this->db->published("channel, event, data, socket_id, $isNow AS now");
        $json  = json_encode($nasty, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
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
        $this->assertSame([], $other->published());
        $this->db->transactionCommit();
        $this->assertSame('private-user-42', $other->published()[0]['channel']);

        $this->db->transactionStart();
        $this->assertTrue($publisher->publish('news', 'e'));
        $this->db->transactionRollback();
        $this->assertCount(1, $other->published());
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
            array_map(static fn (array $row): string => $row['channel'] . ' ' . $row['event'], $this->db->published())
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
        $this->assertSame([[], [], []], [$this->log, $this->db->statements, $this->db->published()]);
    }

    public function testWhatVersion1OfThePackageWritesIsARow(): void
    {
        $this->db->run("INSERT INTO #__websockets_outbox (`channel`, `event`, `data`, `socket_id`, `created`)
            VALUES ('news', 'e', '1', NULL, UTC_TIMESTAMP(3)), ('news', 'e', '2', '1.2', UTC_TIMESTAMP(3))");
        $rows = array_map('array_values', $this->db->published('seq, stamped, data, socket_id'));
        $this->assertSame([[null, null, '1', null], [null, null, '2', '1.2']], $rows);
    }

    public function testThePositionIsOneReadByPrimaryKey(): void
    {
        $this->assertSame($this->db->position(), $this->outbox->position());
        $this->assertMatchesRegularExpression('/^o[0-9a-f]{8}:1\.[0-9a-z]{8}$/D', $this->outbox->position());
        $this->db->statements = [];
        $this->outbox->position();
        $this->assertCount(1, $this->db->statements);
        $plan = $this->db->plan($this->db->statements[0]);
        $this->assertSame(['const', 'PRIMARY', '1'], [$plan['type'], $plan['key'], $plan['rows']]);

        $wrong = ['', '<script>', 'o0000002a:5', '@1760000000', 'o0000002A:5.abc', "o0000002a:5.abc\n", 'o0000002a:5.'];

        foreach ($wrong as $value) {
            $this->state('position', $value);
            $this->assertNull($this->outbox->position(), $value);
        }

        $this->state('position', 'o0000002a:18446744073709551615.zzzzzzzzzzzzz');
        $this->assertSame('o0000002a:18446744073709551615.zzzzzzzzzzzzz', $this->outbox->position());
        $this->db->run("DELETE FROM #__websockets_state WHERE name = 'position'");
        $this->assertNull($this->outbox->position());
    }

    public function testAtSerializableThePositionLocksNothing(): void
    {
        $lock = "SELECT value FROM #__websockets_state WHERE name = 'position' FOR UPDATE NOWAIT";
        $this->db->run('SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE')->transactionStart();
        $this->assertNull($this->outbox->position());
        $other = $this->db->another();
        $this->assertCount(1, $other->rows($lock), 'nobody holds the row');
        $other->run('ROLLBACK');
        $this->db->transactionRollback();

        // Without the condition it would wait, which shows that this test can fail.
        $this->db->transactionStart();
        $this->db->rows("SELECT value FROM #__websockets_state WHERE name = 'position'");
        $this->expectException(\mysqli_sql_exception::class);
        $other->rows($lock);
    }

    public function testHeartbeats(): void
    {
        $this->heartbeat('0000000a', 'o0000002a:1000.a', 59);
        $this->heartbeat('0000000b', 'o0000002a:999.b', 1);
        $this->heartbeat('0000000c', 'o0000002a:5.c', 61);
        $this->state('position.0000000d', 'o0000002a:5', 1);

        $beats = $this->outbox->heartbeats();
        $this->assertSame(['0000000b', '0000000a', '0000000c'], array_column($beats, 'process'));
        $this->assertSame([true, true, false], array_column($beats, 'fresh'));
        $this->assertSame('o0000002a:5.c', $beats[2]['position']);
        $this->assertGreaterThanOrEqual(61000, $beats[2]['age_ms']);

        $this->assertTrue($this->outbox->isServed());
        $this->heartbeat('0000000a', 'o0000002a:1000.a', 60);
        $this->heartbeat('0000000b', 'o0000002a:999.b', 60);
        $this->assertFalse($this->outbox->isServed());
    }

    public function testAfterTheResponse(): void
    {
        $outbox = new class () extends Outbox {
            public int $upkeeps = 0;

            public function __construct()
            {
            }

            public function insert(Event ...$events): void
            {
            }

            public function upkeep(): void
            {
                $this->upkeeps++;

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
            public array $asked = [];

            protected function isUpkeepDue(int $rows): bool
            {
                $this->asked[] = [$rows, parent::isUpkeepDue($rows)];

                return true;
            }
        };

        $publisher->afterResponse();
        $this->assertSame([0, 0], [$server->nudges, $outbox->upkeeps], 'nothing was written');
        $publisher->publish('news', 'e');
        $publisher->publish('news', 'e');
        $publisher->afterResponse();
        $publisher->afterResponse();
        $this->assertSame([1, 1], [$server->nudges, $outbox->upkeeps]);
        $this->assertSame(['The upkeep of the outbox table failed: the database is away'], $this->log);
        $publisher->publishAll(array_fill(0, 50, new Event('news', 'e')));
        $publisher->afterResponse();
        $this->assertSame(2, $publisher->asked[0][0]);
        $this->assertSame([50, true], $publisher->asked[1], 'after so many rows it is always due');
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
        $this->state('process.' . $process, $position, $age);
    }

    private function state(string $name, string $value, int $age = 0): void
    {
        $this->db->run("REPLACE INTO #__websockets_state VALUES ('$name', '$value', UTC_TIMESTAMP(3) - INTERVAL $age SECOND)");
    }
}
