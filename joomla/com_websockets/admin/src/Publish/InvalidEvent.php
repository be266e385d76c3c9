<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Publish;

\defined('_JEXEC') or die;

/**
 * The server would refuse the event. The message is a sentence with the reason. It quotes none of the data.
 *
 * @since  0.1.0
 */
class InvalidEvent extends \InvalidArgumentException
{
}
