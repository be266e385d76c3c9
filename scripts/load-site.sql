-- The people of the load scenarios, on the tables of tests/fixtures/joomla/tables-j6.sql: each is a registered user with one
-- session of the site, as Joomla 6 writes it. @people says how many (100,000 at most), @cookie is the name of the site's
-- cookie, which Joomla makes of $secret. The last statement gives, a line each, what jsocketd-load reads by --visitors: the
-- header Cookie, a tab, the user's id. Every server of MariaDB and MySQL takes this: some have no MD5(), some no sequences.

INSERT INTO j6x_users (id, name, username, email, registerDate, params)
WITH digits AS (
    SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
    UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9
), numbers AS (
    SELECT 1 + a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d AS n
    FROM digits a CROSS JOIN digits b CROSS JOIN digits c CROSS JOIN digits d CROSS JOIN digits e
)
SELECT 1000 + n, CONCAT('Person ', n), CONCAT('person', n), CONCAT('person', n, '@example.org'), UTC_TIMESTAMP(), '{}'
FROM numbers WHERE n <= @people;

INSERT INTO j6x_user_usergroup_map (user_id, group_id)
SELECT id, 2 FROM j6x_users WHERE id > 1000;

-- PHP's serialize() as in tests/fixtures/joomla/session-data-j6-registered.txt; ~ stands for a zero byte. Ids are 26 or 32
-- characters long, what PHP makes on Debian and by default.
INSERT INTO j6x_session (session_id, client_id, guest, time, data, userid, username)
WITH texts AS (
    SELECT id, username, LEFT(SHA2(CONCAT('id', id), 256), IF(id % 2, 32, 26)) AS session_id,
        REPLACE(TO_BASE64(REPLACE(CONCAT(
            'O:24:"Joomla\\Registry\\Registry":3:{s:7:"~*~data";O:8:"stdClass":4:{s:7:"session";O:8:"stdClass":3:{s:7:"counter";i:5;',
            's:5:"timer";O:8:"stdClass":3:{s:5:"start";i:', UNIX_TIMESTAMP(), ';s:4:"last";i:', UNIX_TIMESTAMP(), ';s:3:"now";i:',
            UNIX_TIMESTAMP(), ';}s:5:"token";s:32:"', LEFT(SHA2(CONCAT('token', id), 256), 32), '";}s:8:"registry";',
            'O:24:"Joomla\\Registry\\Registry":3:{s:7:"~*~data";O:8:"stdClass":1:{s:5:"users";O:8:"stdClass":1:{s:5:"login";',
            'O:8:"stdClass":1:{s:4:"form";O:8:"stdClass":2:{s:4:"data";a:0:{}s:6:"return";',
            's:39:"index.php?option=com_users&view=profile";}}}}s:14:"~*~initialized";b:0;s:12:"~*~separator";s:1:".";}',
            's:4:"user";O:20:"Joomla\\CMS\\User\\User":1:{s:2:"id";i:', id, ';}s:9:"com_users";O:8:"stdClass":1:{s:11:"mfa_checked";',
            'i:1;}}s:14:"~*~initialized";b:0;s:12:"~*~separator";s:1:".";}'
        ), '~', CHAR(0))), '\n', '') AS text
    FROM j6x_users WHERE id > 1000
)
SELECT session_id, 0, 0, UNIX_TIMESTAMP(), CONCAT('joomla|s:', LENGTH(text), ':"', text, '";'), id, username FROM texts;

SELECT CONCAT(@cookie, '=', session_id), userid FROM j6x_session ORDER BY userid;
