<?php

/**
 * @package     jsocketd
 * @subpackage  plg_system_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

\defined('_JEXEC') or die;

use Joomla\CMS\Extension\PluginInterface;
use Joomla\CMS\Factory;
use Joomla\CMS\Plugin\PluginHelper;
use Joomla\Database\DatabaseInterface;
use Joomla\DI\Container;
use Joomla\DI\ServiceProviderInterface;
use Joomla\Event\DispatcherInterface;
use Jsocketd\Component\Websockets\Administrator\Settings;
use Jsocketd\Plugin\System\Websockets\Extension\Websockets;

return new class () implements ServiceProviderInterface {
    /**
     * Creates the plugin. No other file of the plugin uses the container.
     *
     * @param   Container  $container  the plugin's container
     *
     * @return  void
     *
     * @since   0.1.0
     */
    public function register(Container $container): void
    {
        $container->set(
            PluginInterface::class,
            function (Container $container): PluginInterface {
                $this->registerNamespaces();
                $config = (array) PluginHelper::getPlugin('system', 'websockets');

                if (version_compare(JVERSION, '5.0', '<')) {
                    // Joomla 4 takes the dispatcher by reference.
                    $dispatcher = $container->get(DispatcherInterface::class);
                    $plugin     = new Websockets($dispatcher, $config);
                } else {
                    $plugin = new Websockets($config);
                }

                $plugin->setApplication(Factory::getApplication());
                $plugin->setDatabase($container->get(DatabaseInterface::class));

                return $plugin;
            }
        );
    }

    /**
     * Registers the namespaces of the plugin and the component if they are missing. For some seconds after an
     * installation, PHP's cache of compiled files may hold an older list of Joomla's namespaces. The plugin is enabled
     * by then, so every page of the site would fail.
     *
     * @return  void
     *
     * @since   0.1.0
     */
    private function registerNamespaces(): void
    {
        $component = JPATH_ADMINISTRATOR . '/components/com_websockets/src';

        if (!class_exists(Websockets::class)) {
            \JLoader::registerNamespace('Jsocketd\\Plugin\\System\\Websockets', \dirname(__DIR__) . '/src');
        }

        if (!class_exists(Settings::class) && is_dir($component)) {
            \JLoader::registerNamespace('Jsocketd\\Component\\Websockets\\Administrator', $component);
        }
    }
};
