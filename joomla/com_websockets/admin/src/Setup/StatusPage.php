<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Setup;

use Jsocketd\Component\Websockets\Administrator\Status\CheckResult;
use Jsocketd\Component\Websockets\Administrator\Status\Diagnosis;
use Jsocketd\Component\Websockets\Administrator\Status\Facts;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * The data of the status page's template and script. It holds no secret.
 *
 * @since  0.1.0
 */
final class StatusPage
{
    /** The language keys of all texts that the script shows. */
    public const TEXTS = [
        'COM_WEBSOCKETS_CHAIN_RUNNING',
        'COM_WEBSOCKETS_CHAIN_PASSED',
        'COM_WEBSOCKETS_CHAIN_FAILED',
        'COM_WEBSOCKETS_CHAIN_SKIPPED',
        'COM_WEBSOCKETS_CHAIN_MS',
        'COM_WEBSOCKETS_CHAIN_ALL_PASSED',
        'COM_WEBSOCKETS_CHAIN_SOME_FAILED',
        'COM_WEBSOCKETS_CHAIN_SOCKET_OK',
        'COM_WEBSOCKETS_CHAIN_NO_URL',
        'COM_WEBSOCKETS_CHAIN_NO_URL_MEND',
        'COM_WEBSOCKETS_CHAIN_REFUSED_ADDRESS',
        'COM_WEBSOCKETS_CHAIN_REFUSED_ADDRESS_MEND',
        'COM_WEBSOCKETS_CHAIN_NOT_REACHED',
        'COM_WEBSOCKETS_CHAIN_NOT_REACHED_MEND',
        'COM_WEBSOCKETS_CHAIN_NO_GREETING',
        'COM_WEBSOCKETS_CHAIN_NO_GREETING_MEND',
        'COM_WEBSOCKETS_CHAIN_CLOSED',
        'COM_WEBSOCKETS_CHAIN_CLOSED_MEND',
        'COM_WEBSOCKETS_CHAIN_CLOSED_4001_MEND',
        'COM_WEBSOCKETS_CHAIN_CLOSED_4003_MEND',
        'COM_WEBSOCKETS_CHAIN_CLOSED_4009_MEND',
        'COM_WEBSOCKETS_CHAIN_CLOSED_4100_MEND',
        'COM_WEBSOCKETS_CHAIN_NOT_SUBSCRIBED',
        'COM_WEBSOCKETS_CHAIN_NOT_SUBSCRIBED_MEND',
        'COM_WEBSOCKETS_CHAIN_NOT_SUBSCRIBED_HOST_MEND',
        'COM_WEBSOCKETS_CHAIN_NO_SUBSCRIPTION',
        'COM_WEBSOCKETS_CHAIN_HTTP_OK',
        'COM_WEBSOCKETS_CHAIN_HTTP_MEND',
        'COM_WEBSOCKETS_CHAIN_OUTBOX_OK',
        'COM_WEBSOCKETS_CHAIN_OUTBOX_MEND',
        'COM_WEBSOCKETS_CHAIN_OUTBOX_SKIPPED',
        'COM_WEBSOCKETS_CHAIN_OUTBOX_SKIPPED_MEND',
        'COM_WEBSOCKETS_CHAIN_OUTBOX_LOST',
        'COM_WEBSOCKETS_CHAIN_OUTBOX_LOST_MEND',
        'COM_WEBSOCKETS_CHAIN_PHP_SILENT',
        'COM_WEBSOCKETS_CHAIN_PHP_SILENT_MEND',
        'COM_WEBSOCKETS_COPY_DONE',
        'COM_WEBSOCKETS_COPY_REFUSED',
    ];

    /**
     * The problems, the worst first.
     *
     * @var    CheckResult[]
     * @since  0.1.0
     */
    public readonly array $results;

    /**
     * The snippets, by name.
     *
     * @var    array<string, array{file: string, text: string}>
     * @since  0.1.0
     */
    public readonly array $snippets;

    /**
     * @param   Facts    $facts          The state of the site and its server
     * @param   boolean  $mayChange      Whether the user may change the options
     * @param   boolean  $mayUseConsole  Whether the page links to the console
     * @param   ?int     $oldUntil       The end of the old secret, in Unix seconds; null: there is no old secret
     *
     * @since   0.1.0
     */
    public function __construct(
        public readonly Facts $facts,
        public readonly bool $mayChange,
        public readonly bool $mayUseConsole,
        public readonly ?int $oldUntil
    ) {
        $this->results = (new Diagnosis($facts))->results();
        $this->snippets = (new Snippets($facts->site))->all();
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
        $site = $this->facts->site;
        $key  = $this->facts->settings->appKey;

        return [
            'url'          => $site->socket === null || $key === ''
                ? '' : $site->socketUrl() . '/app/' . rawurlencode($key) . '?protocol=7&client=administrator',
            'sharesCookie' => $site->sharesCookie(),
            'suggestion'   => $site->suggestion(),
            'origin'       => $site->origin(),
            'root'         => $site->root,
            'tasks'        => 'index.php?option=com_websockets&format=json&task=chain.',
        ];
    }
}
