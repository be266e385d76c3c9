<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Tests\Package;

use Jsocketd\Component\Websockets\Administrator\Setup\Site as Place;
use Jsocketd\Component\Websockets\Administrator\Setup\Snippets;
use PHPUnit\Framework\TestCase;

/**
 * The snippets: they contain the site's values, say the same as the files in conf/, and quote every value safely.
 */
class AdminSnippetsTest extends TestCase
{
    private const ROOT = '/srv/www/joomla';

    public function testBesideTheSiteUnderAPath(): void
    {
        $snippets = $this->of('https://www.example.org/joomla/', 'wss://www.example.org/ws', 'http://127.0.0.1:8090');

        self::assertStringContainsString("location /ws/ {\n    proxy_pass http://jsocketd/;", $snippets['nginx']);
        self::assertStringContainsString('server 127.0.0.1:8090;', $snippets['nginx']);
        self::assertStringContainsString('# Put this into the server { } of www.example.org:', $snippets['nginx']);
        self::assertStringNotContainsString('listen', $snippets['nginx']);
        self::assertStringContainsString(
            "\nProxyPass /ws/ http://127.0.0.1:8090/ upgrade=websocket timeout=300 flushpackets=on\n",
            $snippets['apache']
        );
        self::assertStringNotContainsString("\n<VirtualHost", $snippets['apache']);
        self::assertStringContainsString("listen = [\"127.0.0.1:8090\"]", $snippets['jsocketd']);
        self::assertStringContainsString('root = "' . self::ROOT . '"', $snippets['jsocketd']);
        self::assertStringNotContainsString('allowed_origins', $snippets['jsocketd']);
    }

    public function testBesideTheSiteWithoutAPathOnlyTheSocketsOwnPathsAreTaken(): void
    {
        $snippets = $this->of('https://www.example.org/', 'wss://www.example.org:443', 'http://127.0.0.1:8080');

        self::assertStringContainsString("location ~ ^/(app/|apps/|echo$) {\n    proxy_pass http://jsocketd;", $snippets['nginx']);
        self::assertStringContainsString("\nProxyPass /app/ http://127.0.0.1:8080/app/ upgrade=websocket timeout=300\n", $snippets['apache']);
        self::assertStringNotContainsString('ProxyPass / ', $snippets['apache']);
    }

    public function testAHostOfItsOwn(): void
    {
        $snippets = $this->of('https://www.example.org/', 'wss://ws.example.org', 'http://[::1]:8080');

        self::assertStringContainsString("    listen 443 ssl;\n    server_name ws.example.org;\n", $snippets['nginx']);
        self::assertStringContainsString("    location / {\n        proxy_pass http://jsocketd;\n", $snippets['nginx']);
        self::assertStringContainsString('server [::1]:8080;', $snippets['nginx']);
        self::assertStringContainsString("<VirtualHost *:443>\n    ServerName ws.example.org\n    SSLEngine on\n", $snippets['apache']);
        self::assertStringContainsString('allowed_origins = ["https://www.example.org"]', $snippets['jsocketd']);
        self::assertStringContainsString('listen = ["[::1]:8080"]', $snippets['jsocketd']);
    }

    public function testAnotherPort(): void
    {
        $snippets = $this->of('http://www.example.org:8000/', 'ws://www.example.org:8443/live', 'http://jsocketd.internal:9000');

        self::assertStringContainsString("    listen 8443;\n", $snippets['nginx']);
        self::assertStringContainsString('    location /live/ {', $snippets['nginx']);
        self::assertStringContainsString('server jsocketd.internal:9000;', $snippets['nginx']);
        self::assertStringContainsString("Listen 8443\n<VirtualHost *:8443>", $snippets['apache']);
        // jsocketd cannot listen on a name.
        self::assertStringContainsString('listen = ["127.0.0.1:8080"]', $snippets['jsocketd']);
        self::assertStringNotContainsString('allowed_origins', $snippets['jsocketd']);
    }

