<?php

/**
 * @package     jsocketd
 * @subpackage  plg_system_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Plugin\System\Websockets\Page;

use Joomla\CMS\Application\CMSApplication;
use Joomla\CMS\Document\HtmlDocument;
use Joomla\CMS\Language\Text;
use Joomla\CMS\Uri\Uri;
use Jsocketd\Component\Websockets\Administrator\Publish\Outbox;
use Jsocketd\Component\Websockets\Administrator\Settings;

\defined('_JEXEC') or die;

/**
 * Adds the client script and its options to a page. One option is a position of the outbox table. It is as old as the
 * page, also where a cache keeps the page. The request decides whether the script may load, because the headers of
 * cached pages are sent before there is a document.
 *
 * @since  0.1.0
 */
final class Page
{
    /** The version of the package. It is part of the script's address, so browsers load a new version. */
    public const VERSION = '0.2.0';

    private const OPTIONS = 'com_websockets';

    private const CLIENT = 'com_websockets.client';

    private const BAR = 'com_websockets.bar';

    /** The language keys of the bar. */
    private const TEXTS = [
        'COM_WEBSOCKETS_BAR_CHANGED',
        'COM_WEBSOCKETS_BAR_GONE',
        'COM_WEBSOCKETS_BAR_GAP',
        'COM_WEBSOCKETS_BAR_RELOAD',
        'COM_WEBSOCKETS_BAR_DISMISS',
    ];

    private ?string $position = null;

    /** Whether the article of the page is published; null: not known yet. */
    private ?bool $isPublished = null;

    /**
     * @param   CMSApplication  $app       the application of the request
     * @param   Settings        $settings  the component's options
     * @param   Outbox          $outbox    gives the position
     * @param   float           $began     when the request began, in Unix seconds
     */
    public function __construct(
        private readonly CMSApplication $app,
        private readonly Settings $settings,
        private readonly Outbox $outbox,
        private readonly float $began
    ) {
    }

    /**
     * Whether the script may load on the requested page. It must be a complete HTML page, and not the page "offline".
     *
     * @return  bool
     */
    public function isCandidate(): bool
    {
        $app = $this->app;

        if (!$this->settings->isReadyForPages() || !($app->isClient('site') || $app->isClient('administrator'))) {
            return false;
        }

        $input = $app->getInput();

        return $input->getCmd('format', 'html') === 'html'
            && !\in_array($input->getCmd('tmpl', ''), ['component', 'raw', 'offline', 'error'], true)
            && !$input->getBool('print', false)
            && !($app->isClient('site') && $app->get('offline') && !$app->getIdentity()?->authorise('core.login.offline'));
    }

    /** Allows the socket in the policies of the headers. Call it before a cached page can be sent. */
    public function allowConnection(): void
    {
        $values  = [];
        $changed = [];

        foreach ($this->app->getHeaders() as $header) {
            $name = strtolower($header['name']);

            if (\in_array($name, ['content-security-policy', 'content-security-policy-report-only'], true)) {
                $value           = Policy::allow($header['value'], $this->settings->socketOrigin());
                $values[$name][] = $value;

                if ($value !== $header['value']) {
                    $changed[$name] = $header['name'];
                }
            }
        }

        foreach ($changed as $name => $spelled) {
            foreach ($values[$name] as $number => $value) {
                $this->app->setHeader($spelled, $value, $number === 0);
            }
        }
    }

    /**
     * Reads the position. Call it before any content is read. No extension can have asked for the script at that time,
     * so this runs for every page on which the script may load. It is one read by primary key.
     */
    public function readPosition(): void
    {
        $this->position = $this->outbox->position();
    }

    /**
     * Notes the article that the page shows.
     *
     * @param   object  $article  the row of the article
     */
    public function setArticle(object $article): void
    {
        if ((int) ($article->id ?? 0) === $this->articleId()) {
            $now  = gmdate('Y-m-d H:i:s');
            $up   = (string) ($article->publish_up ?? '');
            $down = (string) ($article->publish_down ?? '');

            $this->isPublished = \in_array((int) ($article->state ?? 0), [1, 2], true) && $up <= $now && ($down < '1000' || $down >= $now);
        }
    }

    /**
     * Registers the assets, so that extensions can use them, and uses the client where the options want it on every
     * page.
     */
    public function registerAssets(): void
    {
        $document = $this->document();

        if ($document === null || !is_file(JPATH_ROOT . '/media/com_websockets/joomla.asset.json')) {
            return;
        }

        $assets = $document->getWebAssetManager();
        $assets->getRegistry()->addExtensionRegistryFile('com_websockets');

        if ($this->loadsAutomatically()) {
            $assets->useScript(self::CLIENT);
        }
    }

    /** Adds the options to a page that loads the script. */
    public function addOptions(): void
    {
        $document = $this->document();

        if ($document === null) {
            return;
        }

        $assets = $document->getWebAssetManager();

        if (!$assets->isAssetActive('script', self::CLIENT) && !$assets->isAssetActive('script', self::BAR)) {
            return;
        }

        $options = [
            'url'      => $this->settings->serverUrl,
            'key'      => $this->settings->appKey,
            'module'   => Uri::root(true) . '/media/com_websockets/js/websockets.min.js?' . self::VERSION,
            'spread'   => $this->settings->spreadMs,
            'member'   => $this->isMember(),
        ];

        if ($this->position !== null) {
            $options['position'] = $this->position;
        }

        $article = $this->articleId();

        if ($article > 0 && $this->isPublished !== false) {
            $options['item'] = ['context' => 'com_content.article', 'id' => $article, 'at' => (int) ($this->began * 1000)];

            if ($this->settings->bar) {
                $assets->usePreset(self::BAR);
            }
        }

        if ($assets->isAssetActive('script', self::BAR)) {
            array_map([Text::class, 'script'], self::TEXTS);
        }

        $document->addScriptOptions(self::OPTIONS, $options);
    }

    private function loadsAutomatically(): bool
    {
        return $this->app->isClient('site') && match ($this->settings->load) {
            Settings::EVERYWHERE => true,
            Settings::MEMBERS => $this->isMember(),
            default => false,
        };
    }

    private function isMember(): bool
    {
        return (int) $this->app->getIdentity()?->id > 0;
    }

    private function articleId(): int
    {
        $input  = $this->app->getInput();
        $isPage = $this->app->isClient('site') && $input->getCmd('option') === 'com_content' && $input->getCmd('view') === 'article';

        return $isPage && $input->getCmd('layout') !== 'edit' ? max(0, $input->getInt('id', 0)) : 0;
    }

    private function document(): ?HtmlDocument
    {
        $document = $this->app->getDocument();

        // Error pages are HTML documents too, but they have another type.
        return $document instanceof HtmlDocument && $document->getType() === 'html' ? $document : null;
    }
}
