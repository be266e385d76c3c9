<?php

// Prints a page of the back end with stand-ins for ../php/AdminPagesTest.php, in the pseudo-locale if PSEUDO_LOCALE is
// set. The argument is console, console-bare, status or status-bad. With a second argument the options of the script
// follow. The values of the page are in capital letters, so that they differ from texts.

use Joomla\CMS\Component\ComponentHelper;
use Joomla\CMS\Factory;
use Jsocketd\Component\Websockets\Administrator\Server\ServerFailure;
use Jsocketd\Component\Websockets\Administrator\Settings;
use Jsocketd\Component\Websockets\Administrator\Setup\ConsolePage;
use Jsocketd\Component\Websockets\Administrator\Setup\Site;
use Jsocketd\Component\Websockets\Administrator\Setup\StatusPage;
use Jsocketd\Component\Websockets\Administrator\Status\Facts;
use Jsocketd\Component\Websockets\Administrator\View\Console\HtmlView as ConsoleView;
use Jsocketd\Component\Websockets\Administrator\View\Status\HtmlView as StatusView;
use Jsocketd\Tests\Site\App;

\define('_JEXEC', 1);
require __DIR__ . '/backend.php';

spl_autoload_register(static function (string $class): void {
    $name = str_replace(['Jsocketd\\Component\\Websockets\\Administrator\\', '\\'], ['', '/'], $class);
    $file = __DIR__ . '/../../../joomla/com_websockets/admin/src/' . $name . '.php';
    is_file($file) && require $file;
});

Factory::$app = new App('0123456789abcdef', new stdClass());
$evil         = '<img src=x onerror=alert(1)>"\'&';
$which        = $argv[1];
$secrets      = ['app_secret' => 'SECRETSECRET', 'app_secret_old' => 'SECRETOLD', 'app_secret_old_until' => time() + 60];
ComponentHelper::$params = $secrets;

if (str_starts_with($which, 'console')) {
    $bare       = $which === 'console-bare';
    $view       = new ConsoleView();
    $view->page = new ConsolePage(new Site('https://1.example/', '/1', $bare ? '' : 'wss://1.example/2', ''), !$bare, true, 'database', '');
} else {
    $bad      = $which === 'status-bad';
    $settings = Settings::of(['server_url' => 'wss://1.example/2', 'app_id' => '4', 'app_key' => '5', 'enabled' => !$bad] + $secrets);
    $status   = ['product' => 'jsocketd', 'version' => '7', 'uptime_s' => 3723, 'connections' => 9]
        + ['loop' => ['delay_ms_p99' => 1, 'delay_ms_max' => 2]]
        + ['site' => ['joomla' => $evil, 'enabled' => true], 'database' => ['available' => true], 'outbox' => ['available' => true, 'lag_ms' => 3]];
    $beats    = [
        ['process' => $evil, 'position' => $evil, 'age_ms' => 90000, 'fresh' => false],
        ['process' => '8', 'position' => '9', 'age_ms' => 1, 'fresh' => true],
    ];
    $view     = new StatusView();
    $view->page = new StatusPage(
        new Facts(
            $settings,
            new Site('https://1.example/', $evil, $settings->serverUrl, $settings->serverAddress),
            '5.3.2',
            '7',
            !$bad,
            $bad ? null : $status,
            $bad ? new ServerFailure(ServerFailure::SECRET, $evil) : null,
            1.5,
            $bad ? [$evil] : [],
            $bad ? null : '2',
            $bad ? [] : $beats,
            $bad ? '' : 'Apache/2',
            false
        ),
        true,
        true,
        1763712000
    );
}

// Only the template, because the view's display() needs the site.
(new ReflectionMethod(Joomla\CMS\MVC\View\HtmlView::class, 'display'))->invoke($view);
echo isset($argv[2]) ? json_encode($view->page->options(), JSON_UNESCAPED_SLASHES) : '';
