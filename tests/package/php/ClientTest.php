<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Tests\Package;

use Jsocketd\Component\Websockets\Administrator\Publish\Event;
use Jsocketd\Component\Websockets\Administrator\Publish\Options;
use Jsocketd\Component\Websockets\Administrator\Publish\Outbox;
use Jsocketd\Component\Websockets\Administrator\Publish\Publisher;
use Jsocketd\Component\Websockets\Administrator\Rule\Address;
use Jsocketd\Component\Websockets\Administrator\Server\Client;
use Jsocketd\Component\Websockets\Administrator\Server\ServerFailure;
use Jsocketd\Component\Websockets\Administrator\Settings;
use PHPUnit\Framework\TestCase;

/**
 * The HTTP client: against a server with answers of the test, and against jsocketd if it was built.
 */
final class ClientTest extends TestCase
{
    /** A timeout in seconds that only a failing test reaches. */
    private const LONG = 20.0;

    /** The headers of each answer of jsocketd's API. */
    private const OWN = "Content-Type: application/json\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n";

    /**
     * Answers the first connection with the text. "silence" sends nothing, "drip" sends single bytes forever, and
     * "flood" sends as much as the client reads, and then prints the number of KiB.
     */
    private const SERVER = <<<'PHP'
        $server = stream_socket_server('tcp://127.0.0.1:0');
        echo stream_socket_get_name($server, false), "\n";
        while ($socket = stream_socket_accept($server, 60)) {
            $request = '';
            while (!str_contains($request, "\r\n\r\n")) {
                $request .= fread($socket, 65536);
            }
            preg_match('/Content-Length: ([0-9]+)/', $request, $length);
            while (strlen(strstr($request, "\r\n\r\n")) - 4 < ($length[1] ?? 0)) {
                $request .= fread($socket, 65536);
            }
            if ($argv[1] === 'silence') {
                fread($socket, 1);
            } elseif ($argv[1] === 'drip') {
                while (@fwrite($socket, 'H')) {
                    usleep(1000);
                }
            } elseif ($argv[1] === 'flood') {
                $request = 0;
                fwrite($socket, "HTTP/1.1 200 OK\r\n\r\n");
                while (@fwrite($socket, str_repeat(' ', 1024))) {
                    $request++;
                }
            } else {
                foreach (explode('|', $argv[1]) as $piece) {
                    fwrite($socket, $piece);
                    usleep(1000);
                }
            }
            fclose($socket);
            echo $request;
            break;
        }
        PHP;

    public function testARequestIsSigned(): void
    {
        $server = new Process(PHP_BINARY, '-r', self::SERVER, $this->answer(200, '{}'));
        $client = $this->client($server->first, '/pre/fix');
        $client->publish(new Event('private-user-42', 'App\\E', ['a' => 'ä/"'], '1.2'));
        [$head, $body] = explode("\r\n\r\n", $server->rest(), 2);

        $this->assertSame(
            ['name' => 'App\\E', 'channel' => 'private-user-42', 'data' => '{"a":"ä/\\""}', 'socket_id' => '1.2'],
            json_decode($body, true)
        );
        $pattern = '~^POST (/pre/fix/apps/site-0123abcd/events)\?(auth_key=thekey&auth_timestamp=([0-9]+)&auth_version=1\.0&body_md5=([0-9a-f]{32}))'
            . '&auth_signature=([0-9a-f]{64}) HTTP/1\.1\r\nHost: ' . preg_quote($server->first) . '\r\nConnection: close\r\n~';
        $this->assertSame(1, preg_match($pattern, $head, $part));
        $this->assertSame(md5($body), $part[4]);
        $this->assertSame(hash_hmac('sha256', "POST\n$part[1]\n$part[2]", 'the-secret-of-the-tests'), $part[5]);
        $this->assertEqualsWithDelta(time(), (int) $part[3], 60);
    }

    public function testAnswersInAnyPieces(): void
    {
        foreach (
            [
                $this->answer(200, '{"product":"jsocketd"}'),
                "HTTP/1.1 200 OK\r\nContent-Len|gth: 22\r\n\r|\n{\"produ|ct\":\"jsocketd\"}and more",
                "HTTP/1.0 200 OK\r\n\r\n{\"product\"|:\"jsocketd\"}",
                "HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n|15;x=y\r\n\"product\":\"jsocketd\"|}\r\n0\r\n\r\n",
            ] as $answer
        ) {
            $server = new Process(PHP_BINARY, '-r', self::SERVER, $answer);
            $this->assertSame(['product' => 'jsocketd'], $this->client($server->first)->status(), $answer);
        }
    }

