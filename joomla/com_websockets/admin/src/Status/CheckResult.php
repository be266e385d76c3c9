<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Status;

use Joomla\CMS\Language\Text;
use Jsocketd\Component\Websockets\Administrator\Server\ServerFailure;
use Jsocketd\Component\Websockets\Administrator\Settings;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * A problem on the status page: its level, a sentence that names it, and a sentence that fixes it. The sentences come
 * from the language file (KEY and KEY_MEND), with values in their places.
 *
 * @since  0.1.0
 */
final class CheckResult
{
    public const ERROR   = 'danger';
    public const WARNING = 'warning';
    public const NOTICE  = 'info';

    /**
     * @param   string    $level  One of the constants
     * @param   string    $key    The language key without COM_WEBSOCKETS_FOUND_
     * @param   string[]  $what   The values in the sentence that names the problem
     * @param   string[]  $fix    The values in the sentence that fixes it
     *
     * @since   0.1.0
     */
    public function __construct(
        public readonly string $level,
        public readonly string $key,
        private readonly array $what = [],
        private readonly array $fix = []
    ) {
    }

    /**
     * The result for a failed call of the server.
     *
     * @param   ServerFailure  $failure   The failure
     * @param   Settings       $settings  The options of the call
     *
     * @return  self
     *
     * @since   0.1.0
     */
    public static function fromFailure(ServerFailure $failure, Settings $settings): self
    {
        return new self(
            self::ERROR,
            'SERVER_' . strtoupper($failure->kind),
            [$failure->getMessage()],
            [$settings->serverAddress === '' ? '–' : $settings->serverAddress, $settings->appId === '' ? '–' : $settings->appId]
        );
    }

    /**
     * The sentence that names the problem. Not escaped.
     *
     * @return  string
     *
     * @since   0.1.0
     */
    public function text(): string
    {
        return self::format('COM_WEBSOCKETS_FOUND_' . $this->key, $this->what);
    }

    /**
     * The sentence that fixes the problem. Not escaped.
     *
     * @return  string
     *
     * @since   0.1.0
     */
    public function fix(): string
    {
        return self::format('COM_WEBSOCKETS_FOUND_' . $this->key . '_MEND', $this->fix);
    }

    /**
     * @param   string    $key     A language key
     * @param   string[]  $values  The values in its text
     *
     * @return  string
     *
     * @since   0.1.0
     */
    private static function format(string $key, array $values): string
    {
        return $values === [] ? Text::_($key) : Text::sprintf($key, ...$values);
    }
}
