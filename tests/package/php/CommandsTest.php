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
use Joomla\CMS\Application\ConsoleApplication;
use PHPUnit\Framework\TestCase;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;

/**
 * The commands of the command line.
 */
final class CommandsTest extends TestCase
{
    public function testPublishing(): void
    {
        $noted = new Noted();

        foreach (
            [
                [['news', 'e', '{"a":{},"b":[]}'], 0, 'Published.'],
                [['news', 'e', '{}'], 0, 'Published.'],
                [['news', 'e', '12345678901234567890'], 0, 'Published.'],
                [['news', 'e', '{a}'], 2, 'The data is not JSON: Syntax error'],
                [['bad name', 'e', '1'], 2, 'The name of a channel may have only letters, digits and _-=@,.;'],
                [['#control', 'recheck-access', '{}'], 2, 'Only kickUser, recheckUser, recheckItem and recheckAccess may use the channel #control.'],
            ] as [$arguments, $code, $says]
        ) {
            $this->assertSame([$code, $says], $this->command('websockets:publish', $noted, array_combine(['channel', 'event', 'data'], $arguments)));
        }

        $this->assertSame(['{"a":{},"b":[]}', '{}', '"12345678901234567890"'], array_column($noted->events, 'json'));
    }

    public function testWhatCouldNotBePublished(): void
    {
        $news = ['channel' => 'news', 'event' => 'e', 'data' => '1'];
        $this->assertSame([1, 'Not published: away'], $this->command('websockets:publish', new Noted(new \RuntimeException('away')), $news));
        [$code, $says] = $this->command('websockets:publish', new Noted(), $news + ['http' => true]);
        $this->assertSame(1, $code);
        $this->assertStringStartsWith('Not published: Nothing answers at http://127.0.0.1:1', $says);
        $off = 'Not published: Real-time updates are switched off in the options of com_websockets.';
        $this->assertSame([1, $off], $this->command('websockets:publish', new Noted(), $news, ['enabled' => 0]));
    }

    public function testStatus(): void
    {
        $outbox = new class () extends Noted {
            public function heartbeats(): array
            {
                return [
                    ['process' => '0000abcd', 'position' => 'o0000002a:7.abc', 'age_ms' => 12, 'fresh' => true],
                    ['process' => '0000abce', 'position' => 'o0000002a:6.abb', 'age_ms' => 61000, 'fresh' => false],
                ];
            }
        };
        [$code, $says] = $this->command('websockets:status', $outbox, [], ['enabled' => 0]);
        $this->assertSame(1, $code);
        $this->assertStringContainsString('switched off', $says);
        $this->assertStringContainsString('No answer from the server: Nothing answers', $says);
        $this->assertStringContainsString('Process 0000abcd was at o0000002a:7.abc 12 ms ago.', $says);
        $this->assertStringNotContainsString('0000abce', $says);
    }

    public function testOnlyTheCommandLineHasThem(): void
    {
        $app = new ConsoleApplication();
        (new Site($app, new Rows()))->fire('application.before_execute');
        $this->assertSame(['websockets:publish', 'websockets:status'], array_keys($app->commands));

        foreach ($app->commands as $command) {
            $this->assertStringNotContainsString('PLG_', $command->description . $command->help);
            $this->assertStringContainsString('%command.full_name%', $command->help);
        }

        $page = new Site(new CMSApplication(), new Rows());
        $page->fire('application.before_execute');
        $this->assertSame([], \Joomla\CMS\Log\Log::$lines);
    }

    /** @return  array{int, string}  the exit code and the output */
    private function command(string $name, Noted $outbox, array $given, array $options = []): array
    {
        $app = new ConsoleApplication();
        (new Site($app, new Rows(), $options, $outbox))->fire('application.before_execute');
        $command = $app->commands[$name];
        $input   = new class ($given + $command->definition) implements InputInterface {
            public function __construct(private array $given)
            {
            }

            public function getArgument(string $name)
            {
                return $this->given[$name];
            }

            public function getOption(string $name)
            {
                return $this->given[$name];
            }
        };
        $output = new class () implements OutputInterface {
            public array $lines = [];

            public function writeln($messages, int $options = 0)
            {
                $this->lines[] = $messages;
            }
        };
        $code = $command->execute($input, $output);

        return [$code, implode("\n", $output->lines)];
    }
}
