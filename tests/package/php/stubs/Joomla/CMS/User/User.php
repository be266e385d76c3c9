<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\CMS\User;

class User
{
    public function __construct(public int $id = 0, public array $may = [])
    {
    }

    public function authorise($action, $assetname = null)
    {
        return \in_array($action, $this->may, true);
    }
}
