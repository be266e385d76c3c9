<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\Database;

trait DatabaseAwareTrait
{
    private $databaseAwareTraitDatabase;

    protected function getDatabase(): DatabaseInterface
    {
        return $this->databaseAwareTraitDatabase ?? throw new \UnexpectedValueException('Database driver not set in ' . __CLASS__);
    }

    public function setDatabase(DatabaseInterface $db): void
    {
        $this->databaseAwareTraitDatabase = $db;
    }
}
