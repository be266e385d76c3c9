//! The store against a real MariaDB: it reads the rows of real sites as they are. Whatever happens to the server, the
//! connection or the rows, no question gets another question's answer, and nothing takes longer than its limit.
//!
//! The statements about the outbox's tables beside writers and locks are tried in `every_database.rs`, on other servers
//! too.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::between::{Between, Trick};
use crate::common::joomla::{self, Site};
use crate::common::mariadb::Mariadb;
use crate::common::ports::nobody;
use crate::common::store::{
    LONGEST_EVENT, Outbox as _, at, by_socket, by_tcp, claim, connected, hasty, new, place, set_up, stamp,
};
use crate::common::wait_until;
use jsocketd::config::{self, ItemType, ListenAddr};
use jsocketd::joomla::site::Client;
use jsocketd::net::io::{Io, Ready};
use jsocketd::net::poll::MioIo;
use jsocketd::net::probe::{self, Probe};
use jsocketd::protocol::greeting::NoGreeting;
use jsocketd::protocol::position::{Place, Position};
use jsocketd::store::mysql::{Kind, MySql};
use jsocketd::store::{
    Answer, CategoryStep, ChannelRange, Database, Failure, Look, NewRow, Question, Readiness, Row, Secret, SessionId,
    SessionRow, Store, Text, Tls, TlsMode, UserRow,
};
use jsocketd::time::{Now, Time};
use mysql::prelude::Queryable;

fn id(text: &str) -> SessionId {
    SessionId::parse(text).expect("a session id")
}

fn sessions(store: &mut MySql, ids: &[&str], text: Text) -> Result<Vec<SessionRow>, Failure> {
    let ids = ids.iter().map(|text| id(text)).collect();
    match store.ask(&Question::Sessions { ids, text }, at(0))? {
        Answer::Sessions(rows) => Ok(rows),
        other => panic!("{other:?}"),
    }
}

