<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Tests\Package;

use Jsocketd\Component\Websockets\Administrator\Setup\ConsolePage;
use Jsocketd\Component\Websockets\Administrator\Setup\Site as Place;
use Jsocketd\Component\Websockets\Administrator\Setup\StatusPage;
use PHPUnit\Framework\TestCase;

/**
 * The pages of the back end in a pseudo-locale, which puts every text of an ini file in brackets. So every visible text
 * must come from an ini file. Other values stay text. The ini files have the keys of the sources and no others.
 */
class AdminPagesTest extends TestCase
{
    /**
     * Texts without a translation: commands of the server, names of products, files and values of ../site/pseudo.php.
     */
    private const VALUES = ['test', 'version', 'help', 'wss://1.example/2', 'http://127.0.0.1:8080', '/etc/jsocketd/jsocketd.toml',
        '/etc/nginx/conf.d/jsocketd.conf', '/etc/nginx/snippets/jsocketd.conf', '/etc/apache2/conf-available/jsocketd.conf',
        '/etc/apache2/sites-available/jsocketd.conf', '/etc/caddy/Caddyfile', '/etc/haproxy/haproxy.cfg',
        '/etc/systemd/system/jsocketd.service'];

    private const PAGES = ['console', 'console-bare', 'status', 'status-bad'];

    private const ADMIN = JOOMLA_PACKAGE . '/com_websockets/admin';

    public function testEveryTextComesFromAnIniFile(): void
    {
        foreach (self::PAGES as $page) {
            $seen = 0;

            foreach ($this->texts($this->page($page, true)) as $text) {
                $left = $text;

                do {
                    $left = preg_replace('/⟦[^⟦⟧]*⟧/u', '', $left, -1, $count);
                    $seen += $count;
                } while ($count > 0);

                $left = trim($left);
                self::assertTrue(
                    \in_array($left, self::VALUES, true) || preg_match('/\pL/u', $left) === 0,
                    "on the page $page stands a text that is in no ini file: $left"
                );
            }

            self::assertGreaterThan(10, $seen);
        }
    }

    public function testValuesFromElsewhereStayText(): void
    {
        foreach (self::PAGES as $page) {
            $html = $this->page($page, false);
            self::assertSame(0, $this->dom($html)->getElementsByTagName('img')->length, $page);
            self::assertSame(0, $this->dom($html)->getElementsByTagName('script')->length, $page);
            self::assertDoesNotMatchRegularExpression('/<[^>]* (on[a-z]+|style)=/i', $html, $page);
        }

        self::assertStringContainsString('&lt;img src=x onerror=alert(1)&gt;', $this->page('status', false));
    }

    public function testNoPageHasASecretNorDoesItsScriptGetOne(): void
    {
        foreach (self::PAGES as $page) {
            $html = $this->page($page, false, 'options');
            self::assertMatchesRegularExpression('/\{"url":".*\}$/', $html, $page);
            self::assertStringNotContainsString('SECRET', $html, $page);
        }
    }

    public function testEveryIdIsThereOnce(): void
    {
        foreach (self::PAGES as $page) {
            preg_match_all('/ id="([^"]+)"/', $html = $this->page($page, false), $found);
            self::assertSame(array_unique($found[1]), $found[1], $page);
            preg_match_all('/ aria-(?:labelledby|describedby)="([^"]+)"| for="([^"]+)"| data-copy="([^"]+)"/', $html, $refers);

            foreach (array_filter(array_merge($refers[1], $refers[2], $refers[3])) as $id) {
                self::assertContains($id, $found[1], $page);
            }
        }
    }

    public function testTheScriptsGetTheTextsThatTheyShow(): void
    {
        foreach (['console' => ConsolePage::TEXTS, 'status' => StatusPage::TEXTS] as $name => $handed) {
            $script = file_get_contents(JOOMLA_PACKAGE . "/com_websockets/media/js/$name.js");
            $script = preg_replace('~/\*.*?\*/~s', '', $script);
            $handed = array_map(static fn (string $key): string => substr($key, \strlen('COM_WEBSOCKETS_')), $handed);
            preg_match_all("/'([A-Z]+(?:_[A-Z0-9]+)*)'/", $script, $literal);
            $literal[1] = array_diff($literal[1], ['POST']);
            // Composed keys: CLOSED_1006, CHAIN_CLOSED_4001_MEND, CHAIN_PASSED, CHAIN_HTTP_MEND, and KEY_MEND beside
            // KEY.
            $made = array_filter($handed, static fn (string $key): bool => (bool) preg_match(
                '/^(CLOSED_\d+|CHAIN_CLOSED_\d+_MEND|CHAIN_(RUNNING|PASSED|FAILED|SKIPPED)|CHAIN_(HTTP|OUTBOX)_MEND)$/',
                $key
            ));
            $fixes = array_filter($handed, static fn (string $key): bool => str_ends_with($key, '_MEND')
                && \in_array(substr($key, 0, -5), $literal[1], true));

            self::assertSame([], array_values(array_diff($literal[1], $handed)), "$name.js shows what it is not handed");
            self::assertSame([], array_values(array_diff($handed, $literal[1], $made, $fixes)), "$name.js is handed what it never shows");
        }
    }

