<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Symfony\Component\Console\Input;

interface InputInterface
{
    public function getArgument(string $name);

    public function getOption(string $name);
}
