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
 * Accepts ids and keys of apps as jsocketd does: 1 to 64 letters, digits, _ and -.
 *
 * @since  0.1.0
 */
class AppNameRule extends FormRule
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
        return \is_string($value) && preg_match('/\A[A-Za-z0-9_-]{1,64}\z/', $value) === 1;
    }
}