    public function testFailuresNameTheOption(): void
    {
        foreach (
            [
                [ServerFailure::STRANGER, 'server_address', 'SSH-2.0-OpenSSH_9.2' . "\r\n\r\n"],
                [ServerFailure::STRANGER, 'server_address', ''],
                [ServerFailure::STRANGER, 'server_address', $this->answer(200, '<html>')],
                [ServerFailure::STRANGER, 'server_address', $this->answer(200, '"text"')],
                [ServerFailure::STRANGER, 'server_address', "HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"],
                [ServerFailure::STRANGER, 'server_address', $this->answer(404, '<h1>Not Found</h1>')],
                [ServerFailure::STRANGER, 'server_address', $this->answer(404, '{"error":"Not found"}')],
                [ServerFailure::STRANGER, 'server_address', "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}"],
                [ServerFailure::STRANGER, 'server_address', "HTTP/1.1 200 OK\r\nX: " . str_repeat('x', 70000)],
                [ServerFailure::STRANGER, 'server_address', "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"],
                [ServerFailure::STRANGER, 'server_address', $this->answer(200, '{"product":"soketi"}')],
                [ServerFailure::APP, 'app_id', $this->answer(404, '{"error":"There is no app with the id \\"site-0123abcd\\""}')],
                [ServerFailure::KEY, 'app_key', $this->answer(401, '{"error":"Unknown auth_key \\"thekey\\" for app \\"site-0123abcd\\""}')],
                [ServerFailure::SECRET, 'app_secret', $this->answer(401, '{"error":"Invalid signature: you should have sent HmacSHA256Hex(x, y)"}')],
                [ServerFailure::CLOCK, '', $this->answer(401, '{"error":"Timestamp expired: Given timestamp (2026-01-01T00:00:00Z)'
                    . ' not within 600s of server time (2027-01-01T00:00:00Z)"}')],
                [ServerFailure::DISABLED, 'enabled', $this->answer(403, '{"error":"This app is disabled"}')],
                [ServerFailure::REFUSED, '', $this->answer(413, '{"error":"too long"}', self::OWN)],
            ] as [$kind, $setting, $answer]
        ) {
            $server = new Process(PHP_BINARY, '-r', self::SERVER, $answer);
            $this->assertFailure($kind, $setting, fn () => $this->client($server->first)->status(), substr($answer, 0, 200));
        }
    }

    /** It is not in the message for super users and the log either. */
    public function testNothingOfWhatAStrangerSaysIsRepeated(): void
    {
        foreach (
            [
                $this->answer(403, '{"error":"inner words: disabled"}'),
                $this->answer(401, '{"error":"inner words: Unknown auth_key"}'),
                $this->answer(401, '{"error":"Timestamp expired: Given timestamp (x) not within 600s of server time (inner words)"}'),
                $this->answer(401, '{"error":"Invalid signature: inner words"}'),
                $this->answer(404, '{"error":"There is no app with the id \\"inner words\\""}'),
                $this->answer(404, '{"error":"inner words, an app"}', self::OWN),
                $this->answer(500, '{"error":"inner words","more":1}', self::OWN),
                $this->answer(200, '{"product":"inner words"}', self::OWN),
                $this->answer(200, 'inner words', "X-Inner: inner words\r\n"),
                "HTTP/1.1 302 inner words\r\nLocation: http://inner.words/\r\n\r\n",
                'inner words',
            ] as $answer
        ) {
            $server  = new Process(PHP_BINARY, '-r', self::SERVER, $answer);
            $message = $this->assertFailure(ServerFailure::STRANGER, 'server_address', fn () => $this->client($server->first)->status(), $answer);
            $this->assertStringNotContainsString('inner', $message);
        }
    }

    public function testARedirectIsNotFollowed(): void
    {
        $inner  = stream_socket_server('tcp://127.0.0.1:0');
        $to     = 'http://' . stream_socket_get_name($inner, false) . '/apps/site-0123abcd/status';
        $server = new Process(PHP_BINARY, '-r', self::SERVER, "HTTP/1.1 307 Elsewhere\r\nLocation: $to\r\nContent-Length: 0\r\n\r\n");
        $this->assertFailure(ServerFailure::STRANGER, 'server_address', fn () => $this->client($server->first)->status());
        $this->assertFalse(@stream_socket_accept($inner, 0), 'nobody came');
    }

