<?php

/**
 * @package     jsocketd
 * @subpackage  plg_system_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Plugin\System\Websockets\Hints;

\defined('_JEXEC') or die;

/**
 * Whether visitors could see an article or a category at one moment, as far as hints depend on it.
 *
 * @since  0.1.0
 */
final class Visibility
{
    /**
     * @param   bool    $isVisible  somebody may see it: it is published and within its dates, and its categories are published
     * @param   int     $category   the category of an article
     * @param   bool    $isListed   everybody who may read the category of an article may read the article too
     * @param   string  $component  the component of a category
     */
    public function __construct(
        public readonly bool $isVisible,
        public readonly int $category = 0,
        public readonly bool $isListed = false,
        public readonly string $component = ''
    ) {
    }
}
