<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Tests\Package;

use Jsocketd\Component\Websockets\Administrator\Publish\Outbox;
use Jsocketd\Component\Websockets\Administrator\Publish\Upkeep;
use PHPUnit\Framework\TestCase;

/**
 * PHP's upkeep of the table without a server, while other connections write, hold locks and have open transactions.
 */
final class UpkeepTest extends TestCase
{
    /** Seconds for an action that does not wait, also on a busy machine. */
    private const AT_ONCE = 0.9;

    private Database $db;

    private Outbox $outbox;

    protected function setUp(): void
    {
        $this->db     = (new Database('package_upkeep'))->install();
        $this->outbox = new Outbox($this->db);
    }

    protected function tearDown(): void
    {
        Database::closeAll();
    }

    // --- numbers -----------------------------------------------------------------------------------------------------

    public function testRowsGetNumbersWithoutHolesAndThePositionIsTheLastOfThem(): void
    {
        $this->publish('a', 'b', 'c');
        $epoch = substr($this->db->position(), 0, 10);
        $this->outbox->upkeep();
        $rows = $this->db->rows('SELECT seq, channel, ' . $this->mark() . ' AS mark, ABS(TIMESTAMPDIFF(SECOND, stamped,'
            . ' UTC_TIMESTAMP(3))) < 5 AS now FROM #__websockets_outbox ORDER BY seq');
        $this->assertSame(['1', '2', '3', '4'], array_column($rows, 'seq'));
        $this->assertSame(['#control', 'a', 'b', 'c'], array_column($rows, 'channel'));
        $this->assertSame(['1', '1', '1', '1'], array_column($rows, 'now'));
        $this->assertSame($epoch . '4.' . $rows[3]['mark'], $this->db->position());
        $this->assertSame($this->db->position(), $this->outbox->position());

        $this->publish('d');
        $this->outbox->upkeep();
        $this->assertSame(['a2', 'b3', 'c4', 'd5'], $this->numbers());
        $this->assertStringStartsWith($epoch . '5.', $this->db->position());
    }

    public function testRowsForTheServerComeFirst(): void
    {
        $this->publish('a', '#control', 'b', '#control');
        $this->outbox->upkeep();
        $this->assertSame(['a4', '#control2', 'b5', '#control3'], $this->numbers());
    }

    public function testThereAreAtMostSoManyAtATimeAndRowsForTheServerAreNotLeftOut(): void
    {
        $this->publish(...array_fill(0, Upkeep::BATCH, 'a'), ...['#control', 'b', '#control']);
        $this->outbox->upkeep();
        $rows = $this->db->published('seq, channel');
        $this->assertSame(['2', '3'], $this->column('seq', $rows, '#control'));
        $this->assertSame($this->texts(4, Upkeep::BATCH + 1), array_filter($this->column('seq', $rows, 'a')));
        $this->assertSame([null], $this->column('seq', $rows, 'b'));
        $this->outbox->upkeep();
        $rows = $this->db->published('seq, channel');
        $this->assertSame([(string) (Upkeep::BATCH + 4)], $this->column('seq', $rows, 'b'));

        $this->publish('c', ...array_fill(0, Upkeep::BATCH + 1, '#control'));
        $this->outbox->upkeep();
        $rows = $this->db->published('seq, channel');
        $this->assertSame([null], $this->column('seq', $rows, 'c'), 'rows for the server filled the batch');
        $this->assertCount(1, array_keys($this->column('seq', $rows, '#control'), null, true));
    }