    public function testAnAnswerWithoutEndIsLeftAfterABoundedNumberOfBytes(): void
    {
        $server = new Process(PHP_BINARY, '-r', self::SERVER, 'flood');
        $before = hrtime(true);
        $this->assertFailure(ServerFailure::STRANGER, 'server_address', fn () => $this->client($server->first)->status());
        $this->assertLessThan(self::LONG, (hrtime(true) - $before) / 1e9, 'the end was the bound\'s, not the deadline\'s');
        // Unread data waits in the two buffers of the system.
        $this->assertLessThan(32 * 1024, (int) $server->rest());
    }

    /** However the option was stored: by the form, or by SQL. */
    public function testNoOtherSchemeAndNothingButAnAddressIsCalled(): void
    {
        $socket = stream_socket_server('tcp://127.0.0.1:0');
        $name   = stream_socket_get_name($socket, false);

        foreach (
            [
                'gopher://%s/x', 'file:///etc/passwd', 'ftp://%s/', 'dict://%s/', 'php://stdin', 'unix:///run/x.sock', 'ssl://%s', 'tcp://%s',
                'http://user:password@%s', 'http://user@%s/', "http://%s/\r\nX: y", "http://%s/\0", "http://%s\t", 'http://%s/?x', 'http://%s/#x',
                'http://%s/%%0d%%0a', '//%s', 'http:%s', 'http://%s@127.0.0.1:1', 'http://127.0.0.1:1\\@%s',
            ] as $address
        ) {
            $address = sprintf($address, $name);
            $call    = fn () => (new Client(Settings::of(['server_address' => $address . 'x'] + Site::OPTIONS), self::LONG))->status();
            $this->assertFailure(ServerFailure::NOT_SET_UP, 'server_address', $call, $address);
            $this->assertFalse(Address::isAddress($address . 'x', 'http', 'https'), $address);
        }

        $this->assertFalse(@stream_socket_accept($socket, 0), 'nobody came');
    }

    public function testWhoeverIsNoSuperUserCannotTellHostsApartByTheWords(): void
    {
        $words = [];
        $kinds = (new \ReflectionClass(ServerFailure::class))->getConstants(\ReflectionClassConstant::IS_PUBLIC);

        foreach (array_diff($kinds, [ServerFailure::AWAY]) as $kind) {
            $shown = (new ServerFailure($kind, 'http://inner.example says no.'))->withoutHostDetails();
            $words[$shown->kind][] = $shown->getMessage() . $shown->setting;
        }

        $this->assertSame(
            ['not_set_up', 'away', 'app', 'key', 'secret', 'clock', 'disabled'],
            array_keys($words),
            'each of the others is said by jsocketd alone, in its own words, or before anybody is asked'
        );
        $this->assertCount(5, $words[ServerFailure::AWAY]);
        $this->assertCount(1, array_unique($words[ServerFailure::AWAY]));
    }

    public function testNobodyThere(): void
    {
        $socket = stream_socket_server('tcp://127.0.0.1:0');
        $name   = stream_socket_get_name($socket, false);
        fclose($socket);
        $message = $this->assertFailure(ServerFailure::UNREACHABLE, 'server_address', fn () => $this->client($name)->nudge());
        $this->assertStringContainsString($name, $message);
        $this->assertStringEndsWith('. Check the option server_address.', $message);
    }

    public function testTheDeadlineIsForTheWholeCall(): void
    {
        foreach (['silence', 'drip'] as $behaviour) {
            $server = new Process(PHP_BINARY, '-r', self::SERVER, $behaviour);
            $this->assertFailure(ServerFailure::TIMEOUT, 'server_address', fn () => $this->client($server->first, '', 0.05)->status(), $behaviour);
        }

        // A nudge waits for a tenth of a second, whatever the client's own timeout is. Otherwise this would not end.
        $server = new Process(PHP_BINARY, '-r', self::SERVER, 'silence');
        $this->assertFailure(ServerFailure::TIMEOUT, 'server_address', fn () => $this->client($server->first, '', 86400)->nudge());
    }

    public function testNoTlsIsNoTls(): void
    {
        $server   = new Process(PHP_BINARY, '-r', str_replace('"\r\n\r\n"', '"\x03"', self::SERVER), 'HTTP/1.1 400 Bad Request');
        $settings = Settings::of(['server_address' => 'https://' . $server->first] + Site::OPTIONS);
        $this->assertFailure(ServerFailure::TLS, 'server_address', fn () => (new Client($settings, self::LONG))->status());
    }

