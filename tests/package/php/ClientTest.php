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
use Jsocketd\Component\Websockets\Administrator\Server\Client;
use Jsocketd\Component\Websockets\Administrator\Server\ServerFailure;
use Jsocketd\Component\Websockets\Administrator\Settings;
use PHPUnit\Framework\TestCase;

/**
 * The HTTP client: against a server that answers what the test says, and against jsocketd, if it was built.
 */
final class ClientTest extends TestCase
{
    /** Seconds; nothing here comes near it but what has to. */
    private const LONG = 20.0;

    /** Answers the first connection with the text; with "silence" not at all, and with "drip" one byte after another, for ever. */
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
        $this->assertSame(hash_hmac('sha256', "POST\n$part[1]\n$part[2]", 'thesecret'), $part[5]);
        $this->assertEqualsWithDelta(time(), (int) $part[3], 60);
    }

    public function testAnswersInAnyPieces(): void
    {
        foreach (
            [
                $this->answer(200, '{"uptime_s":1}'),
                "HTTP/1.1 200 OK\r\nContent-Len|gth: 14\r\n\r|\n{\"uptime|_s\":1}and more",
                "HTTP/1.0 200 OK\r\n\r\n{\"uptime_s\"|:1}",
                "HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n|D;x=y\r\n\"uptime_s\":1|}\r\n0\r\n\r\n",
            ] as $answer
        ) {
            $server = new Process(PHP_BINARY, '-r', self::SERVER, $answer);
            $this->assertSame(['uptime_s' => 1], $this->client($server->first)->status(), $answer);
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
                [ServerFailure::APP, 'app_id', $this->answer(404, '{"error":"Unknown app \\"x\\""}')],
                [ServerFailure::KEY, 'app_key', $this->answer(401, '{"error":"Unknown auth_key \\"x\\" for app"}')],
                [ServerFailure::SECRET, 'app_secret', $this->answer(401, '{"error":"Invalid signature: you should have sent it, auth_key"}')],
                [ServerFailure::CLOCK, '', $this->answer(401, '{"error":"Timestamp expired: Given timestamp (x) not within 600s"}')],
                [ServerFailure::DISABLED, 'enabled', $this->answer(403, '{"error":"disabled"}')],
                [ServerFailure::REFUSED, '', $this->answer(413, '{"error":"too long"}')],
            ] as [$kind, $setting, $answer]
        ) {
            $server = new Process(PHP_BINARY, '-r', self::SERVER, $answer);
            $this->assertFailure($kind, $setting, fn () => $this->client($server->first)->status(), substr($answer, 0, 200));
        }
    }

    public function testNobodyThere(): void
    {
        $socket = stream_socket_server('tcp://127.0.0.1:0');
        $name   = stream_socket_get_name($socket, false);
        fclose($socket);
        $message = $this->assertFailure(ServerFailure::UNREACHABLE, 'server_address', fn () => $this->client($name)->nudge());
        $this->assertStringContainsString($name, $message);
        $this->assertStringEndsWith('. Look at the option server_address.', $message);
    }

    public function testTheDeadlineIsForTheWholeCall(): void
    {
        foreach (['silence', 'drip'] as $behaviour) {
            $server = new Process(PHP_BINARY, '-r', self::SERVER, $behaviour);
            $this->assertFailure(ServerFailure::TIMEOUT, 'server_address', fn () => $this->client($server->first, '', 0.05)->status(), $behaviour);
        }

        // A nudge waits for a tenth of a second whatever the client's own deadline is, or this would not end.
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
            secret = "thesecret"
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

    private function answer(int $status, string $body): string
    {
        return "HTTP/1.1 $status Reason\r\nContent-Length: " . \strlen($body) . "\r\nConnection: close\r\n\r\n" . $body;
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
