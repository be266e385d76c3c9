<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\CMS\Document;

class Document
{
    public $_type = '';

    public array $options = [];

    public function getType()
    {
        return $this->_type;
    }

    public function addScriptOptions($key, $options, $merge = true)
    {
        $this->options[$key] = $merge ? array_replace_recursive($this->options[$key] ?? [], $options) : $options;

        return $this;
    }
}