    public function testTransactionsThatAreOpenAreNeitherTouchedNorWaitedFor(): void
    {
        $this->publish('a');
        $writers = [$this->db->another(), $this->db->another()];
        $writers[1]->run('SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE');

        foreach ($writers as $number => $writer) {
            $writer->transactionStart();
            $this->publishBy($writer, "open$number", '#control');
            // Rows of other connections are around it.
            $this->publish("between$number");
        }

        $this->assertAtOnce(fn () => $this->outbox->upkeep());
        $this->assertSame(['a2', 'between03', 'between14'], $this->numbers());

        $writers[1]->transactionCommit();
        $writers[0]->transactionRollback();
        $this->outbox->upkeep();
        $this->assertSame(['a2', 'between03', 'open16', '#control5', 'between14'], $this->numbers());
    }

    public function testWritersDoNotWaitForIt(): void
    {
        $writer = $this->db->another();
        $this->publish('a', 'b');
        $this->db->beforeCommit = function () use ($writer): void {
            $writer->run('SET SESSION innodb_lock_wait_timeout = 1');
            $this->assertAtOnce(fn () => $this->publishBy($writer, 'meanwhile', '#control'));
        };
        $this->outbox->upkeep();
        $this->db->beforeCommit = null;
        $this->assertSame(['a2', 'b3', 'meanwhile', '#control'], array_slice($this->numbers(), 0, 4));
    }

    public function testBesideOthersThatStampNoNumberIsGivenTwice(): void
    {
        $writers = array_map(fn (string $name): Process => new Process(
            PHP_BINARY,
            '-d',
            'display_errors=stderr',
            __DIR__ . '/writer.php',
            'package_upkeep',
            $name,
            '150'
        ), ['x', 'y', 'z']);

        foreach (array_fill(0, 20, null) as $_) {
            $this->outbox->upkeep();
            usleep(20000);
        }

        foreach ($writers as $writer) {
            $this->assertSame('done', trim($writer->rest()));
        }

        do {
            $before = $this->db->position();
            $this->outbox->upkeep();
        } while ($this->db->position() !== $before);

        $rows = $this->db->rows('SELECT seq, channel, data FROM #__websockets_outbox ORDER BY seq');
        $this->assertSame($this->texts(1, \count($rows)), array_column($rows, 'seq'));

        foreach (['x', 'y', 'z'] as $name) {
            $this->assertSame($this->texts(1, 150), $this->column('data', $rows, $name), 'in the order of each writer');
        }
    }

    public function testNothingIsDoneWhileAnotherStamps(): void
    {
        $this->publish('a');
        $position = $this->db->position();
        $other    = $this->db->another();
        $other->transactionStart();
        $other->rows("SELECT value FROM #__websockets_state WHERE name = 'position' FOR UPDATE");
        $this->assertAtOnce(fn () => $this->outbox->upkeep());
        $this->assertSame(['a'], $this->numbers());
        $this->assertSame($position, $this->db->position());
        $other->transactionRollback();
        $this->outbox->upkeep();
        $this->assertSame(['a2'], $this->numbers());
    }

    public function testARowThatSomebodyHoldsEndsItAtOnceAndNothingStays(): void
    {
        $this->publish('a', 'b', 'c');
        $position = $this->db->position();
        $other    = $this->db->another();

        // The UPDATE comes to the second one, for which MySQL waits at least a second.
        foreach ([2 => self::AT_ONCE, 3 => $this->db->isMariaDb() ? self::AT_ONCE : 3] as $id => $seconds) {
            $other->transactionStart();
            $this->assertCount(1, $other->rows("SELECT id FROM #__websockets_outbox WHERE id = $id FOR UPDATE"));
            $this->assertAtOnce(fn () => $this->outbox->upkeep(), $seconds);
            $this->assertSame(['a', 'b', 'c'], $this->numbers());
            $this->assertSame($position, $this->db->position());
            $other->transactionRollback();
        }

        $this->outbox->upkeep();
        $this->assertSame(['a2', 'b3', 'c4'], $this->numbers());
    }

