<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\CMS\Form\Field;

use Joomla\CMS\Form\FormField;
use Joomla\CMS\Language\Text;

class PasswordField extends FormField
{
    protected function getInput()
    {
        return '<input type="password" name="' . $this->name . '" value="' . htmlspecialchars((string) $this->value) . '" placeholder="'
            . Text::_($this->hint) . '"' . ($this->required ? ' required' : '') . '>';
    }
}
