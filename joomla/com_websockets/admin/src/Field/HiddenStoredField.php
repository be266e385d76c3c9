<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Field;

use Joomla\CMS\Component\ComponentHelper;
use Joomla\CMS\Form\FormField;
use Joomla\Registry\Registry;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * A hidden field that keeps the stored value of an option. Without it the option would be lost, because saving the
 * options form replaces all options by the posted ones. The page gets an empty hidden input, never the value, and the
 * posted value is ignored. The attribute `until` names an option that holds a Unix time: after that time the value is
 * dropped.
 *
 * The name is not `HiddenField`: Joomla looks for the class of a field in the component's namespace first, so that name
 * would replace Joomla's own type `hidden` in all forms of the request.
 *
 * @since  0.1.0
 */
class HiddenStoredField extends FormField
{
    /**
     * @var    string
     * @since  0.1.0
     */
    protected $type = 'HiddenStored';

    /**
     * @return  string  An input without a value
     *
     * @since   0.1.0
     */
    protected function getInput()
    {
        return '<input type="hidden" name="' . htmlspecialchars($this->name, ENT_COMPAT, 'UTF-8') . '" value="">';
    }

    /**
     * @param   mixed      $value  The posted value, which is ignored
     * @param   string     $group  The field's group
     * @param   ?Registry  $input  All posted values
     *
     * @return  mixed  The stored value
     *
     * @since   0.1.0
     */
    public function filter($value, $group = null, ?Registry $input = null)
    {
        $stored = ComponentHelper::getParams('com_websockets');
        $until  = (string) $this->element['until'];

        if ($until !== '' && (int) $stored->get($until) <= time()) {
            return '';
        }

        return $stored->get((string) $this->element['name'], '');
    }
}
