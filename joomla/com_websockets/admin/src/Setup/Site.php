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
 * The site's own address and folder, and the two addresses of the server, in parts. A text that is no address is null
 * here, so no other class parses it again.
 *
 * @since  0.1.0
 */
final class Site
{
    /** The site's address: scheme (http or https), host, port, path. Null: it is not known. */
    public readonly ?array $own;

    /** The address for browsers. Null: it is not set or cannot be used. */
    public readonly ?array $socket;

    /** The address for PHP. Null: it is not set or cannot be used. */
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
        $this->own    = Address::parts(strtolower(preg_replace('~\A([a-z]+://[^/?#]*).*\z~is', '$1', $url)));
        $this->socket = Address::isAddress($serverUrl, 'ws', 'wss') ? Address::parts($serverUrl) : null;
        $this->server = Address::isAddress($serverAddress, 'http', 'https') ? Address::parts($serverAddress) : null;
    }

    /**
     * Whether browsers send the site's session cookie to the socket. Cookies belong to a host, with all its ports.
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
     * Whether the socket has the host and the port of the site, so that one proxy serves both.
     *
     * @return  boolean
     *
     * @since   0.1.0
     */
    public function isSameHostAndPort(): bool
    {
        return $this->sharesCookie() && self::port($this->own) === self::port($this->socket);
    }

    /**
     * Whether pages on https:// would open a socket on ws://. Browsers refuse that.
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
     * The port of an address. If the address has none, this is the default port of its scheme.
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
     * The address for browsers without a slash at its end. Empty: there is none.
     *
     * @return  string
     *
     * @since   0.1.0
     */
    public function socketUrl(): string
    {
        return $this->socket === null ? '' : Address::origin($this->socket) . $this->socket['path'];
    }

    /**
     * The origin of the site's pages. Empty: it is not known.
     *
     * @return  string
     *
     * @since   0.1.0
     */
    public function origin(): string
    {
        return $this->own === null ? '' : Address::origin($this->own);
    }

    /**
     * An address for browsers that suits this site: its own host and port, and the path /ws.
     *
     * @return  string
     *
     * @since   0.1.0
     */
    public function suggestion(): string
    {
        $own = $this->own ?? ['scheme' => 'https', 'host' => 'www.example.org', 'port' => null];

        return Address::origin(['scheme' => $own['scheme'] === 'https' ? 'wss' : 'ws'] + $own) . '/ws';
    }
}
