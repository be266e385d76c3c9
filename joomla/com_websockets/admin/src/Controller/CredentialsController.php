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
use Joomla\CMS\HTML\HTMLHelper;
use Joomla\CMS\Language\Text;
use Joomla\CMS\MVC\Controller\BaseController;
use Joomla\CMS\Router\Route;
use Jsocketd\Component\Websockets\Administrator\Extension\WebsocketsComponent;
use Jsocketd\Component\Websockets\Administrator\Model\CredentialsModel;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * The task of the button "Rotate the Secret". It takes POST with the form token, from users who may change the options.
 *
 * @since  0.1.0
 */
class CredentialsController extends BaseController
{
    /**
     * Gives the app a new secret and makes the server read the options.
     *
     * @return  void
     *
     * @throws  NotAllowed  The user may not change the options
     *
     * @since   0.1.0
     */
    public function rotate(): void
    {
        $this->checkToken();

        /** @var WebsocketsComponent $component */
        $component = $this->app->bootComponent('com_websockets');

        if (!$component->mayChangeOptions($this->app->getIdentity())) {
            throw new NotAllowed(Text::_('JERROR_ALERTNOAUTHOR'), 403);
        }

        $back = Route::_('index.php?option=com_websockets&view=status', false);

        /** @var CredentialsModel $model */
        $model = $this->getModel('Credentials');

        try {
            $until = $model->rotate();
        } catch (\RuntimeException $e) {
            $why = htmlspecialchars($e->getMessage(), ENT_QUOTES, 'UTF-8');
            $this->setRedirect($back, Text::sprintf('COM_WEBSOCKETS_ROTATE_FAILED', $why), 'error');

            return;
        }

        $component->publisher()->recheckAccess();
        $this->setRedirect($back, Text::sprintf(
            'COM_WEBSOCKETS_ROTATED',
            HTMLHelper::_('date', '@' . $until, Text::_('COM_WEBSOCKETS_TIME_FORMAT'))
        ));
    }
}
