<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Tests\Package;

use Joomla\CMS\Application\CMSApplication;
use Joomla\CMS\Document\Document;
use Joomla\CMS\Document\ErrorDocument;
use Joomla\CMS\Document\HtmlDocument;
use Joomla\CMS\Language\Text;
use Joomla\CMS\Log\Log;
use Joomla\CMS\User\User;
use Joomla\Event\Event;
use Jsocketd\Plugin\System\Websockets\Page\Page;
use PHPUnit\Framework\TestCase;

/**
 * The script and the options of a page: whole requests, from the route to the head.
 */
final class PageTest extends TestCase
{
    private const BEGAN = 1790000000.123;

    private const ARTICLE = ['option' => 'com_content', 'view' => 'article', 'id' => '17:alias'];

    private const POSITION = [['value' => 'o0000002a:1234.mx1nat05']];

    protected function setUp(): void
    {
        $_SERVER['REQUEST_TIME_FLOAT'] = self::BEGAN;
    }

    public function testEveryPageGetsThePositionByOneRead(): void
    {
        $member = $this->page(['load' => 'everywhere'], user: 42);
        $this->assertSame(
            [
                'url'      => 'wss://example.org/ws',
                'key'      => 'thekey',
                'module'   => '/joomla/media/com_websockets/js/websockets.min.js?' . Page::VERSION,
                'spread'   => 3000,
                'member'   => true,
                'position' => 'o0000002a:1234.mx1nat05',
            ],
            $this->optionsOf($member)
        );
        $this->assertCount(1, $member->db->statements);

        $guest = $this->page(['load' => 'everywhere', 'spread_ms' => 0]);
        $this->assertSame(['o0000002a:1234.mx1nat05', 0, false], $this->some($guest, 'position', 'spread', 'member'));
        $this->assertCount(1, $guest->db->statements);
    }

    public function testThePositionIsReadBeforeAnyContent(): void
    {
        $app = $this->app('site', [], 0);
        $db  = new Rows([self::POSITION]);
        (new Site($app, $db))->fire('onAfterRoute');
        $this->assertCount(1, $db->statements);
    }

    public function testNothingOfAGuestsPageIsPersonal(): void
    {
        $this->assertEquals($this->optionsOf($this->page(['load' => 'everywhere'])), $this->optionsOf($this->page(['load' => 'everywhere'])));
        $this->assertStringNotContainsString('the-secret-of-the-tests', json_encode($this->page(['load' => 'everywhere'])->app->document->options));
    }

    public function testWhereTheScriptLoads(): void
    {
        foreach (
            [
                ['asked', 0, false, false], ['asked', 42, false, false], ['asked', 0, true, true], ['asked', 42, true, true],
                ['members', 0, false, false], ['members', 42, false, true], ['members', 0, true, true],
                ['everywhere', 0, false, true], ['everywhere', 42, false, true],
            ] as [$load, $user, $isAsked, $isThere]
        ) {
            $site = $this->page(['load' => $load], user: $user, asks: $isAsked ? 'com_websockets.client' : '');
            $case = "$load $user " . json_encode($isAsked);
            $this->assertSame($isThere, $this->optionsOf($site) !== null, $case);
            $this->assertSame($isThere, $site->app->document->getWebAssetManager()->isAssetActive('script', 'com_websockets.client'), $case);
            $this->assertCount(1, $site->db->statements, $case);
            $position = $this->optionsOf($site)['position'] ?? null;
            $this->assertSame($isThere ? 'o0000002a:1234.mx1nat05' : null, $position, $case);
        }
    }

    public function testTheBackEndLoadsItWhereItIsAsked(): void
    {
        $this->assertNull($this->optionsOf($this->page(['load' => 'everywhere'], user: 42, client: 'administrator')));
        $asked = $this->page(['load' => 'everywhere'], user: 42, client: 'administrator', asks: 'com_websockets.client');
        $this->assertSame(['o0000002a:1234.mx1nat05', true], $this->some($asked, 'position', 'member'));
        $this->assertNull($this->optionsOf($this->page(['load' => 'everywhere'], client: 'api', asks: 'com_websockets.client')));
    }

