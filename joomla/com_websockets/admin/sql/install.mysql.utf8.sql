-- The tables of the outbox: MySQL 8.0.13 or later, MariaDB 10.4 or later. #__ stands for the prefix of the tables.
-- What is committed into the first one is delivered, what is rolled back never is. Writers set `created` to UTC_TIMESTAMP(3).
-- `channel`: several channels are several rows. `data`: the data of the event as JSON text.
-- `socket_id`: the row is not delivered to this socket, neither live nor replayed. `created`: for people only.

CREATE TABLE IF NOT EXISTS `#__websockets_outbox` (
  `id`        bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
  `channel`   varchar(200) CHARACTER SET ascii   COLLATE ascii_bin   NOT NULL,
  `event`     varchar(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  `data`      mediumtext   NOT NULL,
  `socket_id` varchar(40)  CHARACTER SET ascii   COLLATE ascii_bin   DEFAULT NULL,
  `created`   datetime(3)  NOT NULL,
  KEY `idx_channel` (`channel`, `id`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

-- What PHP and the jsocketd processes tell each other: schema, epoch, made, deleted_to, mark, position.PROCESS.
-- Positions (and deleted_to) are written as clients know them: o, the epoch in 8 hexadecimal digits, a colon, a row.

CREATE TABLE IF NOT EXISTS `#__websockets_state` (
  `name`    varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  `value`   varchar(255) NOT NULL,
  `updated` datetime(3)  NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

INSERT IGNORE INTO `#__websockets_state` (`name`, `value`, `updated`) VALUES ('schema', '1', UTC_TIMESTAMP(3));
