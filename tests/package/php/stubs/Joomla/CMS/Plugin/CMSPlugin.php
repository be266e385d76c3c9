<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\CMS\Plugin;

use Joomla\CMS\Application\CMSApplicationInterface;

/** As in Joomla 5 and 6; Joomla 4 takes the dispatcher first. */
abstract class CMSPlugin
{
    private ?CMSApplicationInterface $application = null;

    public int $languages = 0;

    public function __construct($config = [])
    {
    }

    public function setApplication(CMSApplicationInterface $application): void
    {
        $this->application = $application;
    }

    protected function getApplication(): ?CMSApplicationInterface
    {
        return $this->application;
    }

    public function loadLanguage($extension = '', $basePath = '')
    {
        $this->languages++;

        return true;
    }
}