    public function testAnArticlesPageHasItsItemAndTheBar(): void
    {
        $site = $this->page(['load' => 'everywhere'], self::ARTICLE);
        $this->assertSame([['context' => 'com_content.article', 'id' => 17, 'at' => 1790000000123]], $this->some($site, 'item'));
        $this->assertTrue($site->app->document->getWebAssetManager()->isAssetActive('style', 'com_websockets.bar'));
        $this->assertCount(5, Text::$scripts);
        $this->assertSame('Reload', Text::_('COM_WEBSOCKETS_BAR_RELOAD'));

        $site = $this->page(['load' => 'everywhere', 'bar' => '0'], self::ARTICLE);
        $this->assertSame([['context' => 'com_content.article', 'id' => 17, 'at' => 1790000000123]], $this->some($site, 'item'));
        $this->assertFalse($site->app->document->getWebAssetManager()->isAssetActive('script', 'com_websockets.bar'));
        $this->assertSame([], Text::$scripts);

        foreach (
            [
                ['option' => 'com_content', 'view' => 'category', 'id' => 9], ['option' => 'com_contact', 'view' => 'article', 'id' => 9],
                ['view' => 'article', 'id' => 17], ['layout' => 'edit'] + self::ARTICLE, ['id' => 'x'] + self::ARTICLE,
            ] as $request
        ) {
            $this->assertArrayNotHasKey('item', $this->optionsOf($this->page(['load' => 'everywhere'], $request)));
        }
    }

    public function testAnArticleThatIsNotPublishedHasNoItem(): void
    {
        $row = ['id' => '17', 'state' => '1', 'publish_up' => '2020-01-01 00:00:00', 'publish_down' => null];

        foreach (
            [
                [$row, true], [['state' => '2'] + $row, true], [['publish_up' => null] + $row, true],
                [['publish_down' => '2999-01-01 00:00:00'] + $row, true],
                [['state' => '0'] + $row, false], [['state' => '-2'] + $row, false], [['publish_up' => '2999-01-01 00:00:00'] + $row, false],
                [['publish_down' => '2020-01-01 00:00:00'] + $row, false],
                // Another article, in a module.
                [['id' => '18', 'state' => '0'] + $row, true],
            ] as [$shown, $hasItem]
        ) {
            $context = 'com_content.article';

            foreach ([[$context, (object) $shown], ['context' => $context, 'subject' => (object) $shown]] as $arguments) {
                $event = new Event('onContentBeforeDisplay', $arguments);
                $site  = $this->page(['load' => 'everywhere'], self::ARTICLE, shows: $event);
                $this->assertSame($hasItem, isset($this->optionsOf($site)['item']), json_encode($shown));
            }
        }
    }

    public function testNoPageNoScript(): void
    {
        $all = ['load' => 'everywhere'];

        foreach (
            [
                'raw' => fn () => $this->page($all, ['format' => 'raw']),
                'json' => fn () => $this->page($all, ['format' => 'json']),
                'feed' => fn () => $this->page($all, ['format' => 'feed']),
                'component' => fn () => $this->page($all, ['tmpl' => 'component']),
                'print' => fn () => $this->page($all, ['print' => '1']),
                'off' => fn () => $this->page(['enabled' => 0] + $all),
                'no server' => fn () => $this->page(['server_url' => ''] + $all),
                'nonsense' => fn () => $this->page(['server_url' => 'https://example.org'] + $all),
                'offline' => fn () => $this->page($all, configuration: ['offline' => true]),
                'offline for a member' => fn () => $this->page($all, user: 42, configuration: ['offline' => '1']),
                'error' => fn () => $this->page($all, document: new ErrorDocument()),
                'other document' => fn () => $this->page($all, document: new Document()),
            ] as $case => $make
        ) {
            $site = $make();
            $this->assertArrayNotHasKey('com_websockets', $site->app->document->options, $case);
            $this->assertSame([], Log::$lines, $case);
        }

        $allowed = $this->page($all, user: 42, configuration: ['offline' => true], may: ['core.login.offline']);
        $this->assertNotNull($this->optionsOf($allowed));
    }

    public function testAComponentThatIsNotThereIsNoTrouble(): void
    {
        $app  = $this->app('site', [], 0);
        $site = new Site($app, new Rows());
        \Joomla\CMS\Component\ComponentHelper::$components = [];
        $site->fire('onAfterRoute', 'onAfterDispatch', 'onBeforeCompileHead', 'onContentAfterSave', 'onUserLogout', 'onAfterRespond');
        $this->assertSame([[], []], [Log::$lines, $app->document->options]);
    }

