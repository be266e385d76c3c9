<?php

/**
 * @package     jsocketd
 * @subpackage  plg_system_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Plugin\System\Websockets\Command;

use Joomla\CMS\Language\Text;
use Joomla\Console\Command\AbstractCommand;
use Jsocketd\Component\Websockets\Administrator\Publish\Outbox;
use Jsocketd\Component\Websockets\Administrator\Server\Client;
use Jsocketd\Component\Websockets\Administrator\Server\ServerFailure;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;

\defined('_JEXEC') or die;

/**
 * `websockets:status`: prints the status of the server, and the servers that read the table. Exit codes: 0 all is well,
 * 1 the server does not answer, or no server reads the table.
 *
 * @since  0.1.0
 */
final class StatusCommand extends AbstractCommand
{
    /** @var  string */
    protected static $defaultName = 'websockets:status';

    /**
     * @param   \Closure  $component  boots com_websockets when it is needed
     */
    public function __construct(private readonly \Closure $component)
    {
        parent::__construct();
    }

    protected function configure(): void
    {
        $this->setDescription(Text::_('PLG_SYSTEM_WEBSOCKETS_STATUS_DESC'));
        $this->setHelp(Text::_('PLG_SYSTEM_WEBSOCKETS_STATUS_HELP'));
    }

    protected function doExecute(InputInterface $input, OutputInterface $output): int
    {
        $component = ($this->component)();

        if (!$component->settings()->enabled) {
            $output->writeln(Text::_('PLG_SYSTEM_WEBSOCKETS_STATUS_OFF'));
        }

        $isServed = $this->printServer($component->server(), $output);
        $isRead   = $this->printReaders($component->outbox(), $output);

        return $isServed && $isRead ? 0 : 1;
    }

    private function printServer(Client $server, OutputInterface $output): bool
    {
        try {
            $status = $server->status();
        } catch (ServerFailure $failure) {
            $output->writeln(Text::sprintf('PLG_SYSTEM_WEBSOCKETS_STATUS_NO_SERVER', $failure->getMessage()));

            return false;
        }

        $number = static fn (mixed $value): string => is_numeric($value) ? (string) $value : '?';
        $output->writeln(Text::sprintf(
            'PLG_SYSTEM_WEBSOCKETS_STATUS_SERVER',
            \is_string($status['version'] ?? null) ? $status['version'] : '?',
            $number($status['uptime_s'] ?? null),
            $number($status['connections'] ?? null)
        ));

        if (\is_array($status['outbox'] ?? null)) {
            $isThere = (bool) ($status['outbox']['available'] ?? false);
            $key     = $isThere ? 'PLG_SYSTEM_WEBSOCKETS_STATUS_OUTBOX' : 'PLG_SYSTEM_WEBSOCKETS_STATUS_NO_OUTBOX';
            $output->writeln(Text::sprintf($key, $number($status['outbox']['lag_ms'] ?? null)));
        }

        return true;
    }

    private function printReaders(Outbox $outbox, OutputInterface $output): bool
    {
        try {
            $fresh = array_filter($outbox->heartbeats(), static fn (array $process): bool => $process['fresh']);
        } catch (\RuntimeException $error) {
            $output->writeln(Text::sprintf('PLG_SYSTEM_WEBSOCKETS_STATUS_NO_TABLE', $error->getMessage()));

            return false;
        }

        foreach ($fresh as $process) {
            $output->writeln(
                Text::sprintf('PLG_SYSTEM_WEBSOCKETS_STATUS_PROCESS', $process['process'], $process['position'], (string) $process['age_ms'])
            );
        }

        if (!$fresh) {
            $output->writeln(Text::_('PLG_SYSTEM_WEBSOCKETS_STATUS_NOBODY'));
        }

        return (bool) $fresh;
    }
}
