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
 * Accepts whole milliseconds from 0 to 60000. Joomla's own rule for numbers is not enough: it accepts a text that only
 * begins with a number.
 *
 * @since  0.1.0
 */
class DurationRule extends FormRule
{
    /** The longest duration, in milliseconds. */
    private const LONGEST = 60000;

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
        return $value === null || (\is_int($value) || \is_string($value))
            && preg_match('/\A[0-9]{1,5}\z/', (string) $value) === 1
            && (int) $value <= self::LONGEST;
    }
}
