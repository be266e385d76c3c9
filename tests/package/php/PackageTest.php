<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Tests\Package;

use Jsocketd\Plugin\System\Websockets\Page\Page;
use PHPUnit\Framework\TestCase;

/**
 * Rules for every file of the package.
 */
final class PackageTest extends TestCase
{
    private const SPACES = [
        'com_websockets/admin/src'  => 'Component\Websockets\Administrator',
        'plg_system_websockets/src' => 'Plugin\System\Websockets',
    ];

    public function testEachPhpFileHasTheHeaderAndCannotBeCalled(): void
    {
        foreach ($this->files('php') as $file) {
            $text       = file_get_contents($file);
            $subpackage = preg_match('~/joomla/([a-z_]+)/~', $file, $part) ? $part[1] : 'pkg_websockets';
            $header     = "<?php\n\n/**\n * @package     jsocketd\n * @subpackage  $subpackage\n *\n"
                . " * @copyright   (C) 2026 the jsocketd maintainers\n"
                . " * @license     GNU General Public License version 2 or later; see LICENSE\n */\n";
            $this->assertStringStartsWith($header, $text, $file);
            $this->assertMatchesRegularExpression("/^\\\\?defined\\('_JEXEC'\\) or die;$/m", $text, $file);
            $this->assertStringNotContainsString('strict_types', $text, $file);
        }
    }

    public function testClassesStandWhereTheyAreLookedFor(): void
    {
        foreach (self::SPACES as $folder => $space) {
            foreach (preg_grep('~/' . preg_quote($folder) . '/~', $this->files('php')) as $file) {
                $path  = substr($file, strpos($file, $folder) + \strlen($folder) + 1, -4);
                $parts = explode('/', $path);
                $name  = array_pop($parts);
                $text  = file_get_contents($file);
                $this->assertStringContainsString('namespace ' . implode('\\', ['Jsocketd', $space, ...$parts]) . ';', $text, $file);
                $this->assertMatchesRegularExpression('/^(abstract |final )?(class|interface|trait|enum) ' . $name . '\b/m', $text, $file);
            }
        }
    }

    public function testTheVersionIsOne(): void
    {
        preg_match('/^version = "([^"]+)"/m', file_get_contents(\dirname(JOOMLA_PACKAGE) . '/Cargo.toml'), $cargo);
        $this->assertSame($cargo[1], Page::VERSION);

        foreach (preg_grep('~/(websockets|pkg_websockets)\.xml$~', $this->files('xml')) as $file) {
            $this->assertSame($cargo[1], (string) simplexml_load_file($file)->version, $file);
        }
    }

    public function testManifestsNameWhatIsThere(): void
    {
        foreach (preg_grep('~/websockets\.xml$~', $this->files('xml')) as $file) {
            $manifest = simplexml_load_file($file);

            foreach ($manifest->xpath('.//files | .//languages | .//media') as $list) {
                $folder = \dirname($file) . '/' . (string) $list['folder'];

                foreach ($list->children() as $entry) {
                    $this->assertFileExists(rtrim($folder, '/') . '/' . $entry, $file);
                }
            }
        }
    }

    public function testEveryKeyHasATextAndEveryTextIsUsed(): void
    {
        $texts = [];

        foreach ($this->files('ini') as $file) {
            $read = parse_ini_file($file);
            $this->assertNotFalse($read, $file);
            $this->assertSame(preg_match_all('/^[A-Z0-9_]+=/m', file_get_contents($file)), \count($read), 'no key stands twice in ' . $file);
            $texts += $read;

            foreach ($read as $key => $text) {
                $this->assertMatchesRegularExpression('/^(COM_WEBSOCKETS|PLG_SYSTEM_WEBSOCKETS|PKG_WEBSOCKETS)(_[A-Z0-9_]+)?$/', $key, $file);
                $this->assertNotSame('', trim($text), $key);
            }
        }

        $used = [];

        foreach ([...$this->files('php'), ...$this->files('xml'), ...$this->files('json'), ...$this->files('js')] as $file) {
            preg_match_all('/\b(?:COM_WEBSOCKETS|PLG_SYSTEM_WEBSOCKETS|PKG_WEBSOCKETS)(?:_[A-Z0-9]+)*\b(?!_)/', file_get_contents($file), $found);
            $used += array_fill_keys($found[0], $file);
            // Composed keys count by their beginning: 'COM_WEBSOCKETS_FOUND_' . $key.
            preg_match_all('/\b((?:COM|PLG_SYSTEM|PKG)_WEBSOCKETS_(?:[A-Z0-9]+_)*)(?=[\'"{$%`])/', file_get_contents($file), $begun);

            foreach ($begun[1] as $beginning) {
                $used += array_fill_keys(preg_grep('/^' . $beginning . '/', array_keys($texts)), $file);
            }
        }

        if (is_file(JOOMLA_PACKAGE . '/plg_system_websockets/websockets.xml')) {
            // The extension manager makes this key from the element.
            $used += ['PLG_SYSTEM_WEBSOCKETS' => ''];
        }

        $this->assertSame([], array_diff_key($used, $texts), 'keys without a text');
        $this->assertSame([], array_keys(array_diff_key($texts, $used)), 'texts that nobody uses');
    }

    /** @return  string[] */
    private function files(string $extension): array
    {
        $all   = new \RecursiveIteratorIterator(new \RecursiveDirectoryIterator(JOOMLA_PACKAGE, \FilesystemIterator::SKIP_DOTS));
        $files = array_map('strval', iterator_to_array($all, false));
        $files = preg_grep('~/(node_modules|vendor)/|\.min\.js$~', $files, PREG_GREP_INVERT);
        sort($files);

        return array_values(preg_grep('/\.' . $extension . '$/', $files));
    }
}