    public function testTheIniFileHasWhatIsNamedAndNothingElse(): void
    {
        $texts   = parse_ini_file(self::ADMIN . '/language/en-GB/com_websockets.ini');
        $sources = '';

        foreach (new \RecursiveIteratorIterator(new \RecursiveDirectoryIterator(self::ADMIN, \FilesystemIterator::SKIP_DOTS)) as $file) {
            if (\in_array($file->getExtension(), ['php', 'xml'], true)) {
                $sources .= file_get_contents($file);
            }
        }

        preg_match_all('/COM_WEBSOCKETS(?:_[A-Z0-9]+)+(?!_)\b/', $sources, $found);

        foreach (array_unique($found[0]) as $key) {
            self::assertArrayHasKey($key, $texts);
        }

        foreach ($texts as $key => $text) {
            self::assertNotSame('', $text, $key);
            self::assertMatchesRegularExpression('/^COM_WEBSOCKETS(_[A-Z0-9]+)*$/', $key);

            $isNamed = \in_array($key, $found[0], true);
            $isMade  = preg_match('/^COM_WEBSOCKETS_(FOUND|HOP|LEVEL|SNIPPET)_/', $key) === 1;
            // Joomla itself uses these.
            $isJoomlas = \in_array($key, ['COM_WEBSOCKETS', 'COM_WEBSOCKETS_CONFIGURATION'], true);
            self::assertTrue($isNamed || $isMade || $isJoomlas, "$key is never shown");
        }
    }

    public function testTheMenuAndTheInstallerHaveTheirTexts(): void
    {
        $texts = parse_ini_file(self::ADMIN . '/language/en-GB/com_websockets.sys.ini');
        $component = JOOMLA_PACKAGE . '/com_websockets/';
        preg_match_all('/>(COM_WEBSOCKETS[A-Z_]*)</', file_get_contents($component . 'websockets.xml'), $manifest);
        preg_match_all("/'(COM_WEBSOCKETS[A-Z_]*)'/", file_get_contents($component . 'script.php'), $script);

        self::assertEqualsCanonicalizing(array_unique([...$manifest[1], ...$script[1]]), array_keys($texts));
    }

    /** @dataProvider servers */
    public function testTheConsoleShowsTheFormTokenWhereTheCookieGoesTooAndNowhereElse(string $serverUrl, string $cookieDomain, bool $sends): void
    {
        $page = new ConsolePage(new Place('https://www.example.org/', '/', $serverUrl, ''), true, true, 'database', $cookieDomain);

        self::assertSame($sends, $page->options()['sendsToken']);
    }

    public static function servers(): array
    {
        return [
            ['wss://www.example.org/ws', '', true],
            ['wss://www.example.org:8443', '', true],
            ['wss://ws.example.org', '', false],
            ['wss://ws.example.org', '.example.org', true],
            ['wss://ws.example.org', 'Example.org', true],
            ['wss://evil.example', '.example.org', false],
            ['wss://evilexample.org', 'example.org', false],
            ['wss://evil.example', '.', false],
            ['', '.example.org', false],
        ];
    }

    private function page(string $name, bool $pseudo, string $more = ''): string
    {
        $script  = \dirname(__DIR__) . '/site/pseudo.php';
        $command = 'env ' . ($pseudo ? 'PSEUDO_LOCALE=1' : '-u PSEUDO_LOCALE') . ' php -d display_errors=stderr -d error_reporting=-1 ';
        exec($command . escapeshellarg($script) . ' ' . $name . ' ' . $more . ' 2>&1', $lines, $code);
        self::assertSame(0, $code, implode("\n", $lines));

        return implode("\n", $lines);
    }

    private function dom(string $html): \DOMDocument
    {
        $dom = new \DOMDocument();
        $dom->loadHTML('<?xml encoding="UTF-8"?>' . $html, LIBXML_NOERROR);

        return $dom;
    }

    /** The texts for readers and screen readers: the page and its labels, without the snippets, which are files. */
    private function texts(string $html): iterable
    {
        $xpath = new \DOMXPath($this->dom($html));

        foreach ($xpath->query('//body//text()[not(ancestor::pre)] | //@aria-label | //@placeholder | //@title | //@alt') as $node) {
            yield trim($node->nodeValue);
        }
    }
}
