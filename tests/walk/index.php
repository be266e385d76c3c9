<?php

// The smallest site for tests/walk: one page with a guest's session and the package's options, as Joomla 6 makes them.

require __DIR__ . '/configuration.php';

mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
$config = new JConfig();
$db     = new mysqli($config->host, $config->user, $config->password, $config->db);
$name   = md5(md5($config->secret . 'site'));
$id     = $_COOKIE[$name] ?? bin2hex(random_bytes(16));
$row    = $db->prepare("INSERT IGNORE INTO {$config->dbprefix}session (session_id, client_id, guest, time, data, userid, username)"
    . " VALUES (?, 0, 1, UNIX_TIMESTAMP(), ?, 0, '')");
$row->execute([$id, file_get_contents(__DIR__ . '/session.txt')]);
setcookie($name, $id, ['path' => '/', 'httponly' => true]);

$sql    = "SELECT params, manifest_cache FROM {$config->dbprefix}extensions WHERE element = 'com_websockets'";
$com    = $db->query($sql)->fetch_object();
$params = json_decode($com->params ?? '{}');
$script = [
    'url'    => $params->server_url ?? '',
    'key'    => $params->app_key ?? '',
    'module' => '/media/com_websockets/js/websockets.min.js?' . (json_decode($com->manifest_cache ?? '{}')->version ?? ''),
];
?>
<!doctype html>
<html lang="en-GB">
<head>
<title>The smallest site</title>
<script type="application/json" class="joomla-script-options new"><?php echo json_encode(['com_websockets' => $script]); ?></script>
</head>
<body><p>It is small.</p></body>
</html>
