<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Setup;

use Jsocketd\Component\Websockets\Administrator\Rule\Address;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * Where things are: the site's own address and folder, and the two addresses of the server, in parts. What is no
 * address is null; nobody needs to look at a text twice.
 *
 * @since  0.1.0
 */
final class Site
{
    /** The site's address: scheme (http or https), host, port, path. Null: it is not known. */
    public readonly ?array $own;

    /** What browsers connect to. Null: nothing that could be. */
    public readonly ?array $socket;

    /** What PHP calls. Null: nothing that could be. */
    public readonly ?array $server;

    /**
     * @param   string  $url            The site's address, like https://www.example.org/joomla/
     * @param   string  $root           The folder with configuration.php
     * @param   string  $serverUrl      The option server_url
     * @param   string  $serverAddress  The option server_address
     *
     * @since   0.1.0
     */
    public function __construct(string $url, public readonly string $root, string $serverUrl, string $serverAddress)
    {
        $addresses    = new Address();
        $this->own    = $addresses->parts(strtolower(preg_replace('~\A([a-z]+://[^/?#]*).*\z~is', '$1', $url)));
        $this->socket = $addresses->isOne($serverUrl, 'ws', 'wss') ? $addresses->parts($serverUrl) : null;
        $this->server = $addresses->isOne($serverAddress, 'http', 'https') ? $addresses->parts($serverAddress) : null;
    }

    /**
     * Whether browsers send the site's session cookie to the socket: cookies know hosts, no ports.
     *
     * @return  boolean
     *
     * @since   0.1.0
     */
    public function sharesCookie(): bool
    {
        return $this->own !== null && $this->socket !== null && $this->own['host'] === $this->socket['host'];
    }

    /**
     * Whether the socket is at the very host and port of the site, so that one proxy serves both.
     *
     * @return  boolean
     *
     * @since   0.1.0
     */
    public function isBeside(): bool
    {
        return $this->sharesCookie() && self::port($this->own) === self::port($this->socket);
    }

    /**
     * Whether a page of the site on https:// is told to open a socket on ws://, which browsers refuse.
     *
     * @return  boolean
     *
     * @since   0.1.0
     */
    public function isMixed(): bool
    {
        return $this->own !== null && $this->socket !== null
            && $this->own['scheme'] === 'https' && $this->socket['scheme'] === 'ws'
            && !\in_array($this->socket['host'], ['localhost', '127.0.0.1', '[::1]'], true);
    }

    /**
     * The port of an address, the one of its scheme if it names none.
     *
     * @param   array{scheme: string, port: ?int}  $parts  The address
     *
     * @return  integer
     *
     * @since   0.1.0
     */
    public static function port(array $parts): int
    {
        return $parts['port'] ?? (\in_array($parts['scheme'], ['https', 'wss'], true) ? 443 : 80);
    }

    /**
     * What browsers connect to, without a slash at its end; empty where there is nothing.
     *
     * @return  string
     *
     * @since   0.1.0
     */
    public function socketUrl(): string
    {
        return $this->socket === null ? '' : self::text($this->socket) . $this->socket['path'];
    }

    /**
     * The origin of the site's pages; empty where it is not known.
     *
     * @return  string
     *
     * @since   0.1.0
     */
    public function origin(): string
    {
        return $this->own === null ? '' : self::text($this->own);
    }

    /**
     * @param   array{scheme: string, host: string, port: ?int}  $parts  An address
     *
     * @return  string  It, without its path
     *
     * @since   0.1.0
     */
    private static function text(array $parts): string
    {
        return $parts['scheme'] . '://' . $parts['host'] . ($parts['port'] === null ? '' : ':' . $parts['port']);
    }

    /**
     * What would be a good address for browsers: beside the site, under /ws.
     *
     * @return  string
     *
     * @since   0.1.0
     */
    public function suggestion(): string
    {
        $own = $this->own ?? ['scheme' => 'https', 'host' => 'www.example.org', 'port' => null];

        return self::text(['scheme' => $own['scheme'] === 'https' ? 'wss' : 'ws'] + $own) . '/ws';
    }
}
