<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Tests\Package;

use Jsocketd\Component\Websockets\Administrator\Publish\Event;
use Jsocketd\Component\Websockets\Administrator\Publish\InvalidEvent;
use Jsocketd\Component\Websockets\Administrator\Publish\Options;
use PHPUnit\Framework\TestCase;

/**
 * PHP accepts the same events as the server: see src/protocol/channel.rs and src/outbox/rows.rs.
 */
final class EventTest extends TestCase
{
    public function testChannels(): void
    {
        foreach (
            [
                'news', 'aZ09_-=@,.;', 'private-x', 'private-cache-x', 'presence-x', 'cache-x', 'x', str_repeat('x', 164), '#server-to-user-a b',
                '#server-to-user-' . str_repeat('x', 148),
            ] as $name
        ) {
            $this->assertSame($name, (new Event($name, 'e'))->channel);
        }

        foreach (
            [
                '', ' ', 'a b', 'a:b', 'a/b', '#a', '#control', '#Control', '#server-to-user-', 'ä', "a\n", "a\0", "a'b", str_repeat('x', 165),
                '#server-to-user-ä', '#server-to-user-' . str_repeat('x', 149), "#server-to-user-7\n", 'private-encrypted-x',
            ] as $name
        ) {
            $this->assertInvalid(fn () => new Event($name, 'e'), json_encode($name));
        }
    }

    public function testARefusalSaysWhy(): void
    {
        $this->assertStringContainsString('encrypted by the sender', $this->assertInvalid(fn () => new Event('private-encrypted-x', 'e')));
        $this->assertStringContainsString('kickUser', $this->assertInvalid(fn () => new Event('#control', 'recheck-access', [])));
        $this->assertStringContainsString('10240 bytes', $this->assertInvalid(fn () => new Event('c', 'e', str_repeat('x', 10239))));
        $secret = $this->assertInvalid(fn () => new Event('c', 'e', new class () implements \JsonSerializable {
            public function jsonSerialize(): mixed
            {
                throw new \LogicException('hidden');
            }
        }));
        $this->assertStringNotContainsString('hidden', $secret);
    }

    public function testNames(): void
    {
        foreach (['e', 'App\\Events\\X', 'client-x', 'pusher', str_repeat('ä', 200), "with\nanything\0"] as $name) {
            $this->assertSame($name, (new Event('c', $name))->event);
        }

        foreach (['', str_repeat('ä', 201), 'pusher:x', 'pusher_internal:x', "\xff"] as $name) {
            $this->assertInvalid(fn () => new Event('c', $name), json_encode($name) ?: 'not UTF-8');
        }
    }

    public function testData(): void
    {
        foreach (
            [
                'null'              => null,
                '{"a":"ä/\u2028"}'  => ['a' => "ä/\u{2028}"],
                '[]'                => [],
                '{}'                => new \stdClass(),
                '9007199254740993'  => 9007199254740993,
                '"x"'               => 'x',
            ] as $json => $data
        ) {
            $this->assertSame((string) $json, (new Event('c', 'e', $data))->json);
        }

        // The quotes count too.
        $this->assertSame(10240, \strlen((new Event('c', 'e', str_repeat('x', 10238)))->json));
        $this->assertSame(10240, \strlen((new Event('c', 'e', str_repeat('ä', 5119)))->json));
        $loop    = new \stdClass();
        $loop->a = $loop;

        foreach ([str_repeat('x', 10239), str_repeat('ä', 5120), "\xff", NAN, INF, fopen('php://memory', 'r'), $loop, ["a\xc3" => 1]] as $data) {
            $this->assertInvalid(fn () => new Event('c', 'e', $data));
        }
    }

    public function testSocketIds(): void
    {
        foreach ([null, '1.2', '4294967295.0'] as $id) {
            $this->assertSame($id, (new Event('c', 'e', null, $id))->socketId);
        }

        foreach (['', '1', '1.2.3', 'a.b', '1.2 ', "1.2\n", '4294967296.1', '1.99999999999', '-1.2'] as $id) {
            $this->assertInvalid(fn () => new Event('c', 'e', null, $id), json_encode($id));
        }
    }

    public function testControlRows(): void
    {
        foreach (
            [
                ['recheck-user', '{"user_id":42}', Event::recheckUser(42)],
                ['terminate-user', '{"user_id":42}', Event::terminateUser(42)],
                ['recheck-item', '{"type":"com_content.article","id":17}', Event::recheckItem('com_content.article', 17)],
                ['recheck-access', '{}', Event::recheckAccess()],
            ] as [$verb, $json, $event]
        ) {
            $this->assertSame(['#control', $verb, $json, null], [$event->channel, $event->event, $event->json, $event->socketId]);
        }

        foreach (
            [
                fn () => Event::recheckUser(0),
                fn () => Event::terminateUser(-1),
                fn () => Event::terminateUser(4294967296),
                fn () => Event::recheckItem('article', 1),
                fn () => Event::recheckItem('com_content.article', 0),
                fn () => Event::recheckItem('com_content.' . str_repeat('x', 89), 1),
                fn () => Event::channelOf('com_content.art icle', 1),
            ] as $make
        ) {
            $this->assertInvalid($make);
        }
    }

    public function testTheLimitsAreTheDocumentedOnes(): void
    {
        $protocol = file_get_contents(\dirname(JOOMLA_PACKAGE) . '/docs/protocol.md');
        $this->assertStringContainsString('| event name | | ' . Event::LONGEST_NAME . ' characters', $protocol);
        $this->assertStringContainsString('| channel name | | ' . Event::LONGEST_CHANNEL . ' characters', $protocol);
        $this->assertStringContainsString('`[[apps]] max_event_size` | ' . Event::LONGEST_DATA . ' bytes', $protocol);
    }

    public function testThereAreTwoWays(): void
    {
        $this->expectException(\InvalidArgumentException::class);
        new Options(via: 'pigeon');
    }

    private function assertInvalid(\Closure $make, string $what = ''): string
    {
        try {
            $make();
        } catch (InvalidEvent $error) {
            $this->assertStringEndsNotWith("\n", $error->getMessage());

            return $error->getMessage();
        }

        $this->fail('It was taken: ' . $what);
    }
}
