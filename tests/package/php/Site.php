<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Tests\Package;

use Joomla\CMS\Application\CMSApplicationInterface;
use Joomla\CMS\Component\ComponentHelper;
use Joomla\CMS\Language\Text;
use Joomla\CMS\Log\Log;
use Joomla\Database\DatabaseInterface;
use Joomla\Event\EventInterface;
use Jsocketd\Component\Websockets\Administrator\Publish\Outbox;
use Jsocketd\Component\Websockets\Administrator\Publish\Publisher;
use Jsocketd\Component\Websockets\Administrator\Server\Client;
use Jsocketd\Component\Websockets\Administrator\Settings;
use Jsocketd\Plugin\System\Websockets\Extension\Websockets;

/**
 * A small request of a site: the plugin with its subscriptions, an application, the component.
 */
final class Site
{
    public const OPTIONS = [
        'server_url' => 'wss://example.org/ws',
        'app_id'     => 'site-0123abcd',
        'app_key'    => 'thekey',
        'app_secret' => 'the-secret-of-the-tests',
        // Nothing listens there, so a nudge fails at once.
        'server_address' => 'http://127.0.0.1:1',
    ];

    public readonly Websockets $plugin;

    public readonly Publisher $publisher;

    public readonly Outbox $outbox;

    public function __construct(
        public readonly CMSApplicationInterface $app,
        public readonly DatabaseInterface $db,
        array $options = [],
        ?Outbox $outbox = null
    ) {
        ComponentHelper::$components = ['com_websockets' => $options + self::OPTIONS];
        Log::$lines    = [];
        Text::$scripts = [];

        $settings        = Settings::of($options + self::OPTIONS);
        $server          = new Client($settings);
        $this->outbox    = $outbox ?? new Outbox($db);
        $this->publisher = new class ($settings, $this->outbox, $server) extends Publisher {
            protected function isUpkeepDue(int $rows): bool
            {
                return false;
            }
        };
        $app->component = new class ($settings, $this->outbox, $server, $this->publisher) {
            public function __construct(private $settings, private $outbox, private $server, private $publisher)
            {
            }

            public function __call($name, $arguments)
            {
                return $this->$name;
            }
        };
        $this->plugin = new Websockets();
        $this->plugin->setApplication($app);
        $this->plugin->setDatabase($db);
    }

    /** Dispatches an event, as far as the plugin subscribed to it. */
    public function dispatch(EventInterface $event): void
    {
        $method = (array) (Websockets::getSubscribedEvents()[$event->getName()] ?? []);

        if ($method) {
            $this->plugin->{$method[0]}($event);
        }
    }

    /** Fires events without arguments. */
    public function fire(string ...$names): void
    {
        foreach ($names as $name) {
            $this->dispatch(new \Joomla\Event\Event($name));
        }
    }
}