    public function testWithTheDatabaseAwayThePageIsMadeAllTheSame(): void
    {
        $site = $this->page(['load' => 'everywhere'], answers: []);
        $this->assertSame('thekey', $this->optionsOf($site)['key']);
        $this->assertArrayNotHasKey('position', $this->optionsOf($site));
        $this->assertCount(1, Log::$lines);
        $this->assertStringContainsString('The database is away.', Log::$lines[0]);

        // No row, a row that cannot be read, a row of version 0.1.
        foreach ([[], [['value' => '']], [['value' => 'o0000002a:1234']]] as $answer) {
            $nobody = $this->page(['load' => 'everywhere'], user: 42, answers: [$answer]);
            $this->assertArrayNotHasKey('position', $this->optionsOf($nobody));
            $this->assertSame([], Log::$lines);
        }
    }

    public function testWithoutTheFileOfAssetsNothingIsAsked(): void
    {
        $file = JPATH_ROOT . '/media/com_websockets/joomla.asset.json';
        unlink($file);
        $site = $this->page(['load' => 'everywhere']);
        touch($file);
        $this->assertSame([null, []], [$this->optionsOf($site), Log::$lines]);
    }

    public function testPoliciesAllowTheSocket(): void
    {
        $headers = [
            ['name' => 'Content-Security-Policy', 'value' => "default-src 'self'"],
            ['name' => 'X-Frame-Options', 'value' => 'SAMEORIGIN'],
            ['name' => 'content-security-policy-report-only', 'value' => "connect-src 'none'"],
            ['name' => 'Content-Security-Policy', 'value' => "connect-src 'self'"],
        ];
        $site = $this->page([], headers: $headers);
        $read = [];

        foreach ($site->app->headers as $header) {
            $read[strtolower($header['name'])][] = $header['value'];
        }

        $both = ["default-src 'self'; connect-src 'self' wss://example.org", "connect-src 'self' wss://example.org"];
        $this->assertSame($both, $read['content-security-policy']);
        $this->assertSame(['connect-src wss://example.org'], $read['content-security-policy-report-only']);
        $this->assertSame(['SAMEORIGIN'], $read['x-frame-options']);

        $this->assertSame($headers, $this->page(['enabled' => 0], headers: $headers)->app->headers);
        $this->assertSame($headers, $this->page([], ['format' => 'json'], headers: $headers)->app->headers);
        $harmless = [['name' => 'Content-Security-Policy', 'value' => "frame-ancestors 'self'"]];
        $this->assertSame($harmless, $this->page([], headers: $harmless)->app->headers);
    }

    public function testAFailingDocumentIsLoggedOnceAndBreaksNothing(): void
    {
        $document = new class () extends HtmlDocument {
            public function getWebAssetManager(): \Joomla\CMS\WebAsset\WebAssetManager
            {
                throw new \Error('broken');
            }
        };
        $this->page(['load' => 'everywhere'], document: $document);
        $this->assertCount(1, Log::$lines);
    }

    private function app(string $client, array $request, int $user, array $may = []): CMSApplication
    {
        $app           = new CMSApplication($client, $request);
        $app->identity = new User($user, $may);
        $app->document = new HtmlDocument();

        return $app;
    }

    private function page(
        array $options,
        array $request = [],
        int $user = 0,
        string $client = 'site',
        string $asks = '',
        array $configuration = [],
        array $may = [],
        array $headers = [],
        ?Document $document = null,
        ?Event $shows = null,
        array $answers = [self::POSITION]
    ): Site {
        $app                = $this->app($client, $request, $user, $may);
        $app->configuration = $configuration;
        $app->headers       = $headers;
        $app->document      = $document ?? $app->document;
        $site               = new Site($app, new Rows($answers), $options);

        $site->fire('onAfterRoute', 'onAfterInitialiseDocument');

        if ($shows) {
            $site->dispatch($shows);
        }

        $site->fire('onAfterDispatch');

        if ($asks !== '' && $app->document instanceof HtmlDocument) {
            $app->document->getWebAssetManager()->getRegistry()->addExtensionRegistryFile('com_websockets');
            $app->document->getWebAssetManager()->useScript($asks);
        }

        $site->fire('onBeforeCompileHead', 'onAfterRespond');

        return $site;
    }

    private function optionsOf(Site $site): ?array
    {
        return $site->app->document->options['com_websockets'] ?? null;
    }

    private function some(Site $site, string ...$names): array
    {
        return array_map(fn (string $name) => $this->optionsOf($site)[$name] ?? null, $names);
    }
}
