<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\Database;

/** The part of Joomla's that the package uses. */
interface DatabaseInterface
{
    public function execute();

    public function getAffectedRows();

    public function loadObjectList($key = '', $class = \stdClass::class);

    public function loadResult();

    public function quote($text, $escape = true);

    public function quoteName($name, $as = null);

    public function replacePrefix($sql, $prefix = '#__');

    public function setQuery($query, $offset = 0, $limit = 0);

    public function transactionCommit($toSavepoint = false);

    public function transactionRollback($toSavepoint = false);

    public function transactionStart($asSavepoint = false);
}
