<?php

// The back end of the small site, for browser tests: the component's real views, templates and tasks with stand-ins for
// Joomla's classes (backend.php). index.php includes it for every path that begins with /administrator, and sets $db,
// $settings, $config and $user. The component's options are those of the row in #__extensions.
// /administrator/index.php?option=com_websockets&view=console or status shows a page, with &dark=1 in dark colours.
// &task=chain.http and chain.outbox are the tasks. Every visitor may do everything here, or with &plain=1 everything
// with the component. The server at the socket decides for itself.

use Joomla\CMS\Component\ComponentHelper;
use Joomla\CMS\Factory;
use Joomla\CMS\Language\Text;
use Jsocketd\Component\Websockets\Administrator\Controller\ChainController;
use Jsocketd\Component\Websockets\Administrator\Extension\WebsocketsComponent;
use Jsocketd\Component\Websockets\Administrator\Model\StatusModel;
use Jsocketd\Component\Websockets\Administrator\View\Console\HtmlView as ConsoleView;
use Jsocketd\Component\Websockets\Administrator\View\Status\HtmlView as StatusView;
use Jsocketd\Tests\Site\App;
use Jsocketd\Tests\Site\Dispatchers;
use Jsocketd\Tests\Site\Input;

require __DIR__ . '/backend.php';

\defined('JPATH_ROOT') || \define('JPATH_ROOT', getenv('SITE_ROOT'));
\defined('JVERSION') || \define('JVERSION', '6.1.0');

ComponentHelper::$params = json_decode($params, true);
$component    = new WebsocketsComponent(new Dispatchers(), $db);
Factory::$app = new App(md5($config->secret . $user . substr(hash('sha256', 'token' . $user), 0, 32)), $component);

if (preg_match('/^chain\.(http|outbox)$/D', $_GET['task'] ?? '', $part)) {
    (new ChainController(Factory::$app, new Input()))->{$part[1]}();
}

$name            = ($_GET['view'] ?? '') === 'status' ? 'status' : 'console';
$view            = $name === 'status' ? new StatusView() : new ConsoleView();
$view->document  = Factory::$app;
$view->model     = new StatusModel();
$view->model->database = $db;
ob_start();
$view->display();
$body  = ob_get_clean();
$dark  = !empty($_GET['dark']);
$nonce = base64_encode(random_bytes(16));
header("Content-Security-Policy: default-src 'none'; script-src 'self' 'nonce-$nonce'; style-src 'self'; form-action 'self';"
    . " connect-src 'self' {$settings->socketOrigin()}; img-src data:");
header('Content-Type: text/html; charset=utf-8');
header('Cache-Control: no-store');
?>
<!doctype html>
<html lang="en-GB" data-bs-theme="<?php echo $dark ? 'dark' : 'light'; ?>">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Websockets: <?php echo $name; ?></title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/site/admin.css">
<link rel="stylesheet" href="/media/com_websockets/css/admin.min.css?0">
<?php echo scriptOptions(Factory::$app->options + ['csrf.token' => Factory::$app->token, 'joomla.jtext' => Text::$scripts]); ?>

<script src="/site/core.js"></script>
<script type="module" src="/media/com_websockets/js/<?php echo $name; ?>.min.js?0"></script>
</head>
<body>
<main>
<h1>Websockets: <?php echo $name; ?></h1>
<?php echo $body; ?>
</main>
</body>
</html>
