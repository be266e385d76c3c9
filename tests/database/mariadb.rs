//! The database harness itself: the rows that other tests build on must be those of a real Joomla, or the tests prove
//! nothing. Joomla wrote the texts of the fixtures; ours must not differ by a byte.

use std::path::Path;
use std::sync::Arc;

use crate::common::joomla::{self, Session, SessionText, Site, fixture};
use crate::common::mariadb::Mariadb;
use crate::common::wait_until;
use jsocketd::joomla::site::Client;
use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};

/// A row of the session table: client, guest, user id, user name, whether there is a text.
type SessionRow = (Option<u8>, u8, u32, String, bool);

fn row(site: &Site, session: &Session) -> Option<SessionRow> {
    let mut rows = site.rows(&format!(
        "SELECT client_id, guest, userid, username, data IS NOT NULL FROM #__session WHERE session_id = '{}'",
        session.id
    ));
    assert!(rows.len() <= 1);
    rows.pop()
}

fn expect_row(site: &Site, session: &Session, row_is: (Option<u8>, u8, u32, &str, bool)) {
    let (client, guest, user, name, text) = row_is;
    assert_eq!(row(site, session), Some((client, guest, user, name.into(), text)));
}

#[test]
fn every_database_is_the_one_that_was_asked_for() {
    let asked = std::env::var("DATABASE_SERVER").unwrap_or_default();
    assert_eq!(Mariadb::shared().is_mariadb(), !asked.starts_with("mysql"));
}

fn both() -> [Site; 2] {
    [Site::joomla6(), Site::joomla3()]
}

#[test]
fn a_site_has_the_users_of_the_fixtures_and_none_is_logged_in() {
    for (site, first) in both().into_iter().zip([290, 296]) {
        let users: Vec<(u32, String, u8)> = site.rows("SELECT id, username, block FROM #__users ORDER BY id");
        let names = [("admin", 0), ("anna", 0), ("bob", 0), ("carol", 0), ("dave", 1)];
        let expected = names
            .iter()
            .zip(first..)
            .map(|((name, block), id)| (id, (*name).to_owned(), *block));
        assert_eq!(users, expected.collect::<Vec<_>>());
        assert_eq!(site.id_of("carol"), first + 3);
        let groups: Vec<u32> = site.rows(&format!(
            "SELECT group_id FROM #__user_usergroup_map WHERE user_id = {} ORDER BY group_id",
            site.id_of("bob")
        ));
        assert_eq!(groups, [3, 12]);
        assert_eq!(site.value::<u32>("SELECT COUNT(*) FROM #__session"), 0);
        assert_eq!(site.value::<u32>("SELECT COUNT(*) FROM #__viewlevels"), 8);
        let version: String = site.value("SELECT manifest_cache FROM #__extensions WHERE element = 'joomla'");
        assert!(version.contains(site.version()));
    }
}

#[test]
fn session_texts_are_joomlas_to_the_byte() {
    for (name, user, counter, timer, token) in [
        (
            "j6-admin",
            290,
            3,
            [1_795_207_874, 1_795_207_875, 1_795_207_875],
            "1b21e80fdb83320f6aa78ffaf8b71fcd",
        ),
        ("j6-guest", 0, 1, [1_795_207_874; 3], "8bcfad70fc95d098c4ecc11683069312"),
        (
            "j3-admin",
            296,
            3,
            [1_795_207_875; 3],
            "9xtsjnxNKt7ugyT1m1z2XmkKKFdukSqV",
        ),
        ("j3-guest", 0, 1, [1_795_207_875; 3], "QYfpBAlN5hTmHY9ZxbthtfpxgTQopvxU"),
    ] {
        let joomla3 = name.starts_with("j3");
        let text = SessionText {
            user,
            token: token.into(),
            counter,
            timer,
            mfa_checked: (name == "j6-admin").then_some(1),
            mandatory_mfa_setup: None,
            joomla3,
        };
        assert_eq!(text.to_string(), fixture(&format!("session-data-{name}.txt")), "{name}");
    }
}

#[test]
fn cookies_are_named_as_joomla_names_them() {
    let [six, three] = both();
    assert_eq!(six.cookie_name(Client::Site), "0ad504c8cb42b9a2c9379cf1921924da");
    assert_eq!(
        six.cookie_name(Client::Administrator),
        "5386e5f722696aa90f2935566d512572"
    );
    assert_eq!(three.cookie_name(Client::Site), "2714917f7858c222c76007d85c9689c5");
    assert_eq!(
        three.cookie_name(Client::Administrator),
        "200a543f9e69e4069de5d763cd04359c"
    );
    six.configure("session_name", "'abcdefgh12345678'");
    for client in [Client::Site, Client::Administrator] {
        assert_eq!(six.cookie_name(client), "b012cda0daa1fc0177f69db47aab238b");
    }
}

