<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Controller;

use Joomla\CMS\Language\Text;
use Joomla\CMS\MVC\Controller\BaseController;
use Joomla\CMS\Response\JsonResponse;
use Jsocketd\Component\Websockets\Administrator\Extension\WebsocketsComponent;
use Jsocketd\Component\Websockets\Administrator\Publish\NotPublished;
use Jsocketd\Component\Websockets\Administrator\Publish\Options;
use Jsocketd\Component\Websockets\Administrator\Server\ServerFailure;
use Jsocketd\Component\Websockets\Administrator\Status\CheckResult;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * The two hops of the chain test that PHP does, as JSON. `chain.http` calls the server as publishing does.
 * `chain.outbox` writes a row for which the browser then waits. The browser's own hop, and all waiting, is in
 * media/js/status.js.
 *
 * @since  0.1.0
 */
class ChainController extends BaseController
{
    /** The channel of the third hop. Users with core.manage on the component may subscribe to it. */
    public const CHANNEL = 'private-manage-com_websockets';

    /**
     * The second hop: a signed call for the status, and a nudge.
     *
     * @return  void
     *
     * @since   0.1.0
     */
    public function http(): void
    {
        $this->answer(function (WebsocketsComponent $component): array {
            $status = $component->server()->status();
            $component->server()->nudge();

            return ['version' => \is_string($status['version'] ?? null) ? $status['version'] : null];
        });
    }

    /**
     * The beginning of the third hop: a row in the table, and a nudge.
     *
     * @return  void
     *
     * @since   0.1.0
     */
    public function outbox(): void
    {
        $this->answer(function (WebsocketsComponent $component): array {
            $nonce = $this->input->post->getString('nonce', '');

            if (preg_match('/\A[0-9a-f]{16,64}\z/', $nonce) !== 1) {
                $this->refuse(400, Text::_('COM_WEBSOCKETS_CHAIN_BAD_NONCE'));
            }

            $component->publisher()->publish(self::CHANNEL, 'chain', ['nonce' => $nonce], new Options(strict: true));

            return [];
        });
    }

    /**
     * Checks the request and the user, runs and measures a function, and sends the answer.
     *
     * @param   callable(WebsocketsComponent): array  $do  The function; its result becomes part of the answer
     *
     * @return  void
     *
     * @since   0.1.0
     */
    private function answer(callable $do): void
    {
        if ($this->input->getMethod() !== 'POST') {
            $this->refuse(405, Text::_('COM_WEBSOCKETS_CHAIN_POST_ONLY'));
        }

        if (!$this->checkToken('post', false)) {
            $this->refuse(403, Text::_('JINVALID_TOKEN'));
        }

        /** @var WebsocketsComponent $component */
        $component = $this->app->bootComponent('com_websockets');

        if (!$component->may($this->app->getIdentity(), 'websockets.monitor')) {
            $this->refuse(403, Text::_('JERROR_ALERTNOAUTHOR'));
        }

        $began = hrtime(true);

        try {
            $found = $do($component);
        } catch (ServerFailure $e) {
            $failure = $component->failureFor($e, $this->app->getIdentity());
            $result  = CheckResult::fromFailure($failure, $component->settings());
            $this->send(502, new JsonResponse(['fix' => $result->fix()], $result->text(), true, true));
        } catch (NotPublished $e) {
            $this->refuse(503, $e->getMessage());
        }

        $this->send(200, new JsonResponse(['ms' => round((hrtime(true) - $began) / 1e6, 2)] + $found, null, false, true));
    }

    /**
     * @param   integer  $status   The HTTP status
     * @param   string   $message  The reason
     *
     * @return  never
     *
     * @since   0.1.0
     */
    private function refuse(int $status, string $message): void
    {
        $this->send($status, new JsonResponse(null, $message, true, true));
    }

    /**
     * Sends an answer and ends the request. Headers must be sent before close(), or they are lost.
     *
     * @param   integer       $status    The HTTP status
     * @param   JsonResponse  $response  The body
     *
     * @return  never
     *
     * @since   0.1.0
     */
    private function send(int $status, JsonResponse $response): void
    {
        $this->app->mimeType = 'application/json';
        $this->app->setHeader('status', (string) $status, true);
        $this->app->setHeader('Content-Type', 'application/json; charset=utf-8', true);
        $this->app->setHeader('Cache-Control', 'no-store', true);
        $this->app->sendHeaders();
        echo $response;

        // close() skips the event onAfterRespond, in which the plugin would do this.
        $this->app->bootComponent('com_websockets')->publisher()->afterResponse();
        $this->app->close();
    }
}
