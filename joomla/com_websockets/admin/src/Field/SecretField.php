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
 * The app's secret in the options. A user who may edit the options may set a new secret, but the page never contains
 * the stored one: it could be read in the page's source, by a browser extension, or in a saved page. An empty field
 * keeps it.
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
     * Sets the field up without its value. If a secret is stored, the field is not required.
     *
     * @param   \SimpleXMLElement  $element  The field
     * @param   mixed              $value    The stored value, or the typed value of a refused form; it is ignored
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
     * @param   mixed      $value  The typed value
     * @param   string     $group  The field's group
     * @param   ?Registry  $input  All posted values
     *
     * @return  mixed  The value to store
     *
     * @since   0.1.0
     */
    public function filter($value, $group = null, ?Registry $input = null)
    {
        $typed = parent::filter($value, $group, $input);

        return $typed === '' ? self::stored() : $typed;
    }

    /**
     * The stored secret; empty: there is none.
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
