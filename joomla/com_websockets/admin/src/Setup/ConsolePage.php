<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Setup;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * The data of the console's template and script. It holds nothing secret, because every user of the console can read
 * it.
 *
 * @since  0.1.0
 */
final class ConsolePage
{
    /** The language keys of all texts that the script shows. */
    public const TEXTS = [
        'COM_WEBSOCKETS_LOG_CHECKING',
        'COM_WEBSOCKETS_LOG_NO_WEBSOCKET',
        'COM_WEBSOCKETS_LOG_OPENING',
        'COM_WEBSOCKETS_LOG_CLOSING',
        'COM_WEBSOCKETS_LOG_RECEIVE',
        'COM_WEBSOCKETS_LOG_SENDING',
        'COM_WEBSOCKETS_LOG_BINARY',
        'COM_WEBSOCKETS_LOG_TOKEN_REFUSED',
        'COM_WEBSOCKETS_LOG_NOT_SENT',
        'COM_WEBSOCKETS_LOG_NO_REPLY',
        'COM_WEBSOCKETS_LOG_ASKING',
        'COM_WEBSOCKETS_LAMP_CONNECTING',
        'COM_WEBSOCKETS_LAMP_OPEN',
        'COM_WEBSOCKETS_LAMP_WAITING',
        'COM_WEBSOCKETS_LAMP_STOPPED',
        'COM_WEBSOCKETS_BUTTON_CONNECT',
        'COM_WEBSOCKETS_BUTTON_CONNECT_NOW',
        'COM_WEBSOCKETS_BUTTON_DISCONNECT',
        'COM_WEBSOCKETS_CLOSED',
        'COM_WEBSOCKETS_CLOSED_CODE',
        'COM_WEBSOCKETS_CLOSED_1000',
        'COM_WEBSOCKETS_CLOSED_1001',
        'COM_WEBSOCKETS_CLOSED_1005',
        'COM_WEBSOCKETS_CLOSED_1006',
        'COM_WEBSOCKETS_CLOSED_1008',
        'COM_WEBSOCKETS_CLOSED_1009',
        'COM_WEBSOCKETS_CLOSED_1011',
        'COM_WEBSOCKETS_CLOSED_1013',
        'COM_WEBSOCKETS_CLOSED_4003',
        'COM_WEBSOCKETS_CLOSED_4009',
        'COM_WEBSOCKETS_CLOSED_4100',
        'COM_WEBSOCKETS_CLOSED_4200',
        'COM_WEBSOCKETS_NOT_REACHED',
        'COM_WEBSOCKETS_NO_ANSWER',
        'COM_WEBSOCKETS_REFUSED_ADDRESS',
        'COM_WEBSOCKETS_IDENTITY_UNKNOWN',
        'COM_WEBSOCKETS_IDENTITY_USER',
        'COM_WEBSOCKETS_IDENTITY_GUEST',
        'COM_WEBSOCKETS_GUEST_OTHER_HOST',
        'COM_WEBSOCKETS_GUEST_NO_SITE',
        'COM_WEBSOCKETS_GUEST_PROVISIONAL',
        'COM_WEBSOCKETS_GUEST_FOREIGN_ORIGIN',
        'COM_WEBSOCKETS_GUEST_NOT_LOGGED_IN',
        'COM_WEBSOCKETS_GUEST_SECOND_FACTOR',
        'COM_WEBSOCKETS_GUEST_SESSIONS_ELSEWHERE',
        'COM_WEBSOCKETS_GUEST_MUST_RESET',
        'COM_WEBSOCKETS_GUEST_FORM_TOKEN',
        'COM_WEBSOCKETS_GUEST_SOMEHOW',
    ];

    /**
     * @param   Site     $site            The addresses of the site and the server
     * @param   boolean  $enabled         Whether real-time updates are enabled
     * @param   boolean  $maySeeStatus    Whether the page links to the status
     * @param   string   $sessionHandler  Joomla's session handler
     * @param   string   $cookieDomain    The domain of the session cookie; empty: only the site's host
     *
     * @since   0.1.0
     */
    public function __construct(
        public readonly Site $site,
        public readonly bool $enabled,
        public readonly bool $maySeeStatus,
        private readonly string $sessionHandler,
        private readonly string $cookieDomain
    ) {
    }

    /**
     * Whether there is an address for browsers.
     *
     * @return  boolean
     *
     * @since   0.1.0
     */
    public function isReady(): bool
    {
        return $this->site->socket !== null;
    }

    /**
     * The options of the script.
     *
     * @return  array<string, mixed>
     *
     * @since   0.1.0
     */
    public function options(): array
    {
        return [
            'url'              => $this->isReady() ? $this->site->socketUrl() . '/?client=administrator' : '',
            'sharesCookie'     => $this->site->sharesCookie(),
            'sendsToken'       => $this->sendsToken(),
            'sessionsInTables' => $this->sessionHandler === 'database',
        ];
    }

    /**
     * Whether the script sends the session's form token to the server. It does so only if the browser also sends the
     * session's cookie there. If the options name a foreign server, that server must not get the token of the console's
     * user.
     *
     * @return  boolean
     *
     * @since   0.2.0
     */
    private function sendsToken(): bool
    {
        $domain = strtolower(ltrim($this->cookieDomain, '.'));

        return $this->site->sharesCookie()
            || $domain !== '' && $this->site->socket !== null && str_ends_with('.' . $this->site->socket['host'], '.' . $domain);
    }
}
