<?php

// The part of Joomla that the package's classes and the stand-in pages need: the database driver over mysqli, and the
// head of a page. It is only for tests. The classes of the package are the real ones.

namespace Joomla\Database {
    interface DatabaseInterface
    {
    }

    class Driver implements DatabaseInterface
    {
        private \mysqli $connection;

        private string $query = '';

        public function __construct(private readonly \JConfig $config)
        {
            mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
            [$host, $port]    = explode(':', $config->host);
            $this->connection = new \mysqli($host, $config->user, $config->password, $config->db, (int) $port);
            $this->connection->set_charset('utf8mb4');
        }

        public function quote(array|string $text): array|string
        {
            return \is_array($text) ? array_map([$this, 'quote'], $text) : "'" . $this->connection->real_escape_string($text) . "'";
        }

        public function quoteName(array|string $name): array|string
        {
            return \is_array($name) ? array_map([$this, 'quoteName'], $name) : '`' . str_replace('.', '`.`', $name) . '`';
        }

        public function replacePrefix(string $query): string
        {
            return str_replace('#__', $this->config->dbprefix, $query);
        }

        /** Replaces the prefix, but not in quotes. */
        public function setQuery(string $query): static
        {
            $parts = preg_split('/(\'(?:[^\'\\\\]|\\\\.)*\')/s', $query, -1, PREG_SPLIT_DELIM_CAPTURE);

            foreach ($parts as $n => $part) {
                $parts[$n] = $n % 2 ? $part : $this->replacePrefix($part);
            }

            $this->query = implode('', $parts);

            return $this;
        }

        public function execute(): \mysqli_result|bool
        {
            return $this->connection->query($this->query);
        }

        public function loadResult(): mixed
        {
            return $this->execute()->fetch_row()[0] ?? null;
        }

        public function loadObjectList(): array
        {
            $result = $this->execute();
            $rows   = [];

            while ($row = $result->fetch_object()) {
                $rows[] = $row;
            }

            return $rows;
        }

        public function getAffectedRows(): int
        {
            return $this->connection->affected_rows;
        }

        public function transactionStart(): void
        {
            $this->connection->begin_transaction();
        }

        public function transactionCommit(): void
        {
            $this->connection->commit();
        }

        public function transactionRollback(): void
        {
            $this->connection->rollback();
        }
    }
}

namespace {
    /** Joomla's script options: JSON in the page, with escaped slashes so that nothing ends the element. */
    function scriptOptions(array $options): string
    {
        return '<script type="application/json" class="joomla-script-options new">' . json_encode($options) . '</script>';
    }
}
