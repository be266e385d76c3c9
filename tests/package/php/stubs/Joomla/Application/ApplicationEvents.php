<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\Application;

final class ApplicationEvents
{
    public const BEFORE_EXECUTE = 'application.before_execute';

    public const AFTER_EXECUTE = 'application.after_execute';

    public const AFTER_RESPOND = 'application.after_respond';
}
