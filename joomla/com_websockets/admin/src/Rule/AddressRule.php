<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Rule;

use Joomla\CMS\Form\Form;
use Joomla\CMS\Form\FormRule;
use Joomla\Registry\Registry;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * Accepts an address of one of the schemes that the field's attribute `schemes` lists with commas between them, and the
 * empty text. The field's attribute `message` has the sentence for a refusal.
 *
 * @since  0.1.0
 */
class AddressRule extends FormRule
{
    /**
     * @param   \SimpleXMLElement  $element  The field
     * @param   mixed              $value    The typed value
     * @param   string             $group    The field's group
     * @param   Registry           $input    All posted values
     * @param   Form               $form     The form
     *
     * @return  boolean
     *
     * @since   0.1.0
     */
    public function test(\SimpleXMLElement $element, $value, $group = null, ?Registry $input = null, ?Form $form = null)
    {
        return $value === '' || $value === null || Address::isAddress($value, ...explode(',', (string) $element['schemes']));
    }
}
