<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\CMS\Application;

use Joomla\Console\Command\AbstractCommand;

class ConsoleApplication implements CMSApplicationInterface
{
    /** @var  AbstractCommand[] */
    public array $commands = [];

    public ?object $component = null;

    public function addCommand(AbstractCommand $command): AbstractCommand
    {
        return $this->commands[$command->getName()] = $command;
    }

    public function bootComponent($component)
    {
        return $this->component ?? throw new \RuntimeException('There is no ' . $component . '.');
    }
}
