<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Rule;

use Joomla\CMS\Factory;
use Joomla\CMS\Form\Form;
use Joomla\CMS\Form\FormRule;
use Joomla\CMS\Language\Text;
use Joomla\Registry\Registry;
use Jsocketd\Component\Websockets\Administrator\Field\SecretField;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * Accepts secrets of 12 to 128 visible ASCII characters without quotes and backslashes, so that they look the same in
 * every configuration file. A secret of fewer than 16 characters causes a warning. The stored secret is always
 * accepted, so that a form that does not change it can be saved.
 *
 * @since  0.1.0
 */
class SecretRule extends FormRule
{
    /** A secret of fewer characters causes a warning. jsocketd has the same limit. */
    private const SHORT = 16;

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
        if (\is_string($value) && $value !== '' && $value === SecretField::stored()) {
            return true;
        }

        if (!\is_string($value) || preg_match('/\A[!#-&(-\[\]-_a-~]{12,128}\z/', $value) !== 1) {
            return false;
        }

        if (\strlen($value) < self::SHORT) {
            Factory::getApplication()->enqueueMessage(Text::_('COM_WEBSOCKETS_CONFIG_APP_SECRET_SHORT'), 'warning');
        }

        return true;
    }
}
