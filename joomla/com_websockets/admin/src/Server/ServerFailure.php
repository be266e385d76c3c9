<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Server;

\defined('_JEXEC') or die;

/**
 * A failed call of the server: the reason, and the component's option to check.
 *
 * @since  0.1.0
 */
class ServerFailure extends \RuntimeException
{
    /** There was no call, because an option is missing. */
    public const NOT_SET_UP = 'not_set_up';

    /** Nothing answers at the address. */
    public const UNREACHABLE = 'unreachable';

    /** The certificate is not valid, or there is no TLS. */
    public const TLS = 'tls';

    /** The complete answer did not come in time. */
    public const TIMEOUT = 'timeout';

    /** The answer is not from jsocketd, or jsocketd is not under this path. */
    public const STRANGER = 'stranger';

    /** The server does not know the app. */
    public const APP = 'app';

    /** The app has another key. */
    public const KEY = 'key';

    /** The app has another secret. */
    public const SECRET = 'secret';

    /** The clocks are more than ten minutes apart. */
    public const CLOCK = 'clock';

    /** The app is disabled. */
    public const DISABLED = 'disabled';

    /** The server refused the content of the request. */
    public const REFUSED = 'refused';

    /** No jsocketd answers. This kind hides details from users who may not see them: {@see withoutHostDetails()}. */
    public const AWAY = 'away';

    /** The kinds that say something about the host at the address. */
    private const ABOUT_THE_HOST = [self::UNREACHABLE, self::TLS, self::TIMEOUT, self::STRANGER, self::REFUSED];

    private const SETTINGS = [
        self::APP      => 'app_id',
        self::KEY      => 'app_key',
        self::SECRET   => 'app_secret',
        self::CLOCK    => '',
        self::DISABLED => 'enabled',
        self::REFUSED  => '',
    ];

    /** The option of com_websockets to check; '': none. */
    public readonly string $setting;

    /**
     * @param   string           $kind      one of the constants
     * @param   string           $reason    a sentence
     * @param   string|null      $setting   the option to check; null: the usual one for the kind
     * @param   \Throwable|null  $previous  the cause
     */
    public function __construct(public readonly string $kind, string $reason, ?string $setting = null, ?\Throwable $previous = null)
    {
        $this->setting = $setting ?? self::SETTINGS[$kind] ?? 'server_address';
        parent::__construct($reason . ($this->setting === '' ? '' : ' Check the option ' . $this->setting . '.'), 0, $previous);
    }

    /**
     * The failure without details of the host at the address. It is the same for a closed port, for a port that does
     * not answer, for a name that does not exist, and for a server that is not jsocketd. Answers of jsocketd stay as
     * they are.
     *
     * @return  self
     */
    public function withoutHostDetails(): self
    {
        return \in_array($this->kind, self::ABOUT_THE_HOST, true) ? new self(self::AWAY, 'No jsocketd answers.') : $this;
    }
}
