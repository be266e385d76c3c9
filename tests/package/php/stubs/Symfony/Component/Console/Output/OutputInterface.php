<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Symfony\Component\Console\Output;

interface OutputInterface
{
    public function writeln($messages, int $options = 0);
}
