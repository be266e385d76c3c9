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
use Joomla\CMS\Form\Field\PasswordField;
use Joomla\Registry\Registry;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * The app's secret in the options. A form that was opened before a rotation still holds the secret of then; saving it
 * does not bring that one back.
 *
 * @since  0.1.0
 */
class SecretField extends PasswordField
{
    /**
     * @var    string
     * @since  0.1.0
     */
    protected $type = 'Secret';

    /**
     * @param   mixed      $value  What was typed
     * @param   string     $group  The field's group
     * @param   ?Registry  $input  All that was typed
     *
     * @return  mixed  What is to be stored
     *
     * @since   0.1.0
     */
    public function filter($value, $group = null, ?Registry $input = null)
    {
        $typed  = parent::filter($value, $group, $input);
        $stored = ComponentHelper::getParams('com_websockets');
        $old    = $stored->get('app_secret_old');

        return \is_string($old) && $old !== '' && $typed === $old ? $stored->get('app_secret') : $typed;
    }
}
