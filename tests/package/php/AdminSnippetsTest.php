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

    public function testBesideTheSite(): void
    {
        $snippets = $this->of('https://www.site.test/joomla/', 'wss://www.site.test/ws', 'http://127.0.0.1:8090');

        self::assertSame(
            ['jsocketd', 'nginx', 'nginx_location', 'apache', 'caddy', 'haproxy', 'systemd'],
            array_keys($snippets)
        );
        self::assertStringContainsString("    server 127.0.0.1:8090;\n", $snippets['nginx']);
        self::assertStringNotContainsString('listen', $snippets['nginx']);
        self::assertStringContainsString("each server { } of www.site.test.\nlocation ^~ /ws/ {\n    proxy_pass", $snippets['nginx_location']);
        self::assertStringContainsString("\n<Location /ws/>\n    # An open page", $snippets['apache']);
        self::assertStringContainsString("    ProxyPass http://127.0.0.1:8090/ upgrade=websocket timeout=300 ", $snippets['apache']);
        self::assertStringEndsWith(" max=22 acquire=100\n</Location>\n", $snippets['apache']);
        self::assertStringContainsString("\nwww.site.test {\n", $snippets['caddy']);
        self::assertStringContainsString("\n\thandle_path /ws/* {\n\t\treverse_proxy 127.0.0.1:8090\n", $snippets['caddy']);
        self::assertStringContainsString("\n    default_backend site\n", $snippets['haproxy']);
        self::assertStringContainsString("\n    server jsocketd 127.0.0.1:8090 check\n", $snippets['haproxy']);
        self::assertStringContainsString("listen = [\"127.0.0.1:8090\"]", $snippets['jsocketd']);
        self::assertStringContainsString('root = "' . self::ROOT . '"', $snippets['jsocketd']);
        self::assertStringNotContainsString('allowed_origins', $snippets['jsocketd']);
    }

    /** / is the site's. The status page suggests the same path for the address. */
    public function testBesideTheSiteThePathIsNeverEmpty(): void
    {
        $withPath = $this->of('https://www.site.test/', 'wss://www.site.test/ws', 'http://127.0.0.1:8080');

        self::assertSame($withPath, $this->of('https://www.site.test/', 'wss://www.site.test:443', 'http://127.0.0.1:8080'));
        self::assertSame($withPath, $this->of('https://www.site.test/', '', ''));
    }

    public function testAHostOfItsOwn(): void
    {
        $snippets = $this->of('https://www.site.test/', 'wss://ws.site.test/a.b/ws', 'http://[::1]:8080');

        self::assertStringContainsString("    listen 443 ssl;\n    listen [::]:443 ssl;\n    server_name ws.site.test;\n", $snippets['nginx']);
        self::assertStringContainsString("    return 301 https://\$host\$request_uri;\n", $snippets['nginx']);
        self::assertStringContainsString("    location ^~ /a.b/ws/ {\n", $snippets['nginx']);
        self::assertStringContainsString('server [::1]:8080;', $snippets['nginx']);
        self::assertArrayNotHasKey('nginx_location', $snippets);
        self::assertStringContainsString("<VirtualHost *:443>\n    ServerName ws.site.test\n    SSLEngine on\n", $snippets['apache']);
        self::assertStringContainsString("    Redirect permanent / https://ws.site.test/\n", $snippets['apache']);
        self::assertStringContainsString("    <Location /a.b/ws/>\n", $snippets['apache']);
        self::assertStringContainsString(' replace-path ^/a[.]b/ws(/.*) \\1 ', $snippets['haproxy']);
        self::assertStringNotContainsString("\nbackend site\n", $snippets['haproxy']);
        self::assertStringNotContainsString('default_backend', $snippets['haproxy']);
        self::assertStringContainsString('allowed_origins = ["https://www.site.test"]', $snippets['jsocketd']);
        self::assertStringContainsString('listen = ["[::1]:8080"]', $snippets['jsocketd']);
    }

    public function testAnotherPortWithoutTls(): void
    {
        $snippets = $this->of('http://www.site.test:8000/', 'ws://www.site.test:8443', 'http://jsocketd.internal:9000');

        self::assertStringContainsString("    listen 8443;\n    listen [::]:8443;\n", $snippets['nginx']);
        self::assertStringContainsString('    location ^~ / {', $snippets['nginx']);
        self::assertStringContainsString('server jsocketd.internal:9000;', $snippets['nginx']);
        self::assertStringContainsString("\nListen 8443\n<VirtualHost *:8443>\n", $snippets['apache']);
        self::assertStringContainsString("\nhttp://www.site.test:8443 {\n", $snippets['caddy']);
        self::assertStringContainsString("\n    bind :8443\n    use_backend", $snippets['haproxy']);

        foreach ($snippets as $name => $text) {
            self::assertDoesNotMatchRegularExpression('~ssl_cert|SSL|\btls /|\bssl crt|return 301|Redirect|redirect~', $text, $name);
        }

        // jsocketd cannot listen on a name.
        self::assertStringContainsString('listen = ["127.0.0.1:8080"]', $snippets['jsocketd']);
        self::assertStringNotContainsString('allowed_origins', $snippets['jsocketd']);
    }

    /** Each line is one of conf/, but those that say where the text belongs. */
    public function testTheTextsAreThoseOfConf(): void
    {
        $files = ['nginx' => 'nginx.conf', 'nginx_location' => 'nginx.conf', 'apache' => 'apache.conf', 'caddy' => 'Caddyfile',
            'haproxy' => 'haproxy.cfg', 'systemd' => 'jsocketd.service'];

        foreach (['https://www.example.org/', 'https://example.org/'] as $site) {
            $snippets = $this->of($site, 'wss://www.example.org/ws', 'http://127.0.0.1:8080');

            foreach (array_intersect_key($files, $snippets) as $name => $file) {
                $conf  = array_map('trim', explode("\n", file_get_contents(\dirname(JOOMLA_PACKAGE) . '/conf/' . $file)));
                $about = '/^# (A whole|and the backend|Put the line|Apache 2|into each)|^#$/';
                $lines = preg_grep($about, explode("\n", $snippets[$name]), PREG_GREP_INVERT);

                self::assertGreaterThan(6, \count($lines), $name);
                self::assertSame([], array_diff(array_map('trim', $lines), $conf), $name);
            }
        }

        self::assertContains('LimitCORE=0', explode("\n", $snippets['systemd']));
    }

    /**
     * The web servers' own tests accept each text as it is labelled.
     *
     * @dataProvider addresses
     */
    public function testTheWebServersAcceptThem(string $site, string $serverUrl): void
    {
        $folder = sys_get_temp_dir() . '/jsocketd-snippets-' . bin2hex(random_bytes(6));
        mkdir($folder);

        try {
            $key = $folder . '/key -out ' . $folder . '/pem';
            exec('openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=x -keyout ' . $key . ' 2>&1', $said, $code);
            self::assertSame(0, $code, implode("\n", $said));
            file_put_contents("$folder/both", file_get_contents("$folder/pem") . file_get_contents("$folder/key"));
            $texts = preg_replace(
                ['~/etc/ssl/certs/\S+\.pem~', '~/etc/ssl/private/\S+\.key~', '~/etc/haproxy/\S+\.pem~'],
                ["$folder/pem", "$folder/key", "$folder/both"],
                $this->of($site, $serverUrl, 'http://127.0.0.1:8080')
            );

            // On a machine without IPv6 nginx cannot take such an address, though the text is right.
            $texts    = str_replace('listen [::]:', 'listen 127.0.0.2:', $texts);
            $location = isset($texts['nginx_location']) ? "server { listen 127.0.0.1:80; {$texts['nginx_location']} }" : '';
            $http     = "http { access_log off; {$texts['nginx']} $location }\n";
            file_put_contents("$folder/nginx", "pid $folder/pid; error_log stderr; events { }\n$http");
            $beside  = isset($texts['nginx_location']) ? "<VirtualHost *:80>\n{$texts['apache']}</VirtualHost>\n" : $texts['apache'];
            $modules = ['mpm_event', 'authz_core', 'alias', 'ssl', 'socache_shmcb', 'proxy', 'proxy_http', 'headers'];
            $loads   = array_map(static fn (string $name): string => "LoadModule {$name}_module /usr/lib/apache2/modules/mod_$name.so\n", $modules);
            file_put_contents("$folder/apache", implode('', $loads) . "ServerName x\nErrorLog $folder/log\nListen 80\n$beside");
            file_put_contents("$folder/caddy", $texts['caddy']);
            file_put_contents("$folder/haproxy", $texts['haproxy']);
            putenv('PATH=' . getenv('PATH') . ':/usr/sbin');

            $said = [];
            exec('nginx -t -c ' . $folder . '/nginx 2>&1', $said, $nginx);
            exec('apache2 -t -f ' . $folder . '/apache 2>&1', $said, $apache);
            exec('env HOME=' . $folder . ' caddy validate --adapter caddyfile --config ' . $folder . '/caddy 2>&1', $said, $caddy);
            exec('haproxy -c -f ' . $folder . '/haproxy 2>&1', $said, $haproxy);

            self::assertSame([0, 0, 0, 0], [$nginx, $apache, $caddy, $haproxy], implode("\n", $said));
        } finally {
            exec('rm -rf ' . $folder);
        }
    }

    public static function addresses(): array
    {
        return [
            'beside the site'    => ['https://www.site.test/', 'wss://www.site.test/joomla.x/ws'],
            'without TLS'        => ['http://www.site.test/', 'ws://www.site.test/ws'],
            'a host of its own'  => ['https://www.site.test/', 'wss://ws.site.test'],
            'a port of its own'  => ['https://www.site.test/', 'wss://www.site.test:8443/ws'],
            'a port without TLS' => ['http://www.site.test/', 'ws://ws.site.test:8090/ws'],
        ];
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

    /** If the server trusts a header and the proxy does not set it, clients can forge it. Caddy sets all three by itself. */
    public function testEveryPlaceThatPassesRequestsOnSetsWhatTheServerBelieves(): void
    {
        $places = [
            'nginx'   => '/location [^{]*\{[^}]*proxy_pass [^}]*\}/',
            'apache'  => '/<Location [^>]*>.*?<\/Location>/s',
            'haproxy' => '/^backend jsocketd\n(?:    .*\n)*/m',
        ];
        $lines = [
            'nginx'  => [
                'proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;', 'proxy_set_header X-Forwarded-Host $http_host;',
                'proxy_set_header X-Forwarded-Proto $scheme;',
            ],
            'apache'  => ['RequestHeader unset X-Forwarded-Host', 'RequestHeader set X-Forwarded-Proto expr=%{REQUEST_SCHEME}'],
            'haproxy' => [
                'http-request del-header X-Forwarded-For', 'option forwardfor',
                'http-request set-header X-Forwarded-Host %[req.hdr(host)]',
                'http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]',
            ],
        ];

        foreach (['wss://www.example.org/ws', 'wss://ws.example.org', 'ws://www.example.org'] as $serverUrl) {
            $texts = $this->of('https://www.example.org/', $serverUrl, 'http://127.0.0.1:8080');
            $texts['nginx'] .= $texts['nginx_location'] ?? '';

            foreach ($places as $name => $pattern) {
                self::assertSame(1, preg_match_all($pattern, $texts[$name], $found), $texts[$name]);
                self::assertSame([], array_diff($lines[$name], $this->directives($found[0][0])), $found[0][0]);
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
