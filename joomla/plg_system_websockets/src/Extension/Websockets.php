<?php

/**
 * @package     jsocketd
 * @subpackage  plg_system_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Plugin\System\Websockets\Extension;

use Joomla\Application\ApplicationEvents;
use Joomla\CMS\Application\CMSApplication;
use Joomla\CMS\Application\ConsoleApplication;
use Joomla\CMS\Component\ComponentHelper;
use Joomla\CMS\Plugin\CMSPlugin;
use Joomla\Database\DatabaseAwareInterface;
use Joomla\Database\DatabaseAwareTrait;
use Joomla\Event\EventInterface;
use Joomla\Event\Priority;
use Joomla\Event\SubscriberInterface;
use Jsocketd\Component\Websockets\Administrator\Log;
use Jsocketd\Component\Websockets\Administrator\Publish\Outbox;
use Jsocketd\Component\Websockets\Administrator\Publish\Publisher;
use Jsocketd\Component\Websockets\Administrator\Settings;
use Jsocketd\Plugin\System\Websockets\Command\PublishCommand;
use Jsocketd\Plugin\System\Websockets\Command\StatusCommand;
use Jsocketd\Plugin\System\Websockets\Hints\EventArguments;
use Jsocketd\Plugin\System\Websockets\Hints\Hints;
use Jsocketd\Plugin\System\Websockets\Hints\VisibilityQuery;
use Jsocketd\Plugin\System\Websockets\Page\Page;

\defined('_JEXEC') or die;

/**
 * Joins the site to the server: tells {@see Hints} what Joomla's events say, writes what it makes of them when the response
 * is out, and gives pages what {@see Page} has for them. It decides nothing itself. Whatever goes wrong here is logged, once a
 * request, and never breaks or delays what the request is for.
 *
 * @since  0.1.0
 */
final class Websockets extends CMSPlugin implements SubscriberInterface, DatabaseAwareInterface
{
    use DatabaseAwareTrait;

    /** Changes that are collected before they are written, so that an import of any size takes little memory. */
    private const MAX_COLLECTED = 1000;

    private ?Settings $settings = null;

    private ?Hints $hints = null;

    private ?Page $page = null;

    private bool $hasShutdown = false;

    private bool $hasLogged = false;

    /**
     * The event → method table. The header must be changed before plg_system_cache sends a page (onAfterRoute), options are
     * given when everybody had the chance to ask for the script, and rows are written after all others are done.
     *
     * @return  array
     */
    public static function getSubscribedEvents(): array
    {
        return [
            'onContentBeforeSave'             => 'onContentBeforeSave',
            'onContentAfterSave'              => 'onContentAfterSave',
            'onContentBeforeChangeState'      => 'onContentBeforeChangeState',
            'onContentChangeState'            => 'onContentChangeState',
            'onContentAfterChangeFeatured'    => 'onContentAfterChangeFeatured',
            'onContentBeforeDelete'           => 'onContentBeforeDelete',
            'onContentAfterDelete'            => 'onContentAfterDelete',
            'onBeforeBatch'                   => 'onAccessChanged',
            'onUserAfterSave'                 => 'onUserAfterSave',
            'onUserAfterDelete'               => 'onUserAfterDelete',
            'onUserLogout'                    => 'onUserLogout',
            'onUserAfterSaveGroup'            => 'onAccessChanged',
            'onUserAfterDeleteGroup'          => 'onAccessChanged',
            'onExtensionAfterSave'            => 'onExtensionAfterSave',
            'onApplicationAfterSave'          => 'onAccessChanged',
            'onAfterRoute'                    => ['onAfterRoute', Priority::HIGH],
            'onContentBeforeDisplay'          => 'onContentBeforeDisplay',
            'onAfterInitialiseDocument'       => 'onDocument',
            'onAfterDispatch'                 => 'onDocument',
            'onBeforeCompileHead'             => ['onBeforeCompileHead', Priority::MIN],
            'onAfterRespond'                  => ['onDone', Priority::MIN],
            ApplicationEvents::AFTER_RESPOND  => ['onDone', Priority::MIN],
            ApplicationEvents::AFTER_EXECUTE  => ['onDone', Priority::MIN],
            ApplicationEvents::BEFORE_EXECUTE => 'onBeforeExecute',
        ];
    }

    // --- what changes ------------------------------------------------------------------------------------------------

