<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator;

use Joomla\CMS\Log\Log;

\defined('_JEXEC') or die;

/**
 * Writes warnings into a file of the component's own, com_websockets.php in Joomla's folder of logs: Joomla keeps what is
 * logged only where somebody asked for the category.
 *
 * @since  0.1.0
 */
final class Journal
{
    /**
     * @param   string  $sentence  without names, payloads and secrets
     *
     * @return  void
     */
    public function __invoke(string $sentence): void
    {
        Log::addLogger(['text_file' => 'com_websockets.php'], Log::ALL, ['com_websockets']);
        Log::add($sentence, Log::WARNING, 'com_websockets');
    }
}