#[test]
fn people_log_in_and_out_as_in_joomla() {
    for site in both() {
        let (anna, admin) = (site.id_of("anna"), site.id_of("admin"));
        let guest = site.guest(Client::Site);
        expect_row(&site, &guest, (Some(0), 1, 0, "", true));
        let first = site.log_in_from(&guest, anna);
        assert_eq!(row(&site, &guest), None, "the session has got a new id");
        expect_row(&site, &first, (Some(0), 0, anna, "anna", true));
        let others = [
            site.log_in(anna, Client::Site),
            site.log_in(anna, Client::Administrator),
            site.log_in(admin, Client::Administrator),
        ];
        expect_row(&site, &others[2], (Some(1), 0, admin, "admin", true));
        let after = site.log_out(&first);
        assert_eq!(
            others.each_ref().map(|session| row(&site, session).is_some()),
            [false, true, true]
        );
        match after {
            Some(guest) => expect_row(&site, &guest, (None, 1, 0, "", true)),
            None => assert!(site.version().starts_with("3.")),
        }
        site.block(admin);
        assert_eq!(row(&site, &others[2]), None);
        site.block_by_sql(anna);
        assert!(row(&site, &others[1]).is_some());
    }
}

#[test]
fn a_new_password_leaves_only_the_session_that_set_it() {
    let site = Site::joomla6();
    let bob = site.id_of("bob");
    let (here, there) = (site.log_in(bob, Client::Site), site.log_in(bob, Client::Administrator));
    site.change_password(&here);
    assert!(row(&site, &here).is_some() && row(&site, &there).is_none());
    site.delete_user(bob);
    assert_eq!(row(&site, &here), None);
    assert_eq!(
        site.value::<u32>("SELECT COUNT(*) FROM #__users WHERE username = 'bob'"),
        0
    );
}

#[test]
fn rows_depend_on_how_the_site_keeps_sessions() {
    let site = Site::joomla6();
    let anna = site.id_of("anna");
    let log_in = || site.log_in(anna, Client::Site);
    site.configure("session_metadata", "false");
    let hidden = log_in();
    expect_row(&site, &hidden, (None, 1, 0, "", true));
    site.log_out(&hidden);
    assert_eq!(row(&site, &hidden), None);
    site.configure("session_handler", "'filesystem'");
    assert_eq!(row(&site, &log_in()), None, "neither text nor metadata: no row");
    site.configure("session_metadata", "true");
    expect_row(&site, &log_in(), (Some(0), 0, anna, "anna", false));
    site.configure("session_handler", "'database'");
    site.configure("shared_session", "true");
    let shared = log_in();
    expect_row(&site, &shared, (None, 0, anna, "anna", true));
    site.log_out(&shared);
    assert_eq!(
        site.value::<u32>("SELECT COUNT(*) FROM #__session WHERE userid > 0"),
        0,
        "of both clients"
    );
}