    public function testWithoutAnAddressTheSuggestionIsTaken(): void
    {
        $snippets = $this->of('https://www.example.org/', '', '');

        self::assertStringContainsString('location /ws/ {', $snippets['nginx']);
        self::assertStringContainsString('server 127.0.0.1:8080;', $snippets['nginx']);
    }

    /** @dataProvider dangerous */
    public function testNothingBreaksOut(string $url, string $serverUrl, string $serverAddress, string $root): void
    {
        foreach ((new Snippets(new Place($url, $root, $serverUrl, $serverAddress)))->all() as $name => $snippet) {
            self::assertStringNotContainsString("\ninjected", $snippet['text'], $name);
            self::assertStringNotContainsString('injected;', $snippet['text'], $name);
            self::assertStringNotContainsString('}injected', $snippet['text'], $name);

            foreach (explode("\n", $snippet['text']) as $line) {
                self::assertDoesNotMatchRegularExpression('/[\x00-\x08\x0b-\x1f\x7f]/', $line, $name);
            }
        }
    }

    public static function dangerous(): iterable
    {
        $parts = [
            "\ninjected", '/;injected;', '/}injected', '" injected', "/x\r\ninjected", '/#injected;', '/$(injected;)', "'injected;", '\\ninjected;',
        ];

        foreach ($parts as $part) {
            yield ["https://www.example.org$part", "wss://www.example.org$part", "http://127.0.0.1:8080$part", self::ROOT];
            yield ["https://www.example$part.org", "wss://www.example$part.org", "http://127.0.0.1$part:8080", self::ROOT];
        }
    }

    /** @dataProvider folders */
    public function testTheFolderIsQuotedAsTomlAsksFor(string $root, string $quoted): void
    {
        $text = $this->of('https://www.example.org/', '', '', $root)['jsocketd'];
        preg_match('/^root = (.*)  # where/m', $text, $found);

        self::assertSame($quoted, $found[1]);
        self::assertSame(1, preg_match_all('/^root/m', $text));
    }

    public static function folders(): array
    {
        return [
            ['/srv/a b', '"/srv/a b"'],
            ['/srv/"x', '"/srv/\\"x"'],
            ['/srv/\\n', '"/srv/\\\\n"'],
            ["/srv/\n[database]\nhost = 'evil'", '"/srv/\\n[database]\\nhost = \'evil\'"'],
            ["/srv/\x7f\x01", '"/srv/\\u007F\\u0001"'],
            ['/srv/Bücher', '"/srv/Bücher"'],
            ["/srv/\xff", "\"/srv/\u{fffd}\""],
        ];
    }

    public function testTheUnitIsThatOfConf(): void
    {
        $conf = \dirname(JOOMLA_PACKAGE) . '/conf/jsocketd.service';

        $unit = $this->directives($this->of('https://x/', '', '')['systemd']);
        self::assertSame($this->directives(file_get_contents($conf)), $unit);
        self::assertContains('LimitCORE=0', $unit);
    }

    public function testNginxSaysWhatConfSays(): void
    {
        $conf    = $this->directives(file_get_contents(\dirname(JOOMLA_PACKAGE) . '/conf/nginx.conf'));
        $headers = array_filter($conf, static fn (string $line): bool => str_starts_with($line, 'proxy_') && !str_starts_with($line, 'proxy_pass'));

        foreach (['wss://www.example.org/ws', 'wss://ws.example.org', 'wss://www.example.org'] as $serverUrl) {
            $own = $this->directives($this->of('https://www.example.org/', $serverUrl, 'http://127.0.0.1:8080')['nginx']);
            self::assertSame([], array_diff($headers, $own), $serverUrl);
        }
    }

