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
 * The app's secret in the options. Whoever may edit the options may set another one, but the page never has the one that is
 * stored: it could be read in the page's source, by a browser's extension, or in a saved page. An empty field keeps it.
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
     * The field without its value; what is stored needs no other.
     *
     * @param   \SimpleXMLElement  $element  The field
     * @param   mixed              $value    What is stored, or what was typed into a form that was refused
     * @param   string             $group    The field's group
     *
     * @return  boolean
     *
     * @since   0.2.0
     */
    public function setup(\SimpleXMLElement $element, $value, $group = null)
    {
        $isSetUp = parent::setup($element, '', $group);

        if ($isSetUp && self::stored() !== '') {
            $this->required = false;
            $this->hint     = 'COM_WEBSOCKETS_CONFIG_APP_SECRET_KEPT';
        }

        return $isSetUp;
    }

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
        $typed = parent::filter($value, $group, $input);

        return $typed === '' ? self::stored() : $typed;
    }

    /**
     * The secret that is in the options; empty where there is none.
     *
     * @return  string
     *
     * @since   0.2.0
     */
    public static function stored(): string
    {
        $stored = ComponentHelper::getParams('com_websockets')->get('app_secret', '');

        return \is_string($stored) ? $stored : '';
    }
}
