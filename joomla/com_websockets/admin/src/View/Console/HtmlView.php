<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\View\Console;

use Joomla\CMS\Factory;
use Joomla\CMS\Language\Text;
use Joomla\CMS\MVC\View\HtmlView as BaseHtmlView;
use Joomla\CMS\Toolbar\ToolbarHelper;
use Joomla\CMS\Uri\Uri;
use Jsocketd\Component\Websockets\Administrator\Extension\WebsocketsComponent;
use Jsocketd\Component\Websockets\Administrator\Setup\ConsolePage;
use Jsocketd\Component\Websockets\Administrator\Setup\Site;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * The console: the commands of the user and the replies of the server. Its script is media/js/console.js.
 *
 * @since  0.1.0
 */
class HtmlView extends BaseHtmlView
{
    /**
     * The data of the template and the script.
     *
     * @var    ConsolePage
     * @since  0.1.0
     */
    public ConsolePage $page;

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
        $component  = $app->bootComponent('com_websockets');
        $settings   = $component->settings();
        $this->page = new ConsolePage(
            new Site(Uri::root(), JPATH_ROOT, $settings->serverUrl, $settings->serverAddress),
            $settings->enabled,
            $component->may($user, 'websockets.monitor'),
            (string) $app->get('session_handler', 'database'),
            (string) $app->get('cookie_domain', '')
        );

        ToolbarHelper::title(Text::_('COM_WEBSOCKETS_CONSOLE_TITLE'), 'code');

        if ($component->mayChangeOptions($user)) {
            ToolbarHelper::preferences('com_websockets');
        }

        ToolbarHelper::help('console', true);

        $document = $this->getDocument();
        $document->addScriptOptions('com_websockets.console', $this->page->options());
        $document->getWebAssetManager()->useStyle('com_websockets.admin')->useScript('com_websockets.console');

        foreach (ConsolePage::TEXTS as $key) {
            Text::script($key);
        }

        parent::display($tpl);
    }
}