    public function testATableThatIsLockedEndsItAtOnce(): void
    {
        $this->publish('a');
        $other = $this->db->another();

        foreach (['outbox', 'state'] as $table) {
            foreach (['READ', 'WRITE'] as $how) {
                $other->run("LOCK TABLES #__websockets_$table $how");
                // A table that is locked for writing cannot be read either. MySQL waits at least a second.
                $isMet = $this->db->isMariaDb() || $how === 'READ';
                $this->assertAtOnce(fn () => $this->outbox->upkeep(), $isMet ? self::AT_ONCE : 3);
                $other->run('UNLOCK TABLES');
                $this->assertSame(['a'], $this->numbers(), "$table $how");
            }
        }
    }

    public function testItNeverRunsInATransactionOfSomebodyElse(): void
    {
        $other = $this->db->another();

        foreach ($this->db->levels() as $level) {
            $this->db->run("SET SESSION TRANSACTION ISOLATION LEVEL $level");
            $this->db->transactionStart();
            $this->publish('a');
            $this->db->statements = [];
            $this->outbox->upkeep();
            $this->assertCount(1, $this->db->statements, 'it asks nothing');
            $this->assertSame([], $other->published(), 'and commits nothing');
            $this->db->transactionRollback();
            $this->assertSame([], $this->db->published());
        }

        // A transaction without BEGIN counts too.
        $this->db->run('SET SESSION autocommit = 0');
        $this->publish('a');
        $this->outbox->upkeep();
        $this->assertSame([], $other->published());
        $this->db->run('ROLLBACK; SET SESSION autocommit = 1');
    }

    public function testTheSessionIsAsItWas(): void
    {
        $more    = $this->db->isMariaDb() ? '@@tx_isolation, @@max_statement_time' : '@@transaction_isolation';
        $session = fn (): array => $this->db->rows(
            "SELECT @@lock_wait_timeout, @@innodb_lock_wait_timeout, @@autocommit, @@sql_mode, $more"
        );
        $this->db->run('SET SESSION lock_wait_timeout = 77, SESSION innodb_lock_wait_timeout = 33;'
            . ' SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE');

        if ($this->db->isMariaDb()) {
            $this->db->run('SET SESSION max_statement_time = 12.5');
        }

        $before = $session();
        $this->publish('a');
        $this->outbox->upkeep();
        $this->assertSame(['a2'], $this->numbers());
        $this->assertSame($before, $session());

        $this->db->run("DELETE FROM #__websockets_state WHERE name = 'position'; DROP TABLE #__websockets_outbox");

        try {
            $this->outbox->upkeep();
            $this->fail('there is no table');
        } catch (\RuntimeException $error) {
            $this->assertStringContainsString('websockets_outbox', $error->getMessage());
        }

        $this->assertSame($before, $session());
    }

    public function testAPositionThatIsNotRightIsTheServersAffair(): void
    {
        $this->publish('a');
        $right = $this->db->position();

        foreach (['', 'o0000002a:5', substr($right, 0, 10) . '0.abc', 'o0000002a:9999999999999999999.abc'] as $value) {
            $this->db->run("UPDATE #__websockets_state SET value = '$value' WHERE name = 'position'");
            $this->outbox->upkeep();
            $this->assertSame(['a'], $this->numbers(), $value);
            $this->assertSame($value, $this->db->position());
        }

        $this->db->run("DELETE FROM #__websockets_state WHERE name = 'position'");
        $this->outbox->upkeep();
        $this->assertSame(['a'], $this->numbers());
        $this->assertNull($this->db->position());
    }

    public function testAConnectionThatWasMadeAnewStampsNothing(): void
    {
        $this->publish('a');
        $position = $this->db->position();

        foreach (['/^UPDATE #__websockets_outbox/', '/^UPDATE #__websockets_state/'] as $statement) {
            $this->db->before($statement, fn () => $this->db->reconnect());
            $this->outbox->upkeep();
            $this->assertSame([['a'], $position], [$this->numbers(), $this->db->position()]);
        }

        $this->outbox->upkeep();
        $this->assertSame(['a2'], $this->numbers());
    }

