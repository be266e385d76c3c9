<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Status;

use Jsocketd\Component\Websockets\Administrator\Server\ServerFailure;
use Jsocketd\Component\Websockets\Administrator\Settings;
use Jsocketd\Component\Websockets\Administrator\Setup\Site;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * The state of the site and its server at one moment. This class judges nothing.
 *
 * @since  0.1.0
 */
final class Facts
{
    /**
     * @param   Settings      $settings     The options
     * @param   Site          $site         The addresses and the folder of the site
     * @param   string        $joomla       This Joomla's version
     * @param   ?string       $package      The package's version, from the manifest cache
     * @param   boolean       $plugin       Whether the system plugin is enabled
     * @param   ?array        $status       The status that the server returned; null: the call failed
     * @param   ?ServerFailure  $failure    Why the call failed; null: it did not
     * @param   float         $statusMs     The duration of the call, in milliseconds
     * @param   string[]      $missing      The tables that are missing
     * @param   ?string       $schema       The version of the tables
     * @param   list<array{process: string, position: string, age_ms: int, fresh: bool}>  $heartbeats  The processes that
     *                                      wrote a position
     * @param   string        $software     What the web server calls itself, like Apache/2.4.57 (Debian)
     * @param   boolean       $modPhp       Whether PHP runs inside of Apache's processes (mod_php)
     *
     * @since   0.1.0
     */
    public function __construct(
        public readonly Settings $settings,
        public readonly Site $site,
        public readonly string $joomla,
        public readonly ?string $package,
        public readonly bool $plugin,
        public readonly ?array $status,
        public readonly ?ServerFailure $failure,
        public readonly float $statusMs,
        public readonly array $missing,
        public readonly ?string $schema,
        public readonly array $heartbeats,
        public readonly string $software,
        public readonly bool $modPhp
    ) {
    }

    /**
     * A value of the server's answer by its path, if it has the expected type.
     *
     * @param   string  $type  bool, int, float (accepts whole numbers too) or string
     * @param   string  ...$path  The names of the members that lead to the value
     *
     * @return  mixed  Null: there is no such value
     *
     * @since   0.1.0
     */
    public function reported(string $type, string ...$path): mixed
    {
        $value = $this->status;

        foreach ($path as $name) {
            $value = \is_array($value) ? ($value[$name] ?? null) : null;
        }

        if ($type === 'float' && \is_int($value)) {
            $value = (float) $value;
        }

        return get_debug_type($value) === $type ? $value : null;
    }
}
