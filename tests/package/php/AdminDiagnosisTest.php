<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Tests\Package;

use Jsocketd\Component\Websockets\Administrator\Server\ServerFailure;
use Jsocketd\Component\Websockets\Administrator\Settings;
use Jsocketd\Component\Websockets\Administrator\Setup\Site as Place;
use Jsocketd\Component\Websockets\Administrator\Status\CheckResult;
use Jsocketd\Component\Websockets\Administrator\Status\Diagnosis;
use Jsocketd\Component\Websockets\Administrator\Status\Facts;
use PHPUnit\Framework\TestCase;

/**
 * The problems on the status page: each state has the right results, the worst first, and each result has its fix.
 */
class AdminDiagnosisTest extends TestCase
{
    private const GOOD = [
        'enabled'        => 1,
        'server_url'     => 'wss://www.example.org/ws',
        'server_address' => 'http://127.0.0.1:8080',
        'app_id'         => 'site-1',
        'app_key'        => 'key',
        'app_secret'     => 'a-secret-of-more-than-thirty-two-characters',
    ];

    private const STATUS = [
        'product'     => 'jsocketd',
        'version'     => '0.2.0',
        'uptime_s'    => 12,
        'connections' => 3,
        'draining'    => false,
        'loop'        => ['delay_ms_p99' => 0.4, 'delay_ms_max' => 3.1],
        'site'        => ['joomla' => '5.3.2', 'offline' => false, 'enabled' => true],
        'database'    => ['available' => true, 'statements' => 12, 'overruns' => 0],
        'outbox'      => ['available' => true, 'position' => 'o0000002a:1.abc', 'lag_ms' => 12],
    ];

    public function testAllIsWell(): void
    {
        self::assertSame([], $this->keys($this->facts()));
    }

    /** @dataProvider faults */
    public function testEachFaultIsNamed(array $keys, array $change, array $said = []): void
    {
        $facts = $this->facts(...$change);
        self::assertSame($keys, $this->keys($facts));

        foreach ((new Diagnosis($facts))->results() as $result) {
            self::assertStringNotContainsString('COM_WEBSOCKETS', $result->text() . $result->fix());
            self::assertDoesNotMatchRegularExpression('/%(\d\$)?s/', $result->text() . $result->fix());
        }

        foreach ($said as $words) {
            self::assertStringContainsString($words, $result->text() . ' → ' . $result->fix());
        }
    }

    public static function faults(): iterable
    {
        yield 'switched off' => [['DISABLED'], ['options' => ['enabled' => 0]]];
        yield 'no key' => [['NO_CREDENTIALS'], ['options' => ['app_key' => '']]];
        yield 'no plugin' => [['NO_PLUGIN'], ['plugin' => false]];
        yield 'no address' => [['NO_URL'], ['options' => ['server_url' => '']], ['wss://www.example.org/ws']];
        yield 'ws:// on https://' => [['MIXED'], ['options' => ['server_url' => 'ws://www.example.org/ws']], ['wss://www.example.org/ws']];
        yield 'ws://localhost on https://' => [['OTHER_HOST'], ['options' => ['server_url' => 'ws://127.0.0.1:8080']]];
        yield 'another host' => [['OTHER_HOST'], ['options' => ['server_url' => 'wss://ws.example.org']], ['ws.example.org', 'www.example.org']];
        yield 'no path' => [['NO_PATH'], ['options' => ['server_url' => 'wss://www.example.org']]];
        yield 'another port is fine' => [[], ['options' => ['server_url' => 'wss://www.example.org:8443']]];
        $apache = ['software' => 'Apache/2.4.57 (Debian)'];
        yield 'Apache' => [['APACHE'], $apache, ['MaxRequestWorkers']];
        yield 'Apache with mod_php' => [['APACHE_MOD_PHP'], $apache + ['modPhp' => true], ['max_connections = 100']];
        yield 'Apache for the site, and another port' => [[], $apache + ['options' => ['server_url' => 'wss://www.example.org:8443']]];
        yield 'no tables' => [['NO_TABLE', 'NO_TABLE'], ['missing' => ['j_websockets_outbox', 'j_websockets_state']], ['j_websockets_state']];
        $notRead = ['outbox' => ['available' => false]];
        yield 'no tables, and so they are not read' => [
            ['NO_TABLE'],
            ['missing' => ['j_websockets_state'], 'status' => $notRead, 'heartbeats' => []],
        ];
        yield 'a new server beside old tables' => [
            ['OLD_TABLES'],
            ['schema' => '1', 'status' => $notRead, 'heartbeats' => []],
            ['1', '2'],
        ];
        yield 'no schema' => [['OLD_TABLES'], ['schema' => null, 'status' => $notRead], ['–']];
        yield 'an old server beside new tables' => [
            ['OLD_SERVER'],
            ['status' => $notRead + ['version' => '0.1.0'], 'heartbeats' => []],
            ['0.1.0', 'Install jsocketd 0.2.0'],
        ];
        yield 'an old package' => [
            ['OLD_PACKAGE'],
            ['schema' => '3', 'status' => $notRead + ['version' => '0.3.0'], 'heartbeats' => []],
            ['3', '2'],
        ];
        yield 'everything old but the package' => [
            ['OLD_TABLES', 'VERSION'],
            ['schema' => '1', 'status' => ['version' => '0.1.0']],
        ];
        yield 'a server of a branch' => [['VERSION'], ['status' => ['version' => 'main']]];
        yield 'another version' => [['VERSION'], ['status' => ['version' => '0.2.1']], ['0.2.1', '0.2.0']];
        yield 'no version' => [['VERSION'], ['status' => ['version' => 7]]];
        yield 'draining' => [['DRAINING'], ['status' => ['draining' => true]]];
        yield 'slow' => [['SLOW_LOOP'], ['status' => ['loop' => ['delay_ms_p99' => 120, 'delay_ms_max' => 300]]], ['120']];
        $cluster  = static fn (array $state): array => ['status' => ['cluster' => $state + ['processes' => 2, 'lag_ms' => 0.2]]];
        $isolated = ['standing' => 'isolated', 'isolated_ms' => 61900];
        yield 'isolated' => [['ISOLATED'], $cluster($isolated), ['61 s', 'jsocketd check']];
        yield 'together' => [[], $cluster(['standing' => 'together', 'isolated_ms' => 0])];
        yield 'no site' => [['NO_SITE'], ['status' => ['site' => null, 'database' => null, 'outbox' => null]], ["root = '/srv/www'"]];
        yield 'another site' => [['OTHER_SITE'], ['status' => ['site' => ['joomla' => '4.4.0', 'enabled' => true]]], ['4.4.0', '5.3.2', '/srv/www']];
        yield 'off there' => [['DISABLED_THERE'], ['status' => ['site' => ['joomla' => '5.3.2', 'enabled' => false]]]];
        yield 'offline' => [['OFFLINE'], ['status' => ['site' => ['joomla' => '5.3.2', 'enabled' => true, 'offline' => true]]]];
        yield 'no database' => [['NO_DATABASE'], ['status' => ['database' => ['available' => false]]], ["--joomla '/srv/www'"]];
        yield 'no outbox' => [['NO_OUTBOX'], ['status' => ['outbox' => ['available' => false]]], ['outbox = true']];
        yield 'outbox null' => [['NO_OUTBOX'], ['status' => ['outbox' => null]]];
        yield 'late' => [['SLOW_OUTBOX'], ['status' => ['outbox' => ['available' => true, 'lag_ms' => 5000]]], ['5000']];
        yield 'no heartbeat' => [['NO_HEARTBEAT'], ['heartbeats' => []], ['/srv/www']];
        yield 'an old heartbeat' => [['NO_HEARTBEAT'], ['heartbeats' => [
            ['process' => 'a', 'position' => 'o0000002a:1.abc', 'age_ms' => 90000, 'fresh' => false],
        ]]];
        yield 'nonsense' => [['NO_SITE'], ['status' => ['site' => 'x', 'loop' => 'x', 'draining' => 'yes', 'uptime_s' => []]]];

        foreach ((new \ReflectionClass(ServerFailure::class))->getConstants(\ReflectionClassConstant::IS_PUBLIC) as $name => $kind) {
            $failure = new ServerFailure($kind, 'The reason.');

            yield "failure $kind" => [["SERVER_$name"], ['failure' => $failure, 'heartbeats' => []], ['The reason.']];
            yield "failure $kind of one that is alive" => [["SERVER_$name", 'ALIVE'], ['failure' => $failure], ['http://127.0.0.1:8080']];
        }
    }

