<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

\defined('_JEXEC') or die;

use Joomla\CMS\Dispatcher\ComponentDispatcherFactoryInterface;
use Joomla\CMS\Extension\ComponentInterface;
use Joomla\CMS\Extension\Service\Provider\ComponentDispatcherFactory;
use Joomla\CMS\Extension\Service\Provider\MVCFactory;
use Joomla\CMS\MVC\Factory\MVCFactoryInterface;
use Joomla\Database\DatabaseInterface;
use Joomla\DI\Container;
use Joomla\DI\ServiceProviderInterface;
use Jsocketd\Component\Websockets\Administrator\Extension\WebsocketsComponent;

/**
 * Registers the services of com_websockets. No other file of the component uses its container.
 *
 * @since  0.1.0
 */
return new class () implements ServiceProviderInterface {
    /**
     * @param   Container  $container  The component's container
     *
     * @return  void
     *
     * @since   0.1.0
     */
    public function register(Container $container): void
    {
        $container->registerServiceProvider(new MVCFactory('\\Jsocketd\\Component\\Websockets'));
        $container->registerServiceProvider(new ComponentDispatcherFactory('\\Jsocketd\\Component\\Websockets'));

        $container->set(
            ComponentInterface::class,
            static function (Container $container): ComponentInterface {
                $component = new WebsocketsComponent(
                    $container->get(ComponentDispatcherFactoryInterface::class),
                    $container->get(DatabaseInterface::class)
                );
                $component->setMVCFactory($container->get(MVCFactoryInterface::class));

                return $component;
            }
        );
    }
};
