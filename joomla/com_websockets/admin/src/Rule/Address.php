<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Rule;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * The form of an address of the server: SCHEME://HOST[:PORT][/PATH] and nothing else, no user, no query, no fragment.
 * No part may contain a character that has a meaning in a header, a page or a configuration file. The snippets of the
 * status page rely on that.
 *
 * @since  0.1.0
 */
final class Address
{
    /** Host names (ASCII, punycode where needed), IPv4, IPv6 in brackets; a port; path segments without dots alone. */
    private const FORM = '~\A(?<scheme>[a-z]+)://'
        . '(?<host>\[[0-9A-Fa-f:.]{2,45}\]|(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63}){0,10})'
        . '(?::(?<port>[0-9]{1,5}))?'
        . '(?<path>(?:/(?!\.{1,2}(?:/|\z))[A-Za-z0-9._\~-]+)*)/?\z~D';

    /**
     * The filter of text fields in the options: it removes white space at both ends. A value that is not a text becomes
     * a text that every rule refuses.
     *
     * @param   mixed  $typed  The posted value
     *
     * @return  string
     *
     * @since   0.1.0
     */
    public static function trimmed(mixed $typed): string
    {
        return \is_scalar($typed) ? trim((string) $typed) : '?';
    }

    /**
     * Whether a text is an address of one of these schemes.
     *
     * @param   mixed   $text        The text
     * @param   string  ...$schemes  The schemes that are allowed
     *
     * @return  boolean
     *
     * @since   0.1.0
     */
    public static function isAddress(mixed $text, string ...$schemes): bool
    {
        $parts = self::parts($text);

        return $parts !== null && \in_array($parts['scheme'], $schemes, true);
    }

    /**
     * The parts of an address: scheme, host in lower case (IPv6 in brackets), port (null: none is given), path ('' or
     * /a/b).
     *
     * @param   mixed  $text  The text
     *
     * @return  array{scheme: string, host: string, port: ?int, path: string}|null  Null if the text is no address
     *
     * @since   0.1.0
     */
    public static function parts(mixed $text): ?array
    {
        if (!\is_string($text) || \strlen($text) > 400 || preg_match(self::FORM, $text, $found, PREG_UNMATCHED_AS_NULL) !== 1) {
            return null;
        }

        $port = $found['port'] === null ? null : (int) $found['port'];
        $host = strtolower($found['host']);

        if (
            $port !== null && ($port < 1 || $port > 65535)
            || $host[0] === '[' && filter_var(trim($host, '[]'), FILTER_VALIDATE_IP, FILTER_FLAG_IPV6) === false
        ) {
            return null;
        }

        return ['scheme' => $found['scheme'], 'host' => $host, 'port' => $port, 'path' => (string) $found['path']];
    }

    /**
     * An address without its path.
     *
     * @param   array{scheme: string, host: string, port: ?int}  $parts  The parts of the address
     *
     * @return  string
     *
     * @since   0.2.0
     */
    public static function origin(array $parts): string
    {
        return $parts['scheme'] . '://' . $parts['host'] . ($parts['port'] === null ? '' : ':' . $parts['port']);
    }
}