/// The only session that is found.
fn session(store: &mut MySql, id: &str, text: Text) -> SessionRow {
    let mut rows = sessions(store, &[id], text).expect("an answer");
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

// --- sessions and users ----------------------------------------------------------------------------------------------

#[test]
fn a_session_comes_with_its_user_and_the_mapped_groups() {
    for site in [Site::joomla6(), Site::joomla3()] {
        for database in [by_tcp(&site), by_socket(&site)] {
            let mut store = connected(database);
            let bob = site.id_of("bob");
            // The text has the time in it.
            let (one, text) = loop {
                let second = joomla::now();
                let one = site.log_in(bob, Client::Administrator);
                let text = site.session_text(&one).to_string().into_bytes();
                if joomla::now() == second {
                    break (one, text);
                }
            };
            let row = session(&mut store, &one.id, Text::Always);
            let mut user = row.user.clone().expect("a user");
            user.groups.sort_unstable();
            assert_eq!(
                user,
                UserRow {
                    id: bob,
                    name: "Bob Writer".into(),
                    username: "bob".into(),
                    groups: vec![3, 12],
                    ..UserRow::default()
                }
            );
            assert_eq!(row.text, Some(text));
            assert_eq!((row.client_id, row.guest, row.user_id), (Some(1), false, bob));
            assert!((joomla::now() - row.time).abs() < 60);
            let guest = session(&mut store, &site.guest(Client::Site).id, Text::Never);
            assert_eq!((guest.client_id, guest.guest, guest.user_id), (Some(0), true, 0));
            assert_eq!((guest.user, guest.text), (None, None));
        }
    }
}

#[test]
fn rows_belong_to_the_requested_ids_in_any_order_and_number() {
    let site = Site::joomla6();
    let mut store = connected(by_tcp(&site));
    let users = ["admin", "anna", "bob", "carol", "dave"].map(|name| site.id_of(name));
    let sessions_of: Vec<(String, u32)> = (0..100)
        .map(|n| (site.log_in(users[n % 5], Client::Site).id, users[n % 5]))
        .collect();
    for count in [1, 2, 3, 4, 5, 15, 16, 17, 50, 98] {
        let mut asked: Vec<&str> = sessions_of[..count].iter().map(|(id, _)| id.as_str()).collect();
        asked.reverse();
        asked.insert(count / 2, "nobodyhasthisid");
        let rows = sessions(&mut store, &asked, Text::IfNeeded).expect("an answer");
        let found: BTreeSet<_> = rows
            .iter()
            .map(|row| (row.id.expose().to_owned(), row.user_id))
            .collect();
        assert_eq!(found, sessions_of[..count].iter().cloned().collect(), "{count} ids");
        assert!(
            rows.iter()
                .all(|row| row.user.as_ref().is_some_and(|user| user.id == row.user_id))
        );
        assert_eq!(rows.len(), count);
    }
    assert_eq!(sessions(&mut store, &[], Text::Never), Ok(Vec::new()));
}

#[test]
fn an_id_is_bytes_and_its_case_counts() {
    let site = Site::joomla6();
    let mut store = connected(by_tcp(&site));
    let one = site.log_in(site.id_of("anna"), Client::Site);
    let other = one.id.to_uppercase();
    assert_ne!(one.id, other);
    assert_eq!(sessions(&mut store, &[&other], Text::Never), Ok(Vec::new()));
    // Before Joomla 3.9 the column was a text, and to its collation they are the same.
    site.sql(
        "ALTER TABLE #__session MODIFY session_id varchar(192) COLLATE utf8mb4_general_ci, MODIFY time varchar(14)",
    );
    assert_eq!(sessions(&mut store, &[&other], Text::Never), Ok(Vec::new()));
    assert_eq!(session(&mut store, &one.id, Text::Never).user_id, one.user);
    let long = "a,-Z9".repeat(38) + "xy";
    assert_eq!(long.len(), SessionId::LONGEST);
    site.exec("UPDATE #__session SET session_id = ?", (long.as_bytes(),));
    assert_eq!(session(&mut store, &long, Text::Never).user_id, one.user);
}

#[test]
fn the_text_comes_only_where_it_is_needed() {
    let site = Site::joomla6();
    let (anna, bob) = (site.id_of("anna"), site.id_of("bob"));
    site.add_second_factor(bob);
    let mut store = connected(by_tcp(&site));
    let plain = site.log_in(anna, Client::Site);
    let half = site.log_in_half(bob, Client::Site);
    let guest = site.guest(Client::Site);
    site.configure("session_metadata", "false");
    let hidden = site.log_in(anna, Client::Site);
    let mut text = |session: &joomla::Session, text| self::session(&mut store, &session.id, text);
    for (session, needed, of_user) in [
        (&plain, false, true),
        (&half, true, true),
        (&guest, false, false),
        (&hidden, true, false),
    ] {
        assert!(text(session, Text::Always).text.is_some());
        assert_eq!(text(session, Text::OfUsers).text.is_some(), of_user);
        assert!(text(session, Text::Never).text.is_none());
        assert_eq!(text(session, Text::IfNeeded).text.is_some(), needed);
    }
    let row = text(&half, Text::IfNeeded);
    assert!(row.user.expect("bob").mfa);
    let row = text(&hidden, Text::IfNeeded);
    assert_eq!((row.client_id, row.guest, row.user_id, row.user), (None, true, 0, None));

    // Backup codes alone are no second factor.
    site.sql(&format!(
        "DELETE FROM #__user_mfa WHERE user_id = {bob} AND method <> 'backupcodes'"
    ));
    let row = text(&half, Text::IfNeeded);
    assert_eq!((row.text, row.user.expect("bob").mfa), (None, false));
}

#[test]
fn a_text_that_is_too_long_stays_where_it_is() {
    let site = Site::joomla6();
    let mut store = connected(by_tcp(&site));
    let one = site.log_in(site.id_of("anna"), Client::Site);
    for (length, comes) in [(SessionRow::LONGEST_TEXT, true), (SessionRow::LONGEST_TEXT + 1, false)] {
        site.exec("UPDATE #__session SET data = REPEAT('x', ?)", (length,));
        let row = session(&mut store, &one.id, Text::Always);
        assert_eq!(row.text.map(|text| text.len()), comes.then_some(length));
        assert!(row.user.is_some());
    }
    site.sql("UPDATE #__session SET data = NULL");
    assert_eq!(session(&mut store, &one.id, Text::Always).text, None);
}

#[test]
fn an_unreadable_row_hides_no_other_row_and_identifies_no_user() {
    let site = Site::joomla6();
    let anna = site.id_of("anna");
    let mut store = connected(by_tcp(&site));
    let (good, bad) = (site.log_in(anna, Client::Site), site.log_in(anna, Client::Site));
    site.sql("ALTER TABLE #__session MODIFY userid varchar(20), MODIFY client_id varchar(20), MODIFY time varchar(14)");
    for (column, values) in [
        ("userid", &["-1", "99999999999", "291 or so", "1e2"][..]),
        ("client_id", &["300", "-1", "site"]),
        ("time", &["soon", ""]),
    ] {
        for value in values {
            site.exec(
                &format!("UPDATE #__session SET {column} = ? WHERE session_id = ?"),
                (value, bad.id.as_bytes()),
            );
            let rows = sessions(&mut store, &[&good.id, &bad.id], Text::Never).expect("an answer");
            let ids: Vec<&str> = rows.iter().map(|row| row.id.expose()).collect();
            assert_eq!(ids, [good.id.as_str()], "{column} = {value}");
        }
        let same = format!(
            "UPDATE #__session b, #__session g SET b.{column} = g.{column} WHERE g.session_id = '{}'",
            good.id
        );
        site.sql(&same);
    }
    // A session without a user, and one whose user is deleted.
    site.exec(
        "UPDATE #__session SET userid = NULL WHERE session_id = ?",
        (bad.id.as_bytes(),),
    );
    assert_eq!(session(&mut store, &bad.id, Text::Never).user, None);
    site.exec(
        "UPDATE #__session SET userid = 4711 WHERE session_id = ?",
        (bad.id.as_bytes(),),
    );
    assert_eq!(session(&mut store, &bad.id, Text::Never).user, None);
}

#[test]
fn users_are_as_they_are_now() {
    for site in [Site::joomla6(), Site::joomla3()] {
        let mut store = connected(by_tcp(&site));
        let (anna, bob, dave) = (site.id_of("anna"), site.id_of("bob"), site.id_of("dave"));
        site.require_reset(bob);
        site.set_groups(anna, &[]);
        let Ok(Answer::Users(users)) = store.ask(&Question::Users(vec![anna, bob, dave, 4711, 0]), at(0)) else {
            panic!("no users");
        };
        let facts: BTreeSet<_> = users
            .iter()
            .map(|user| (user.id, user.blocked, user.require_reset, user.mfa, user.groups.len()))
            .collect();
        assert_eq!(
            facts,
            [
                (anna, false, false, false, 0),
                (bob, false, true, false, 2),
                (dave, true, false, false, 1)
            ]
            .into()
        );
    }
}

// --- rules, extensions, items ----------------------------------------------------------------------------------------

#[test]
fn rules_are_those_of_the_tables() {
    for (site, groups, levels) in [(Site::joomla6(), 12, 8), (Site::joomla3(), 12, 8)] {
        let mut store = connected(by_tcp(&site));
        let Ok(Answer::Groups(rows)) = store.ask(&Question::Groups, at(0)) else {
            panic!("no groups")
        };
        assert_eq!(rows.len(), groups);
        let root = rows.iter().find(|row| row.id == 1).expect("Public");
        assert_eq!((root.parent, root.rgt - root.lft), (0, 2 * groups as i64 - 1));
        let Ok(Answer::Levels(rows)) = store.ask(&Question::Levels, at(0)) else {
            panic!("no levels")
        };
        assert_eq!(rows.len(), levels);
        assert!(rows.iter().any(|row| row.id == 3 && row.rules == "[6,3,8]"));
        let Ok(Answer::Assets(mut rows)) = store.ask(&Question::Assets, at(0)) else {
            panic!("no assets")
        };
        let names: Vec<String> =
            site.rows("SELECT name FROM #__assets WHERE name = 'root.1' OR name NOT LIKE '%.%' ORDER BY lft");
        rows.sort_by_key(|row| row.lft);
        assert_eq!(rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>(), names);
        assert!(rows[0].name == "root.1" && rows[0].rules.contains("core.login.site"));
        site.sql("INSERT INTO #__usergroups (id, parent_id, lft, rgt, title) VALUES (99, 0, 0, 0, 'Broken')");
        site.sql("ALTER TABLE #__usergroups MODIFY rgt varchar(10)");
        site.sql("UPDATE #__usergroups SET rgt = 'x' WHERE id = 99");
        let answer = store.ask(&Question::Groups, at(0));
        assert_eq!(
            answer,
            Err(Failure::Malformed("usergroups.rgt is not what it should be".into()))
        );
    }
}

/// Joomla finds a component's rules by name, also when the tree is in disorder, and so do we; and on a site of any
/// size.
#[test]
fn rules_and_chains_are_found_in_disorder_and_among_many() {
    let site = Site::joomla6();
    let (articles, categories) = (joomla::sequence(50_000), joomla::sequence(3000));
    site.sql(&format!(
        "INSERT INTO #__assets (parent_id, lft, rgt, level, name, title, rules)
         SELECT 8, 1000 + seq * 2, 1001 + seq * 2, 3, CONCAT('com_content.article.', seq + 1000), '', '{{}}' FROM {articles};
         INSERT INTO #__assets (parent_id, lft, rgt, level, name, title, rules) VALUES (57, 7, 8, 4, 'com_lost', '', '{{\"core.manage\":{{\"1\":0}}}}');
         INSERT INTO #__extensions (name, type, element, folder, client_id, enabled, access, manifest_cache, params, custom_data)
         VALUES ('com_lost', 'component', 'com_lost', '', 1, 1, 1, '', '', '');
         ALTER TABLE #__extensions MODIFY element varchar(100) CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci;
         INSERT INTO #__categories (id, parent_id, lft, rgt, level, extension, access, published, title, alias, created_time, modified_time)
         SELECT 1000 + seq, 1, 100 + seq * 2, 101 + seq * 2, 1, 'com_content', 1, 1, '', '', NOW(), NOW() FROM {categories};
         UPDATE #__categories SET rgt = 10000 WHERE id = 1",
    ));
    let ids: Vec<u64> = (0..100).map(|n| site.add_article(1001 + n * 29, 1)).collect();
    let mut store = connected(by_tcp(&site));
    let Ok(Answer::Assets(rows)) = store.ask(&Question::Assets, at(0)) else {
        panic!("no assets")
    };
    assert_eq!(
        rows.iter()
            .filter(|row| row.name == "com_lost" && row.rules.contains("core.manage"))
            .count(),
        1
    );
    assert_eq!(
        rows.iter().filter(|row| row.name == "com_users").count(),
        1,
        "found in two ways"
    );
    assert!(rows.len() > 30 && rows.iter().all(|row| !row.name.starts_with("com_content.")));
    let Ok(Answer::Items(rows)) = store.ask(&Question::Items { kind: 0, ids }, at(0)) else {
        panic!("no items")
    };
    assert!(
        rows.len() == 100
            && rows
                .iter()
                .all(|row| row.categories.as_ref().is_some_and(|steps| steps.len() == 1))
    );
    for (name, measure) in store.measures() {
        assert!(
            name == "connect" || measure.worst < Duration::from_millis(60),
            "{name}: {:?}",
            measure.worst
        );
    }
}

#[test]
fn extensions_have_parameters_and_versions() {
    let site = Site::joomla6();
    let mut store = connected(by_tcp(&site));
    let mut ask = || match store.ask(&Question::Extensions, at(0)) {
        Ok(Answer::Extensions(extensions)) => extensions,
        other => panic!("{other:?}"),
    };
    let before = ask();
    assert!(before.com_users.expect("installed").contains("guest_usergroup"));
    assert_eq!(before.joomla_version.as_deref(), Some("6.1.0"));
    assert_eq!((before.com_websockets, before.package_version), (None, None));
    site.install_component(r#"{"app_key":"k"}"#);
    let after = ask();
    assert_eq!(after.com_websockets.as_deref(), Some(r#"{"app_key":"k"}"#));
    assert_eq!(after.package_version.as_deref(), Some("1.0.0"));
    site.sql("UPDATE #__extensions SET enabled = 0 WHERE element = 'com_websockets'");
    assert_eq!(ask().com_websockets, None);
}

#[test]
fn items_come_with_their_categories_and_dates() {
    for site in [Site::joomla6(), Site::joomla3()] {
        let mut store = connected(by_tcp(&site));
        let mut item = |id: u64| match store.ask(&Question::Items { kind: 0, ids: vec![id] }, at(0)) {
            Ok(Answer::Items(mut rows)) => rows.pop(),
            other => panic!("{other:?}"),
        };
        let article = site.add_article(2, 3);
        let row = item(article).expect("there it is");
        assert_eq!((row.id, row.access, row.state, row.publish_down), (article, 3, 1, None));
        assert!((row.publish_up.expect("now") - joomla::now()).abs() < 60);
        let step = |id, access, published| CategoryStep { id, access, published };
        assert_eq!(row.categories, Some(vec![step(2, 1, 1)]));

        // A category below it, and all of it unpublished from above.
        site.sql(
            "UPDATE #__categories SET rgt = rgt + 2 WHERE rgt >= (SELECT rgt FROM (SELECT rgt FROM #__categories WHERE id = 2) x);
             INSERT INTO #__categories (id, parent_id, lft, rgt, level, extension, access, published, title, alias, created_time,
                                        modified_time, params, description, metadesc, metakey, metadata, path, language, note)
             SELECT 90, 2, rgt - 2, rgt - 1, 2, 'com_content', 5, 1, '', '', created_time, modified_time, '', '', '', '', '', '', '*', ''
             FROM #__categories WHERE id = 2",
        );
        site.set_category(2, "published = 0");
        site.set_article(
            article,
            "catid = 90, state = -2, publish_up = '2099-01-01', publish_down = '9999-12-31 23:59:59'",
        );
        let row = item(article).expect("there it is");
        assert_eq!((row.state, row.publish_up), (-2, Some(4_070_908_800)));
        assert!(row.publish_down > row.publish_up);
        assert_eq!(row.categories, Some(vec![step(2, 1, 0), step(90, 5, 1)]));
        match store.ask(&Question::Categories(vec![90, 4711]), at(0)) {
            Ok(Answer::Categories(rows)) => {
                assert_eq!(rows.len(), 1);
                assert_eq!((rows[0].id, rows[0].extension.as_str()), (90, "com_content"));
                assert_eq!(rows[0].chain, [step(2, 1, 0), step(90, 5, 1)]);
            }
            other => panic!("{other:?}"),
        }
        let mut item = |id: u64| match store.ask(&Question::Items { kind: 0, ids: vec![id] }, at(0)) {
            Ok(Answer::Items(mut rows)) => rows.pop(),
            other => panic!("{other:?}"),
        };
        site.set_article(article, "catid = 4711");
        assert_eq!(item(article).expect("there it is").categories, Some(Vec::new()));
        site.set_article(article, "catid = 1");
        assert_eq!(
            item(article).expect("there it is").categories,
            Some(Vec::new()),
            "the root is none"
        );
        assert_eq!(item(4711), None);
    }
}

#[test]
fn other_items_have_the_columns_that_are_configured() {
    let site = Site::joomla6();
    site.sql(
        "CREATE TABLE `#__odd ``items` (`the id` int, level int, shown int, up int, until date);
         INSERT INTO `#__odd ``items` VALUES (1, 2, 1, 86400, '1970-01-03'), (2, 2, 0, 0, NULL), (3, NULL, 1, 0, NULL), (4, 1, 1, 0, NULL),
                                            (4, 7, 1, 0, NULL), (5, 1, 1000, 0, NULL)",
    );
    let odd = ItemType {
        name: "com_odd.item".into(),
        table: "odd `items".into(),
        id: "the id".into(),
        access: "level".into(),
        state: "shown".into(),
        publish_up: "up".into(),
        publish_down: "until".into(),
        category: String::new(),
    };
    let plain = ItemType {
        access: String::new(),
        state: String::new(),
        publish_up: String::new(),
        publish_down: String::new(),
        ..odd.clone()
    };
    let absent = ItemType {
        access: "nothing".into(),
        ..odd.clone()
    };
    let settings = config::Database::default();
    let mut store = MySql::new(by_tcp(&site), settings, vec![odd, plain, absent], LONGEST_EVENT);
    store.connect(at(0)).expect("the database is there");
    let mut items = |kind| match store.ask(
        &Question::Items {
            kind,
            ids: vec![1, 2, 3, 4, 5],
        },
        at(0),
    )? {
        Answer::Items(mut rows) => {
            rows.sort_by_key(|row| row.id);
            let facts =
                |row: &jsocketd::store::ItemRow| (row.id, row.access, row.state, row.publish_up, row.publish_down);
            assert!(rows.iter().all(|row| row.categories.is_none()));
            Ok(rows.iter().map(facts).collect::<Vec<_>>())
        }
        other => panic!("{other:?}"),
    };
    // A row without a level is left out, and so is an id with two rows, because it is no key.
    assert_eq!(
        items(0),
        Ok(vec![(1, 2, 1, Some(86_400), Some(172_800)), (2, 2, 0, None, None)])
    );
    assert_eq!(items(1).map(|rows| rows[2]), Ok((3, 1, 1, None, None)));
    assert!(matches!(items(2), Err(Failure::Refused(why)) if why.contains("nothing")));
    assert!(matches!(items(3), Err(Failure::Refused(_))));
}

// --- the two tables --------------------------------------------------------------------------------------------------

/// A site with the outbox's tables, and a store. The first row has the id 1 and the number 1.
fn with_tables() -> (Site, MySql) {
    let site = Site::joomla6();
    site.create_outbox();
    let store = connected(by_tcp(&site));
    (site, store)
}

fn publish_some(site: &Site, count: usize) -> Vec<u64> {
    (0..count).map(|n| site.publish("news", "e", &n.to_string())).collect()
}

/// Id and number of each row, in order of ids.
fn numbers(site: &Site) -> Vec<(u64, Option<u64>)> {
    site.rows("SELECT id, seq FROM #__websockets_outbox ORDER BY id")
}

fn position(site: &Site) -> String {
    site.value("SELECT value FROM #__websockets_state WHERE name = 'position'")
}

#[test]
fn a_look_finds_committed_rows_without_a_number() {
    let (site, mut store) = with_tables();
    let window = |after, to| Look::Window { after, to };
    let quiet = store.look(Look::Front(1));
    assert_eq!(quiet.position, Some(position(&site)));
    assert!(quiet.now_ms.abs_diff(crate::common::joomla::now() as u64 * 1000) < 60_000);
    assert!(quiet.found.is_none() && quiet.micros > 0, "{quiet:?}");
    let mut writer = site.connect();
    writer.query_drop("START TRANSACTION").expect("a transaction");
    let open = site.publish_on(&mut writer, "news", "e", "open");
    for (look, highest, next) in [
        (Look::Front(0), 0, None),
        (Look::Behind, open, None),
        (window(0, 1), open, Some(open)),
        (window(0, open), open, None),
    ] {
        let looked = store.look(look);
        assert!(looked.found.is_none(), "{look:?}: a row in flight is not there");
        assert_eq!((looked.highest, looked.next), (highest, next), "{look:?}");
    }
    writer.query_drop("COMMIT").expect("the end");
    for (look, found) in [
        (Look::Front(0), true),
        (Look::Front(open - 1), true),
        (Look::Front(open), false),
        (Look::Behind, true),
        (window(0, 1), false),
        (window(1, open), true),
        (window(open, u64::MAX), false),
    ] {
        assert_eq!(store.look(look).found.is_some(), found, "{look:?}");
    }
    assert_eq!(store.stamp_all(Look::Behind), [open]);
    assert!(store.look(Look::Front(0)).found.is_none() && store.look(Look::Behind).found.is_none());
}

#[test]
fn a_check_reads_the_state_and_the_places_that_were_asked_for() {
    let (site, mut store) = with_tables();
    publish_some(&site, 4);
    store.stamp_all(Look::Behind);
    let checked = store.check(&[1, 3, 3, 9]);
    assert_eq!(checked.schema.as_deref(), Some("2"));
    assert_eq!(checked.position, Some(position(&site)));
    let (_, last) = place(checked.position.as_deref());
    assert_eq!(checked.newest, Some(last));
    let mut found = checked.found.clone();
    found.sort_by_key(|place| place.seq);
    found.dedup();
    let marks: Vec<(u64, u64)> = site.rows(
        "SELECT seq, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', stamped) DIV 1000 FROM #__websockets_outbox
         WHERE seq IN (1, 3) ORDER BY seq",
    );
    let expected = marks.into_iter().map(|(seq, mark)| Place { seq, mark });
    assert_eq!(found, expected.collect::<Vec<_>>());
    assert_eq!(store.check(&[]).found, []);
    site.sql("DELETE FROM #__websockets_outbox; DELETE FROM #__websockets_state");
    let empty = store.check(&[1]);
    assert_eq!((empty.schema, empty.position, empty.newest), (None, None, None));
}

#[test]
fn a_stamp_numbers_rows_in_the_order_that_it_is_given_and_moves_the_position() {
    let (site, mut store) = with_tables();
    let (epoch, first) = place(Some(&position(&site)));
    assert_eq!(numbers(&site), [(1, Some(1))]);
    let ids = publish_some(&site, 3);
    let control = site.publish("#control", "recheck-access", "{}");
    let claimed = store.claim(Look::Front(0));
    assert_eq!(claimed.ids, [&ids[..], &[control]].concat());
    assert_eq!(claimed.control, [control]);
    assert_eq!(claimed.tables.newest, Some(first));
    // The counter is another one's meanwhile.
    let mut other = connected(by_socket(&site));
    assert_eq!(other.ask(&claim(Look::Front(0)), at(0)), Err(Failure::Locked));
    assert_eq!(
        other.readiness(at(0)),
        Readiness::Ready,
        "a lock is no failure of the database"
    );
    assert_eq!(
        store.ask_for(stamp(&claimed, &[control, ids[2], ids[0], ids[1]])),
        Answer::Done
    );
    assert_eq!(
        numbers(&site),
        [
            (1, Some(1)),
            (ids[0], Some(4)),
            (ids[1], Some(5)),
            (ids[2], Some(3)),
            (control, Some(2))
        ]
    );
    let (same, last) = place(Some(&position(&site)));
    assert_eq!((same, last.seq, last.mark), (epoch, 5, claimed.tables.now_ms));
    assert_eq!(other.check(&[5]).found, [last], "the mark is the row's time");
    // Nothing waits any more, and a claim that finds nothing changes nothing.
    let nothing = other.claim(Look::Behind);
    assert_eq!((nothing.ids, nothing.control), (vec![], vec![]));
    assert_eq!(other.ask_for(Question::Release), Answer::Done);
    assert_eq!(place(Some(&position(&site))).1, last);
}

/// A claim reads no more than it is asked for, and all control rows wherever they stand.
#[test]
fn a_claim_reads_up_to_its_limit() {
    let (site, mut store) = with_tables();
    let ids = publish_some(&site, 5);
    let control = site.publish("#control", "recheck-access", "{}");
    for (look, found) in [
        (Look::Behind, &ids[..2]),
        (Look::Front(ids[2]), &ids[3..5]),
        (
            Look::Window {
                after: ids[0],
                to: ids[1],
            },
            &ids[1..2],
        ),
    ] {
        let question = Question::Claim {
            look,
            limit: 2,
            ensure: false,
        };
        let Answer::Claimed(claimed) = store.ask_for(question) else {
            panic!("no claim")
        };
        assert_eq!(
            (&claimed.ids[..], &claimed.control[..]),
            (found, &[control][..]),
            "{look:?}"
        );
        assert_eq!(store.ask_for(Question::Release), Answer::Done);
    }
}

#[test]
fn a_new_epoch_goes_on_behind_the_newest_row_or_begins_with_one() {
    let (site, mut store) = with_tables();
    publish_some(&site, 3);
    store.stamp_all(Look::Behind);
    let newest = store.check(&[]).newest;
    let ensure = Question::Claim {
        look: Look::Front(0),
        limit: 1,
        ensure: true,
    };
    for newest in [newest, None] {
        if newest.is_none() {
            site.sql("DELETE FROM #__websockets_outbox");
        }
        site.sql("DELETE FROM #__websockets_state WHERE name = 'position'");
        let without = store.claim(Look::Front(0));
        assert_eq!(without.tables.position, None);
        assert_eq!(store.ask_for(Question::Release), Answer::Done);
        let Answer::Claimed(claimed) = store.ask_for(ensure.clone()) else {
            panic!("no claim")
        };
        assert_eq!(
            (claimed.tables.position.as_deref(), claimed.tables.newest),
            (Some(""), newest)
        );
        let mark = claimed.tables.now_ms;
        let renew = Question::Renew {
            epoch: 0xab,
            newest,
            mark,
        };
        assert_eq!(store.ask_for(renew), Answer::Done);
        let expected = newest.unwrap_or(Place { seq: 1, mark });
        assert_eq!(place(Some(&position(&site))), (0xab, expected));
        assert_eq!(store.check(&[]).newest, Some(expected));
    }
    // One that is there is left as it is.
    let before = position(&site);
    let Answer::Claimed(claimed) = store.ask_for(ensure) else {
        panic!("no claim")
    };
    assert_eq!(claimed.tables.position.as_ref(), Some(&before));
    assert_eq!(store.ask_for(Question::Release), Answer::Done);
}

#[test]
fn a_transaction_ends_with_its_connection_and_on_no_other() {
    let (site, mut store) = with_tables();
    let ids = publish_some(&site, 2);
    let claimed = store.claim(Look::Behind);
    let own = format!(
        "SELECT id FROM information_schema.PROCESSLIST WHERE user = '{}'",
        site.user
    );
    let [connection] = site.rows::<u32>(&own)[..] else {
        panic!("one connection")
    };
    site.sql(&format!("KILL {connection}"));
    unavailable(store.ask(&stamp(&claimed, &ids), at(11_000)));
    come_back(&mut store, at(12_000));
    for ending in [
        stamp(&claimed, &ids),
        Question::Release,
        Question::Renew {
            epoch: 7,
            newest: None,
            mark: 1,
        },
        Question::Delete {
            ids: ids.clone(),
            processes: vec![],
        },
    ] {
        let why = unavailable(store.ask(&ending, at(12_000)));
        assert_eq!(why, "the transaction went with its connection", "{ending:?}");
        assert_eq!(store.readiness(at(12_000)), Readiness::Ready);
    }
    assert_eq!(
        numbers(&site)[1..],
        ids.iter().map(|id| (*id, None)).collect::<Vec<_>>()
    );
    assert_eq!(
        connected(by_tcp(&site)).stamp_all(Look::Behind),
        ids,
        "the lock went too"
    );
}

#[test]
fn the_tail_reads_on_in_order_of_the_numbers() {
    let (site, mut store) = with_tables();
    assert_eq!(store.tail(1, 10), []);
    let ids = publish_some(&site, 30);
    let claimed = store.claim(Look::Behind);
    let backwards: Vec<u64> = ids.iter().rev().copied().collect();
    assert_eq!(store.ask_for(stamp(&claimed, &backwards)), Answer::Done);
    publish_some(&site, 1);
    let mut read = |after, limit| -> Vec<(u64, u64)> {
        store
            .tail(after, limit)
            .iter()
            .map(|row| (row.place.seq, row.id))
            .collect()
    };
    assert_eq!(read(1, 3), [(2, ids[29]), (3, ids[28]), (4, ids[27])]);
    assert_eq!(
        read(29, 10),
        [(30, ids[1]), (31, ids[0])],
        "a row without a number is not read"
    );
    assert_eq!(read(u64::MAX, 10), []);
    for (set, seq) in [
        ("data = REPEAT('ü', 500)", 30),
        ("data = REPEAT('x', 1001), socket_id = '1.2'", 31),
    ] {
        site.sql(&format!("UPDATE #__websockets_outbox SET {set} WHERE seq = {seq}"));
    }
    let rows = store.tail(29, 10);
    assert_eq!(rows[0].data.as_deref(), Some("ü".repeat(500).as_str()));
    let expected = Row {
        id: ids[0],
        place: Place {
            seq: 31,
            mark: claimed.tables.now_ms,
        },
        channel: "news".into(),
        event: "e".into(),
        data: None,
        socket_id: Some("1.2".into()),
    };
    assert_eq!(rows[1], expected, "data that is too long");
}

#[test]
fn a_channel_is_only_itself() {
    let (site, mut store) = with_tables();
    for channel in ["news", "NEWS", "other"] {
        site.publish(channel, "e", "1");
        site.publish(channel, "e", "2");
    }
    store.stamp_all(Look::Behind);
    site.publish("news", "e", "not seen yet");
    let mut read = |channel: &str, after, to, limit| {
        let channel = channel.into();
        let question = Question::Channel(ChannelRange {
            channel,
            after,
            to,
            limit,
        });
        match store.ask_for(question) {
            Answer::Rows(rows) => rows
                .iter()
                .map(|row| (row.place.seq, row.channel.clone()))
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    let rows = |name: &str, seqs: &[u64]| seqs.iter().map(|seq| (*seq, name.to_owned())).collect::<Vec<_>>();
    assert_eq!(
        read("news", 0, 100, 10),
        rows("news", &[3, 2]),
        "from the last one down"
    );
    assert_eq!(read("NEWS", 0, 100, 10), rows("NEWS", &[5, 4]));
    assert_eq!(read("other", 0, 100, 10), rows("other", &[7, 6]));
    assert_eq!(read("news", 2, 100, 10), rows("news", &[3]));
    assert_eq!(read("news", 0, 2, 10), rows("news", &[2]));
    assert_eq!(read("news", 0, 100, 1), rows("news", &[3]));
    assert!(read("näws", 0, 100, 10).is_empty());
    // Rows that only a collation takes for the channel's own count too. Otherwise a full answer would look like the
    // last one. To the server blanks at the end are none, and in a table that was made in another way there are more
    // such names.
    site.publish("news ", "e", "1");
    site.sql("UPDATE #__websockets_outbox SET seq = 50, stamped = created WHERE channel = 'news ' AND data = '1' AND seq IS NULL");
    assert_eq!(read("news", 0, 100, 1), rows("news ", &[50]));
    site.sql("ALTER TABLE #__websockets_outbox MODIFY channel varchar(200) COLLATE utf8mb4_general_ci NOT NULL");
    assert_eq!(read("news", 0, 10, 2), rows("NEWS", &[5, 4]));
    assert!(read("näws", 0, 100, 10).is_empty());
}

#[test]
fn old_rows_are_deleted_but_never_the_newest_and_heartbeats_of_the_dead() {
    let (site, mut store) = with_tables();
    let ids = publish_some(&site, 5);
    store.stamp_all(Look::Behind);
    let waiting = publish_some(&site, 1);
    let beat = |process| Question::Beat {
        process,
        position: Position::NOWHERE,
    };
    for process in [1, 2] {
        assert_eq!(store.ask_for(beat(process)), Answer::Done);
    }
    let old = store.old(3600, 10);
    assert_eq!((old.ids, old.processes), (vec![], vec![]));
    let mut other = connected(by_socket(&site));
    assert_eq!(
        other.ask(&crate::common::store::old(0, 10), at(0)),
        Err(Failure::Locked),
        "one deletes at a time"
    );
    assert_eq!(store.ask_for(Question::Release), Answer::Done);
    // The row in the middle is younger: the rows behind it stay, however old they are.
    site.sql(
        "UPDATE #__websockets_outbox SET stamped = stamped - INTERVAL 2 HOUR WHERE seq IN (1, 2, 3, 5, 6);
         UPDATE #__websockets_state SET updated = updated - INTERVAL 601 SECOND WHERE name = 'process.00000001';
         UPDATE #__websockets_state SET updated = updated - INTERVAL 599 SECOND WHERE name = 'process.00000002';
         INSERT INTO #__websockets_state VALUES ('process.x', '', UTC_TIMESTAMP(3) - INTERVAL 1 DAY)",
    );
    let old = store.old(3600, 2);
    assert_eq!(
        (&old.ids[..], &old.processes[..]),
        (&[1, ids[0]][..], &[1][..]),
        "up to a limit"
    );
    assert_eq!(store.ask_for(Question::Release), Answer::Done);
    assert_eq!(store.delete_old(3600, 10), [1, ids[0], ids[1]]);
    site.sql("UPDATE #__websockets_outbox SET stamped = stamped - INTERVAL 2 HOUR WHERE seq = 4");
    assert_eq!(store.delete_old(3600, 10), [ids[2], ids[3]]);
    assert_eq!(store.delete_old(3600, 10), [0; 0]);
    assert_eq!(numbers(&site), [(ids[4], Some(6)), (waiting[0], None)]);
    let names: Vec<String> = site.rows("SELECT name FROM #__websockets_state ORDER BY name");
    assert_eq!(
        names,
        ["deleter", "position", "process.00000002", "process.x", "schema"]
    );
}

/// If the row that deleters hold was deleted, no process can hold it.
#[test]
fn the_deleter_s_row_is_made_again() {
    let (site, mut store) = with_tables();
    publish_some(&site, 2);
    store.stamp_all(Look::Behind);
    site.sql("DELETE FROM #__websockets_state WHERE name = 'deleter'");
    store.old(0, 10);
    let mut other = connected(by_socket(&site));
    assert_eq!(
        other.ask(&crate::common::store::old(0, 10), at(0)),
        Err(Failure::Locked)
    );
    assert_eq!(store.ask_for(Question::Release), Answer::Done);
}

#[test]
fn the_state_has_names_values_and_ages() {
    let (site, mut store) = with_tables();
    let at_first = position(&site);
    for position in ["o000000ab:1.1", "o000000ab:2.z"] {
        let position = position.parse().expect("a position");
        assert_eq!(
            store.ask_for(Question::Beat {
                process: 0xabc,
                position
            }),
            Answer::Done
        );
    }
    site.sql("UPDATE #__websockets_state SET updated = updated - INTERVAL 100 SECOND WHERE name = 'schema'");
    let Answer::State(rows) = store.ask_for(Question::State) else {
        panic!("no state")
    };
    let values: Vec<_> = rows
        .iter()
        .map(|(name, value, _)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        values,
        [
            ("deleter", ""),
            ("position", &*at_first),
            ("process.00000abc", "o000000ab:2.z"),
            ("schema", "2")
        ]
    );
    assert!(
        (100_000..160_000).contains(&rows[3].2) && (0..60_000).contains(&rows[2].2),
        "{rows:?}"
    );
}

#[test]
fn a_process_takes_its_own_heartbeat_along() {
    let (site, mut store) = with_tables();
    for process in [1, 0xffff_ffff] {
        let position = Position::NOWHERE;
        assert_eq!(store.ask_for(Question::Beat { process, position }), Answer::Done);
    }
    let names = || site.rows::<String>("SELECT name FROM #__websockets_state ORDER BY name");
    let mut holder = site.connect();
    let lock = "START TRANSACTION; SELECT * FROM #__websockets_state WHERE name = 'process.00000001' FOR UPDATE";
    holder.query_drop(site.text(lock)).expect("root may");
    assert_eq!(store.ask(&Question::Leave(1), at(0)), Err(Failure::Locked));
    assert_eq!(
        store.ask_for(Question::Leave(0xffff_ffff)),
        Answer::Done,
        "only its own row counts"
    );
    holder.query_drop("ROLLBACK").expect("the end");
    for _ in 0..2 {
        assert_eq!(store.ask_for(Question::Leave(1)), Answer::Done, "also if there is none");
    }
    assert_eq!(names(), ["deleter", "position", "schema"]);
}

#[test]
fn rows_are_published_all_or_none() {
    let (site, mut store) = with_tables();
    let row = |channel: &str, data: &str| NewRow {
        channel: channel.into(),
        event: "é".into(),
        data: data.into(),
        socket_id: Some("1.2".into()),
    };
    let rows = vec![
        row("a", "\"😀\""),
        NewRow {
            socket_id: None,
            ..row("b", "2")
        },
    ];
    assert_eq!(store.ask_for(Question::Publish(rows)), Answer::Added(2));
    store.stamp_all(Look::Behind);
    let rows = store.tail(1, 9);
    assert_eq!((rows[0].event.as_str(), rows[0].data.as_deref()), ("é", Some("\"😀\"")));
    assert_eq!(
        (rows[0].socket_id.as_deref(), rows[1].socket_id.as_deref()),
        (Some("1.2"), None)
    );
    let age: i64 =
        site.value("SELECT MAX(ABS(TIMESTAMPDIFF(SECOND, created, UTC_TIMESTAMP()))) FROM #__websockets_outbox");
    assert!(age < 60);
    let bad = vec![row("c", "3"), row(&"x".repeat(201), "4")];
    assert!(matches!(
        store.ask(&Question::Publish(bad), at(0)),
        Err(Failure::Refused(_))
    ));
    assert_eq!(numbers(&site).len(), 3);
    assert_eq!(store.ask_for(Question::Publish(Vec::new())), Answer::Added(0));
}

#[test]
fn tables_that_are_missing_are_named_and_found_once_they_are_there() {
    let site = Site::joomla6();
    let mut store = connected(by_tcp(&site));
    let (process, position) = (1, Position::NOWHERE);
    for question in [
        Question::Look(Look::Front(0)),
        Question::Look(Look::Behind),
        Question::Check(vec![1]),
        claim(Look::Front(0)),
        crate::common::store::old(60, 1),
        Question::Beat { process, position },
        Question::Leave(process),
        Question::State,
    ] {
        match store.ask(&question, at(0)) {
            Err(Failure::Refused(why)) => assert!(why.contains("websockets_"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(store.readiness(at(0)), Readiness::Ready);
    }
    site.create_outbox();
    assert_eq!(store.tail(0, 1).len(), 1);
    site.sql("RENAME TABLE #__session TO #__hidden");
    assert!(matches!(
        sessions(&mut store, &["a"], Text::Never),
        Err(Failure::Refused(_))
    ));
}

// --- failures --------------------------------------------------------------------------------------------------------

/// A proxy between the store and the server.
fn between(site: &Site) -> (Between, Database) {
    let proxy = Between::new(site.server.addr);
    let database = Database {
        endpoints: vec![ListenAddr::Tcp(proxy.addr)],
        ..by_tcp(site)
    };
    (proxy, database)
}

/// Probes as the loop does before the store may connect. Also returns the longest time that the loop would have stood
/// still.
fn probe(store: &MySql, patience: Duration) -> (Result<usize, NoGreeting>, Duration) {
    let mut io = MioIo::new(Vec::new(), None).expect("a poller");
    let mut probe = Probe::new();
    let (mut ready, mut worst) = (Vec::new(), Duration::ZERO);
    let now = io.now().at;
    probe.start(store.endpoints(), patience, &mut io, now);
    loop {
        let now = io.now().at;
        let outcome = probe.turn(&mut io, now);
        worst = worst.max(io.now().at.since(now));
        if let Some(outcome) = outcome {
            return (outcome, worst);
        }
        ready.clear();
        io.wait(Some(probe.deadline().since(now)), &mut ready).expect("a wait");
        for event in &ready {
            let Ready::Outgoing(probe::NUMBER, edges) = event else {
                panic!("{event:?}")
            };
            probe.note(*edges);
        }
    }
}

/// Probes, connects, and expects success.
fn come_back(store: &mut MySql, now: Now) {
    assert_eq!(store.readiness(now), Readiness::Probe);
    let (outcome, _) = probe(store, Duration::from_secs(5));
    assert!(outcome.is_ok(), "{outcome:?}");
    store.probed(outcome, now);
    set_up(store, now);
    assert_eq!(store.readiness(now), Readiness::Ready, "{store:?}");
}

fn unavailable<T: std::fmt::Debug>(answer: Result<T, Failure>) -> String {
    match answer {
        Err(Failure::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn ask_at(store: &mut MySql, id: &str, now: Now) -> Result<Answer, Failure> {
    let ids = vec![self::id(id)];
    store.ask(&Question::Sessions { ids, text: Text::Never }, now)
}

const READ_TIMEOUT: Duration = Duration::from_millis(500);

/// More than the read timeout, less than two of them, on a machine with other work.
fn is_one_read_timeout(took: Duration) -> bool {
    took >= READ_TIMEOUT && took < READ_TIMEOUT * 2
}

#[test]
fn a_late_answer_never_goes_to_another_question() {
    let site = Site::joomla6();
    let (proxy, database) = between(&site);
    let (anna, bob) = (
        site.log_in(site.id_of("anna"), Client::Site),
        site.log_in(site.id_of("bob"), Client::Site),
    );
    // Before the first byte, within the head, between the columns and the rows, within the row.
    for (round, bytes) in [0, 3, 12, 30, 60].into_iter().enumerate() {
        let mut store = hasty(database.clone());
        let now = at(round as u64 * 1000);
        assert!(ask_at(&mut store, &anna.id, now).is_ok(), "prepared");
        proxy.play(Trick::Stall(bytes));
        let started = Instant::now();
        let why = unavailable(ask_at(&mut store, &anna.id, now));
        assert!(
            is_one_read_timeout(started.elapsed()),
            "{:?} after {bytes} bytes",
            started.elapsed()
        );
        assert_eq!(why, "it did not answer in time");
        proxy.play(Trick::Pass);
        // The rest has come by now, and the same statement is sent for another session.
        thread::sleep(Duration::from_millis(20));
        assert_eq!(
            unavailable(ask_at(&mut store, &bob.id, now)),
            "it did not answer in time"
        );
        let later = at(round as u64 * 1000 + 3000);
        come_back(&mut store, later);
        let Ok(Answer::Sessions(rows)) = ask_at(&mut store, &bob.id, later) else {
            panic!("no answer")
        };
        assert_eq!(
            (rows.len(), rows[0].user_id, rows[0].id.expose()),
            (1, bob.user, bob.id.as_str())
        );
    }
}

/// The fence is needed: the driver itself goes on with a connection that is out of step.
#[test]
fn the_driver_alone_would_mix_up_answers() {
    let site = Site::joomla6();
    let proxy = Between::new(site.server.addr);
    let options = mysql::OptsBuilder::new()
        .ip_or_hostname(Some("127.0.0.1"))
        .tcp_port(proxy.addr.port())
        .user(Some(&site.user))
        .pass(Some(&site.password))
        .prefer_socket(false)
        .read_timeout(Some(Duration::from_millis(100)));
    let mut driver = mysql::Conn::new(options).expect("a connection");
    proxy.play(Trick::Stall(0));
    assert!(driver.query_first::<String, _>("SELECT 'anna'").is_err());
    proxy.play(Trick::Pass);
    thread::sleep(Duration::from_millis(50));
    let answer: Result<Option<String>, _> = driver.query_first("SELECT 'bob'");
    assert_eq!(
        answer.expect("an answer").as_deref(),
        Some("anna"),
        "the answer to another question"
    );
}

/// The store as the loop makes it.
fn watched(database: Database) -> MySql {
    let mut store = new(database).watched_by(env!("CARGO_BIN_EXE_jsocketd").into());
    store.connect(at(0)).expect("it is there");
    store
}

/// How many processes watch over connections of this one.
fn watches() -> usize {
    let all = crate::common::children(std::process::id()).into_iter();
    all.filter(|(_, command)| command == "deadline").count()
}

/// The driver's own time-outs are for one read: at 5 ms a byte an answer took a second, at 400 ms more than a minute.
#[test]
fn every_kind_of_dripping_answer_ends_in_time() {
    let site = Site::joomla6();
    site.create_outbox();
    for pause in [5, 50, 400] {
        for question in [Question::Groups, Question::State, Question::Extensions] {
            let (proxy, database) = between(&site);
            let mut store = watched(database);
            assert!(store.ask(&Question::Groups, at(0)).is_ok());
            proxy.play(Trick::Drip(Duration::from_millis(pause)));
            let started = Instant::now();
            let why = unavailable(store.ask(&question, at(0)));
            let took = started.elapsed();
            assert_eq!(why, "it did not answer in time");
            assert!(
                is_one_read_timeout(took),
                "{pause} ms: {took:?} for {}",
                question.name()
            );
            assert_ne!(store.readiness(at(0)), Readiness::Ready);
        }
    }
}

#[test]
fn a_session_that_is_set_up_by_drips_is_given_up_in_time() {
    let site = Site::joomla6();
    for steps in [0, 1, 2] {
        let (proxy, database) = between(&site);
        let mut store = new(database).watched_by(env!("CARGO_BIN_EXE_jsocketd").into());
        let (outcome, _) = probe(&store, Duration::from_secs(5));
        store.probed(outcome, at(0));
        for _ in 0..steps {
            store.prepare(at(0));
        }
        assert_eq!(store.readiness(at(0)), Readiness::Preparing);
        proxy.play(Trick::Drip(Duration::from_millis(50)));
        let started = Instant::now();
        store.prepare(at(0));
        let took = started.elapsed();
        assert!(
            matches!(store.readiness(at(0)), Readiness::Closed(_)),
            "after {steps} steps: {store:?}"
        );
        assert!(is_one_read_timeout(took), "{took:?} after {steps} steps");
    }
}

/// The remaining hole: before the driver has logged in there is no socket to share. The documentation says how many
/// bytes a server sends until then.
#[test]
fn a_dripping_log_in_is_as_long_as_the_servers_bytes() {
    let site = Site::joomla6();
    let (proxy, database) = between(&site);
    let mut store = new(database).watched_by(env!("CARGO_BIN_EXE_jsocketd").into());
    let (outcome, _) = probe(&store, Duration::from_secs(5));
    let pause = Duration::from_millis(4);
    proxy.play(Trick::Drip(pause));
    let started = Instant::now();
    store.probed(outcome, at(0));
    let bytes = started.elapsed().as_micros() / pause.as_micros();
    println!("at most {bytes} bytes");
    assert!((100..=1000).contains(&bytes), "{bytes} bytes: {store:?}");
    assert_eq!(store.readiness(at(0)), Readiness::Preparing);
}

#[test]
fn the_watch_of_a_connection_ends_with_it() {
    let site = Site::joomla6();
    let (proxy, database) = between(&site);
    let before = watches();
    let mut stores: Vec<MySql> = (0..5).map(|_| watched(database.clone())).collect();
    wait_until("they watch", || watches() >= before + 5, String::new);
    for store in &mut stores {
        // An answer in time is not ended, however often the timer is set.
        for _ in 0..50 {
            assert!(store.ask(&Question::Groups, at(0)).is_ok());
        }
    }
    proxy.play(Trick::Cut);
    for store in &mut stores {
        unavailable(store.ask(&Question::Groups, at(0)));
    }
    drop(stores);
    wait_until("they are gone", || watches() <= before, || format!("{before} before"));
}

#[test]
fn statements_that_are_too_slow_in_a_row_count_as_a_failure_and_only_a_fast_greeting_ends_that() {
    let site = Site::joomla6();
    let (proxy, database) = between(&site);
    let mut store = watched(database.clone());
    // Prepared questions take two round trips: a database that is 90 ms away is no failure.
    proxy.play(Trick::Delay(Duration::from_millis(60)));
    let all = [
        Question::Levels,
        Question::Extensions,
        Question::Assets,
        Question::Users(vec![1]),
        Question::Categories(vec![1]),
    ];
    for question in all {
        let started = Instant::now();
        assert!(store.ask(&question, at(0)).is_ok());
        assert!(started.elapsed() > Duration::from_millis(100), "{}", question.name());
    }
    proxy.play(Trick::Pass);
    for _ in 0..2 {
        proxy.play(Trick::Delay(Duration::from_millis(150)));
        for _ in 0..4 {
            assert!(store.ask(&Question::Groups, at(0)).is_ok());
        }
        proxy.play(Trick::Pass);
        assert!(
            store.ask(&Question::Groups, at(0)).is_ok(),
            "one that is fast ends the run"
        );
    }
    proxy.play(Trick::Delay(Duration::from_millis(150)));
    for _ in 0..5 {
        assert!(store.ask(&Question::Groups, at(0)).is_ok(), "slow answers are answers");
    }
    assert!(unavailable(store.ask(&Question::Groups, at(0))).contains("too slow"));
    let mut now = 0;
    proxy.play(Trick::Delay(Duration::from_millis(300)));
    for _ in 0..3 {
        now += 1300;
        assert_eq!(store.readiness(at(now)), Readiness::Probe);
        let (outcome, worst) = probe(&store, store.patience());
        assert!(outcome.is_err(), "a greeting after 300 ms is none");
        assert!(
            worst < Duration::from_millis(20),
            "the loop did not wait for it: {worst:?}"
        );
        store.probed(outcome, at(now));
    }
    proxy.play(Trick::Pass);
    come_back(&mut store, at(now + 700));
    assert!(store.ask(&Question::Groups, at(now + 700)).is_ok());
    assert_eq!(store.patience(), Duration::from_secs(1), "it is trusted again");
}

#[test]
fn a_privilege_that_is_missing_ends_a_connection_that_is_not_young() {
    let site = Site::joomla6();
    let user = site.restricted_user(&LEAST[..6]);
    let mut store = connected(as_user(&site, user.clone()));
    let categories = Question::Categories(vec![1]);
    assert!(matches!(store.ask(&categories, at(0)), Err(Failure::Denied(_))));
    assert_eq!(store.readiness(at(9000)), Readiness::Ready, "it was made a moment ago");
    assert!(matches!(store.ask(&categories, at(10_000)), Err(Failure::Denied(_))));
    assert_eq!(
        store.readiness(at(10_000)),
        Readiness::Probe,
        "the next one has the rights of now"
    );
    come_back(&mut store, at(10_000));
    assert!(matches!(store.ask(&categories, at(11_000)), Err(Failure::Denied(_))));
    assert_eq!(store.readiness(at(11_000)), Readiness::Ready, "they were the same");
}

#[test]
fn a_statement_has_a_limit_and_only_its_kind_waits() {
    let site = Site::joomla6();
    let mut store = hasty(by_tcp(&site));
    let anna = site.log_in(site.id_of("anna"), Client::Site);
    let mut writer = site.connect();
    writer
        .query_drop(site.text("LOCK TABLES #__session WRITE"))
        .expect("locked");
    let started = Instant::now();
    let why = unavailable(ask_at(&mut store, &anna.id, at(0)));
    let took = started.elapsed();
    assert!(why.contains("sessions took longer than 100 ms"), "{why}");
    assert!(
        took >= Duration::from_millis(100) && took < Duration::from_millis(400),
        "{took:?}"
    );

    assert_eq!(
        store.readiness(at(0)),
        Readiness::Ready,
        "the connection is as good as before"
    );
    assert!(store.ask(&Question::Groups, at(700)).is_ok());
    let count = |store: &MySql| {
        store
            .measures()
            .find(|(name, _)| *name == "sessions")
            .map(|(_, measure)| measure.count)
    };
    let before = count(&store);
    let started = Instant::now();
    unavailable(ask_at(&mut store, &anna.id, at(700)));
    assert!(started.elapsed() < Duration::from_millis(20));
    assert_eq!(count(&store), before, "no statement was started");

    // The next try is dear again, and the one after it waits longer.
    unavailable(ask_at(&mut store, &anna.id, at(1300)));
    assert_eq!(count(&store), before.map(|count| count + 1));
    writer.query_drop("UNLOCK TABLES").expect("unlocked");
    unavailable(ask_at(&mut store, &anna.id, at(2700)));
    assert_eq!(count(&store), before.map(|count| count + 1));
    assert!(ask_at(&mut store, &anna.id, at(3900)).is_ok());
}

#[test]
fn measures_count_started_statements() {
    let site = Site::joomla6();
    let mut store = connected(by_tcp(&site));
    for _ in 0..3 {
        assert!(store.ask(&Question::Levels, at(0)).is_ok());
    }
    assert!(store.ask(&Question::State, at(0)).is_err());
    let measures: std::collections::BTreeMap<_, _> = store.measures().collect();
    assert_eq!((measures["levels"].count, measures["levels"].failures), (3, 0));
    assert_eq!((measures["state"].count, measures["state"].failures), (1, 1));
    let levels = measures["levels"];
    assert!(levels.worst <= levels.total && levels.total <= levels.worst * 3 && !levels.worst.is_zero());
    assert_eq!(measures["connect"].count, 1);
}

#[test]
fn a_connection_that_was_ended_comes_back_at_once_if_it_had_been_good() {
    let site = Site::joomla6();
    let mut store = connected(by_tcp(&site));
    let kill = || {
        let ids: Vec<u32> = site.rows(&format!(
            "SELECT id FROM information_schema.PROCESSLIST WHERE user = '{}'",
            site.user
        ));
        assert_eq!(ids.len(), 1);
        site.sql(&format!("KILL {}", ids[0]));
        crate::common::wait_until(
            "the connection is gone",
            || {
                site.rows::<u32>(&format!(
                    "SELECT id FROM information_schema.PROCESSLIST WHERE user = '{}'",
                    site.user
                ))
                .is_empty()
            },
            String::new,
        );
    };
    kill();
    let started = Instant::now();
    unavailable(store.ask(&Question::Groups, at(11_000)));
    assert!(started.elapsed() < Duration::from_millis(200));
    come_back(&mut store, at(11_000));
    assert!(store.ask(&Question::Groups, at(11_000)).is_ok());
    // A connection that was only just made again has to wait.
    kill();
    unavailable(store.ask(&Question::Groups, at(11_100)));
    assert!(matches!(store.readiness(at(11_100)), Readiness::Closed(until) if until >= at(11_850).at));
    come_back(&mut store, at(12_400));
}

#[test]
fn a_server_that_stands_still_costs_one_read_timeout() {
    let server = Arc::new(Mariadb::start(&[]));
    let site = Site::joomla6_on(Arc::clone(&server));
    for database in [by_tcp(&site), by_socket(&site)] {
        let mut store = hasty(database);
        assert!(store.ask(&Question::Groups, at(20_000)).is_ok());
        server.pause();
        let started = Instant::now();
        unavailable(store.ask(&Question::Groups, at(21_000)));
        assert!(is_one_read_timeout(started.elapsed()), "{:?}", started.elapsed());
        let mut now = 21_000;
        let mut waits = Vec::new();
        let mut work = Duration::ZERO;
        for _ in 0..4 {
            let Readiness::Closed(until) = store.readiness(at(now)) else {
                panic!("{:?}", store.readiness(at(now)))
            };
            waits.push(until.since(at(now).at).as_millis());
            let started = Instant::now();
            unavailable(store.ask(&Question::Groups, at(now)));
            work += started.elapsed();
            now = until.0 / 1000 + 1;
            assert_eq!(store.readiness(at(now)), Readiness::Probe);
            let (outcome, worst) = probe(&store, Duration::from_millis(100));
            let missed = outcome.expect_err("it stands still");
            assert!(missed.why.contains("does not greet within 100 ms"), "{missed:?}");
            assert!(missed.taken, "it counts clients that close early");
            work += worst;
            let started = Instant::now();
            store.probed(Err(missed), at(now));
            work += started.elapsed();
        }
        assert!(work < Duration::from_millis(100), "retries cost nothing: {work:?}");
        assert!(
            waits[0] >= 750 && waits[1..].iter().all(|wait| (375..=625).contains(wait)),
            "{waits:?}"
        );
        server.resume();
        come_back(&mut store, at(now + 40_000));
        assert!(store.ask(&Question::Groups, at(now + 40_000)).is_ok());
    }
}

#[test]
fn a_server_that_went_away_and_came_back_is_found_again() {
    let server = Arc::new(Mariadb::start(&[]));
    let site = Site::joomla6_on(Arc::clone(&server));
    let mut store = connected(by_tcp(&site));
    server.kill();
    unavailable(store.ask(&Question::Groups, at(11_000)));
    assert_eq!(store.readiness(at(11_000)), Readiness::Probe);
    let (outcome, _) = probe(&store, READ_TIMEOUT);
    let missed = outcome.expect_err("it is gone");
    assert!(
        missed.why.contains("refused") || missed.why.contains("reset"),
        "{missed:?}"
    );
    store.probed(Err(missed), at(11_000));
    assert!(matches!(store.readiness(at(11_000)), Readiness::Closed(_)));
    server.restart();
    come_back(&mut store, at(13_000));
    assert!(store.ask(&Question::Groups, at(13_000)).is_ok());
}

/// Why a connection cannot be made, and how long that took.
fn refused(database: Database) -> (String, Duration) {
    let mut store = new(database);
    let started = Instant::now();
    let why = store.connect(at(0)).expect_err("there is no way in");
    assert_eq!(unavailable(store.ask(&Question::Groups, at(0))), why);
    (why, started.elapsed())
}

#[test]
fn a_failed_connection_names_the_cause() {
    let site = Site::joomla6();
    let free = nobody();
    let endpoint = |endpoint| Database {
        endpoints: vec![endpoint],
        ..by_tcp(&site)
    };
    for (database, expected) in [
        (
            Database {
                password: Secret("wrong".into()),
                ..by_tcp(&site)
            },
            "Access denied for user",
        ),
        (
            Database {
                name: "nothing".into(),
                ..by_tcp(&site)
            },
            "'nothing'",
        ),
        (endpoint(ListenAddr::Tcp(free)), "refused"),
        (
            endpoint(ListenAddr::Unix("/nowhere/mysqld.sock".into())),
            "No such file",
        ),
        (
            Database {
                endpoints: Vec::new(),
                ..by_tcp(&site)
            },
            "has no address",
        ),
    ] {
        let (why, took) = refused(database);
        assert!(why.contains(expected), "{why}");
        assert!(!why.contains("wrong") && !why.contains(&site.password), "{why}");
        assert!(took < READ_TIMEOUT, "{why}: {took:?}");
    }
    let (why, _) = refused(Database {
        user: "nobody".into(),
        ..by_socket(&site)
    });
    // MySQL hides that there is no such user: it picks a way to log in by the name, also one that the driver does not
    // support.
    let hidden = !site.server.is_mariadb() && why.contains("sha256_password");
    assert!(hidden || why.contains("Access denied for user 'nobody'"), "{why}");
    let mut database = by_socket(&site);
    database.endpoints.insert(0, ListenAddr::Tcp(free));
    connected(database);
}

#[test]
fn a_store_whose_host_moves_begins_anew() {
    let site = Site::joomla6();
    let mut store = new(Database {
        endpoints: Vec::new(),
        ..by_tcp(&site)
    });
    assert_eq!(
        store.readiness(at(0)),
        Readiness::Closed(Time::NEVER),
        "its name is not known yet"
    );
    assert!(matches!(
        store.ask(&Question::Levels, at(0)),
        Err(Failure::Unavailable(_))
    ));
    let free = nobody();
    store.move_to(vec![ListenAddr::Tcp(free)]);
    for n in 0..3 {
        assert_eq!(store.readiness(at(n * 60_000)), Readiness::Probe);
        let refused = NoGreeting {
            why: "refused".to_owned(),
            taken: false,
        };
        store.probed(Err(refused), at(n * 60_000));
        assert!(matches!(store.readiness(at(n * 60_000)), Readiness::Closed(_)));
    }

    store.move_to(vec![ListenAddr::Tcp(site.server.addr)]);
    assert_eq!(
        store.readiness(at(120_000)),
        Readiness::Probe,
        "the wait was for another server"
    );
    store.probed(Ok(0), at(120_000));
    set_up(&mut store, at(120_000));
    assert_eq!(store.readiness(at(120_000)), Readiness::Ready);
    assert!(store.ask(&Question::Levels, at(120_000)).is_ok());
    store.move_to(vec![ListenAddr::Tcp(free)]);
    assert_eq!(
        store.readiness(at(120_000)),
        Readiness::Probe,
        "the old connection is given up"
    );
}

#[test]
fn an_endpoint_that_swallows_everything_ends_in_time() {
    let site = Site::joomla6();
    // A queue of one place that is taken: the kernel drops all other connections.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).expect("a port");
    socket.listen(0).expect("a listener");
    let hole = socket.local_addr().expect("bound").as_socket().expect("an address");
    let _guest = TcpStream::connect(hole).expect("the only place");
    let full = TcpStream::connect_timeout(&hole, Duration::from_millis(300));
    assert!(full.is_err(), "the queue is full");
    let database = Database {
        endpoints: vec![ListenAddr::Tcp(hole), ListenAddr::Tcp(site.server.addr)],
        ..by_tcp(&site)
    };
    let store = new(database.clone());
    let started = Instant::now();
    let (outcome, worst) = probe(&store, Duration::from_millis(200));
    assert_eq!(outcome, Ok(1), "the next one is tried");
    assert!(
        started.elapsed() >= Duration::from_millis(200) && worst < Duration::from_millis(100),
        "{worst:?}"
    );
    let (why, took) = refused(Database {
        endpoints: vec![ListenAddr::Tcp(hole)],
        ..database
    });
    assert!(why.contains("did not take the connection in time"), "{why}");
    assert!(
        took >= Duration::from_millis(990) && took < Duration::from_millis(1500),
        "{took:?}"
    );
}

#[test]
fn a_server_that_does_not_keep_a_setting_is_refused() {
    let site = Site::joomla6();
    let (proxy, database) = between(&site);
    let mariadb = site.server.is_mariadb();
    let limit = match mariadb {
        true => ("0.100000", "0.000000", "max_statement_time = 0.100"),
        false => ("\x03100", "\x03000", "max_execution_time = 100"),
    };
    for (from, to, setting) in [
        (
            "READ-COMMITTED",
            "REPEATABLE-OH!",
            "transaction_isolation = READ-COMMITTED",
        ),
        limit,
        ("+00:00", "SYSTEM", "time_zone = +00:00"),
        ("STRICT_TRANS_TABLES", "ANSI_QUOTES,ANSI_QU", "sql_mode"),
    ] {
        proxy.play(Trick::Swap(from.into(), to.into()));
        let (why, _) = refused(database.clone());
        assert!(
            why.contains("does not keep the session setting") && why.contains(setting),
            "{why}"
        );
    }
    let version = site.server.version();
    let numbers: String = version
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    let (older, oldest) = match mariadb {
        true => ("10.3.", "MariaDB 10.4"),
        false => ("8.0.", "MySQL 8.0.13"),
    };
    let older = format!("{older:0<len$}", len = numbers.len());
    proxy.play(Trick::Swap(numbers.into(), older.into()));
    let (why, _) = refused(database.clone());
    assert!(why.contains(&format!("{oldest} is the oldest that will do")), "{why}");
    proxy.play(Trick::Pass);
    let store = connected(database);
    let server = store.server().expect("connected");
    assert_eq!(server.kind == Kind::MariaDb, mariadb);
    let least = if mariadb { (10, 4, 0) } else { (8, 0, 13) };
    assert!(server.version >= least && !server.read_only, "{server:?}");
}

#[test]
fn no_file_of_this_machine_goes_to_a_server_that_asks_for_it() {
    let site = Site::joomla6();
    let (proxy, database) = between(&site);
    let mut store = connected(database);
    assert!(store.ask(&Question::Groups, at(0)).is_ok());
    let path = b"\xfb/etc/passwd";
    let mut packet = vec![path.len() as u8, 0, 0, 1];
    packet.extend_from_slice(path);
    proxy.play(Trick::Answer(packet));
    let why = unavailable(store.ask(&Question::Groups, at(0)));
    assert_eq!(why, "no file of this machine is sent to a server");
    assert_ne!(store.readiness(at(0)), Readiness::Ready);
    let heard = proxy.heard();
    assert!(
        !heard.windows(4).any(|window| window == b"root"),
        "{}",
        heard.escape_ascii()
    );
}

#[test]
fn nonsense_from_the_server_ends_its_connection_only() {
    let site = Site::joomla6();
    let (proxy, database) = between(&site);
    for nonsense in [
        &b"\0\0\0\x01"[..],
        b"\x01\0\0\x05\0",
        b"\xff\xff\xff\x01\xff\xff\xff",
        b"\x02\0\0\x01\xfc\xff",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ] {
        let mut store = connected(database.clone());
        assert!(store.ask(&Question::Groups, at(0)).is_ok());
        proxy.play(Trick::Answer(nonsense.to_vec()));
        unavailable(store.ask(&Question::Groups, at(0)));
        assert_ne!(store.readiness(at(0)), Readiness::Ready, "{}", nonsense.escape_ascii());
        proxy.play(Trick::Pass);
        come_back(&mut store, at(2000));
        assert!(store.ask(&Question::Groups, at(2000)).is_ok());
    }
}

#[test]
fn a_server_that_greets_and_hangs_up_is_left_alone_for_longer_and_longer() {
    let site = Site::joomla6();
    let (proxy, database) = between(&site);
    let mut store = new(database);
    proxy.play(Trick::Hang);
    let mut now = 0;
    for least in [750, 1500, 3000] {
        assert_eq!(store.readiness(at(now)), Readiness::Probe);
        let (outcome, _) = probe(&store, Duration::from_secs(5));
        assert_eq!(outcome, Ok(0), "it greets");
        store.probed(outcome, at(now));
        let Readiness::Closed(until) = store.readiness(at(now)) else {
            panic!("it is not there")
        };
        assert!(until.since(at(now).at) >= Duration::from_millis(least));
        now = until.0 / 1000 + 1;
    }
    proxy.play(Trick::Pass);
    come_back(&mut store, at(now));
}

/// A server counts clients that close at its greeting, and blocks their host in the end: see `max_connect_errors`.
#[test]
fn a_server_that_says_no_is_asked_again_without_a_probe() {
    let site = Site::joomla6();
    let (proxy, database) = between(&site);
    let mut store = new(Database {
        password: Secret("later".into()),
        ..database
    });
    assert_eq!(store.readiness(at(0)), Readiness::Probe);
    store.probed(Ok(0), at(0));
    let mut now = 0;
    for connections in 1..4 {
        let Readiness::Closed(until) = store.readiness(at(now)) else {
            panic!("{:?}", store.readiness(at(now)))
        };
        assert!(unavailable(store.ask(&Question::Groups, at(now))).contains("Access denied"));
        assert_eq!(proxy.count(), connections);
        now = until.0 / 1000 + 1;
        assert_eq!(store.readiness(at(now)), Readiness::Ready);
        assert!(unavailable(store.ask(&Question::Groups, at(now))).contains("Access denied"));
    }
    site.sql(&format!("ALTER USER {} IDENTIFIED BY 'later'", site.user));
    now += 60_000;
    assert!(store.ask(&Question::Groups, at(now)).is_ok());
    // A silent server is not expected to answer.
    let (_second, database) = between(&site);
    let mut store = new(Database {
        password: Secret("wrong".into()),
        ..database
    });
    store.probed(Ok(0), at(0));
    assert_eq!(store.readiness(at(2000)), Readiness::Ready);
    proxy.play(Trick::Stall(0));
    let mut store = new(Database {
        endpoints: vec![ListenAddr::Tcp(proxy.addr)],
        password: Secret("wrong".into()),
        ..by_tcp(&site)
    });
    store.probed(Ok(0), at(0));
    assert_eq!(store.readiness(at(2000)), Readiness::Probe);
    proxy.play(Trick::Pass);
}

// --- privileges ------------------------------------------------------------------------------------------------------

const LEAST: [&str; 7] = [
    "SELECT ON #__session",
    "SELECT (id, name, username, block, requireReset) ON #__users",
    "SELECT ON #__user_usergroup_map",
    "SELECT ON #__usergroups",
    "SELECT ON #__extensions",
    "SELECT ON #__content",
    "SELECT ON #__categories",
];

const SECOND_FACTORS: &str = "SELECT (user_id, method) ON #__user_mfa";

fn as_user(site: &Site, user: String) -> Database {
    Database { user, ..by_tcp(site) }
}

#[test]
fn an_own_user_needs_few_columns() {
    let site = Site::joomla6();
    let bob = site.id_of("bob");
    site.add_second_factor(bob);
    let half = site.log_in_half(bob, Client::Site);
    let user = site.restricted_user(&[&LEAST[..], &[SECOND_FACTORS]].concat());
    let mut store = connected(as_user(&site, user));
    let row = session(&mut store, &half.id, Text::IfNeeded);
    let user = row.user.expect("bob");
    assert!(user.mfa && row.text.is_some() && user.groups.len() == 2);
    for question in [
        Question::Users(vec![bob]),
        Question::Groups,
        Question::Extensions,
        Question::Items { kind: 0, ids: vec![1] },
        Question::Categories(vec![9]),
    ] {
        assert!(store.ask(&question, at(0)).is_ok(), "{question:?}");
    }
    let survey = store.survey().expect("connected");
    assert!(survey.require_reset && survey.mfa);
}

/// If the store may not read the second factors, it must not take a user for one without a second factor.
#[test]
fn without_the_right_to_second_factors_no_user_is_identified() {
    let site = Site::joomla6();
    let bob = site.id_of("bob");
    site.add_second_factor(bob);
    let half = site.log_in_half(bob, Client::Site);
    let user = site.restricted_user(&LEAST);
    let mut store = connected(as_user(&site, user.clone()));
    match sessions(&mut store, &[&half.id], Text::IfNeeded) {
        Err(Failure::Denied(why)) => assert!(why.contains("user_mfa"), "{why}"),
        other => panic!("{other:?}"),
    }
    // A grant is noticed without a new connection.
    site.sql(&format!("GRANT {SECOND_FACTORS} TO {user}"));
    assert!(session(&mut store, &half.id, Text::IfNeeded).user.expect("bob").mfa);
    site.sql(&format!("REVOKE {SECOND_FACTORS} FROM {user}").replace(" TO ", " FROM "));
    assert!(matches!(
        sessions(&mut store, &[&half.id], Text::IfNeeded),
        Err(Failure::Denied(_))
    ));
    site.sql(&format!(
        "REVOKE SELECT (requireReset) ON #__users FROM {user}; GRANT {SECOND_FACTORS} TO {user}"
    ));
    let mut store = connected(as_user(&site, user));
    match sessions(&mut store, &[&half.id], Text::IfNeeded) {
        Err(Failure::Denied(why)) => assert!(why.contains("requireReset"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn joomla_3_has_no_second_factors_to_be_seen() {
    let site = Site::joomla3();
    let user = site.restricted_user(&LEAST);
    let mut store = connected(as_user(&site, user));
    let anna = site.log_in(site.id_of("anna"), Client::Site);
    assert!(!session(&mut store, &anna.id, Text::IfNeeded).user.expect("anna").mfa);
    assert!(!store.survey().expect("connected").mfa);
}

/// Joomla is updated while we run.
#[test]
fn a_table_of_second_factors_that_appears_is_noticed_within_a_minute() {
    let site = Site::joomla6();
    site.sql("RENAME TABLE #__user_mfa TO #__later");
    let mut store = connected(by_tcp(&site));
    let bob = site.log_in(site.id_of("bob"), Client::Site);
    assert!(!session(&mut store, &bob.id, Text::IfNeeded).user.expect("bob").mfa);
    site.sql("RENAME TABLE #__later TO #__user_mfa");
    site.add_second_factor(bob.user);
    let Ok(Answer::Sessions(rows)) = ask_at(&mut store, &bob.id, at(60_000)) else {
        panic!("no answer")
    };
    assert!(rows[0].user.as_ref().expect("bob").mfa);
    site.sql("RENAME TABLE #__user_mfa TO #__later");
    assert!(matches!(
        ask_at(&mut store, &bob.id, at(61_000)),
        Err(Failure::Refused(_))
    ));
    assert!(
        ask_at(&mut store, &bob.id, at(66_000)).is_ok(),
        "a refusal makes it look sooner"
    );
}

#[test]
fn a_server_for_reading_only_says_so() {
    let server = Arc::new(Mariadb::start(&[
        "--read-only=1",
        "--log-bin",
        "--binlog-format=STATEMENT",
    ]));
    let site = Site::joomla6_on(server);
    site.create_outbox();
    let mut store = connected(by_tcp(&site));
    let facts = store.server().expect("connected").clone();
    assert!(
        facts.read_only && facts.binlog_format.as_deref() == Some("STATEMENT"),
        "{facts:?}"
    );
    let (process, position) = (1, Position::NOWHERE);
    let write = Question::Beat { process, position };
    assert!(matches!(store.ask(&write, at(0)), Err(Failure::Refused(why)) if why.contains("read-only")));
    assert_eq!(store.readiness(at(0)), Readiness::Ready);
    assert!(store.ask(&Question::Groups, at(0)).is_ok());
}

// --- encryption ------------------------------------------------------------------------------------------------------

/// Certificates of a server on 127.0.0.1: signed by `ca`, and with another name.
struct Certificates(tempfile::TempDir);

impl Certificates {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("ours");
        let own = Self(folder);
        for ca in ["ca", "other-ca"] {
            own.openssl(&format!(
                "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={ca} -keyout {ca}.key -out {ca}.pem \
                 -addext basicConstraints=critical,CA:TRUE"
            ));
        }
        for (name, subject) in [
            ("server", "IP:127.0.0.1"),
            ("elsewhere", "DNS:db.example.org"),
            ("client", "DNS:client"),
        ] {
            std::fs::write(own.path(&format!("{name}.ext")), format!("subjectAltName={subject}\n")).expect("ours");
            own.openssl(&format!(
                "req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
            ));
            own.openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.pem"
            ));
        }
        for entry in std::fs::read_dir(own.0.path()).expect("ours").flatten() {
            std::fs::set_permissions(entry.path(), std::fs::Permissions::from_mode(0o644)).expect("ours");
        }
        own
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .expect("openssl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn server(&self, name: &str) -> Arc<Mariadb> {
        let option = |option: &str, path: &Path| format!("--ssl-{option}={}", path.display());
        let options = [
            option("ca", &self.path("ca.pem")),
            option("cert", &self.path(&format!("{name}.pem"))),
            option("key", &self.path(&format!("{name}.key"))),
        ];
        Arc::new(Mariadb::start(&options.each_ref().map(String::as_str)))
    }
}

#[test]
fn encryption_is_as_strict_as_it_is_configured() {
    let certificates = Certificates::new();
    let path = |name: &str| Some(certificates.path(name));
    let verify = |ca: &str, host: &str| Tls {
        mode: TlsMode::Verify,
        host: host.to_owned(),
        ca: path(ca),
        ..Tls::default()
    };
    let on = Tls {
        mode: TlsMode::On,
        ..Tls::default()
    };
    let good = Site::joomla6_on(certificates.server("server"));
    good.sql(&format!("ALTER USER {} REQUIRE SSL", good.user));
    let tls = |site: &Site, tls: &Tls| Database {
        tls: tls.clone(),
        ..by_tcp(site)
    };
    assert!(
        refused(tls(&good, &Tls::default())).0.contains("Access denied"),
        "in clear"
    );
    for strict in [&on, &verify("ca.pem", "127.0.0.1"), &verify("ca.pem", "")] {
        let mut store = connected(tls(&good, strict));
        assert!(store.ask(&Question::Groups, at(0)).is_ok());
    }
    for (strict, why) in [
        (verify("other-ca.pem", "127.0.0.1"), "UnknownIssuer"),
        (
            Tls {
                ca: None,
                ..verify("ca.pem", "127.0.0.1")
            },
            "UnknownIssuer",
        ),
        (verify("ca.pem", "localhost"), "not valid for name"),
        (verify("nothing.pem", "127.0.0.1"), "No such file"),
    ] {
        let (said, took) = refused(tls(&good, &strict));
        assert!(said.contains(why), "{said}");
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    good.sql(&format!("ALTER USER {} REQUIRE X509", good.user));
    let ours = Tls {
        cert: path("client.pem"),
        key: path("client.key"),
        ..verify("ca.pem", "127.0.0.1")
    };
    connected(tls(&good, &ours));
    assert!(refused(tls(&good, &on)).0.contains("Access denied"));

    let elsewhere = Site::joomla6_on(certificates.server("elsewhere"));
    connected(tls(&elsewhere, &on));
    let (why, _) = refused(tls(&elsewhere, &verify("ca.pem", "127.0.0.1")));
    assert!(why.contains("not valid for name"), "{why}");
}

/// The server never claims that a connection is encrypted when it is not.
#[test]
fn encryption_that_a_server_does_not_have_is_a_reason_to_leave() {
    // MySQL has no other way to be without.
    let without = match Mariadb::shared().is_mariadb() {
        true => "--skip-ssl",
        false => "--tls-version=",
    };
    let site = Site::joomla6_on(Arc::new(Mariadb::start(&[without])));
    let database = Database {
        tls: Tls {
            mode: TlsMode::On,
            ..Tls::default()
        },
        ..by_tcp(&site)
    };
    let (why, _) = refused(database);
    assert!(why.contains("secure connection"), "{why}");
}

#[test]
fn no_credential_is_shown() {
    let site = Site::joomla6();
    let store = connected(by_tcp(&site));
    let shown = format!("{store:?} {:#?}", store);
    assert!(
        shown.contains(&site.database) && !shown.contains(&site.password) && !shown.contains("jo'om"),
        "{shown}"
    );
}
