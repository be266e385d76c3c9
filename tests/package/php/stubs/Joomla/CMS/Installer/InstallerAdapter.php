<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\CMS\Installer;

/** The installer and its adapter in one. */
class InstallerAdapter
{
    /** @var  \Closure  what the statements of the installation do */
    public $sql;

    public function getParent()
    {
        return $this;
    }

    public function getManifest()
    {
        return simplexml_load_file(JOOMLA_PACKAGE . '/com_websockets/websockets.xml');
    }

    public function parseSQLFiles($element)
    {
        return ($this->sql)() === false ? false : \count($element->children());
    }
}
