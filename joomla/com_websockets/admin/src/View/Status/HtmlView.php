<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\View\Status;

use Joomla\CMS\Component\ComponentHelper;
use Joomla\CMS\Factory;
use Joomla\CMS\Language\Text;
use Joomla\CMS\MVC\View\HtmlView as BaseHtmlView;
use Joomla\CMS\Toolbar\ToolbarHelper;
use Jsocketd\Component\Websockets\Administrator\Extension\WebsocketsComponent;
use Jsocketd\Component\Websockets\Administrator\Model\StatusModel;
use Jsocketd\Component\Websockets\Administrator\Setup\StatusPage;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * The status page: the facts, the problems, the chain test, and the snippets. The facts are as old as the page. The
 * script of the chain test is media/js/status.js.
 *
 * @since  0.1.0
 */
class HtmlView extends BaseHtmlView
{
    /**
     * The data of the template and the script.
     *
     * @var    StatusPage
     * @since  0.1.0
     */
    public StatusPage $page;

    /**
     * @param   string  $tpl  The name of a sub-template
     *
     * @return  void
     *
     * @since   0.1.0
     */
    public function display($tpl = null)
    {
        $app  = Factory::getApplication();
        $user = $app->getIdentity();

        /** @var WebsocketsComponent $component */
        $component = $app->bootComponent('com_websockets');

        /** @var StatusModel $model */
        $model      = $this->getModel();
        $mayChange  = $component->mayChangeOptions($user);
        $oldUntil   = (int) ComponentHelper::getParams('com_websockets')->get('app_secret_old_until', 0);
        $this->page = new StatusPage(
            $model->facts($component, $user),
            $mayChange,
            $component->may($user, 'websockets.console'),
            $oldUntil > time() ? $oldUntil : null
        );

        ToolbarHelper::title(Text::_('COM_WEBSOCKETS_STATUS_TITLE'), 'heart');

        if ($mayChange) {
            ToolbarHelper::preferences('com_websockets');
        }

        ToolbarHelper::help('status', true);

        $document = $this->getDocument();
        $document->addScriptOptions('com_websockets.status', $this->page->options());
        $document->getWebAssetManager()->useStyle('com_websockets.admin')->useScript('com_websockets.status');

        foreach (StatusPage::TEXTS as $key) {
            Text::script($key);
        }

        parent::display($tpl);
    }
}
