<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

/*
 * The cost of publishing and of a page in a request, beside a bare INSERT through the same driver:
 *
 *     scripts/mariadb run php tests/package/php/cost.php
 *
 * Each is done 2000 times in turns with the others, and the medians are printed. The server of scripts/mariadb does not
 * wait for the disk: on a site each INSERT that commits by itself waits as long as any other statement that writes.
 */

namespace Jsocketd\Tests\Package;

use Joomla\CMS\Application\CMSApplication;
use Joomla\Event\Event as JoomlaEvent;

require __DIR__ . '/bootstrap.php';

const ROUNDS = 2000;

$db = (new Database('package_cost'))->install()->run(
    'CREATE TABLE #__categories (id INT PRIMARY KEY, level INT, lft INT, rgt INT, extension VARCHAR(50), published INT, access INT, KEY (lft, rgt));'
    . "INSERT INTO #__categories VALUES (1, 0, 0, 3, 'system', 1, 1), (9, 1, 1, 2, 'com_content', 1, 1);"
    . 'CREATE TABLE #__content (id INT PRIMARY KEY, catid INT, state INT, access INT, publish_up DATETIME, publish_down DATETIME);'
    . 'INSERT INTO #__content VALUES (17, 9, 1, 1, NULL, NULL);'
    . "INSERT INTO #__websockets_state VALUES ('process.0000abcd', 'o0000002a:17.abc', UTC_TIMESTAMP(3))"
);
$bare = "INSERT INTO #__websockets_outbox (channel, event, data, created) VALUES ('private-user-42', 'message', '{}', UTC_TIMESTAMP(3))";
$site = new Site(new CMSApplication('administrator'), $db);
$save = ['com_content.article', (object) ['id' => 17], false];
$work = [
    'a bare INSERT'                                                      => static fn () => $db->setQuery($bare)->execute(),
    'publish()'                                                          => static fn () => $site->publisher->toUser(42, 'message', ['unread' => 3]),
    "an article's save: two reads, and three hints and a row in one INSERT" => static function () use ($site, $save): void {
        $site->dispatch(new JoomlaEvent('onContentBeforeSave', $save));
        $site->dispatch(new JoomlaEvent('onContentAfterSave', $save));
        $written = new \ReflectionMethod($site->plugin, 'write');
        $written->invoke($site->plugin);
    },
    "a page: the position"                                               => static fn () => $site->outbox->position(),
];
$times = array_fill_keys(array_keys($work), []);

for ($round = 0; $round < ROUNDS; $round++) {
    foreach ($work as $what => $do) {
        $began          = hrtime(true);
        $do();
        $times[$what][] = hrtime(true) - $began;
    }
}

foreach ($times as $what => $each) {
    sort($each);
    $median = $each[intdiv(ROUNDS, 2)] / 1e6;
    $first ??= $median;
    printf("%-70s %6.3f ms  %5.2f×\n", $what, $median, $median / $first);
}
