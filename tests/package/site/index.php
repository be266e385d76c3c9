<?php

// A small site for the browser tests, which PHP's built-in server runs (stand.mjs). It has pages with the plugin's
// options, made by the package's own classes, an address for publishing, and the media folder. SITE_ROOT has a
// configuration.php, SITE_MEDIA is the built media folder. Pages of the back end come from admin.php.

use Joomla\Database\Driver;
use Jsocketd\Component\Websockets\Administrator\Publish\Event;
use Jsocketd\Component\Websockets\Administrator\Publish\Outbox;
use Jsocketd\Component\Websockets\Administrator\Publish\Options;
use Jsocketd\Component\Websockets\Administrator\Publish\Publisher;
use Jsocketd\Component\Websockets\Administrator\Server\Client;
use Jsocketd\Component\Websockets\Administrator\Settings;

\define('_JEXEC', 1);
require __DIR__ . '/joomla.php';
require getenv('SITE_ROOT') . '/configuration.php';

spl_autoload_register(static function (string $class): void {
    $prefix = 'Jsocketd\\Component\\Websockets\\Administrator\\';

    if (str_starts_with($class, $prefix)) {
        $name = str_replace('\\', '/', substr($class, \strlen($prefix)));
        require __DIR__ . '/../../../joomla/com_websockets/admin/src/' . $name . '.php';
    }
});

$began = microtime(true);
$path  = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);

if (preg_match('~^/(?:media/com_websockets|(site))/([\w./-]+\.(js|css|json|txt))$~D', $path, $part) && !str_contains($path, '..')) {
    $types = ['js' => 'text/javascript', 'css' => 'text/css', 'json' => 'application/json', 'txt' => 'text/plain'];
    $file  = ($part[1] ? __DIR__ : getenv('SITE_MEDIA')) . '/' . $part[2];
    header('Content-Type: ' . $types[$part[3]] . '; charset=utf-8', true, is_file($file) ? 200 : 404);
    header('Cache-Control: max-age=60');
    is_file($file) && readfile($file);

    return;
}

$config   = new JConfig();
$db       = new Driver($config);
$params   = $db->setQuery("SELECT params FROM #__extensions WHERE element = 'com_websockets' AND type = 'component'")->loadResult();
$settings = Settings::of(json_decode($params, true));
$outbox   = new Outbox($db);
$cookie   = md5(md5($config->secret . 'site'));
$session  = $db->quote($_COOKIE[$cookie] ?? '');
$user     = (int) $db->setQuery("SELECT userid FROM #__session WHERE session_id = $session AND guest = 0")->loadResult();

if (str_starts_with($path, '/administrator')) {
    require __DIR__ . '/admin.php';

    return;
}

if ($path === '/publish') {
    $publisher = new Publisher($settings, $outbox, new Client($settings), static fn (string $why) => error_log($why));
    $said      = json_decode(file_get_contents('php://input'), true, 16, JSON_THROW_ON_ERROR);

    foreach ($said as [$channel, $event, $data, $via]) {
        if ($channel === '#control') {
            match ($event) {
                'recheck-item'   => $publisher->recheckItem($data['type'], $data['id']),
                'recheck-user'   => $publisher->recheckUser($data['user_id']),
                'terminate-user' => $publisher->kickUser($data['user_id']),
            };

            continue;
        }

        $publisher->publish($channel, $event, $data, new Options(strict: true, via: $via === 'http' ? Options::HTTP : Options::OUTBOX));
    }

    echo '{}';
    $publisher->afterResponse();

    return;
}

// The example of docs/client.md, and the page that it requests.
if ($path === '/example.js') {
    preg_match('/^```js\n(.*?)^```$/ms', file_get_contents(__DIR__ . '/../../../docs/client.md'), $example);
    header('Content-Type: text/javascript');
    echo $example[1];

    return;
}

if ($path === '/index.php') {
    echo '<p>The newest.</p>';

    return;
}

if ($path !== '/') {
    http_response_code(404);

    return;
}

// The options that the plugin adds to a page. With `cached` the browser's cache may keep the page.
$wanted  = $_GET + ['id' => 1, 'cached' => 0, 'bar' => 1, 'spread' => $settings->spreadMs, 'position' => null, 'dark' => 0, 'own' => 0, 'example' => 0, 'picture' => 0];
$options = [
    'url'      => $settings->serverUrl,
    'key'      => $settings->appKey,
    'module'   => '/media/com_websockets/js/websockets.min.js?0',
    'position' => $wanted['position'] ?? $outbox->position(),
    'spread'   => (int) $wanted['spread'],
    'member'   => $user > 0,
    'item'     => ['context' => 'com_content.article', 'id' => (int) $wanted['id'], 'at' => (int) ($began * 1000)],
];
$texts = $_GET['texts'] ?? [
    'COM_WEBSOCKETS_BAR_CHANGED' => 'This page was updated just now.',
    'COM_WEBSOCKETS_BAR_GONE'    => 'This page is no longer available.',
    'COM_WEBSOCKETS_BAR_GAP'     => 'This page may be out of date.',
    'COM_WEBSOCKETS_BAR_RELOAD'  => 'Reload',
    'COM_WEBSOCKETS_BAR_DISMISS' => 'Dismiss',
];
$origin = $settings->socketOrigin();
header("Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' $origin; img-src data:");
header('Content-Type: text/html; charset=utf-8');
header('Cache-Control: ' . ($wanted['cached'] ? 'max-age=60' : 'no-cache'));
?>
<!doctype html>
<html lang="en-GB"<?php echo $wanted['dark'] ? ' class="dark"' : ''; ?>>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Article <?php echo (int) $wanted['id']; ?></title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/site/site.css">
<?php if ($wanted['bar']) : ?>
<link rel="stylesheet" href="/media/com_websockets/css/bar.min.css?0">
<?php endif; ?>
<?php echo scriptOptions([
    'com_websockets' => $options,
    'csrf.token'     => md5($config->secret . $user . substr(hash('sha256', 'token' . $user), 0, 32)),
    'joomla.jtext'   => $texts,
]); ?>

<?php if ($wanted['own']) : ?>
<script src="/site/own-pusher.js"></script>
<?php endif; ?>
<script src="/site/core.js"></script>
<script type="module" src="/media/com_websockets/js/client.min.js?0"></script>
<?php if ($wanted['example']) : ?>
<script type="module" src="/example.js"></script>
<?php endif; ?>
<?php if ($wanted['bar']) : ?>
<script type="module" src="/media/com_websockets/js/bar.min.js?0"></script>
<?php endif; ?>
</head>
<body>
<?php if ($wanted['picture']) : ?>
<?php require __DIR__ . '/visitor.php'; ?>
<?php else : ?>
<main>
<h1>Article <?php echo (int) $wanted['id']; ?></h1>
<p>Read by <?php echo $user ? "user $user" : 'a guest'; ?>. <a href="#more">More</a></p>
<p>The quick brown fox jumps over the lazy dog, again and again, until the page has something to scroll and the bar something to cover.</p>
<div id="newest"></div>
<p id="more"><label>Notes <input name="notes"></label></p>
</main>
<?php endif; ?>
</body>
</html>
