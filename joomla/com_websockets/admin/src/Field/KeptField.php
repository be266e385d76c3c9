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
 * An option that the options form keeps as it is stored: saving that form replaces all options by what was posted. The
 * page gets an empty hidden input, never the value, and whatever comes back is not looked at. What is over by the
 * option that the attribute `until` names, a Unix time, is dropped.
 *
 * @since  0.1.0
 */
class KeptField extends FormField
{
    /**
     * @var    string
     * @since  0.1.0
     */
    protected $type = 'Kept';

    /**
     * @return  string  An input that only says that the field was on the page
     *
     * @since   0.1.0
     */
    protected function getInput()
    {
        return '<input type="hidden" name="' . htmlspecialchars($this->name, ENT_COMPAT, 'UTF-8') . '" value="">';
    }

    /**
     * @param   mixed      $value  What was posted
     * @param   string     $group  The field's group
     * @param   ?Registry  $input  All that was posted
     *
     * @return  mixed  What is stored
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
