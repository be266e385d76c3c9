-- The tables of the outbox: MySQL 8.0.13 or later, MariaDB 10.4 or later. #__ stands for the prefix of the tables.
-- All statements may be run again: what is there stays as it is.

-- What is committed into this table is delivered, what is rolled back never is.
-- `seq`: NULL until the row is seen, then its place in the stream. `stamped`: when it was seen, by the clock of the
-- database. Both are set by who gives the numbers, the other columns by who publishes.
-- `channel`: several channels are several rows. `data`: the data of the event as JSON text.
-- `socket_id`: the row is not delivered to this socket, neither live nor replayed.
-- `created`: UTC_TIMESTAMP(3), by every writer. It is for people only.

CREATE TABLE IF NOT EXISTS `#__websockets_outbox` (
  `id`        bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
  `seq`       bigint unsigned DEFAULT NULL,
  `stamped`   datetime(3)     DEFAULT NULL,
  `channel`   varchar(200) CHARACTER SET ascii   COLLATE ascii_bin   NOT NULL,
  `event`     varchar(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  `data`      mediumtext   NOT NULL,
  `socket_id` varchar(40)  CHARACTER SET ascii   COLLATE ascii_bin   DEFAULT NULL,
  `created`   datetime(3)  NOT NULL,
  UNIQUE KEY `idx_seq` (`seq`),
  KEY `idx_channel_seq` (`channel`, `seq`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

-- What PHP and the jsocketd processes tell each other.
-- `schema`: the version of both tables. `deleter`: nothing. Whoever deletes rows holds the lock of this row.
-- `position`: the newest position, as clients get it: o, the epoch in 8 hexadecimal digits, a colon, seq, a full stop,
-- and the mark of that row: `stamped` in milliseconds since 1970, in base 36. `process.ID`: the position of a process,
-- which is its heartbeat.

CREATE TABLE IF NOT EXISTS `#__websockets_state` (
  `name`    varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  `value`   varchar(255) NOT NULL,
  `updated` datetime(3)  NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

INSERT IGNORE INTO `#__websockets_state` (`name`, `value`, `updated`)
  VALUES ('schema', '2', UTC_TIMESTAMP(3)), ('deleter', '', UTC_TIMESTAMP(3));

-- The first row, so that there is a position from the beginning. Its epoch is random, and not 0.

INSERT INTO `#__websockets_outbox` (`seq`, `stamped`, `channel`, `event`, `data`, `created`)
  SELECT 1, UTC_TIMESTAMP(3), '#control', 'begin', '{}', UTC_TIMESTAMP(3) FROM DUAL
  WHERE NOT EXISTS (SELECT 1 FROM `#__websockets_state` WHERE `name` = 'position')
    AND NOT EXISTS (SELECT 1 FROM `#__websockets_outbox` WHERE `seq` IS NOT NULL);

INSERT IGNORE INTO `#__websockets_state` (`name`, `value`, `updated`)
  SELECT 'position',
    CONCAT('o', LPAD(LOWER(HEX(1 + FLOOR(RAND() * 4294967295))), 8, '0'), ':', `seq`, '.',
      LOWER(CONV(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', `stamped`) DIV 1000, 10, 36))),
    UTC_TIMESTAMP(3)
  FROM `#__websockets_outbox` WHERE `seq` IS NOT NULL ORDER BY `seq` DESC LIMIT 1;
