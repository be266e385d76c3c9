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
 * An event with the option `strict` was not published: the component is disabled, the table is missing or cannot be
 * written, or the server does not answer. The previous exception has the cause.
 *
 * @since  0.1.0
 */
class NotPublished extends \RuntimeException
{
}