    public function onContentBeforeSave(EventInterface $event): void
    {
        $this->collect(function (Hints $hints) use ($event): void {
            ['context' => $context, 'subject' => $row, 'isNew' => $isNew] = EventArguments::of($event, 'context', 'subject', 'isNew', 'data');

            if (!$isNew) {
                $hints->beforeChange((string) $context, EventArguments::ids(EventArguments::idOf($row)));
            }
        });
    }

    public function onContentAfterSave(EventInterface $event): void
    {
        $this->collect(function (Hints $hints) use ($event): void {
            ['context' => $context, 'subject' => $row, 'isNew' => $isNew] = EventArguments::of($event, 'context', 'subject', 'isNew', 'data');

            $hints->afterChange((string) $context, EventArguments::ids(EventArguments::idOf($row)), $isNew ? Hints::CREATED : Hints::CHANGED);
        });
    }

    public function onContentBeforeChangeState(EventInterface $event): void
    {
        $this->collect(function (Hints $hints) use ($event): void {
            ['context' => $context, 'subject' => $ids] = EventArguments::of($event, 'context', 'subject', 'value');

            $hints->beforeChange((string) $context, EventArguments::ids($ids));
        });
    }

    public function onContentChangeState(EventInterface $event): void
    {
        $this->collect(function (Hints $hints) use ($event): void {
            ['context' => $context, 'subject' => $ids] = EventArguments::of($event, 'context', 'subject', 'value');

            $hints->afterChange((string) $context, EventArguments::ids($ids), Hints::CHANGED);
        });
    }

    public function onContentAfterChangeFeatured(EventInterface $event): void
    {
        $this->collect(function (Hints $hints) use ($event): void {
            ['extension' => $context, 'pks' => $ids] = EventArguments::of($event, 'extension', 'pks', 'value');

            $hints->afterChange((string) $context, EventArguments::ids($ids), Hints::CHANGED);
        });
    }

    public function onContentBeforeDelete(EventInterface $event): void
    {
        $this->collect(function (Hints $hints) use ($event): void {
            ['context' => $context, 'subject' => $row] = EventArguments::of($event, 'context', 'subject');

            $hints->beforeChange((string) $context, EventArguments::ids(EventArguments::idOf($row)));
        });
    }

    public function onContentAfterDelete(EventInterface $event): void
    {
        $this->collect(function (Hints $hints) use ($event): void {
            ['context' => $context, 'subject' => $row] = EventArguments::of($event, 'context', 'subject');

            $hints->afterChange((string) $context, EventArguments::ids(EventArguments::idOf($row)), Hints::GONE);
        });
    }

    public function onUserAfterSave(EventInterface $event): void
    {
        $this->collect(function (Hints $hints) use ($event): void {
            ['subject' => $user, 'isNew' => $isNew, 'savingResult' => $isSaved]
                = EventArguments::of($event, 'subject', 'isNew', 'savingResult', 'errorMessage');
            $id = EventArguments::idOf($user);

            if (!$isSaved || $id === 0) {
                return;
            }

            $hints->afterChange(Hints::USER, [$id], $isNew ? Hints::CREATED : Hints::CHANGED);

            if ($isNew) {
                return;
            }

            (((array) $user)['block'] ?? false) ? $hints->terminateUser($id) : $hints->recheckUser($id);
        });
    }

    public function onUserAfterDelete(EventInterface $event): void
    {
        $this->collect(function (Hints $hints) use ($event): void {
            ['subject' => $user, 'deletingResult' => $isDeleted] = EventArguments::of($event, 'subject', 'deletingResult', 'errorMessage');
            $id = EventArguments::idOf($user);

            if ($isDeleted && $id > 0) {
                $hints->afterChange(Hints::USER, [$id], Hints::GONE);
                $hints->terminateUser($id);
            }
        });
    }

    /** Which comes before the session is ended; the server is told after the response, and looks again later. */
    public function onUserLogout(EventInterface $event): void
    {
        $this->collect(function (Hints $hints) use ($event): void {
            ['subject' => $user] = EventArguments::of($event, 'subject', 'options');
            $id = EventArguments::idOf($user);

            if ($id > 0) {
                $hints->recheckUser($id);
            }
        });
    }

    public function onExtensionAfterSave(EventInterface $event): void
    {
        $this->safely(function () use ($event): void {
            ['context' => $context, 'subject' => $row] = EventArguments::of($event, 'context', 'subject', 'isNew');

            if ($context !== 'com_config.component') {
                return;
            }

            $this->collect(static fn (Hints $hints) => $hints->recheckAccess());
            $isOurs = \is_object($row) && ($row->element ?? null) === 'com_websockets';
            $now    = $isOurs ? Settings::of((array) json_decode((string) ($row->params ?? ''), true)) : null;

            // Of being switched on nobody else would tell the server: what publishes still has the options of before.
            if ($now?->enabled && $this->settings() && !$this->settings()->enabled) {
                $component = $this->getApplication()->bootComponent('com_websockets');
                (new Publisher($now, $component->outbox(), $component->server()))->recheckAccess();
            }
        });
    }

