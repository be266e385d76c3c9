<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Server;

use Jsocketd\Component\Websockets\Administrator\Publish\Event;
use Jsocketd\Component\Websockets\Administrator\Settings;

\defined('_JEXEC') or die;

/**
 * Calls the server's HTTP API with the signatures of docs/protocol.md. Rejected: Joomla's HTTP client, because its
 * timeouts are whole seconds, which is longer than a page may wait. So this class has the part of HTTP/1.1 that it
 * needs, over its own connection. The deadline covers a whole call, from the connect to the last byte of the answer. It
 * does not cover the system's name resolution, which PHP cannot interrupt: set an address in numbers. Every public
 * method throws ServerFailure.
 *
 * A user who may set options could make PHP call machines that only PHP reaches, because the address is an option. So
 * this class speaks only HTTP over TCP, follows no redirect, and limits the size of an answer. It repeats nothing of an
 * answer that does not look like one of jsocketd. ServerFailure decides which failures a page may tell apart.
 *
 * @since  0.1.0
 */
class Client
{
    /** The timeout of a nudge in seconds. A lost nudge costs nothing but time. */
    private const NUDGE = 0.1;

    /** The size limit of an answer with its head, in bytes. */
    private const LONGEST_ANSWER = 65536;

    /** The most events in one request. */
    private const BATCH = 10;

    /**
     * @param   Settings  $settings  for server_address, app_id, app_key and app_secret
     * @param   float     $timeout   the timeout of a call in seconds
     */
    public function __construct(private readonly Settings $settings, private readonly float $timeout = 0.3)
    {
    }

    /**
     * Reads the server's status.
     *
     * @return  array  the answer of GET /apps/{id}/status
     *
     * @throws  ServerFailure
     */
    public function status(): array
    {
        $status = $this->call('GET', 'status', null, $this->timeout);

        if (($status['product'] ?? null) !== 'jsocketd') {
            throw $this->notJsocketd('its status names another product');
        }

        return $status;
    }

    /**
     * Publishes events, ten in a request. The server takes all events of a request, or none.
     *
     * @throws  ServerFailure  the events of earlier requests stay published
     */
    public function publish(Event ...$events): void
    {
        $bodies = array_map(
            static fn (Event $event): array => ['name' => $event->event, 'channel' => $event->channel, 'data' => $event->json]
                + ($event->socketId === null ? [] : ['socket_id' => $event->socketId]),
            $events
        );

        if (\count($bodies) === 1) {
            $this->call('POST', 'events', $bodies[0], $this->timeout);

            return;
        }

        foreach (array_chunk($bodies, self::BATCH) as $batch) {
            $this->call('POST', 'batch_events', ['batch' => $batch], $this->timeout);
        }
    }

    /**
     * Makes the server read the outbox table now.
     *
     * @throws  ServerFailure
     */
    public function nudge(): void
    {
        $this->call('POST', 'nudge', null, min(self::NUDGE, $this->timeout));
    }

