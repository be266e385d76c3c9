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
 * Connects Joomla's events with the package. It passes changes to {@see Hints}, publishes the events that Hints returns
 * after the response, and lets {@see Page} add the client script to pages. It decides nothing itself. An error here is
 * logged, once a request, and never breaks or delays the request.
 *
 * @since  0.1.0
 */
final class Websockets extends CMSPlugin implements SubscriberInterface, DatabaseAwareInterface
{
    use DatabaseAwareTrait;

    /** Changes that are collected before they are written. The limit bounds the memory that a large import takes. */
    private const MAX_COLLECTED = 1000;

    /** The arguments of the events before and after something is saved. */
    private const SAVE = ['context', 'subject', 'isNew', 'data'];

    private ?Settings $settings = null;

    private ?Hints $hints = null;

    private ?Page $page = null;

    private bool $hasLogged = false;

    /**
     * The method for each event. onAfterRoute comes first, because the header must be changed before plg_system_cache
     * sends a page. onBeforeCompileHead comes last, because other extensions may ask for the script until then. Rows
     * are written last.
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
        $this->collect($event, self::SAVE, static function (Hints $hints, $context, $row, $isNew): void {
            if (!$isNew) {
                $hints->beforeChange((string) $context, EventArguments::ids(EventArguments::idOf($row)));
            }
        });
    }

    public function onContentAfterSave(EventInterface $event): void
    {
        $this->collect($event, self::SAVE, static function (Hints $hints, $context, $row, $isNew): void {
            $kind = $isNew ? Hints::CREATED : Hints::CHANGED;
            $hints->afterChange((string) $context, EventArguments::ids(EventArguments::idOf($row)), $kind);
        });
    }

    public function onContentBeforeChangeState(EventInterface $event): void
    {
        $this->collect($event, ['context', 'subject', 'value'], static function (Hints $hints, $context, $ids): void {
            $hints->beforeChange((string) $context, EventArguments::ids($ids));
        });
    }

    public function onContentChangeState(EventInterface $event): void
    {
        $this->collect($event, ['context', 'subject', 'value'], static function (Hints $hints, $context, $ids): void {
            $hints->afterChange((string) $context, EventArguments::ids($ids), Hints::CHANGED);
        });
    }

    public function onContentAfterChangeFeatured(EventInterface $event): void
    {
        $this->collect($event, ['extension', 'pks', 'value'], static function (Hints $hints, $context, $ids): void {
            $hints->afterChange((string) $context, EventArguments::ids($ids), Hints::CHANGED);
        });
    }

    public function onContentBeforeDelete(EventInterface $event): void
    {
        $this->collect($event, ['context', 'subject'], static function (Hints $hints, $context, $row): void {
            $hints->beforeChange((string) $context, EventArguments::ids(EventArguments::idOf($row)));
        });
    }

    public function onContentAfterDelete(EventInterface $event): void
    {
        $this->collect($event, ['context', 'subject'], static function (Hints $hints, $context, $row): void {
            $hints->afterChange((string) $context, EventArguments::ids(EventArguments::idOf($row)), Hints::GONE);
        });
    }

    public function onUserAfterSave(EventInterface $event): void
    {
        $names = ['subject', 'isNew', 'savingResult', 'errorMessage'];
        $this->collect($event, $names, static function (Hints $hints, $user, $isNew, $isSaved): void {
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
        $names = ['subject', 'deletingResult', 'errorMessage'];
        $this->collect($event, $names, static function (Hints $hints, $user, $isDeleted): void {
            $id = EventArguments::idOf($user);

            if ($isDeleted && $id > 0) {
                $hints->afterChange(Hints::USER, [$id], Hints::GONE);
                $hints->terminateUser($id);
            }
        });
    }

    /**
     * Joomla fires this before it ends the session. The row is written after the response, and the server checks again
     * later.
     */
    public function onUserLogout(EventInterface $event): void
    {
        $this->collect($event, ['subject', 'options'], static function (Hints $hints, $user): void {
            $id = EventArguments::idOf($user);

            if ($id > 0) {
                $hints->recheckUser($id);
            }
        });
    }

    public function onExtensionAfterSave(EventInterface $event): void
    {
        $this->safely(function () use ($event): void {
            ['context' => $context, 'subject' => $row] = EventArguments::of($event, ...self::SAVE);

            if ($context !== 'com_config.component') {
                return;
            }

            $this->onAccessChanged($event);
            $isOurs = \is_object($row) && ($row->element ?? null) === 'com_websockets';
            $now    = $isOurs ? Settings::of((array) json_decode((string) ($row->params ?? ''), true)) : null;

            // The site was just switched on. The usual publisher still has the old options, so it would publish
            // nothing.
            if ($now?->enabled && $this->settings() && !$this->settings()->enabled) {
                $component = $this->getApplication()->bootComponent('com_websockets');
                (new Publisher($now, $component->outbox(), $component->server()))->recheckAccess();
            }
        });
    }

    /** Groups, permissions or options changed, or a batch changed items and does not say which. */
    public function onAccessChanged(EventInterface $event): void
    {
        $this->collect($event, [], static fn (Hints $hints) => $hints->recheckAccess());
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

    /** The response was sent, or the process ends. */
    public function onDone(): void
    {
        $this->safely(function (): void {
            $this->write();

            // The class is loaded only if something was published in this request.
            if (class_exists(Publisher::class, false)) {
                $this->publisher()->afterResponse();
            }
        });
    }

    /**
     * Hands the hints and the arguments of an event to a function that collects what changed.
     *
     * @param   string[]  $names   the arguments of the event, see {@see EventArguments::of()}
     * @param   \Closure  $change  takes the hints and one value for each name
     */
    private function collect(EventInterface $event, array $names, \Closure $change): void
    {
        $this->safely(function () use ($event, $names, $change): void {
            if (!$this->settings()?->enabled) {
                return;
            }

            if ($this->hints === null) {
                $this->hints = new Hints(new VisibilityQuery($this->getDatabase()));
                // The event after the response is missing after a fatal error, and where an application closes itself.
                register_shutdown_function([$this, 'onDone']);
            }

            $change($this->hints, ...array_values(EventArguments::of($event, ...$names)));

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

    /** The component's options. Null: the component is not installed or not enabled. */
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
            Log::warning('The plugin websockets failed: ' . $error->getMessage() . ' (' . $place . ')');
        } catch (\Throwable) {
            // A log that cannot be written must not break a page.
        }
    }
}
