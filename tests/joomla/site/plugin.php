<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

/*
 * Sets whether a plugin of a site is enabled, and its parameters, and prints how it was before in the same form:
 *
 *     php plugin.php JOOMLA_ROOT FOLDER ELEMENT '{"enabled":1,"params":"{}"}'
 */

[, $root, $folder, $element, $wanted] = $argv;
require $root . '/configuration.php';

$config = new JConfig();
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
// localhost, host:port or unix:/path/to/socket
preg_match('/^(?:unix:(?<socket>.+)|(?<host>[^:]+)(?::(?<port>\d+))?)$/', $config->host, $place);
$db    = new mysqli($place['host'] ?: null, $config->user, $config->password, $config->db, (int) ($place['port'] ?? 0), $place['socket'] ?: null);
$where = "WHERE type = 'plugin' AND folder = ? AND element = ?";
$read  = $db->prepare("SELECT enabled, params FROM {$config->dbprefix}extensions $where");
$read->bind_param('ss', $folder, $element);
$read->execute();
echo json_encode($read->get_result()->fetch_assoc());

$set = json_decode($wanted, true, 512, JSON_THROW_ON_ERROR);
$write = $db->prepare("UPDATE {$config->dbprefix}extensions SET enabled = ?, params = ? $where");
$write->bind_param('isss', $set['enabled'], $set['params'], $folder, $element);
$write->execute();
