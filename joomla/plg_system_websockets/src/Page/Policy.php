<?php

/**
 * @package     jsocketd
 * @subpackage  plg_system_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Plugin\System\Websockets\Page;

\defined('_JEXEC') or die;

/**
 * Adds an origin to the connections that a Content-Security-Policy allows. A policy that does not restrict connections,
 * or that allows the origin already, stays as it is. Other directives are never changed.
 *
 * @since  0.1.0
 */
final class Policy
{
    /** Words of default-src that have no meaning in connect-src. */
    private const NO_SOURCES = '/^(\'(none|unsafe-|nonce-|sha[0-9]|strict-dynamic|report-sample|wasm-|inline-)|\{)/i';

    /**
     * @param   string  $header  the value of the header: policies with commas between them
     * @param   string  $origin  `wss://host:port`; empty: nothing is changed
     *
     * @return  string
     */
    public static function allow(string $header, string $origin): string
    {
        if ($origin === '') {
            return $header;
        }

        return implode(',', array_map(static fn (string $policy): string => self::allowIn($policy, $origin), explode(',', $header)));
    }

    private static function allowIn(string $policy, string $origin): string
    {
        $directives = explode(';', $policy);
        $sources    = [];

        foreach ($directives as $number => $directive) {
            $words = preg_split('/[ \t\r\n\f]+/', trim($directive), -1, PREG_SPLIT_NO_EMPTY);
            $name  = strtolower((string) array_shift($words));
            // If a directive stands twice, the first one counts.
            $sources[$name] ??= [$number, $words];
        }

        [$number, $words] = $sources['connect-src'] ?? [null, null];

        if ($words !== null) {
            if (\in_array($origin, array_map('strtolower', $words), true)) {
                return $policy;
            }

            $words   = array_filter($words, static fn (string $word): bool => strtolower($word) !== "'none'");
            $leading = preg_match('/^\s*/', $directives[$number], $space) ? $space[0] : '';

            $directives[$number] = $leading . implode(' ', ['connect-src', ...$words, $origin]);

            return implode(';', $directives);
        }

        if (!isset($sources['default-src'])) {
            return $policy;
        }

        $words = array_filter($sources['default-src'][1], static fn (string $word): bool => !preg_match(self::NO_SOURCES, $word));

        return rtrim($policy, "; \t") . '; ' . implode(' ', ['connect-src', ...$words, $origin]);
    }
}
