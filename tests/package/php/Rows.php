<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Tests\Package;

use Joomla\Database\DatabaseInterface;

/**
 * A database with prepared answers, one for each statement. Without an answer left it throws.
 */
class Rows implements DatabaseInterface
{
    /** @var  string[] */
    public array $statements = [];

    /**
     * @param   array[]  $answers  the rows of each statement
     */
    public function __construct(public array $answers = [])
    {
    }

    public function setQuery($query, $offset = 0, $limit = 0)
    {
        $this->statements[] = $query;

        return $this;
    }

    public function loadObjectList($key = '', $class = \stdClass::class)
    {
        $rows = array_shift($this->answers) ?? throw new \RuntimeException('The database is away.');

        return array_map(static fn (array $row): object => (object) $row, $rows);
    }

    public function loadResult()
    {
        return array_values((array) ($this->loadObjectList()[0] ?? [null]))[0];
    }

    public function execute()
    {
        $this->loadObjectList();
    }

    public function getAffectedRows()
    {
        return 0;
    }

    public function quote($text, $escape = true)
    {
        return \is_array($text) ? array_map([$this, 'quote'], $text) : "'" . addslashes((string) $text) . "'";
    }

    public function quoteName($name, $as = null)
    {
        return \is_array($name) ? array_map([$this, 'quoteName'], $name) : '`' . $name . '`';
    }

    public function replacePrefix($sql, $prefix = '#__')
    {
        return str_replace($prefix, 'abc_', $sql);
    }

    public function transactionCommit($toSavepoint = false)
    {
        throw new \LogicException('Nobody asked to end a transaction.');
    }

    public function transactionRollback($toSavepoint = false)
    {
        throw new \LogicException('Nobody asked to end a transaction.');
    }

    public function transactionStart($asSavepoint = false)
    {
        throw new \LogicException('Nobody asked for a transaction.');
    }
}
