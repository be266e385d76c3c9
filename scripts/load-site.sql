-- The people of the load scenarios, on the tables of tests/fixtures/joomla/tables-j6.sql: each is a registered user with one
-- session of the site, as Joomla 6 writes it. @people says how many, @secret is the site's $secret. The last statement
-- gives, a line each, what jsocketd-load reads by --visitors: the header Cookie, a tab, the user's id.

INSERT INTO j6x_users (id, name, username, email, registerDate, params)
SELECT 1000 + seq, CONCAT('Person ', seq), CONCAT('person', seq), CONCAT('person', seq, '@example.org'), UTC_TIMESTAMP(), '{}'
FROM seq_1_to_1000000 WHERE seq <= @people;

INSERT INTO j6x_user_usergroup_map (user_id, group_id)
SELECT id, 2 FROM j6x_users WHERE id > 1000;

-- PHP's serialize() as in tests/fixtures/joomla/session-data-j6-registered.txt; ~ stands for a zero byte. Ids are 26 or 32
-- characters long, what PHP makes on Debian and by default.
INSERT INTO j6x_session (session_id, client_id, guest, time, data, userid, username)
WITH texts AS (
    SELECT id, username, IF(id % 2, MD5(CONCAT('id', id)), LEFT(MD5(CONCAT('id', id)), 26)) AS session_id,
        REPLACE(TO_BASE64(REPLACE(CONCAT(
            'O:24:"Joomla\\Registry\\Registry":3:{s:7:"~*~data";O:8:"stdClass":4:{s:7:"session";O:8:"stdClass":3:{s:7:"counter";i:5;',
            's:5:"timer";O:8:"stdClass":3:{s:5:"start";i:', UNIX_TIMESTAMP(), ';s:4:"last";i:', UNIX_TIMESTAMP(), ';s:3:"now";i:',
            UNIX_TIMESTAMP(), ';}s:5:"token";s:32:"', MD5(CONCAT('token', id)), '";}s:8:"registry";',
            'O:24:"Joomla\\Registry\\Registry":3:{s:7:"~*~data";O:8:"stdClass":1:{s:5:"users";O:8:"stdClass":1:{s:5:"login";',
            'O:8:"stdClass":1:{s:4:"form";O:8:"stdClass":2:{s:4:"data";a:0:{}s:6:"return";',
            's:39:"index.php?option=com_users&view=profile";}}}}s:14:"~*~initialized";b:0;s:12:"~*~separator";s:1:".";}',
            's:4:"user";O:20:"Joomla\\CMS\\User\\User":1:{s:2:"id";i:', id, ';}s:9:"com_users";O:8:"stdClass":1:{s:11:"mfa_checked";',
            'i:1;}}s:14:"~*~initialized";b:0;s:12:"~*~separator";s:1:".";}'
        ), '~', CHAR(0))), '\n', '') AS text
    FROM j6x_users WHERE id > 1000
)
SELECT session_id, 0, 0, UNIX_TIMESTAMP(), CONCAT('joomla|s:', LENGTH(text), ':"', text, '";'), id, username FROM texts;

SELECT CONCAT(MD5(MD5(CONCAT(@secret, 'site'))), '=', session_id), userid FROM j6x_session ORDER BY userid;
