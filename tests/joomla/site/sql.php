<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

/*
 * Runs statements in a site's database and prints the rows of the last one as JSON; #__ stands for the prefix:
 *
 *     php sql.php JOOMLA_ROOT 'SHOW TABLES LIKE "#__content"'
 */

[, $root, $statements] = $argv;
require $root . '/configuration.php';

$config = new JConfig();
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
// localhost, host:port or unix:/path/to/socket
preg_match('/^(?:unix:(?<socket>.+)|(?<host>[^:]+)(?::(?<port>\d+))?)$/', $config->host, $place);
$db = new mysqli($place['host'] ?: null, $config->user, $config->password, $config->db, (int) ($place['port'] ?? 0), $place['socket'] ?: null);
$db->multi_query(str_replace('#__', $config->dbprefix, $statements));

do {
    $result = $db->store_result();
    $rows   = $result ? $result->fetch_all(MYSQLI_ASSOC) : [];
} while ($db->next_result());

echo json_encode($rows);
