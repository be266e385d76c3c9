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
 * Joomla's driver for MySQL in little: the tables of a database of its own on the MariaDB that scripts/mariadb runs. It counts
 * and keeps the statements.
 */
final class Database implements DatabaseInterface
{
    public const PREFIX = 'abc_';

    /** @var  string[] */
    public array $statements = [];

    private \mysqli $connection;

    private string $query = '';

    public function __construct(private string $name, bool $isNew = true)
    {
        mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
        $this->connection = new \mysqli('localhost', 'root', '', '', 0, getenv('TEST_MARIADB_SOCKET'));
        $this->connection->set_charset('utf8mb4');

        if ($isNew) {
            $this->connection->query('DROP DATABASE IF EXISTS `' . $name . '`');
            $this->connection->query('CREATE DATABASE `' . $name . '` CHARACTER SET utf8mb4');
        }

        $this->connection->select_db($name);
        // As Joomla sets it.
        $this->connection->query("SET SESSION sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'");
    }

    /** Another connection to the same tables. */
    public function another(): self
    {
        return new self($this->name, false);
    }

    /** Makes the two tables of the package. */
    public function install(): self
    {
        return $this->run(file_get_contents(JOOMLA_PACKAGE . '/com_websockets/admin/sql/install.mysql.utf8.sql'));
    }

    /** Runs statements that nobody counts. */
    public function run(string $statements): self
    {
        $this->connection->multi_query($this->replacePrefix($statements));

        while ($this->connection->next_result()) {
            continue;
        }

        return $this;
    }

    /** @return  array<int, array<string, ?string>> */
    public function rows(string $query): array
    {
        return $this->connection->query($this->replacePrefix($query))->fetch_all(MYSQLI_ASSOC);
    }

    public function setQuery($query, $offset = 0, $limit = 0)
    {
        $this->query = $query;

        return $this;
    }

    public function execute()
    {
        $this->statements[] = $this->query;

        return $this->connection->query($this->replacePrefix($this->query)) !== false;
    }

    public function loadResult()
    {
        return $this->result()->fetch_row()[0] ?? null;
    }

    public function loadObjectList($key = '', $class = \stdClass::class)
    {
        return array_map(static fn (array $row): object => (object) $row, $this->result()->fetch_all(MYSQLI_ASSOC));
    }

    public function getAffectedRows()
    {
        return $this->connection->affected_rows;
    }

    public function quote($text, $escape = true)
    {
        return \is_array($text) ? array_map([$this, 'quote'], $text) : "'" . $this->connection->real_escape_string((string) $text) . "'";
    }

    public function quoteName($name, $as = null)
    {
        return \is_array($name) ? array_map([$this, 'quoteName'], $name) : '`' . str_replace('.', '`.`', $name) . '`';
    }

    /** Joomla's leaves alone what stands in quotes. */
    public function replacePrefix($sql, $prefix = '#__')
    {
        return preg_replace_callback(
            "/'(?:[^'\\\\]|\\\\.)*'(*SKIP)(*FAIL)|" . $prefix . '/s',
            static fn (): string => self::PREFIX,
            $sql
        );
    }

    public function transactionStart($asSavepoint = false)
    {
        $this->connection->begin_transaction();
    }

    public function transactionCommit($toSavepoint = false)
    {
        $this->connection->commit();
    }

    public function transactionRollback($toSavepoint = false)
    {
        $this->connection->rollback();
    }

    private function result(): \mysqli_result
    {
        $this->statements[] = $this->query;

        return $this->connection->query($this->replacePrefix($this->query));
    }
}
