<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\CMS\Form;

use Joomla\Registry\Registry;

abstract class FormField
{
    protected $type;

    public string $name;

    protected $value;

    protected $hint = '';

    protected $required = false;

    public function __construct(protected ?\SimpleXMLElement $element = null)
    {
        $this->name = 'jform[' . $element['name'] . ']';
    }

    /** Prepares the field, as a form does before it shows the field. */
    public function setup(\SimpleXMLElement $element, $value, $group = null)
    {
        $this->element  = $element;
        $this->value    = $value;
        $this->hint     = (string) $element['hint'];
        $this->required = (string) $element['required'] === 'true';

        return true;
    }

    abstract protected function getInput();

    /** The HTML of the field, as Joomla's options form prints it. */
    public function html(): string
    {
        return $this->getInput();
    }

    /** The part of Joomla's that config.xml uses: a filter of the form Class::method. */
    public function filter($value, $group = null, ?Registry $input = null)
    {
        $filter = (string) $this->element['filter'];

        return $filter === '' ? $value : \call_user_func(explode('::', $filter), $value);
    }
}
