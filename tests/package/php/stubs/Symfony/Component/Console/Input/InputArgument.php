<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Symfony\Component\Console\Input;

class InputArgument
{
    public const REQUIRED = 1;

    public const OPTIONAL = 2;
}
