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
 * PHP's two hops of the chain test, as JSON: `chain.http` calls the server as publishing does, `chain.outbox` writes a row
 * that the browser then waits for. The browser's own hop, and all waiting, is media/js/status.js.
 *
 * @since  0.1.0
 */
class ChainController extends BaseController
{
    /** Where the third hop publishes: whoever has core.manage on the component may hear it. */
    public const CHANNEL = 'private-manage-com_websockets';

    /**
     * The second hop: the status, which is signed, and a nudge.
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
     * The third hop's beginning: a row in the table, and the nudge that makes it quick.
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
     * Checks who asks, does it, measures it, and answers.
     *
     * @param   callable(WebsocketsComponent): array  $do  What is measured; what it returns goes into the answer
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
            $result = CheckResult::fromFailure($component->failureFor($e, $this->app->getIdentity()), $component->settings());
            $this->send(502, new JsonResponse(['fix' => $result->fix()], $result->text(), true, true));
        } catch (NotPublished $e) {
            $this->refuse(503, $e->getMessage());
        }

        $this->send(200, new JsonResponse(['ms' => round((hrtime(true) - $began) / 1e6, 2)] + $found, null, false, true));
    }

    /**
     * @param   integer  $status   The status of HTTP
     * @param   string   $message  Why not
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
     * Sends an answer and ends the request. Only headers that were sent before close() count.
     *
     * @param   integer       $status    The status of HTTP
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

        // close() leaves out onAfterRespond, where the plugin would do this.
        $this->app->bootComponent('com_websockets')->publisher()->afterResponse();
        $this->app->close();
    }
}
