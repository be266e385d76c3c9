<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\CMS\Installer;

interface InstallerScriptInterface
{
    public function install(InstallerAdapter $adapter): bool;

    public function update(InstallerAdapter $adapter): bool;

    public function uninstall(InstallerAdapter $adapter): bool;

    public function preflight(string $type, InstallerAdapter $adapter): bool;

    public function postflight(string $type, InstallerAdapter $adapter): bool;
}
