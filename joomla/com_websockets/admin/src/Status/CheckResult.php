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
 * Something that is not as it should be: how bad it is, what it is, and the line that fixes it. Both sentences are keys of
 * the language file (KEY and KEY_MEND) with what belongs in them.
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
     * @param   string    $key    What it is, without COM_WEBSOCKETS_FOUND_
     * @param   string[]  $what   What belongs in the sentence that says so
     * @param   string[]  $fix   What belongs in the sentence that fixes it
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
     * A call of the server that did not succeed.
     *
     * @param   ServerFailure  $failure   Why not
     * @param   Settings       $settings  What it was called with
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
     * What is wrong, in words. Not escaped.
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
     * What to do about it, in words. Not escaped.
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
     * @param   string    $key     A key
     * @param   string[]  $values  What belongs in its text
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
