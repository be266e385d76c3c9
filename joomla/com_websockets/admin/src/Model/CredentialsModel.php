<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Model;

use Joomla\CMS\MVC\Model\BaseDatabaseModel;
use Joomla\CMS\Table\Extension;
use Joomla\Registry\Registry;
use Jsocketd\Component\Websockets\Administrator\Setup\SecretRotation;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * Gives the app a new secret and leaves all other options as they are.
 *
 * @since  0.1.0
 */
class CredentialsModel extends BaseDatabaseModel
{
    /**
     * Stores a new secret, and the old one with the time until which it stays valid.
     *
     * @return  integer  The end of the old secret, in Unix seconds
     *
     * @throws  \RuntimeException  The options could not be read or written
     *
     * @since   0.1.0
     */
    public function rotate(): int
    {
        $table = new Extension($this->getDatabase());

        if (!$table->load(['type' => 'component', 'element' => 'com_websockets'])) {
            throw new \RuntimeException('com_websockets has no row in #__extensions');
        }

        $rotation      = new SecretRotation(time());
        $table->params = (string) new Registry($rotation->applyTo((new Registry($table->params))->toArray()));

        if (!$table->check() || !$table->store()) {
            throw new \RuntimeException('the row of com_websockets in #__extensions could not be written');
        }

        $this->cleanCache('_system');

        return $rotation->until;
    }
}
