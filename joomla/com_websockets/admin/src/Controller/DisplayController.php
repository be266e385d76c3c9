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
 * Shows the two views to users who may see them.
 *
 * @since  0.1.0
 */
class DisplayController extends BaseController
{
    /** The permission that each view needs. */
    private const VIEWS = ['console' => 'websockets.console', 'status' => 'websockets.monitor'];

    /**
     * @var    string
     * @since  0.1.0
     */
    protected $default_view = 'console';

    /**
     * @param   boolean  $cachable   Ignored: these views cannot be cached
     * @param   array    $urlparams  Ignored
     *
     * @return  static
     *
     * @throws  NotAllowed  The user may not see the view
     *
     * @since   0.1.0
     */
    public function display($cachable = false, $urlparams = [])
    {
        /** @var WebsocketsComponent $component */
        $component = $this->app->bootComponent('com_websockets');
        $may       = fn (string $action): bool => $component->may($this->app->getIdentity(), $action);
        $asked     = $this->input->getCmd('view', '');

        // The menu item names no view. A user who may see only the status gets the status.
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