#[test]
fn a_session_ages_and_a_second_factor_may_be_missing() {
    let site = Site::joomla6();
    let carol = site.id_of("carol");
    site.add_second_factor(carol);
    let (half, whole) = (site.log_in_half(carol, Client::Site), site.log_in(carol, Client::Site));
    for (session, checked) in [(half, false), (whole.clone(), true)] {
        expect_row(&site, &session, (Some(0), 0, carol, "carol", true));
        let text: String = site.value(&format!(
            "SELECT data FROM #__session WHERE session_id = '{}'",
            session.id
        ));
        let encoded = text.split('"').nth(1).expect("a string in quotes");
        let plain = data_encoding::BASE64.decode(encoded.as_bytes()).expect("base64");
        let plain = String::from_utf8(plain).expect("text");
        assert_eq!(plain.contains("mfa_checked"), checked, "{plain}");
        assert!(
            plain.contains(&session.token) && plain.contains(&format!(r#"s:2:"id";i:{carol};"#)),
            "{plain}"
        );
    }
    let time = || -> i64 {
        site.value(&format!(
            "SELECT time FROM #__session WHERE session_id = '{}'",
            whole.id
        ))
    };
    site.age(&whole, 1000);
    assert!((999..1002).contains(&(joomla::now() - time())), "{}", time());
    site.touch(&whole);
    assert!((0..2).contains(&(joomla::now() - time())), "{}", time());
    assert_eq!(
        site.form_token(&whole),
        joomla::md5(&format!("0Joyhpv7XRo55TVH{carol}{}", whole.token))
    );
}

#[test]
fn groups_levels_and_items_change() {
    for site in both() {
        let anna = site.id_of("anna");
        site.set_groups(anna, &[2, 10]);
        let groups = format!("SELECT group_id FROM #__user_usergroup_map WHERE user_id = {anna} ORDER BY 1");
        assert_eq!(site.rows::<u32>(&groups), [2, 10]);
        site.set_groups(anna, &[]);
        assert_eq!(site.rows::<u32>(&groups), [0; 0]);
        for (level, rules) in [(7, "[2,-291]"), (40, "[8]")] {
            site.set_level(level, rules);
            assert_eq!(
                site.value::<String>(&format!("SELECT rules FROM #__viewlevels WHERE id = {level}")),
                rules
            );
        }
        let article = site.add_article(2, 7);
        site.set_article(article, "state = 0");
        site.set_category(2, "published = 0");
        let now: (i8, u32, i8) = site
            .rows(&format!(
                "SELECT a.state, a.access, c.published FROM #__content a JOIN #__categories c ON c.id = a.catid WHERE a.id = {article}"
            ))
            .remove(0);
        assert_eq!(now, (0, 7, 0));
        site.install_component(r#"{"key":"k"}"#);
        let params: String = site.value("SELECT params FROM #__extensions WHERE element = 'com_websockets'");
        assert_eq!(params, r#"{"key":"k"}"#);
    }
}

#[test]
fn rows_of_the_outbox_are_seen_once_committed() {
    let site = Site::joomla6();
    site.create_outbox();
    let count = || site.value::<u32>("SELECT COUNT(*) FROM #__websockets_outbox WHERE seq IS NULL");
    assert_eq!(
        site.value::<u32>("SELECT COUNT(*) FROM #__websockets_outbox WHERE seq = 1"),
        1
    );
    let first = site.publish("news", "written", "{}");
    let mut writer = site.connect();
    for (end, rows) in [("ROLLBACK", 1), ("COMMIT", 2)] {
        writer.query_drop("BEGIN").unwrap();
        assert!(site.publish_on(&mut writer, "news", "written", "{}") > first);
        assert_eq!(count(), 1);
        writer.query_drop(end).unwrap();
        assert_eq!(count(), rows);
    }
    let names: Vec<String> = site.rows("SELECT name FROM #__websockets_state ORDER BY name");
    assert_eq!(names, ["deleter", "position", "schema"]);
}

/// By TCP, as the server connects.
fn connect(site: &Site, user: &str, password: &str) -> mysql::Result<Conn> {
    let options = OptsBuilder::new()
        .ip_or_hostname(Some(site.server.addr.ip().to_string()))
        .tcp_port(site.server.addr.port())
        .user(Some(user))
        .pass(Some(password))
        .db_name(Some(&site.database))
        .prefer_socket(false);
    Conn::new(options)
}

#[test]
fn the_sites_user_logs_in_only_with_its_password() {
    let (site, other) = (Site::joomla6(), Site::joomla6());
    assert_eq!(site.setting("host"), site.server.addr.to_string());
    assert_eq!(site.setting("dbprefix"), site.prefix);
    assert_eq!(site.setting("secret"), site.secret);
    let php = std::fs::read_to_string(site.configuration()).unwrap();
    assert!(php.contains(r"	public $password = 'jo\'om\\la pass';"), "{php}");
    let mut user = connect(&site, &site.user, &site.password).expect("the password is right");
    user.query_drop("DELETE FROM j6x_session")
        .expect("it may do everything here");
    let elsewhere = format!("SELECT * FROM {}.j6x_users", other.database);
    user.query_drop(elsewhere).expect_err("and nothing elsewhere");
    connect(&site, &site.user, "wrong").expect_err("the password is wrong");
    connect(&site, "root", "").expect_err("root gets in by the socket alone");
}

#[test]
fn a_restricted_user_may_do_what_was_granted() {
    let site = Site::joomla6();
    let user = site.restricted_user(&["SELECT ON #__session", "SELECT (id, name) ON #__users"]);
    let mut connection = connect(&site, &user, &site.password).expect("it gets in");
    connection.query_drop("SELECT data FROM j6x_session").unwrap();
    connection.query_drop("SELECT id, name FROM j6x_users").unwrap();
    connection
        .query_drop("SELECT password FROM j6x_users")
        .expect_err("not granted");
    connection
        .query_drop("DELETE FROM j6x_session")
        .expect_err("not granted");
}

#[test]
fn a_server_of_ones_own_is_stopped_killed_and_gone_in_the_end() {
    let server = Arc::new(Mariadb::start(&["--lock-wait-timeout=7"]));
    let site = Site::joomla6_on(Arc::clone(&server));
    assert_ne!(server.addr, Mariadb::shared().addr);
    assert_eq!(site.value::<u32>("SELECT @@lock_wait_timeout"), 7);
    site.create_outbox();

    server.pause();
    let answered = std::thread::scope(|scope| {
        let question = scope.spawn(|| site.value::<u32>("SELECT 1"));
        std::thread::sleep(std::time::Duration::from_millis(100));
        let answered = question.is_finished();
        server.resume();
        assert_eq!(question.join().unwrap(), 1);
        answered
    });
    assert!(!answered, "a stopped server answered");

    // Everything that was committed is there after a crash, and the address is the same.
    let rows = 200;
    for _ in 0..rows {
        site.publish("news", "written", "{}");
    }
    let before = server.pid();
    server.kill();
    server.restart();
    assert_ne!(server.pid(), before);
    let there = site.value::<u32>("SELECT COUNT(*) FROM #__websockets_outbox WHERE seq IS NULL");
    assert_eq!(there, rows);

    let (process, folder) = (
        format!("/proc/{}", server.pid()),
        server.socket.parent().unwrap().to_owned(),
    );
    drop((site, server));
    assert!(!folder.exists());
    wait_until(
        "the server is gone",
        || !Path::new(&process).exists(),
        || process.clone(),
    );
}
