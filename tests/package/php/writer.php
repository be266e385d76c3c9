<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

/*
 * Publishes numbers from 1 to a last one on a channel, in transactions of all kinds, some of which are rolled back, and
 * looks after the table now and then as every request does:
 *
 *     php tests/package/php/writer.php DATABASE CHANNEL LAST
 */

namespace Jsocketd\Tests\Package;

use Jsocketd\Component\Websockets\Administrator\Publish\Outbox;

require __DIR__ . '/bootstrap.php';

[, $name, $channel, $last] = $argv;
$db     = new Database($name, false);
$insert = static fn (int $number) => $db->run(
    "INSERT INTO #__websockets_outbox (channel, event, data, created)
        VALUES ('$channel', 'e', '$number', UTC_TIMESTAMP(3))"
);
$levels = $db->levels();
echo "ready\n";

for ($number = 1; $number <= $last; $number++) {
    $db->run('SET SESSION TRANSACTION ISOLATION LEVEL ' . $levels[$number % \count($levels)]);

    if ($number % 4 === 0) {
        $db->transactionStart();
        $insert(-$number);
        $db->transactionRollback();
    }

    $db->transactionStart();
    $insert($number);

    if ($number % 5 === 0) {
        usleep(5000);
    }

    $db->transactionCommit();

    if ($number % 10 === 0) {
        (new Outbox($db))->upkeep();
    }
}

echo 'done';