    // --- deletion ----------------------------------------------------------------------------------------------------

    public function testWhatIsOldIsDeletedInTheOrderOfTheNumbers(): void
    {
        $this->stampedAgo(7200, 3700, 3500, 7200, 0);
        $this->outbox->upkeep();
        $this->assertSame(['c3', 'c4', 'c5'], $this->numbers());
        $this->outbox->upkeep();
        $this->assertCount(3, $this->db->published());
    }

    public function testTheNewestIsNeverDeleted(): void
    {
        $this->stampedAgo(7200, 7200, 7200);
        $this->outbox->upkeep();
        $this->assertSame(['3'], array_column($this->db->rows('SELECT seq FROM #__websockets_outbox'), 'seq'));
        $this->outbox->upkeep();
        $this->assertSame(['3'], array_column($this->db->rows('SELECT seq FROM #__websockets_outbox'), 'seq'));
    }

    public function testWhatHasNoNumberIsNotDeletedHoweverOldItIs(): void
    {
        $this->stampedAgo(7200, 7200);
        $this->db->run("DELETE FROM #__websockets_state WHERE name = 'position'");
        $this->publish('a');
        $this->db->run("UPDATE #__websockets_outbox SET created = '2020-01-01'");
        $this->outbox->upkeep();
        $this->assertSame(['c2', 'a'], $this->numbers());
    }

    public function testAtMostSoManyAreDeletedAtATime(): void
    {
        $this->stampedAgo(...array_fill(0, Upkeep::BATCH + 10, 7200));
        $count = fn (): string => $this->db->rows('SELECT COUNT(*) AS number FROM #__websockets_outbox')[0]['number'];
        $this->outbox->upkeep();
        $this->assertSame('10', $count());
        $this->outbox->upkeep();
        $this->assertSame('1', $count());
    }

    public function testOneDeletesAtATimeAndNobodyWaits(): void
    {
        $this->stampedAgo(7200, 7200, 0);
        $other = $this->db->another();
        $other->transactionStart();
        $other->rows("SELECT name FROM #__websockets_state WHERE name = 'deleter' FOR UPDATE");
        $this->assertAtOnce(fn () => $this->outbox->upkeep());
        $this->assertCount(3, $this->db->published());
        $other->transactionRollback();

        // The first row to delete, and one in the middle, which MySQL notices after a second.
        foreach (['1' => self::AT_ONCE, '2' => $this->db->isMariaDb() ? self::AT_ONCE : 3] as $seq => $seconds) {
            $other->transactionStart();
            $other->rows("SELECT id FROM #__websockets_outbox WHERE seq = $seq FOR UPDATE");
            $this->assertAtOnce(fn () => $this->outbox->upkeep(), $seconds);
            $other->transactionRollback();
            $this->assertCount(3, $this->db->published());
        }

        $this->db->run("DELETE FROM #__websockets_state WHERE name = 'deleter'");
        $this->outbox->upkeep();
        $this->assertCount(3, $this->db->published(), 'nothing to hold');
    }

    public function testWritersDoNotWaitForADeletion(): void
    {
        $this->stampedAgo(7200, 7200, 0);
        $writer = $this->db->another();
        $this->db->beforeCommit = function () use ($writer): void {
            $writer->run('SET SESSION innodb_lock_wait_timeout = 1');
            $this->assertAtOnce(fn () => $this->publishBy($writer, 'meanwhile', '#control'));
        };
        $this->outbox->upkeep();
        $this->assertSame(['c', 'meanwhile', '#control'], array_column($this->db->published('channel'), 'channel'));
    }

    public function testTransactionsThatAreOpenDoNotHoldUpADeletion(): void
    {
        $this->stampedAgo(7200, 7200, 7200, 0);
        $writer = $this->db->another();
        $writer->transactionStart();
        $this->publishBy($writer, 'open', '#control');
        $this->assertAtOnce(fn () => $this->outbox->upkeep());
        $this->assertSame(['4'], array_column($this->db->published('seq'), 'seq'));
        $writer->transactionCommit();
        $this->assertCount(3, $this->db->published());
    }

