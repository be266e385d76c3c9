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
use Jsocketd\Component\Websockets\Administrator\Rule\Address;

\defined('_JEXEC') or die;

/**
 * The component's options. An option that was never saved has its default. An unusable value counts as not set: pages
 * then load no script, and calls of the server fail with a sentence that names the option. The options form refuses
 * such values when they are typed.
 *
 * @since  0.1.0
 */
final class Settings
{
    /** The client script loads only where an extension or a template asks for it. */
    public const ASKED = 'asked';

    /** The client script also loads on every page of a user who is logged in. */
    public const MEMBERS = 'members';

    /** The client script loads on every page. */
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
     * Reads options as `ComponentHelper::getParams('com_websockets')` gives them.
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
            self::address(self::text($params, 'server_url'), 'ws', 'wss'),
            self::address(self::text($params, 'server_address') ?: self::DEFAULT_ADDRESS, 'http', 'https'),
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
     * Whether pages can connect: the component is enabled, and address and key are set.
     *
     * @return  bool
     */
    public function isReadyForPages(): bool
    {
        return $this->enabled && $this->serverUrl !== '' && $this->appKey !== '';
    }

    /**
     * The origin that a Content-Security-Policy has to allow, `wss://host:port`. Empty: there is no address for
     * browsers.
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

    /** A switch. Joomla stores them as numbers, strings or booleans. */
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

    /** An address of one of the schemes, or '' if the value is none. */
    private static function address(string $value, string ...$schemes): string
    {
        $scheme = (string) strstr($value, ':', true);
        $parts  = Address::parts(strtolower($scheme) . substr($value, \strlen($scheme)));

        return $parts !== null && \in_array($parts['scheme'], $schemes, true) ? Address::origin($parts) . $parts['path'] : '';
    }

    private static function spread(mixed $value): int
    {
        return is_numeric($value) ? (int) max(0, min(self::LONGEST_SPREAD_MS, (float) $value)) : self::DEFAULT_SPREAD_MS;
    }
}
