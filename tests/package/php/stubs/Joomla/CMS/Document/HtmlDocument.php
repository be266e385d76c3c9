<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\CMS\Document;

use Joomla\CMS\WebAsset\WebAssetManager;
use Joomla\CMS\WebAsset\WebAssetRegistry;

class HtmlDocument extends Document
{
    public $_type = 'html';

    private ?WebAssetManager $assets = null;

    public function getWebAssetManager(): WebAssetManager
    {
        return $this->assets ??= new WebAssetManager(new WebAssetRegistry());
    }
}