    // --- whether -----------------------------------------------------------------------------------------------------

    public function testWhereAServerIsAliveItDoesNothing(): void
    {
        $this->stampedAgo(7200, 7200);
        $this->publish('a');
        $this->db->run("INSERT INTO #__websockets_state
            VALUES ('process.0000abcd', 'o0000002a:1.abc', UTC_TIMESTAMP(3) - INTERVAL 55 SECOND)");
        $this->db->statements = [];
        $this->outbox->upkeep();
        $tables = preg_grep('/#__/', $this->db->statements);
        $this->assertCount(1, $tables, 'which is one read');
        $this->assertSame(['c1', 'c2', 'a'], $this->numbers());

        $this->db->run('UPDATE #__websockets_state SET updated = updated - INTERVAL 10 SECOND');
        $this->outbox->upkeep();
        $this->assertSame(['a3'], $this->numbers());
    }

    public function testATableWithoutAServerStaysSmall(): void
    {
        for ($day = 0; $day < 5; $day++) {
            $this->publish(...array_fill(0, 50, 'a'));
            $this->outbox->upkeep();
            $this->db->run('UPDATE #__websockets_outbox SET stamped = stamped - INTERVAL 1 DAY');
        }

        $this->assertLessThanOrEqual(51, \count($this->db->published()));
    }

    // --- to say it shortly -------------------------------------------------------------------------------------------

    private function publish(string ...$channels): void
    {
        $this->publishBy($this->db, ...$channels);
    }

    /** Authors publish so, and version 0.1.0 of the package did. */
    private function publishBy(Database $db, string ...$channels): void
    {
        $rows = array_map(static fn (string $channel): string => "('$channel', 'e', '1', UTC_TIMESTAMP(3))", $channels);
        $db->run('INSERT INTO #__websockets_outbox (channel, event, data, created) VALUES ' . implode(', ', $rows));
    }

    /** Replaces all rows by rows that were stamped so many seconds ago, with the numbers 1, 2, 3 … */
    private function stampedAgo(int ...$seconds): void
    {
        $rows = array_map(
            static fn (int $number, int $ago): string =>
                "($number, UTC_TIMESTAMP(3) - INTERVAL $ago SECOND, 'c', 'e', '1', UTC_TIMESTAMP(3))",
            range(1, \count($seconds)),
            $seconds
        );
        $columns  = 'seq, stamped, channel, event, data, created';
        $position = 'o0000002a:' . \count($rows) . '.abc';
        $this->db->run('DELETE FROM #__websockets_outbox')
            ->run("INSERT INTO #__websockets_outbox ($columns) VALUES " . implode(', ', $rows))
            ->run("UPDATE #__websockets_state SET value = '$position' WHERE name = 'position'");
    }

    /** @return  string[]  numbers as the database writes them */
    private function texts(int $from, int $to): array
    {
        return array_map('strval', range($from, $to));
    }

    /** Channel and number of each published row, in the order of their ids. */
    private function numbers(): array
    {
        return array_map(
            static fn (array $row): string => $row['channel'] . $row['seq'],
            $this->db->published('channel, seq')
        );
    }

    private function column(string $name, array $rows, string $channel): array
    {
        $isOn = static fn (array $row): bool => $row['channel'] === $channel;

        return array_values(array_column(array_filter($rows, $isOn), $name));
    }

    private function mark(): string
    {
        return "LOWER(CONV(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', stamped) DIV 1000, 10, 36))";
    }

    private function assertAtOnce(\Closure $do, float $seconds = self::AT_ONCE): void
    {
        $began = microtime(true);
        $do();
        $this->assertLessThan($seconds, microtime(true) - $began, 'it waited');
    }
}
