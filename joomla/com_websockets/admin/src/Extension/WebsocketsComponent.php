<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Extension;

use Joomla\CMS\Access\Access;
use Joomla\CMS\Component\ComponentHelper;
use Joomla\CMS\Dispatcher\ComponentDispatcherFactoryInterface;
use Joomla\CMS\Extension\MVCComponent;
use Joomla\CMS\User\User;
use Joomla\Database\DatabaseInterface;
use Jsocketd\Component\Websockets\Administrator\Log;
use Jsocketd\Component\Websockets\Administrator\Publish\Outbox;
use Jsocketd\Component\Websockets\Administrator\Publish\Publisher;
use Jsocketd\Component\Websockets\Administrator\Server\Client;
use Jsocketd\Component\Websockets\Administrator\Server\ServerFailure;
use Jsocketd\Component\Websockets\Administrator\Settings;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * The way in for other extensions: `Factory::getApplication()->bootComponent('com_websockets')->publisher()`. Each of
 * the four things is made when it is first asked for, once a request; nothing is connected to and no query is made here.
 *
 * @since  0.1.0
 */
class WebsocketsComponent extends MVCComponent
{
    private ?Settings $settings = null;

    private ?Outbox $outbox = null;

    private ?Client $server = null;

    private ?Publisher $publisher = null;

    /**
     * @param   ComponentDispatcherFactoryInterface  $dispatcherFactory  Makes the dispatcher
     * @param   DatabaseInterface                    $database           The site's database
     *
     * @since   0.1.0
     */
    public function __construct(
        ComponentDispatcherFactoryInterface $dispatcherFactory,
        private readonly DatabaseInterface $database
    ) {
        parent::__construct($dispatcherFactory);
    }

    /**
     * What publishes. This is the one for authors of extensions.
     *
     * @return  Publisher
     *
     * @since   0.1.0
     */
    public function publisher(): Publisher
    {
        return $this->publisher ??= new Publisher($this->settings(), $this->outbox(), $this->server());
    }

    /**
     * The options, as they were when this was first called in the request.
     *
     * @return  Settings
     *
     * @since   0.1.0
     */
    public function settings(): Settings
    {
        return $this->settings ??= Settings::of(ComponentHelper::getParams('com_websockets'));
    }

    /**
     * The two tables.
     *
     * @return  Outbox
     *
     * @since   0.1.0
     */
    public function outbox(): Outbox
    {
        return $this->outbox ??= new Outbox($this->database);
    }

    /**
     * The server's HTTP API.
     *
     * @return  Client
     *
     * @since   0.1.0
     */
    public function server(): Client
    {
        return $this->server ??= new Client($this->settings());
    }

    /**
     * Whether a user may use the console or see the state, as the server decides it too: who manages the component may, as
     * long as the permission is set for nobody.
     *
     * @param   User    $user    Who
     * @param   string  $action  websockets.console or websockets.monitor
     *
     * @return  boolean
     *
     * @since   0.1.0
     */
    public function may(User $user, string $action): bool
    {
        if ($user->authorise($action, 'com_websockets')) {
            return true;
        }

        $rule = Access::getAssetRules('com_websockets', true)->getData()[$action] ?? null;

        return !$rule?->getData() && $user->authorise('core.manage', 'com_websockets');
    }

    /**
     * A call of the server that did not succeed, as a page may show it: whoever may change the address is not for that
     * reason to learn which ports of which machines answer to PHP. The log has the reason, and super users see it.
     *
     * @param   ServerFailure  $failure  Why not
     * @param   User           $user     Who looks at the page
     *
     * @return  ServerFailure
     *
     * @since   0.2.0
     */
    public function failureFor(ServerFailure $failure, User $user): ServerFailure
    {
        Log::warning('PHP called jsocketd in vain. ' . $failure->getMessage());

        return $user->authorise('core.admin') ? $failure : $failure->withoutHostDetails();
    }
}
