<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\Registry;

class Registry
{
    public function __construct(private $data = null)
    {
    }

    public function toArray()
    {
        return (array) $this->data;
    }

    public function get($path, $default = null)
    {
        return $this->data[$path] ?? $default;
    }
}