    public function testTheWorstIsFirst(): void
    {
        $facts = $this->facts(options: ['enabled' => 0, 'server_url' => 'wss://www.example.org'], status: ['draining' => true], plugin: false);

        self::assertSame(['NO_PLUGIN', 'DISABLED', 'NO_PATH', 'DRAINING'], $this->keys($facts));
    }

    /** The workers of Apache are few: that is a note until the pages are many. */
    public function testApacheIsANoteUntilPagesAreMany(): void
    {
        $level = fn (mixed $pages, bool $modPhp = false): string => (new Diagnosis(
            $this->facts(status: ['connections' => $pages], software: 'Apache', modPhp: $modPhp)
        ))->results()[0]->level;

        self::assertSame(CheckResult::NOTICE, $level(99));
        self::assertSame(CheckResult::WARNING, $level(100));
        self::assertSame(CheckResult::NOTICE, $level('many'));
        self::assertSame(CheckResult::WARNING, $level(0, true));
    }

    public function testEveryCheckResultOfTheSourceHasBothSentences(): void
    {
        $texts = parse_ini_file(JOOMLA_PACKAGE . '/com_websockets/admin/language/en-GB/com_websockets.ini');
        preg_match_all("/new CheckResult\\(\\s*CheckResult::[A-Z]+,\\s*'([A-Z_]+)'/", file_get_contents(
            JOOMLA_PACKAGE . '/com_websockets/admin/src/Status/Diagnosis.php'
        ), $found);
        self::assertGreaterThan(20, \count($found[1]));

        foreach ($found[1] as $key) {
            self::assertArrayHasKey("COM_WEBSOCKETS_FOUND_$key", $texts);
            self::assertArrayHasKey("COM_WEBSOCKETS_FOUND_{$key}_MEND", $texts);
        }
    }

    private function facts(
        array $options = [],
        array $status = [],
        ?ServerFailure $failure = null,
        bool $plugin = true,
        array $missing = [],
        ?string $schema = '2',
        ?array $heartbeats = null,
        string $software = 'nginx/1.22.1',
        bool $modPhp = false
    ): Facts {
        $settings = Settings::of($options + self::GOOD);

        return new Facts(
            $settings,
            new Place('https://www.example.org/joomla/', '/srv/www', $settings->serverUrl, $settings->serverAddress),
            '5.3.2',
            '0.2.0',
            $plugin,
            $failure ? null : array_replace(self::STATUS, $status),
            $failure,
            1.5,
            $missing,
            $schema,
            $heartbeats ?? [['process' => 'a', 'position' => 'o0000002a:1.abc', 'age_ms' => 900, 'fresh' => true]],
            $software,
            $modPhp
        );
    }

    private function keys(Facts $facts): array
    {
        return array_map(static fn (CheckResult $result): string => $result->key, (new Diagnosis($facts))->results());
    }
}
