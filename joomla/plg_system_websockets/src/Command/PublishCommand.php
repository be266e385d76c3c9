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
use Jsocketd\Component\Websockets\Administrator\Publish\InvalidEvent;
use Jsocketd\Component\Websockets\Administrator\Publish\NotPublished;
use Jsocketd\Component\Websockets\Administrator\Publish\Options;
use Symfony\Component\Console\Input\InputArgument;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;

\defined('_JEXEC') or die;

/**
 * `websockets:publish CHANNEL EVENT [DATA] [--http]`: publishes one event. Exit codes: 0 published, 1 not published, 2
 * the event is not valid.
 *
 * @since  0.1.0
 */
final class PublishCommand extends AbstractCommand
{
    /** @var  string */
    protected static $defaultName = 'websockets:publish';

    /**
     * @param   \Closure  $component  boots com_websockets when it is needed
     */
    public function __construct(private readonly \Closure $component)
    {
        parent::__construct();
    }

    protected function configure(): void
    {
        $this->setDescription(Text::_('PLG_SYSTEM_WEBSOCKETS_PUBLISH_DESC'));
        $this->setHelp(Text::_('PLG_SYSTEM_WEBSOCKETS_PUBLISH_HELP'));
        $this->addArgument('channel', InputArgument::REQUIRED, Text::_('PLG_SYSTEM_WEBSOCKETS_PUBLISH_CHANNEL'));
        $this->addArgument('event', InputArgument::REQUIRED, Text::_('PLG_SYSTEM_WEBSOCKETS_PUBLISH_EVENT'));
        $this->addArgument('data', InputArgument::OPTIONAL, Text::_('PLG_SYSTEM_WEBSOCKETS_PUBLISH_DATA'), '{}');
        $this->addOption('http', null, InputOption::VALUE_NONE, Text::_('PLG_SYSTEM_WEBSOCKETS_PUBLISH_HTTP'));
    }

    protected function doExecute(InputInterface $input, OutputInterface $output): int
    {
        try {
            $data = json_decode((string) $input->getArgument('data'), false, 512, JSON_THROW_ON_ERROR | JSON_BIGINT_AS_STRING);
        } catch (\JsonException $error) {
            $output->writeln(Text::sprintf('PLG_SYSTEM_WEBSOCKETS_PUBLISH_NO_JSON', $error->getMessage()));

            return 2;
        }

        $options   = new Options(strict: true, via: $input->getOption('http') ? Options::HTTP : Options::OUTBOX);
        $publisher = ($this->component)()->publisher();

        try {
            $publisher->publish((string) $input->getArgument('channel'), (string) $input->getArgument('event'), $data, $options);
        } catch (InvalidEvent $error) {
            $output->writeln($error->getMessage());

            return 2;
        } catch (NotPublished $error) {
            $output->writeln(Text::sprintf('PLG_SYSTEM_WEBSOCKETS_PUBLISH_FAILED', $error->getMessage()));

            return 1;
        }

        $publisher->afterResponse();
        $output->writeln(Text::_('PLG_SYSTEM_WEBSOCKETS_PUBLISHED'));

        return 0;
    }
}
