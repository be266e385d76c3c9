<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator;

use Joomla\CMS\Log\Log as JoomlaLog;

\defined('_JEXEC') or die;

/**
 * Writes warnings into the component's own file, com_websockets.php in Joomla's log folder. The logger is added here,
 * because Joomla drops log entries of a category without a logger.
 *
 * @since  0.1.0
 */
final class Log
{
    /**
     * @param   string  $sentence  the warning; it must hold no names, payloads or secrets
     *
     * @return  void
     */
    public static function warning(string $sentence): void
    {
        JoomlaLog::addLogger(['text_file' => 'com_websockets.php'], JoomlaLog::ALL, ['com_websockets']);
        JoomlaLog::add($sentence, JoomlaLog::WARNING, 'com_websockets');
    }
}