    public function testApacheSaysWhatConfSays(): void
    {
        $conf  = $this->directives(file_get_contents(\dirname(JOOMLA_PACKAGE) . '/conf/apache.conf'));
        $wants = array_filter($conf, static fn (string $line): bool => str_starts_with($line, 'Proxy') || str_starts_with($line, 'RequestHeader'));
        $both  = array_merge(
            $this->directives($this->of('https://www.example.org/', 'wss://www.example.org', 'http://127.0.0.1:8080')['apache']),
            $this->directives($this->of('https://www.example.org/', 'wss://ws.example.org', 'http://127.0.0.1:8080')['apache'])
        );

        self::assertSame([], array_diff($wants, $both));
    }

    /** If the server trusts a header and the proxy does not set it, clients can forge it. */
    public function testEveryPlaceThatPassesRequestsOnSetsWhatTheServerBelieves(): void
    {
        $folder = \dirname(JOOMLA_PACKAGE) . '/conf/';
        $texts  = ['nginx' => [file_get_contents($folder . 'nginx.conf')], 'apache' => [file_get_contents($folder . 'apache.conf')]];

        foreach (['wss://www.example.org/ws', 'wss://ws.example.org', 'wss://www.example.org'] as $serverUrl) {
            foreach ($this->of('https://www.example.org/', $serverUrl, 'http://127.0.0.1:8080') as $name => $text) {
                $texts[$name][] = $text;
            }
        }

        $places = ['nginx' => '/location [^{]*\{[^}]*proxy_pass [^}]*\}/', 'apache' => '/^\s*ProxyRequests (?:.*\n(?!<))*/m'];
        $lines  = [
            'nginx'  => [
                'proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;', 'proxy_set_header X-Forwarded-Host $http_host;',
                'proxy_set_header X-Forwarded-Proto $scheme;',
            ],
            'apache' => ['RequestHeader unset X-Forwarded-Host', 'RequestHeader set X-Forwarded-Proto expr=%{REQUEST_SCHEME}'],
        ];

        foreach ($places as $name => $pattern) {
            foreach ($texts[$name] as $number => $text) {
                self::assertSame($number === 0 ? 2 : 1, preg_match_all($pattern, $text, $found), $text);

                foreach ($found[0] as $place) {
                    self::assertSame([], array_diff($lines[$name], $this->directives($place)), $place);
                }
            }
        }
    }

    public function testTheConfigurationIsAccepted(): void
    {
        $binary = getenv('JSOCKETD_BIN') ?: \dirname(JOOMLA_PACKAGE) . '/target/debug/jsocketd';

        if (!is_executable($binary)) {
            self::markTestSkipped('there is no ' . $binary . ': cargo build, or JSOCKETD_BIN=/path/to/one');
        }

        $file = tempnam(sys_get_temp_dir(), 'jsocketd');
        $text = $this->of('https://www.example.org/', 'wss://ws.example.org', 'http://127.0.0.1:8080', sys_get_temp_dir() . '/no"such');
        file_put_contents($file, $text['jsocketd']);
        exec('env -u JSOCKETD_BIN ' . escapeshellarg($binary) . ' check --config ' . escapeshellarg($file) . ' 2>&1 >/dev/null', $said);
        unlink($file);

        // It reads the file and then misses the folder. So all keys are known and the syntax is right.
        self::assertCount(1, $said, implode("\n", $said));
        self::assertStringContainsString('`root` in [joomla] cannot be', $said[0]);
    }

    /** @return  array<string, string> */
    private function of(string $url, string $serverUrl, string $serverAddress, string $root = self::ROOT): array
    {
        return array_map(
            static fn (array $snippet): string => $snippet['text'],
            (new Snippets(new Place($url, $root, $serverUrl, $serverAddress)))->all()
        );
    }

    /** The lines without their comments and indentation. */
    private function directives(string $text): array
    {
        $lines = array_map(static fn (string $line): string => trim(preg_replace('/(^|\s)#.*/', '', $line)), explode("\n", $text));

        return array_values(array_filter($lines, static fn (string $line): bool => $line !== ''));
    }
}
