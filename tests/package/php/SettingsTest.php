<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Tests\Package;

use Joomla\Registry\Registry;
use Jsocketd\Component\Websockets\Administrator\Settings;
use PHPUnit\Framework\TestCase;

final class SettingsTest extends TestCase
{
    public function testWithNothingSavedTheDefaultsCount(): void
    {
        foreach ([[], new Registry([]), ['enabled' => null, 'server_url' => null, 'spread_ms' => '', 'server_address' => '']] as $params) {
            $settings = Settings::of($params);

            $this->assertSame(
                [true, '', 'http://127.0.0.1:8080', '', '', '', 'asked', true, false, true, true, 3000],
                array_values(get_object_vars($settings))
            );
            $this->assertFalse($settings->isReadyForPages());
            $this->assertSame('', $settings->socketOrigin());
        }
    }

    public function testSwitchesComeInThreeKinds(): void
    {
        foreach ([[1, 0], ['1', '0'], [true, false], ['1', '']] as [$on, $off]) {
            $this->assertTrue(Settings::of(['presence_names' => $on])->presenceNames);
            $this->assertFalse(Settings::of(['enabled' => $off])->enabled);
        }

        foreach (['yes', [], 2, 1.5, 'banana'] as $nonsense) {
            $this->assertTrue(Settings::of(['enabled' => $nonsense])->enabled);
            $this->assertFalse(Settings::of(['presence_names' => $nonsense])->presenceNames);
        }
    }

    public function testAnAddressIsSchemeHostPortAndPath(): void
    {
        foreach (
            [
                'wss://example.org'             => 'wss://example.org',
                'WSS://Example.ORG/'            => 'wss://example.org',
                ' ws://127.0.0.1:8080/ws/ '     => 'ws://127.0.0.1:8080',
                'wss://[::1]:443/a/b'           => 'wss://[::1]:443',
                'wss://my_host.example.org:1/x' => 'wss://my_host.example.org:1',
            ] as $url => $origin
        ) {
            $settings = Settings::of(['server_url' => $url, 'app_key' => 'k']);
            $this->assertSame([$origin, true], [$settings->socketOrigin(), $settings->isReadyForPages()], $url);
        }

        $this->assertSame('wss://example.org/Ws', Settings::of(['server_url' => 'wss://EXAMPLE.org/Ws/'])->serverUrl);
    }

    public function testNonsenseIsAsIfItWereNotSet(): void
    {
        foreach (
            [
                'example.org', 'https://example.org', 'wss://', 'wss:///x', 'wss://a b', 'wss://u:p@example.org', 'wss://example.org?x=1',
                'wss://example.org/#a', "wss://example.org\r\nX: y", 'wss://example.org;', "wss://example.org 'unsafe-inline'", 'wss://*.example.org',
                'wss://example.org:0', 'wss://example.org:65536', 'wss://example.org:x', 'wss://-x', 'javascript:alert(1)', ['wss://example.org'], 7,
                'wss://example.org/<script>', 'wss://exämple.org', "wss://example.org\n",
            ] as $url
        ) {
            $settings = Settings::of(['server_url' => $url, 'app_key' => 'k', 'server_address' => $url]);

            if ($url === "wss://example.org\n") {
                $this->assertSame('wss://example.org', $settings->serverUrl, 'blanks around it are no nonsense');
                continue;
            }

            $this->assertSame(['', false], [$settings->serverUrl, $settings->isReadyForPages()], json_encode($url));
        }

        $this->assertSame('', Settings::of(['server_address' => 'wss://example.org'])->serverAddress);

        foreach (['a/b', 'a b', "a\nb", str_repeat('x', 129), 'ä', [], "k\0k"] as $name) {
            $settings = Settings::of(['app_id' => $name, 'app_key' => $name]);
            $this->assertSame(['', ''], [$settings->appId, $settings->appKey]);
        }

        $loads = ['asked' => 'asked', 'members' => 'members', 'everywhere' => 'everywhere', 'Everywhere' => 'asked', '' => 'asked'];

        foreach ($loads as $load => $read) {
            $this->assertSame($read, Settings::of(['load' => $load])->load);
        }

        foreach ([[0, 0], ['250', 250], [-5, 0], [1e9, 60000], ['1e99', 60000], ['soon', 3000], [[], 3000]] as [$spread, $read]) {
            $this->assertSame($read, Settings::of(['spread_ms' => $spread])->spreadMs);
        }
    }
}