    /** Groups, permissions, options: or items in a batch, of which nobody says which they are. */
    public function onAccessChanged(): void
    {
        $this->collect(static fn (Hints $hints) => $hints->recheckAccess());
    }

    // --- pages -------------------------------------------------------------------------------------------------------

    public function onAfterRoute(): void
    {
        $this->safely(function (): void {
            $app = $this->getApplication();

            if (!$app instanceof CMSApplication || !$this->settings()?->isReadyForPages()) {
                return;
            }

            $began = (float) ($_SERVER['REQUEST_TIME_FLOAT'] ?? microtime(true));
            $page  = new Page($app, $this->settings, new Outbox($this->getDatabase()), $began);

            if ($page->isCandidate()) {
                $this->page = $page;
                $page->allowConnection();
                $page->readPosition();
            }
        });
    }

    public function onContentBeforeDisplay(EventInterface $event): void
    {
        $this->safely(function () use ($event): void {
            ['context' => $context, 'subject' => $row] = EventArguments::of($event, 'context', 'subject', 'params', 'page');

            if ($context === 'com_content.article' && \is_object($row)) {
                $this->page?->setArticle($row);
            }
        });
    }

    public function onDocument(): void
    {
        $this->safely(fn () => $this->page?->registerAssets());
    }

    public function onBeforeCompileHead(): void
    {
        $this->safely(function (): void {
            if ($this->page !== null) {
                $this->loadLanguage();
                $this->page->addOptions();
            }
        });
    }

    // --- the command line --------------------------------------------------------------------------------------------

    public function onBeforeExecute(): void
    {
        $this->safely(function (): void {
            $app = $this->getApplication();

            if ($app instanceof ConsoleApplication && $this->settings() !== null) {
                $this->loadLanguage();
                $component = static fn () => $app->bootComponent('com_websockets');
                $app->addCommand(new PublishCommand($component));
                $app->addCommand(new StatusCommand($component));
            }
        });
    }

    // --- writing -----------------------------------------------------------------------------------------------------

    /** The response is out, or the process ends. */
    public function onDone(): void
    {
        $this->safely(function (): void {
            $this->write();

            // Whoever published in this request loaded the class.
            if (class_exists(Publisher::class, false)) {
                $this->publisher()->afterResponse();
            }
        });
    }

    private function collect(\Closure $change): void
    {
        $this->safely(function () use ($change): void {
            if (!$this->settings()?->enabled) {
                return;
            }

            $this->hints ??= new Hints(new VisibilityQuery($this->getDatabase()));

            if (!$this->hasShutdown) {
                // Applications that are closed, and fatal errors, do not come to the end of the response.
                $this->hasShutdown = true;
                register_shutdown_function([$this, 'onDone']);
            }

            $change($this->hints);

            if ($this->hints->count() >= self::MAX_COLLECTED) {
                $this->write();
            }
        });
    }

    private function write(): void
    {
        if ($this->hints === null || $this->hints->count() === 0) {
            return;
        }

        $this->publisher()->publishAll($this->hints->take($this->settings()->hints));
    }

    private function publisher(): Publisher
    {
        return $this->getApplication()->bootComponent('com_websockets')->publisher();
    }

    /** The component's options; null while it is not installed or not enabled. */
    private function settings(): ?Settings
    {
        if ($this->settings === null && ComponentHelper::isEnabled('com_websockets')) {
            $this->settings = Settings::of(ComponentHelper::getParams('com_websockets'));
        }

        return $this->settings;
    }

    private function safely(\Closure $do): void
    {
        try {
            $do();
        } catch (\Throwable $error) {
            if (!$this->hasLogged) {
                $this->hasLogged = true;
                $this->logOnce($error);
            }
        }
    }

    private function logOnce(\Throwable $error): void
    {
        try {
            $place = basename($error->getFile()) . ':' . $error->getLine();
            Log::warning('The plugin websockets could not do its work: ' . $error->getMessage() . ' (' . $place . ')');
        } catch (\Throwable) {
            // A log that cannot be written is no reason to break a page.
        }
    }
}
