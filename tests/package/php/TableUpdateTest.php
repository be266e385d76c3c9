<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Tests\Package;

use Jsocketd\Component\Websockets\Administrator\Publish\DatabaseError;
use Jsocketd\Component\Websockets\Administrator\Publish\Outbox;
use Jsocketd\Component\Websockets\Administrator\Setup\TableUpdate;
use PHPUnit\Framework\TestCase;

/**
 * The update of tables from version 1 to version 2, while the site is in use, and after an interruption at any place.
 */
final class TableUpdateTest extends TestCase
{
    private Database $db;

    protected function setUp(): void
    {
        $this->db = (new Database('package_update'))->installVersion1();
    }

    protected function tearDown(): void
    {
        Database::closeAll();
    }

    public function testRowsKeepTheirOrderAndTheirTime(): void
    {
        $this->publish($this->db, 3);
        $this->db->run('DELETE FROM #__websockets_outbox WHERE id = 2');
        $this->update();

        $rows = $this->db->rows('SELECT id, seq, stamped = created AS same FROM #__websockets_outbox ORDER BY id');
        $this->assertSame([['1', '1', '1'], ['3', '3', '1']], array_map('array_values', $rows));
        $this->assertIsVersion2(3);

        $state = $this->db->rows('SELECT name, value FROM #__websockets_state ORDER BY name');
        $this->assertSame(['deleter', 'position', 'schema'], array_column($state, 'name'));
        $this->assertSame(['', '2'], [$state[0]['value'], $state[2]['value']]);
        $this->assertStringStartsNotWith('o0000002a:', $state[1]['value'], 'positions of version 1 mean nothing now');
        $this->assertSame($state[1]['value'], (new Outbox($this->db))->position());
    }

    public function testTheTablesAreThoseOfANewInstallation(): void
    {
        $this->update();
        $this->assertIsVersion2(1);
        $made = fn (): string => preg_replace('/ AUTO_INCREMENT=\d+/', '', json_encode([
            $this->db->rows('SHOW CREATE TABLE #__websockets_outbox'),
            $this->db->rows('SHOW CREATE TABLE #__websockets_state'),
        ]));
        $updated = $made();
        $this->db = (new Database('package_update'))->install();
        $this->assertSame($made(), $updated);
    }

    public function testEmptyTablesGetTheFirstRow(): void
    {
        $this->update();
        $rows = $this->db->rows('SELECT seq, channel, event, data FROM #__websockets_outbox');
        $this->assertSame([['1', '#control', 'begin', '{}']], array_map('array_values', $rows));
        $this->assertIsVersion2(1);
    }

    public function testTheInstallationsStatementsChangeNothingAfterwards(): void
    {
        $this->publish($this->db, 3);
        $this->update();
        $all = fn (): array => [
            $this->db->rows('SELECT * FROM #__websockets_outbox'),
            $this->db->rows('SELECT * FROM #__websockets_state'),
        ];
        $was = $all();
        $this->db->install();
        $this->assertSame($was, $all());
        $this->update();
        $this->assertSame($was, $all());
    }

    public function testManyRowsAreDoneInSteps(): void
    {
        $this->publish($this->db, 2 * TableUpdate::STEP + 1);
        $this->db->statements = [];
        $this->update();
        $this->assertCount(3, preg_grep('/^UPDATE #__websockets_outbox/', $this->db->statements));
        $this->assertIsVersion2(2 * TableUpdate::STEP + 1);
        $left = $this->db->rows('SELECT COUNT(*) AS number FROM #__websockets_outbox WHERE seq IS NULL OR seq <> id');
        $this->assertSame('0', $left[0]['number']);
    }

    public function testATransactionThatIsOpenIsNotLostAndWaitsForNobody(): void
    {
        $this->publish($this->db, 2);
        $writer = $this->db->another();
        // It begins after the columns were added. An older transaction delays the update: see below.
        $this->db->before('/^SELECT MAX\(id\)/', function () use ($writer): void {
            $writer->transactionStart();
            $this->publish($writer, 2);
            $this->publish($this->db->another(), 1);
        });
        $this->update();
        $this->assertIsVersion2(5);
        $writer->transactionCommit();
        $this->assertSame(['1', '2', null, null, '5'], $this->numbers());
        (new Outbox($this->db))->upkeep();
        $this->assertSame(['1', '2', '6', '7', '5'], $this->numbers());
    }

    public function testItGoesOnWhereItWasStopped(): void
    {
        $this->publish($this->db, TableUpdate::STEP + 10);

        $second = '/^UPDATE #__websockets_outbox .*\b' . (TableUpdate::STEP + 5) . '\b/';

        foreach (['/^SELECT MAX\(id\)/', $second, '/^REPLACE .*deleter/', '/^REPLACE .*schema/'] as $at) {
            $this->db->before($at, static fn () => throw new \RuntimeException('stopped'));

            try {
                $this->update();
                $this->fail("it was not stopped at $at");
            } catch (\RuntimeException $error) {
                $this->assertSame('stopped', $error->getMessage());
            }

            $this->assertSame('1', $this->db->state('schema'));
            $this->assertNull($this->db->position(), 'nobody gives numbers meanwhile');
            (new Outbox($this->db))->upkeep();
            $this->publish($this->db, 1);
        }

        $this->update();
        $this->assertIsVersion2(TableUpdate::STEP + 14);
        $left = $this->db->rows('SELECT COUNT(*) AS number FROM #__websockets_outbox WHERE seq IS NULL OR seq <> id');
        $this->assertSame('0', $left[0]['number']);
    }

