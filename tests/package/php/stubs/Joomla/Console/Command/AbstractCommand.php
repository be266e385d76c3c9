<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\Console\Command;

use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;

abstract class AbstractCommand
{
    protected static $defaultName;

    public string $description = '';

    public string $help = '';

    /** @var  array<string, mixed>  arguments and options with their defaults */
    public array $definition = [];

    public function __construct(?string $name = null)
    {
        $this->configure();
    }

    public function getName(): ?string
    {
        return static::$defaultName;
    }

    public function addArgument(string $name, ?int $mode = null, string $description = '', $default = null): self
    {
        $this->definition[$name] = $default;

        return $this;
    }

    public function addOption(string $name, $shortcut = null, ?int $mode = null, $description = '', $default = null): self
    {
        $this->definition[$name] = $default;

        return $this;
    }

    public function setDescription(string $description): void
    {
        $this->description = $description;
    }

    public function setHelp(string $help): void
    {
        $this->help = $help;
    }

    protected function configure(): void
    {
    }

    abstract protected function doExecute(InputInterface $input, OutputInterface $output): int;

    public function execute(InputInterface $input, OutputInterface $output): int
    {
        return $this->doExecute($input, $output);
    }
}
