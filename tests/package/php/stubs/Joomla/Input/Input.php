<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\Input;

class Input
{
    public function __construct(private $source = null)
    {
    }

    public function getCmd($name, $default = null)
    {
        return preg_replace('/[^A-Z0-9_\.-]/i', '', (string) ($this->source[$name] ?? $default));
    }

    public function getInt($name, $default = null)
    {
        return (int) ($this->source[$name] ?? $default);
    }

    public function getBool($name, $default = null)
    {
        return (bool) ($this->source[$name] ?? $default);
    }
}