    public function testALockIsWaitedForInShortSteps(): void
    {
        $this->publish($this->db, 2);
        $old = $this->db->another();
        $old->transactionStart();
        $this->publish($old, 1);
        $tries = 0;
        $this->db->before('/^ALTER/', function () use ($old, &$tries): void {
            if (++$tries === 3) {
                $old->transactionCommit();
            }
        }, 3);
        $began = microtime(true);
        $this->update();
        $this->assertSame(3, $tries);
        $this->assertLessThan(8, microtime(true) - $began);
        $this->assertIsVersion2(3);
    }

    public function testALockThatIsNeverGivenUpEndsIt(): void
    {
        $this->publish($this->db, 2);
        $old = $this->db->another();
        $old->transactionStart();
        $this->publish($old, 1);
        $session = fn (): array => $this->db->rows('SELECT @@lock_wait_timeout, @@innodb_lock_wait_timeout');
        $before  = $session();
        $began   = microtime(true);

        try {
            (new TableUpdate($this->db, 3))->run();
            $this->fail('it is locked');
        } catch (\RuntimeException $error) {
            $this->assertTrue((new DatabaseError($error))->isBusy());
        }

        $this->assertLessThan(8, microtime(true) - $began);
        $this->assertSame($before, $session());
        $row = $this->db->rows('SELECT * FROM #__websockets_outbox')[0];
        $this->assertArrayNotHasKey('seq', $row, 'nothing was changed');
        $old->transactionCommit();
        $this->assertCount(3, $this->db->rows('SELECT * FROM #__websockets_outbox'));
    }

    public function testWithoutThePrivilegeNothingIsChanged(): void
    {
        $this->publish($this->db, 2);
        $this->db->run("DROP USER IF EXISTS 'package_update'@'localhost';
            CREATE USER 'package_update'@'localhost' IDENTIFIED BY 'a password';
            GRANT SELECT, INSERT, UPDATE, DELETE ON package_update.* TO 'package_update'@'localhost'");
        $limited = $this->db->another('package_update', 'a password');

        try {
            (new TableUpdate($limited))->run();
            $this->fail('it may not');
        } catch (\RuntimeException $error) {
            $this->assertTrue((new DatabaseError($error))->isDenied(), $error->getMessage());
            $this->assertStringContainsString('ALTER', $error->getMessage());
        }

        $this->assertArrayNotHasKey('seq', $this->db->rows('SELECT * FROM #__websockets_outbox')[0]);
    }

    public function testOnlyOneOfTwoThatUpdateWritesThePosition(): void
    {
        $this->publish($this->db, 2);
        $other    = $this->db->another();
        $position = '';
        $this->db->before("/^SELECT value .* FOR UPDATE/", function () use ($other, &$position): void {
            (new TableUpdate($other))->run();
            $position = $other->position();
        });
        $this->update();
        $this->assertSame($position, $this->db->position());
        $this->assertIsVersion2(2);
    }

    public function testTablesOfWhichOneIsMissing(): void
    {
        // The rows without the state: the update numbers them, and the statements of the installation do the rest.
        $this->publish($this->db, 2);
        $this->db->run('DROP TABLE #__websockets_state');
        $this->update();
        $this->db->install();
        $this->assertIsVersion2(2);

        // The state without the rows: the statements of the installation come first.
        $this->db = (new Database('package_update'))->installVersion1()->run('DROP TABLE #__websockets_outbox');
        $this->update();
        $this->db->install();
        $this->update();
        $this->assertIsVersion2(1);
    }

    public function testWhatIsNewerOrNotThereStaysAsItIs(): void
    {
        $this->db = (new Database('package_update'));
        $this->update();
        $this->assertSame([], $this->db->rows('SHOW TABLES'));

        $this->db->install()->run("UPDATE #__websockets_state SET value = '3' WHERE name = 'schema'");
        $this->publish($this->db, 1);
        $this->update();
        $this->assertSame('3', $this->db->state('schema'));
        $this->assertSame(['1', null], $this->numbers());
    }

    private function update(): void
    {
        (new TableUpdate($this->db))->run();
    }

    private function publish(Database $db, int $count): void
    {
        $db->run("INSERT INTO #__websockets_outbox (channel, event, data, created) VALUES "
            . implode(', ', array_fill(0, $count, "('news', 'e', '1', UTC_TIMESTAMP(3) - INTERVAL 10 SECOND)")));
    }

    /** A column of all rows, in the order of their ids. */
    private function numbers(): array
    {
        return array_column($this->db->rows('SELECT seq FROM #__websockets_outbox ORDER BY id'), 'seq');
    }

    /** Checks that the newest row has this number and that the position is its position. */
    private function assertIsVersion2(int $newest): void
    {
        $mark = "LOWER(CONV(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', stamped) DIV 1000, 10, 36))";
        $row  = $this->db->rows("SELECT seq, $mark AS mark FROM #__websockets_outbox ORDER BY seq DESC LIMIT 1")[0];
        $this->assertSame((string) $newest, $row['seq']);
        $position = '/^o(?!0{8})[0-9a-f]{8}:' . $newest . '\.' . $row['mark'] . '$/D';
        $this->assertMatchesRegularExpression($position, $this->db->position());
        $this->assertSame('2', $this->db->state('schema'));
        $this->assertSame('', $this->db->state('deleter'));
    }
}
