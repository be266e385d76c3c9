<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator;

use Joomla\Registry\Registry;

\defined('_JEXEC') or die;

/**
 * What the component's options say, with the defaults of those that were never saved. What cannot be meant is as if it were
 * not set: pages then load no script, and calls of the server fail with a sentence that names the option. Refusing nonsense
 * while it is typed in is the options form's work.
 *
 * @since  0.1.0
 */
final class Settings
{
    /** The client script loads where an extension or a template asks for it. */
    public const ASKED = 'asked';

    /** … and on every page of somebody who is logged in. */
    public const MEMBERS = 'members';

    /** … and on every page. */
    public const EVERYWHERE = 'everywhere';

    private const DEFAULT_ADDRESS = 'http://127.0.0.1:8080';

    private const DEFAULT_SPREAD_MS = 3000;

    private const LONGEST_SPREAD_MS = 60000;

    private function __construct(
        public readonly bool $enabled,
        public readonly string $serverUrl,
        public readonly string $serverAddress,
        public readonly string $appId,
        public readonly string $appKey,
        public readonly string $appSecret,
        public readonly string $load,
        public readonly bool $guests,
        public readonly bool $presenceNames,
        public readonly bool $hints,
        public readonly bool $bar,
        public readonly int $spreadMs
    ) {
    }

    /**
     * Reads options as `ComponentHelper::getParams('com_websockets')` has them.
     *
     * @param   Registry|array  $params  the options
     *
     * @return  self
     */
    public static function of(Registry|array $params): self
    {
        $params = $params instanceof Registry ? $params->toArray() : $params;
        $load   = self::text($params, 'load');

        return new self(
            self::flag($params, 'enabled', true),
            self::url(self::text($params, 'server_url'), ['ws', 'wss']),
            self::url(self::text($params, 'server_address') ?: self::DEFAULT_ADDRESS, ['http', 'https']),
            self::matching('/^[A-Za-z0-9_-]{1,64}$/D', self::text($params, 'app_id')),
            self::matching('/^[A-Za-z0-9_-]{1,128}$/D', self::text($params, 'app_key')),
            self::matching('/^[\x21-\x7e]{1,256}$/D', self::text($params, 'app_secret')),
            \in_array($load, [self::MEMBERS, self::EVERYWHERE], true) ? $load : self::ASKED,
            self::flag($params, 'guests', true),
            self::flag($params, 'presence_names', false),
            self::flag($params, 'hints', true),
            self::flag($params, 'bar', true),
            self::spread($params['spread_ms'] ?? null)
        );
    }

    /**
     * Whether pages can connect: not switched off, and set up.
     *
     * @return  bool
     */
    public function isReadyForPages(): bool
    {
        return $this->enabled && $this->serverUrl !== '' && $this->appKey !== '';
    }

    /**
     * What a Content-Security-Policy has to allow, `wss://host:port`; empty if no server's URL is set.
     *
     * @return  string
     */
    public function socketOrigin(): string
    {
        return preg_match('~^wss?://[^/]+~', $this->serverUrl, $found) ? $found[0] : '';
    }

    private static function text(array $params, string $name): string
    {
        $value = $params[$name] ?? '';

        return \is_scalar($value) ? trim((string) $value) : '';
    }

    /** Switches come as numbers, strings and booleans. */
    private static function flag(array $params, string $name, bool $default): bool
    {
        return match ($params[$name] ?? null) {
            true, 1, '1' => true,
            false, 0, '0', '' => false,
            default => $default,
        };
    }

    private static function matching(string $pattern, string $value): string
    {
        return preg_match($pattern, $value) ? $value : '';
    }

    /** A URL of scheme, host, port and path alone: it goes into headers and pages. */
    private static function url(string $value, array $schemes): string
    {
        $pattern = '~^(' . implode('|', $schemes) . ')://((?:[a-z0-9](?:[a-z0-9_.-]*[a-z0-9])?\.?|\[[0-9a-f:.]+\]))(?::([0-9]{1,5}))?'
            . '((?:/[A-Za-z0-9._\~@=,+-]+)*)/?$~Di';

        if (!preg_match($pattern, $value, $part)) {
            return '';
        }

        $port = $part[3];

        if ($port !== '' && ((int) $port < 1 || (int) $port > 65535)) {
            return '';
        }

        return strtolower($part[1] . '://' . $part[2]) . ($port === '' ? '' : ':' . (int) $port) . $part[4];
    }

    private static function spread(mixed $value): int
    {
        return is_numeric($value) ? (int) max(0, min(self::LONGEST_SPREAD_MS, (float) $value)) : self::DEFAULT_SPREAD_MS;
    }
}
