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
 * An event that the server would refuse. The message is a sentence that says why and quotes none of the data.
 *
 * @since  0.1.0
 */
class InvalidEvent extends \InvalidArgumentException
{
}
