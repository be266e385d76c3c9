<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Controller;

use Joomla\CMS\Access\Exception\NotAllowed;
use Joomla\CMS\Language\Text;
use Joomla\CMS\MVC\Controller\BaseController;
use Jsocketd\Component\Websockets\Administrator\Extension\WebsocketsComponent;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * Shows the two views to those who may see them.
 *
 * @since  0.1.0
 */
class DisplayController extends BaseController
{
    /** Which permission each view asks for. */
    private const VIEWS = ['console' => 'websockets.console', 'status' => 'websockets.monitor'];

    /**
     * @var    string
     * @since  0.1.0
     */
    protected $default_view = 'console';

    /**
     * @param   boolean  $cachable   Not looked at: nothing here can be kept
     * @param   array    $urlparams  Not looked at
     *
     * @return  static
     *
     * @throws  NotAllowed  The view is not for this user
     *
     * @since   0.1.0
     */
    public function display($cachable = false, $urlparams = [])
    {
        /** @var WebsocketsComponent $component */
        $component = $this->app->bootComponent('com_websockets');
        $may       = fn (string $action): bool => $component->may($this->app->getIdentity(), $action);
        $asked     = $this->input->getCmd('view', '');

        // Whoever comes by the menu and may see one of the two gets that one.
        if ($asked === '' && !$may(self::VIEWS['console'])) {
            $asked = 'status';
            $this->input->set('view', $asked);
        }

        $action = self::VIEWS[$asked === '' ? $this->default_view : $asked] ?? null;

        if ($action !== null && !$may($action)) {
            throw new NotAllowed(Text::_('JERROR_ALERTNOAUTHOR'), 403);
        }

        return parent::display();
    }
}
