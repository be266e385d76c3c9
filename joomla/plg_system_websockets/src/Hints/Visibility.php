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
 * How an article or a category stands in the database at one moment, as far as hints hang on it.
 *
 * @since  0.1.0
 */
final class Visibility
{
    /**
     * @param   bool    $isVisible  somebody may see it: published, within its dates, and so are all categories above
     * @param   int     $category   the category of an article
     * @param   bool    $isListed   whoever may read the category of an article may read it too
     * @param   string  $component  whose category it is
     */
    public function __construct(
        public readonly bool $isVisible,
        public readonly int $category = 0,
        public readonly bool $isListed = false,
        public readonly string $component = ''
    ) {
    }
}
