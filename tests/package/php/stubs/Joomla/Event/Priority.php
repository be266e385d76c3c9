<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\Event;

final class Priority
{
    public const MIN = -3;

    public const LOW = -2;

    public const NORMAL = 0;

    public const HIGH = 2;

    public const MAX = 3;
}
