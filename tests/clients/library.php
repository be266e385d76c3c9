<?php

/**
 * Sends what pusher-http-php 7.2.6 sends, byte for byte: its registry is not used by our tests. Two habits of it are
 * what the tests are about: it signs the path without its option `path`, and it signs the id of a user as it is given,
 * while its HTTP client (Guzzle) encodes the path on the wire. The program runs every call and prints one line of JSON
 * for each: its name, the status, and the answer.
 *
 *   php library.php PORT PATH ID KEY SECRET CALLS      CALLS: a list in JSON, each ["POST", "/events", BODY, {QUERY}]
 */

declare(strict_types=1);

[, $port, $path, $id, $key, $secret, $calls] = $argv;

/** Pusher::build_auth_query_params() and Pusher::array_implode() */
function signed(string $method, string $path, array $query, string $key, string $secret): array
{
    $query = array_merge(['auth_key' => $key, 'auth_timestamp' => time(), 'auth_version' => '1.0'], $query);
    ksort($query);
    $pairs = [];
    foreach ($query as $name => $value) {
        $pairs[] = "$name=$value";
    }
    $query['auth_signature'] = hash_hmac('sha256', "$method\n$path\n" . implode('&', $pairs), $secret, false);

    return $query;
}

/** GuzzleHttp\Psr7\Uri::filterPath(): an id that looks encoded stays as it is. */
function onTheWire(string $path): string
{
    $rare = "/(?:[^a-zA-Z0-9_\-\.~!\$&'\(\)\*\+,;=%:@\/]++|%(?![A-Fa-f0-9]{2}))/";

    return preg_replace_callback($rare, static fn (array $match) => rawurlencode($match[0]), $path);
}

foreach (json_decode($calls, true, 512, JSON_THROW_ON_ERROR) as [$method, $resource, $body, $query]) {
    $signed = "/apps/$id$resource";
    if ($method === 'POST') {
        $query['body_md5'] = md5($body);
    }
    $query = http_build_query(signed($method, $signed, $query, $key, $secret), '', '&', PHP_QUERY_RFC3986);
    // The base address ends with the option `path`, and what follows its last slash is replaced.
    $target = substr($path, 0, strrpos($path, '/') + 1) . ltrim($signed, '/');
    $context = stream_context_create(['http' => [
        'method' => $method,
        'header' => "Content-Type: application/json\r\nX-Pusher-Library: pusher-http-php 7.2.6",
        'content' => $body,
        'ignore_errors' => true,
        'timeout' => 10,
    ]]);
    $answer = file_get_contents("http://127.0.0.1:$port" . onTheWire($target) . "?$query", false, $context);
    preg_match('~^HTTP/\S+ (\d+)~', $http_response_header[0], $status);
    echo json_encode(['call' => "$method $resource", 'status' => (int) $status[1], 'answer' => $answer]), "\n";
}
