-- The tables of the outbox: MySQL 8.0.13 or later, MariaDB 10.4 or later. #__ stands for the prefix of the tables.
-- All statements may be run again. Existing tables and rows stay as they are.

-- A row that is committed to this table is delivered. A row that is rolled back is not.
-- `seq`: the number of the row in the stream. NULL until a server, or PHP in its place, has seen the row.
-- `stamped`: when the row got its number, by the clock of the database. The publisher sets all other columns.
-- `channel`: one channel. An event for several channels has several rows. `data`: the data of the event as JSON text.
-- `socket_id`: this socket does not get the row, neither live nor in a recovery.
-- `created`: UTC_TIMESTAMP(3) of the INSERT. It is for people only.

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

-- The state that PHP and the processes of jsocketd share.
-- `schema`: the version of both tables. `deleter`: an empty value. A process that deletes rows holds the lock of this row.
-- `position`: the newest position, as clients get it: o, the epoch in 8 hexadecimal digits, a colon, seq, a full stop,
-- and the mark of that row. The mark is `stamped` in milliseconds since 1970, in base 36. `process.ID`: the position of a
-- process. It is also the heartbeat of that process.

CREATE TABLE IF NOT EXISTS `#__websockets_state` (
  `name`    varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  `value`   varchar(255) NOT NULL,
  `updated` datetime(3)  NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

INSERT IGNORE INTO `#__websockets_state` (`name`, `value`, `updated`)
  VALUES ('schema', '2', UTC_TIMESTAMP(3)), ('deleter', '', UTC_TIMESTAMP(3));

-- The first row, so that there is a position from the beginning. The epoch is random, but not 0.

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
