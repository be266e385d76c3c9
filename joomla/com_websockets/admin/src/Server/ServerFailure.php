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
 * A call of the server that did not succeed: why, and which option of the component to look at.
 *
 * @since  0.1.0
 */
class ServerFailure extends \RuntimeException
{
    /** Nothing was asked, because an option is missing. */
    public const NOT_SET_UP = 'not_set_up';

    /** Nobody answers at that address. */
    public const UNREACHABLE = 'unreachable';

    /** The certificate is not right, or there is no TLS. */
    public const TLS = 'tls';

    /** There was no complete answer in time. */
    public const TIMEOUT = 'timeout';

    /** What answers there is no jsocketd, or not under this path. */
    public const STRANGER = 'stranger';

    /** The server does not know the app. */
    public const APP = 'app';

    /** The app has another key. */
    public const KEY = 'key';

    /** The app has another secret. */
    public const SECRET = 'secret';

    /** The clocks are more than ten minutes apart. */
    public const CLOCK = 'clock';

    /** The app is switched off. */
    public const DISABLED = 'disabled';

    /** The request was refused for what it says. */
    public const REFUSED = 'refused';

    /** No jsocketd answers as it should, for somebody who may not hear more: see {@see withoutHostDetails()}. */
    public const AWAY = 'away';

    /** What a prober of addresses would tell apart. */
    private const ABOUT_THE_HOST = [self::UNREACHABLE, self::TLS, self::TIMEOUT, self::STRANGER, self::REFUSED];

    private const SETTINGS = [
        self::APP      => 'app_id',
        self::KEY      => 'app_key',
        self::SECRET   => 'app_secret',
        self::CLOCK    => '',
        self::DISABLED => 'enabled',
        self::REFUSED  => '',
    ];

    /** The option of com_websockets that says it, or '' if none does. */
    public readonly string $setting;

    /**
     * @param   string           $kind      one of the constants
     * @param   string           $reason    a sentence
     * @param   string|null      $setting   the option to look at, if it is not the kind's usual one
     * @param   \Throwable|null  $previous  the cause
     */
    public function __construct(public readonly string $kind, string $reason, ?string $setting = null, ?\Throwable $previous = null)
    {
        $this->setting = $setting ?? self::SETTINGS[$kind] ?? 'server_address';
        parent::__construct($reason . ($this->setting === '' ? '' : ' Look at the option ' . $this->setting . '.'), 0, $previous);
    }

    /**
     * The failure in words that say nothing of the host at the address: the same for a port that is closed, one that does
     * not answer, a name that does not exist and a server that is another. What only jsocketd says stays as it is.
     *
     * @return  self
     */
    public function withoutHostDetails(): self
    {
        return \in_array($this->kind, self::ABOUT_THE_HOST, true) ? new self(self::AWAY, 'No jsocketd answers as it should.') : $this;
    }
}