    private function call(string $method, string $endpoint, ?array $json, float $seconds): array
    {
        $deadline = hrtime(true) + (int) ($seconds * 1e9);
        $settings = $this->settings;

        $needed   = ['server_address' => 'serverAddress', 'app_id' => 'appId', 'app_key' => 'appKey', 'app_secret' => 'appSecret'];

        foreach ($needed as $option => $name) {
            if ($settings->$name === '') {
                throw new ServerFailure(ServerFailure::NOT_SET_UP, 'The option ' . $option . ' is missing or not usable.', $option);
            }
        }

        $url  = parse_url($settings->serverAddress);
        $path = ($url['path'] ?? '') . '/apps/' . $settings->appId . '/' . $endpoint;
        $body = $json === null ? '' : json_encode($json, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
        $port = $url['port'] ?? ($url['scheme'] === 'https' ? 443 : 80);
        $host = $url['host'] . (isset($url['port']) ? ':' . $url['port'] : '');

        $request = $method . ' ' . $path . '?' . $this->sign($method, $path, $body) . " HTTP/1.1\r\nHost: " . $host
            . "\r\nConnection: close\r\nAccept: application/json\r\nUser-Agent: com_websockets\r\n"
            . ($method === 'POST' ? "Content-Type: application/json\r\nContent-Length: " . \strlen($body) . "\r\n" : '')
            . "\r\n" . $body;

        $stream = $this->connect($url['host'], $port, $url['scheme'] === 'https', $deadline);

        try {
            $this->write($stream, $request, $deadline);

            return $this->decode(...$this->read($stream, $deadline));
        } finally {
            fclose($stream);
        }
    }

    private function sign(string $method, string $path, string $body): string
    {
        $query = 'auth_key=' . $this->settings->appKey . '&auth_timestamp=' . time() . '&auth_version=1.0'
            . ($body === '' ? '' : '&body_md5=' . md5($body));

        return $query . '&auth_signature=' . hash_hmac('sha256', $method . "\n" . $path . "\n" . $query, $this->settings->appSecret);
    }

    /** @return  resource  a stream that does not block */
    private function connect(string $host, int $port, bool $isSecure, int $deadline)
    {
        $name    = trim($host, '[]');
        $context = stream_context_create(['ssl' => ['peer_name' => $name, 'SNI_enabled' => true]]);
        $stream  = @stream_socket_client(
            'tcp://' . $host . ':' . $port,
            $number,
            $reason,
            max(0.001, $this->secondsLeft($deadline)),
            STREAM_CLIENT_CONNECT,
            $context
        );

        if ($stream === false) {
            $this->secondsLeft($deadline) > 0 or throw $this->timedOut('connect');

            $where = $this->settings->serverAddress;

            throw new ServerFailure(ServerFailure::UNREACHABLE, 'Nothing answers at ' . $where . ': ' . ($reason ?: 'no connection') . '.');
        }

        stream_set_blocking($stream, false);

        if ($isSecure) {
            $this->startTls($stream, $deadline);
        }

        return $stream;
    }

    /** @param  resource  $stream */
    private function startTls($stream, int $deadline): void
    {
        error_clear_last();

        do {
            $done = @stream_socket_enable_crypto($stream, true, STREAM_CRYPTO_METHOD_TLS_CLIENT);

            if ($done === false) {
                $reason = preg_replace('/^.*?: /', '', str_replace("\n", ' ', error_get_last()['message'] ?? 'no TLS'));
                $where  = $this->settings->serverAddress;
                fclose($stream);

                throw new ServerFailure(ServerFailure::TLS, 'No secure connection to ' . $where . ': ' . rtrim($reason, '. ') . '.');
            }
        } while ($done === 0 && $this->wait($stream, false, $deadline));
    }

    /** @param  resource  $stream */
    private function write($stream, string $request, int $deadline): void
    {
        while ($request !== '') {
            $this->wait($stream, true, $deadline);
            $written = @fwrite($stream, $request);

            if ($written === false) {
                throw new ServerFailure(ServerFailure::UNREACHABLE, 'The server at ' . $this->settings->serverAddress . ' closed the connection.');
            }

            $request = substr($request, $written);
        }
    }

    /**
     * @param   resource  $stream
     *
     * @return  array{int, string, string}  the status, the head in lower case, and the body
     */
    private function read($stream, int $deadline): array
    {
        $answer = '';

        do {
            $this->wait($stream, false, $deadline);
            $piece = @fread($stream, 8192);
            $answer .= $piece === false ? '' : $piece;
            $ended = feof($stream);

            if (\strlen($answer) > self::LONGEST_ANSWER) {
                throw $this->notJsocketd('its answer is longer than ' . self::LONGEST_ANSWER . ' bytes');
            }

            $parsed = $this->parseHttp($answer, $ended);
        } while ($parsed === null && !$ended);

        return $parsed ?? throw $this->notJsocketd('the answer is no complete HTTP');
    }

    /**
     * @return  array{int, string, string}|null  null: the answer is not complete yet
     */
    private function parseHttp(string $answer, bool $ended): ?array
    {
        $end = strpos($answer, "\r\n\r\n");

        if ($end === false) {
            return null;
        }

        if (!preg_match('~^HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r|$)~', $answer, $part)) {
            throw $this->notJsocketd('the answer is no HTTP');
        }

        $head = "\r\n" . strtolower(substr($answer, 0, $end)) . "\r\n";
        $body = substr($answer, $end + 4);

        if (preg_match('~\r\ntransfer-encoding:[^\r]*chunked~', $head)) {
            $body = $this->unchunk($body);

            return $body === null ? null : [(int) $part[1], $head, $body];
        }

        if (preg_match('~\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r~', $head, $length)) {
            return \strlen($body) < (int) $length[1] ? null : [(int) $part[1], $head, substr($body, 0, (int) $length[1])];
        }

        return $ended ? [(int) $part[1], $head, $body] : null;
    }

    private function unchunk(string $text): ?string
    {
        $body = '';

        while (preg_match('~^([0-9a-fA-F]{1,6})[^\r\n]*\r\n~', $text, $part)) {
            $size = (int) hexdec($part[1]);
            $text = substr($text, \strlen($part[0]));

            if ($size === 0) {
                return $body;
            }

            if (\strlen($text) < $size + 2) {
                return null;
            }

            $body .= substr($text, 0, $size);
            $text = substr($text, $size + 2);
        }

        return null;
    }

    private function decode(int $status, string $head, string $body): array
    {
        $json  = json_decode($body, true, 64);
        $error = \is_array($json) && \is_string($json['error'] ?? null) ? $json['error'] : null;

        if ($status === 200 && \is_array($json) && $error === null) {
            return $json;
        }

        if ($error === null) {
            throw $this->notJsocketd('it says ' . $status . ($status >= 300 && $status < 400 ? ', a redirect' : '') . ' without a reason');
        }

        $kind = $this->kindOf($status, $error);

        if ($kind === null && ($status === 404 || !$this->isFromJsocketd($head, $json))) {
            throw $this->notJsocketd('it says ' . $status . ' with a reason that is not jsocketd\'s');
        }

        // The answer to a wrong signature repeats the signed text, which is long and useless here.
        $error = preg_replace(['/: you should have sent.*/s', '/[\x00-\x1f\x7f]+/'], ['', ' '], $error);
        $error = rtrim(mb_substr($error, 0, 300), '. ');

        throw new ServerFailure($kind ?? ServerFailure::REFUSED, 'The server says ' . $status . ': ' . $error . '.');
    }

    /** The kind of a refusal, by the exact sentences of jsocketd; null: the sentence is not one of them. */
    private function kindOf(int $status, string $error): ?string
    {
        [$id, $key] = [$this->settings->appId, $this->settings->appKey];
        $time       = '\([0-9TZ:.+-]{1,40}\)';

        return match (true) {
            $status === 404 && $error === 'There is no app with the id "' . $id . '"' => ServerFailure::APP,
            $status === 401 && $error === 'Unknown auth_key "' . $key . '" for app "' . $id . '"' => ServerFailure::KEY,
            $status === 401 && preg_match("/\ATimestamp expired: Given timestamp $time not within [0-9]{1,6}s of server time $time\z/", $error) === 1
                => ServerFailure::CLOCK,
            $status === 401 && str_starts_with($error, 'Invalid signature: you should have sent HmacSHA256Hex(') => ServerFailure::SECRET,
            $status === 403 && $error === 'This app is disabled' => ServerFailure::DISABLED,
            default => null,
        };
    }

    /** Whether an answer looks like a refusal of jsocketd: one member, and these three headers. */
    private function isFromJsocketd(string $head, array $json): bool
    {
        return \count($json) === 1
            && str_contains($head, "\r\ncontent-type: application/json\r\n")
            && str_contains($head, "\r\nx-content-type-options: nosniff\r\n")
            && str_contains($head, "\r\ncache-control: no-store\r\n");
    }

    /** @param  resource  $stream */
    private function wait($stream, bool $toWrite, int $deadline): bool
    {
        $left = $this->secondsLeft($deadline);

        if ($left <= 0) {
            throw $this->timedOut('answer');
        }

        $read   = $toWrite ? null : [$stream];
        $write  = $toWrite ? [$stream] : null;
        $except = null;
        // A signal may interrupt this. The caller then waits again, as long as there is time left.
        @stream_select($read, $write, $except, (int) $left, (int) (($left - (int) $left) * 1e6));

        return true;
    }

    private function secondsLeft(int $deadline): float
    {
        return ($deadline - hrtime(true)) / 1e9;
    }

    private function timedOut(string $what): ServerFailure
    {
        return new ServerFailure(ServerFailure::TIMEOUT, 'The server at ' . $this->settings->serverAddress . ' did not ' . $what . ' in time.');
    }

    private function notJsocketd(string $why): ServerFailure
    {
        return new ServerFailure(ServerFailure::STRANGER, 'What answers at ' . $this->settings->serverAddress . ' is no jsocketd: ' . $why . '.');
    }
}