    public function testACertificateIsVerified(): void
    {
        $key         = openssl_pkey_new(['private_key_bits' => 2048]);
        $certificate = openssl_csr_sign(openssl_csr_new(['commonName' => '127.0.0.1'], $key), null, $key, 1);
        openssl_pkey_export($key, $pem);
        openssl_x509_export($certificate, $text);
        $file = tempnam(JPATH_ROOT, 'pem');
        file_put_contents($file, $pem . $text);
        $php = '$context = stream_context_create(["ssl" => ["local_cert" => $argv[1]]]);'
            . '$server = stream_socket_server("tls://127.0.0.1:0", $number, $text, 12, $context);'
            . 'echo stream_socket_get_name($server, false), "\n"; @stream_socket_accept($server, 60);';
        $server   = new Process(PHP_BINARY, '-r', $php, $file);
        $settings = Settings::of(['server_address' => 'https://' . $server->first] + Site::OPTIONS);
        $message  = $this->assertFailure(ServerFailure::TLS, 'server_address', fn () => (new Client($settings, self::LONG))->status());
        unlink($file);
        $this->assertStringContainsString('certificate', $message);
    }

    public function testWithoutCredentialsNothingIsAsked(): void
    {
        foreach (['app_id', 'app_key', 'app_secret', 'server_address'] as $option) {
            $settings = Settings::of([$option => 'not usable'] + Site::OPTIONS);
            $settings = $option === 'app_secret' ? Settings::of([$option => ''] + Site::OPTIONS) : $settings;
            $this->assertFailure(ServerFailure::NOT_SET_UP, $option, fn () => (new Client($settings))->status());
        }
    }

    public function testJsocketd(): void
    {
        $binary = getenv('JSOCKETD_BIN') ?: \dirname(JOOMLA_PACKAGE) . '/target/debug/jsocketd';

        if (!is_executable($binary)) {
            self::markTestSkipped('there is no ' . $binary . ': cargo build, or JSOCKETD_BIN=/path/to/one');
        }

        $file = tempnam(JPATH_ROOT, 'toml');
        file_put_contents($file, <<<'TOML'
            [server]
            listen = ["127.0.0.1:0"]
            [[apps]]
            id = "site-0123abcd"
            key = "thekey"
            secret = "the-secret-of-the-tests"
            TOML);
        $server = new Process($binary, 'serve', '--config', $file);
        unlink($file);
        $this->assertSame(1, preg_match('~http://([0-9.:]+)/~', $server->first, $found), $server->first);
        $client = $this->client($found[1]);

        $client->publish(new Event('news', 'e', ['a' => 'ä']));
        $client->publish(...array_map(static fn (int $number): Event => new Event('news', 'e', $number), range(1, 25)));
        $client->nudge();
        $status = $client->status();
        $this->assertSame('jsocketd', $status['product']);
        $this->assertArrayHasKey('connections', $status);

        $right = ['server_address' => 'http://' . $found[1]] + Site::OPTIONS;
        $wrong = fn (array $options): Client => new Client(Settings::of($options + $right), self::LONG);
        $this->assertFailure(ServerFailure::APP, 'app_id', fn () => $wrong(['app_id' => 'other'])->status());
        $this->assertFailure(ServerFailure::KEY, 'app_key', fn () => $wrong(['app_key' => 'other'])->status());
        $this->assertFailure(ServerFailure::SECRET, 'app_secret', fn () => $wrong(['app_secret' => 'other'])->nudge());
        $this->assertFailure(ServerFailure::STRANGER, 'server_address', fn () => $this->client($found[1], '/elsewhere')->status());

        $settings  = Settings::of($right);
        $publisher = new Publisher($settings, new Noted(), new Client($settings, self::LONG));
        $this->assertTrue($publisher->toUser(42, 'e', null, new Options(strict: true, via: Options::HTTP, socketId: '1.2')));
    }

    private function answer(int $status, string $body, string $headers = ''): string
    {
        return "HTTP/1.1 $status Reason\r\n{$headers}Content-Length: " . \strlen($body) . "\r\nConnection: close\r\n\r\n" . $body;
    }

    private function client(string $name, string $path = '', float $timeout = self::LONG): Client
    {
        return new Client(Settings::of(['server_address' => 'http://' . $name . $path] + Site::OPTIONS), $timeout);
    }

    private function assertFailure(string $kind, string $setting, \Closure $call, string $what = ''): string
    {
        try {
            $call();
        } catch (ServerFailure $failure) {
            $this->assertSame([$kind, $setting], [$failure->kind, $failure->setting], $what . ' ' . $failure->getMessage());

            return $failure->getMessage();
        }

        $this->fail('There was no failure: ' . $what);
    }
}
