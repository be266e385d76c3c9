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
 * Lets through what PHP can call the server by, and the empty text: the default. The sentence that a refusal shows is
 * the field's own, its attribute `message`.
 *
 * @since  0.1.0
 */
class ServerAddressRule extends FormRule
{
    /**
     * @param   \SimpleXMLElement  $element  The field
     * @param   mixed              $value    What was typed
     * @param   string             $group    The field's group
     * @param   Registry           $input    All that was typed
     * @param   Form               $form     The form
     *
     * @return  boolean
     *
     * @since   0.1.0
     */
    public function test(\SimpleXMLElement $element, $value, $group = null, ?Registry $input = null, ?Form $form = null)
    {
        return $value === '' || $value === null || (new Address())->isOne($value, 'https', 'http');
    }
}
