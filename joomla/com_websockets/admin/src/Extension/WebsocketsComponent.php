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
 * The entry point for other extensions: `Factory::getApplication()->bootComponent('com_websockets')->publisher()`. Each
 * of the four objects is created on first use, once a request. This class opens no connection and runs no query.
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
     * @param   ComponentDispatcherFactoryInterface  $dispatcherFactory  Creates the dispatcher
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
     * The publisher, for authors of extensions.
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
     * The options, as they were at the first call of this method in the request.
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
     * The two tables of the outbox.
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
     * The client of the server's HTTP API.
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
     * Whether a user may use the console or see the status. The server decides by the same rule: while the permission
     * is set for no group, users who manage the component have it.
     *
     * @param   User    $user    The user
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
     * Whether a user may change the options of the component.
     *
     * @param   User  $user  The user
     *
     * @return  boolean
     *
     * @since   0.2.0
     */
    public function mayChangeOptions(User $user): bool
    {
        return $user->authorise('core.admin', 'com_websockets') || $user->authorise('core.options', 'com_websockets');
    }

    /**
     * A failed call of the server, with the details that a user may see. A user who may change the address must not
     * learn which ports of which machines answer PHP. The reason goes to the log, and super users see it.
     *
     * @param   ServerFailure  $failure  The failure
     * @param   User           $user     The user who sees the page
     *
     * @return  ServerFailure
     *
     * @since   0.2.0
     */
    public function failureFor(ServerFailure $failure, User $user): ServerFailure
    {
        Log::warning('A call of jsocketd failed. ' . $failure->getMessage());

        return $user->authorise('core.admin') ? $failure : $failure->withoutHostDetails();
    }
}
