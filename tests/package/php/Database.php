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
 * A small version of Joomla's driver for MySQL, with its own database on the MariaDB of scripts/mariadb. It stores the
 * statements.
 */
final class Database implements DatabaseInterface
{
    public const PREFIX = 'abc_';

    /** @var  string[] */
    public array $statements = [];

    /** This function is called before each commit. */
    public ?\Closure $beforeCommit = null;

    /** @var  array  actions before statements: a pattern of statements, a closure, how often */
    private array $before = ['', null, 0];

    /** @var  \mysqli[]  all connections */
    private static array $connections = [];

    private \mysqli $connection;

    private string $query = '';

    public function __construct(
        private string $name,
        bool $isNew = true,
        private string $user = 'root',
        private string $password = ''
    ) {
        mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
        $this->connect($isNew);
    }

    private function connect(bool $isNew): void
    {
        $name             = $this->name;
        $socket           = getenv('TEST_MARIADB_SOCKET');
        $this->connection = new \mysqli('localhost', $this->user, $this->password, '', 0, $socket);
        $this->connection->set_charset('utf8mb4');
        // A wait for a lock fails after this time and does not hang.
        $this->connection->query('SET SESSION lock_wait_timeout = 20, SESSION innodb_lock_wait_timeout = 20');
        self::$connections[] = $this->connection;

        if ($isNew) {
            $this->connection->query('DROP DATABASE IF EXISTS `' . $name . '`');
            $this->connection->query('CREATE DATABASE `' . $name . '` CHARACTER SET utf8mb4');
        }

        $this->connection->select_db($name);
        // Joomla sets it so.
        $this->connection->query("SET SESSION sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'");
    }

    /** Ends all connections, and with them transactions and locks. Call it after a test that has some. */
    public static function closeAll(): void
    {
        foreach (self::$connections as $connection) {
            try {
                $connection->close();
            } catch (\Error) {
                // The connection was closed before.
            }
        }

        self::$connections = [];
    }

    /** Another connection to the same tables. */
    public function another(string $user = 'root', string $password = ''): self
    {
        return new self($this->name, false, $user, $password);
    }

    /** Makes the two tables of the package. */
    public function install(): self
    {
        return $this->run(file_get_contents(JOOMLA_PACKAGE . '/com_websockets/admin/sql/install.mysql.utf8.sql'));
    }

    /** Makes the two tables of version 0.1.0 of the package, with the rows that a server of that version wrote. */
    public function installVersion1(): self
    {
        $this->run(file_get_contents(\dirname(__DIR__, 2) . '/fixtures/joomla/outbox-version-1.sql'));

        return $this->run(<<<'SQL'
            INSERT INTO `#__websockets_state` VALUES
              ('epoch', '0000002a', UTC_TIMESTAMP(3)),
              ('made', '1760000000', UTC_TIMESTAMP(3)), ('deleted_to', 'o0000002a:1', UTC_TIMESTAMP(3)),
              ('mark', '7', UTC_TIMESTAMP(3)), ('position.0000abcd', 'o0000002a:5', UTC_TIMESTAMP(3));
            SQL);
    }

    /** The published rows in the order of their ids: all but the first row, which the table has from the beginning. */
    public function published(string $columns = '*'): array
    {
        $isFirst = "channel = '#control' AND event = 'begin'";

        return $this->rows("SELECT $columns FROM #__websockets_outbox WHERE NOT ($isFirst) ORDER BY id");
    }

    /** The isolation levels at which rows can be written here. A binary log of statements allows two of them. */
    public function levels(): array
    {
        $rows = $this->rows("SHOW VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format')");
        $log  = array_column($rows, 'Value', 'Variable_name');

        return ($log['log_bin'] ?? '') === 'ON' && ($log['binlog_format'] ?? '') === 'STATEMENT'
            ? ['REPEATABLE READ', 'SERIALIZABLE'] : ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'];
    }

    public function isMariaDb(): bool
    {
        return str_contains($this->connection->server_info, 'MariaDB');
    }

    /** A value of the state table. */
    public function state(string $name): ?string
    {
        return $this->rows("SELECT value FROM #__websockets_state WHERE name = '$name'")[0]['value'] ?? null;
    }

    public function position(): ?string
    {
        return $this->state('position');
    }

    /** Runs statements that are not stored. */
    public function run(string $statements): self
    {
        $this->connection->multi_query($this->replacePrefix($statements));

        while ($this->connection->next_result()) {
            continue;
        }

        return $this;
    }

    /** The server's plan for a statement that reads one table. */
    public function plan(string $query): array
    {
        return $this->rows('EXPLAIN FORMAT=TRADITIONAL ' . $query)[0];
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

        $this->pass();

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

    /** Joomla's driver does not change text in quotes. */
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
        $this->beforeCommit && ($this->beforeCommit)();
        $this->connection->commit();
    }

    public function transactionRollback($toSavepoint = false)
    {
        $this->connection->rollback();
    }

    /** Runs a function before the next statements that match a pattern, for so many of them. */
    public function before(string $pattern, \Closure $do, int $count = 1): void
    {
        $this->before = [$pattern, $do, $count];
    }

    /** Joomla's driver does this after a lost connection: it opens a new one and runs the statement there. */
    public function reconnect(): void
    {
        $this->connection->close();
        $this->connect(false);
    }

    private function pass(): void
    {
        if ($this->before[2] > 0 && preg_match($this->before[0], $this->query)) {
            $this->before[2]--;
            ($this->before[1])();
        }
    }

    private function result(): \mysqli_result
    {
        $this->statements[] = $this->query;
        $this->pass();

        return $this->connection->query($this->replacePrefix($this->query));
    }
}
