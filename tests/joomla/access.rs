//! The channels that visitors may subscribe to on a site: every answer is Joomla's own, and a channel of an item that
//! Joomla no longer shows is taken away from its subscribers. The tests change the rows of a real database as Joomla
//! changes them.

use std::time::{Duration, Instant};

use crate::common::frame::CLOSE;
use crate::common::joomla::{Site as Joomla, fixture};
use crate::common::pusher::Session;
use crate::common::visits::{Arrival, House, SLACK, Terms, Visitor, at_once, control};
use crate::common::wait_until;
use jsocketd::joomla::site::Client;
use mysql::prelude::Queryable;
use serde_json::{Value, json};

/// A page of a user who is logged in on the site.
fn page_of(house: &House, name: &str) -> Arrival {
    let joomla = &house.joomla;
    house.page(&joomla.log_in(joomla.id_of(name), Client::Site))
}

/// A connection of a user who is logged in on the site.
fn come(house: &House, name: &str) -> Session {
    house.arrive(&page_of(house, name))
}

/// Whether a visitor may not subscribe. One who is sent away meanwhile, because rights have changed, has no answer yet.
fn is_refused(mut session: Session, channel: &str) -> bool {
    session.ask_plainly(channel);
    match session.next_frame() {
        (CLOSE, payload) => {
            assert_eq!(payload[..2], 4200_u16.to_be_bytes());
            false
        }
        (_, payload) => {
            let answer: Value = serde_json::from_slice(&payload).expect("JSON");
            assert_eq!(answer["channel"], channel, "{answer}");
            answer["event"] == "pusher:subscription_error"
        }
    }
}

/// A category below another one, as the last of its children.
fn add_category(joomla: &Joomla, parent: u64, access: u32, published: i8) -> u64 {
    let mut root = joomla.connect();
    root.query_drop("SET sql_mode = ''").expect("root may");
    let rows: Vec<(i64, i64)> = joomla.rows(&format!("SELECT rgt, level FROM #__categories WHERE id = {parent}"));
    let (right, level) = rows[0];
    for statement in [
        format!("UPDATE #__categories SET rgt = rgt + 2 WHERE rgt >= {right}"),
        format!("UPDATE #__categories SET lft = lft + 2 WHERE lft > {right}"),
        format!(
            "INSERT INTO #__categories (parent_id, lft, rgt, level, extension, title, alias, published, access, language)
             VALUES ({parent}, {right}, {right} + 1, {level} + 1, 'com_content', 'A category', UUID(), {published}, {access}, '*')"
        ),
    ] {
        root.query_drop(joomla.text(&statement)).unwrap_or_else(|why| panic!("{statement}: {why}"));
    }
    root.last_insert_id()
}

fn list(ids: &[u32]) -> String {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    ids.join(", ")
}

/// Articles that Joomla shows to visitors with these view levels and without the right to edit.
fn shown_articles(joomla: &Joomla, levels: &[u32]) -> Vec<u64> {
    let levels = list(levels);
    joomla.rows(&format!(
        "SELECT a.id FROM #__content a JOIN #__categories c ON c.id = a.catid
         WHERE a.state IN (1, 2) AND c.published IN (1, 2)
           AND NOT EXISTS (SELECT 1 FROM #__categories p WHERE p.extension = 'com_content' AND p.lft < c.lft AND p.rgt > c.rgt
                                                          AND p.level > 0 AND p.published <= 0)
           AND (a.publish_up IS NULL OR a.publish_up <= UTC_TIMESTAMP())
           AND (a.publish_down IS NULL OR a.publish_down < '1000-01-01' OR a.publish_down >= UTC_TIMESTAMP())
           AND a.access IN ({levels}) AND c.access IN ({levels})
         ORDER BY a.id"
    ))
}

/// Categories that Joomla shows to visitors with these view levels.
fn shown_categories(joomla: &Joomla, levels: &[u32]) -> Vec<u64> {
    joomla.rows(&format!(
        "SELECT c.id FROM #__categories c WHERE c.extension = 'com_content'
           AND NOT EXISTS (SELECT 1 FROM #__categories p WHERE p.lft <= c.lft AND p.rgt >= c.rgt AND p.level > 0
                                                          AND (p.published <> 1 OR p.access NOT IN ({})))
         ORDER BY c.id",
        list(levels)
    ))
}

/// Which of these numbers open the channels that they make.
fn opened(session: &mut Session, prefix: &str, ids: impl IntoIterator<Item = u64>) -> Vec<u64> {
    ids.into_iter()
        .filter(|id| session.may_enter(&format!("{prefix}{id}")))
        .collect()
}

fn numbers(list: &Value) -> Vec<u64> {
    serde_json::from_value(list.clone()).expect("numbers")
}

#[test]
fn every_answer_is_joomlas_own() {
    for (joomla, major) in [(Joomla::joomla6(), "j6"), (Joomla::joomla3(), "j3")] {
        let (first, members) = match major {
            "j6" => (8, 9),
            _ => (2, add_category(&joomla, 2, 2, 1)),
        };
        let news = add_category(&joomla, first, 1, 1);
        let closed = add_category(&joomla, first, 1, 0);
        let below_closed = add_category(&joomla, closed, 1, 1);
        let below_members = add_category(&joomla, members, 1, 1);
        let archived = add_category(&joomla, first, 1, 2);
        for category in [news, closed, below_closed, below_members, archived] {
            for access in [1, 2, 3, 5, 7, 8, 9] {
                joomla.add_article(category, access);
            }
        }
        for change in [
            "publish_up = UTC_TIMESTAMP() + INTERVAL 1 DAY",
            "publish_down = UTC_TIMESTAMP() - INTERVAL 1 DAY",
            "publish_down = UTC_TIMESTAMP() + INTERVAL 1 DAY",
            "state = 2",
            "state = -2",
            "catid = 9999",
            "access = 99",
        ] {
            let article = joomla.add_article(news, 1);
            joomla.set_article(article, change);
        }
        let house = House::open(joomla);
        let joomla = &house.joomla;
        let articles: u64 = joomla.value("SELECT MAX(id) FROM #__content");
        let categories: u64 = joomla.value("SELECT MAX(id) FROM #__categories");
        let answers: Value = serde_json::from_str(&fixture(&format!("acl-{major}.json"))).expect("JSON");
        let answers = answers.as_object().expect("an object");
        assert_eq!(answers.len(), 6);
        for (id, said) in answers {
            let user: u32 = id.parse().expect("a number");
            let blocked = user != 0 && joomla.value::<bool>(&format!("SELECT block FROM #__users WHERE id = {user}"));
            // A blocked user is a guest.
            let (user, said) = if blocked { (0, &answers["0"]) } else { (user, said) };
            let mut session = match user {
                0 => house.come_as_guest(),
                user => house.come(&joomla.log_in(user, Client::Administrator)),
            };
            let levels: Vec<u32> = serde_json::from_value(said["levels"].clone()).expect("numbers");
            assert_eq!(
                opened(&mut session, "private-group-", 1..=14),
                numbers(&said["groups"]),
                "groups of {id}"
            );
            assert_eq!(
                opened(&mut session, "private-level-", 1..=11),
                numbers(&said["levels"]),
                "levels of {id}"
            );
            let ids: Vec<u64> = joomla.rows("SELECT id FROM #__users");
            let own: Vec<u64> = ids.iter().copied().filter(|other| *other == u64::from(user)).collect();
            assert_eq!(opened(&mut session, "private-user-", ids), own);
            for component in ["com_content", "com_nosuch"] {
                // Joomla 3 was not asked about a component that there is not.
                if let Some(may) = said["auth"][format!("core.manage|{component}")].as_bool() {
                    let channel = format!("private-manage-{component}");
                    assert_eq!(session.may_enter(&channel), may, "{component} for {id}");
                }
            }
            assert_eq!(
                opened(&mut session, "private-com_content.article.", 1..=articles + 1),
                shown_articles(joomla, &levels),
                "articles for {id}"
            );
            assert_eq!(
                opened(&mut session, "private-com_content.category.", 1..=categories + 1),
                shown_categories(joomla, &levels),
                "categories for {id}"
            );
            // The other forms of a name ask the same; a presence channel has no place for guests.
            for level in [1, 2, 8] {
                let may = levels.contains(&level);
                assert_eq!(session.may_enter(&format!("private-cache-level-{level}")), may);
                let presence = format!("presence-level-{level}");
                match may && user != 0 {
                    true => drop(session.enter_presence(&presence)),
                    false => drop(session.expect_denied(&presence)),
                }
            }
        }
    }
}

// --- what changes ----------------------------------------------------------------------------------------------------

/// SQL that hides article 2 from `anna`, and SQL that shows it again.
const HIDING: [(&str, &str); 8] = [
    (
        "content SET access = 3 WHERE id = 2",
        "content SET access = 2 WHERE id = 2",
    ),
    (
        "content SET state = 0 WHERE id = 2",
        "content SET state = 1 WHERE id = 2",
    ),
    (
        "content SET state = -2 WHERE id = 2",
        "content SET state = 1 WHERE id = 2",
    ),
    (
        "content SET catid = 9999 WHERE id = 2",
        "content SET catid = 8 WHERE id = 2",
    ),
    (
        "content SET publish_down = UTC_TIMESTAMP() - INTERVAL 1 HOUR WHERE id = 2",
        "content SET publish_down = NULL WHERE id = 2",
    ),
    (
        "content SET publish_up = UTC_TIMESTAMP() + INTERVAL 1 HOUR WHERE id = 2",
        "content SET publish_up = NULL WHERE id = 2",
    ),
    (
        "categories SET published = 0 WHERE id = 8",
        "categories SET published = 1 WHERE id = 8",
    ),
    (
        "categories SET access = 3 WHERE id = 8",
        "categories SET access = 1 WHERE id = 8",
    ),
];

const ARTICLE: &str = "private-com_content.article.2";

#[test]
fn articles_that_joomla_hides_are_withdrawn_within_the_sweep() {
    at_once(HIDING.chunks(2), hide_and_show);
}

fn hide_and_show(hiding: &[(&str, &str)]) {
    let house = House::open(Joomla::joomla6());
    let joomla = &house.joomla;
    let mut anna = come(&house, "anna");
    let mut carol = come(&house, "carol");
    let mut api = house.site.api();
    // A client with a signature stays, so the article is checked all the time.
    let mut signed = house.arrive(&Arrival::foreign());
    signed.subscribe(ARTICLE);
    for (hide, show) in hiding {
        let may = || come(&house, "anna").may_enter(ARTICLE);
        wait_until("the article is shown", may, || (*show).to_owned());
        anna.enter(ARTICLE);
        carol.enter(ARTICLE);
        joomla.sql(&format!("UPDATE #__{hide}"));
        let took = anna.expect_withdrawn(ARTICLE);
        assert!(took < Duration::from_secs(1) + SLACK, "{hide} took {took:?}");
        api.publish(ARTICLE, "e", "1");
        anna.expect_nothing();
        signed.expect_event(ARTICLE, "e", "1");
        // Carol has level 3.
        match hide.contains("access = 3") {
            true => drop(carol.expect_event(ARTICLE, "e", "1").unsubscribe(ARTICLE)),
            false => drop(carol.expect_withdrawn(ARTICLE)),
        }
        anna.expect_denied(ARTICLE);
        joomla.sql(&format!("UPDATE #__{show}"));
    }
}

#[test]
fn a_control_row_withdraws_it_at_once() {
    let house = House::by_rows_only(Joomla::joomla6());
    let joomla = &house.joomla;
    let mut anna = come(&house, "anna");
    let mut times = Vec::new();
    for (hide, show) in HIDING {
        let (kind, id) = match hide.starts_with("content") {
            true => ("com_content.article", 2),
            false => ("com_content.category", 8),
        };
        let recheck = || control(joomla, "recheck-item", json!({"type": kind, "id": id}));
        anna.enter(ARTICLE);
        joomla.sql(&format!("UPDATE #__{hide}"));
        let began = Instant::now();
        recheck();
        anna.expect_withdrawn(ARTICLE);
        times.push(began.elapsed());
        anna.expect_denied(ARTICLE);
        joomla.sql(&format!("UPDATE #__{show}"));
        recheck();
        wait_until("the article is shown", || anna.may_enter(ARTICLE), || show.to_owned());
    }
    times.sort_unstable();
    // The machine may be busy once or twice.
    assert!(times[times.len() / 2] < Duration::from_millis(300), "{times:?}");
    assert!(times[times.len() - 1] < SLACK, "{times:?}");
}

#[test]
fn a_hidden_category_hides_its_articles_and_subcategories() {
    let joomla = Joomla::joomla6();
    let outer = add_category(&joomla, 8, 1, 1);
    let inner = add_category(&joomla, outer, 1, 1);
    let article = joomla.add_article(inner, 1);
    let house = House::by_rows_only(joomla);
    let joomla = &house.joomla;
    let channels = [
        format!("private-com_content.article.{article}"),
        format!("private-com_content.category.{inner}"),
        format!("private-com_content.category.{outer}"),
    ];
    let mut anna = come(&house, "anna");
    for channel in &channels {
        anna.enter(channel);
    }
    anna.enter("private-com_content.category.8").enter(ARTICLE);
    joomla.set_category(outer, "published = 0");
    control(
        joomla,
        "recheck-item",
        json!({"type": "com_content.category", "id": outer}),
    );
    let mut left: Vec<String> = (0..3)
        .map(|_| {
            let withdrawn = anna.next();
            assert_eq!(withdrawn["data"]["type"], "AccessWithdrawn", "{withdrawn}");
            anna.expect_error();
            withdrawn["channel"].as_str().expect("a name").to_owned()
        })
        .collect();
    left.sort();
    let mut expected = channels.to_vec();
    expected.sort();
    assert_eq!(left, expected);
    anna.expect_nothing();
}

#[test]
fn a_row_about_a_category_withdraws_the_articles_below_at_once() {
    let joomla = Joomla::joomla6();
    let outer = add_category(&joomla, 8, 1, 1);
    let inner = add_category(&joomla, outer, 1, 1);
    let articles = [outer, inner, inner].map(|category| joomla.add_article(category, 1));
    let house = House::by_rows_only(joomla);
    let joomla = &house.joomla;
    let channels = articles.map(|article| format!("private-com_content.article.{article}"));
    let mut anna = come(&house, "anna");
    anna.enter(ARTICLE);
    let mut times = Vec::new();
    // To read an article it takes the level of its own category, and that none above is unpublished.
    for (hidden, id, hide, show) in [
        (3, outer, "published = 0", "published = 1"),
        (3, outer, "published = -2", "published = 1"),
        (1, outer, "access = 3", "access = 1"),
        (2, inner, "access = 3", "access = 1"),
        (2, inner, "published = 0", "published = 1"),
    ] {
        for channel in &channels {
            anna.enter(channel);
        }
        let recheck = || {
            control(
                joomla,
                "recheck-item",
                json!({"type": "com_content.category", "id": id}),
            );
        };
        joomla.set_category(id, hide);
        let began = Instant::now();
        recheck();
        let mut left: Vec<String> = Vec::new();
        for _ in 0..hidden {
            let withdrawn = anna.next();
            assert_eq!(withdrawn["data"]["type"], "AccessWithdrawn", "{id} {hide}: {withdrawn}");
            anna.expect_error();
            left.push(withdrawn["channel"].as_str().expect("a name").to_owned());
        }
        times.push(began.elapsed());
        anna.expect_nothing();
        let expected = match (hidden, id == outer) {
            (1, _) => &channels[..1],
            (_, true) => &channels[..],
            (_, false) => &channels[1..],
        };
        left.sort();
        assert_eq!(left, expected, "{id} {hide}");
        joomla.set_category(id, show);
        recheck();
        for channel in &channels {
            match left.contains(channel) {
                true => wait_until("the article is shown", || anna.may_enter(channel), || channel.clone()),
                false => drop(anna.unsubscribe(channel)),
            }
        }
    }
    times.sort_unstable();
    // The machine may be busy once or twice.
    assert!(times[times.len() / 2] < Duration::from_millis(300), "{times:?}");
    assert!(times[times.len() - 1] < SLACK, "{times:?}");
}

#[test]
fn dates_come_by_themselves() {
    let joomla = Joomla::joomla6();
    let house = House::by_rows_only(joomla);
    let joomla = &house.joomla;
    joomla.set_article(2, "publish_down = UTC_TIMESTAMP() + INTERVAL 2 SECOND");
    joomla.set_article(1, "publish_up = UTC_TIMESTAMP() + INTERVAL 2 SECOND");
    let mut anna = come(&house, "anna");
    let first = "private-com_content.article.1";
    anna.enter(ARTICLE).expect_denied(first);
    // Nothing is said and nothing is looked at again for an hour.
    let took = anna.expect_withdrawn(ARTICLE);
    assert!(took < Duration::from_secs(3) + SLACK, "{took:?}");
    wait_until("the other one has come", || anna.may_enter(first), String::new);
}

#[test]
fn other_rights_close_the_connection_so_that_it_comes_back_with_them() {
    // The user who notices a change, the change, and the channel that this user loses.
    let changes: [(&str, &str, &str); 6] = [
        (
            "bob",
            "DELETE FROM #__user_usergroup_map WHERE group_id = 12",
            "private-group-12",
        ),
        (
            "bob",
            "INSERT INTO #__user_usergroup_map SELECT id, 9 FROM #__users WHERE username = 'bob'",
            "",
        ),
        (
            "carol",
            "UPDATE #__viewlevels SET rules = '[8]' WHERE id = 8",
            "private-level-8",
        ),
        (
            "carol",
            "UPDATE #__viewlevels SET rules = '[8' WHERE id = 7",
            "private-level-7",
        ),
        (
            "anna",
            "UPDATE #__viewlevels SET rules = '[6,8]' WHERE id = 2",
            "private-level-2",
        ),
        ("carol", "DELETE FROM #__usergroups WHERE id = 10", "private-group-10"),
    ];
    at_once([false, true], |by_row| {
        let joomla = Joomla::joomla6();
        let house = if by_row {
            House::by_rows_only(joomla)
        } else {
            House::open(joomla)
        };
        let joomla = &house.joomla;
        for (name, change, lost) in changes {
            let page = page_of(&house, name);
            let mut session = house.arrive(&page);
            if !lost.is_empty() {
                session.enter(lost);
            }
            session.enter(&format!("private-user-{}", joomla.id_of(name)));
            joomla.sql(change);
            if by_row {
                match change.contains("user_usergroup_map") {
                    true => control(joomla, "recheck-user", json!({"user_id": joomla.id_of(name)})),
                    false => control(joomla, "recheck-access", json!({})),
                }
            }
            let began = Instant::now();
            // A withdrawn channel may be reported first.
            loop {
                let (opcode, payload) = session.next_frame();
                if opcode == crate::common::frame::CLOSE {
                    assert_eq!(payload[..2], 4200_u16.to_be_bytes());
                    break;
                }
            }
            let took = began.elapsed();
            let limit = if by_row { Duration::ZERO } else { Duration::from_secs(1) };
            assert!(took < limit + SLACK, "{change} took {took:?}");
            let mut back = house.arrive(&page);
            back.enter(&format!("private-user-{}", joomla.id_of(name)));
            if !lost.is_empty() {
                back.expect_denied(lost);
            }
        }
    });
}

#[test]
fn channels_that_guests_lose_are_withdrawn() {
    let house = House::open(Joomla::joomla6());
    let joomla = &house.joomla;
    let mut guest = house.come_as_guest();
    guest
        .enter("private-level-5")
        .enter("private-level-1")
        .enter("private-group-9")
        .enter("news");
    joomla.set_level(5, "[2]");
    let took = guest.expect_withdrawn("private-level-5");
    assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");
    guest.expect_nothing();
    // Guests are of another group from here on.
    joomla.sql(
        "UPDATE #__extensions SET params = JSON_SET(params, '$.guest_usergroup', '2') WHERE element = 'com_users'",
    );
    guest.expect_withdrawn("private-group-9");
    guest.enter("private-group-2").enter("private-level-5");
    guest.expect_nothing();
}

#[test]
fn managers_may_subscribe_to_the_channels_of_their_components() {
    let joomla = Joomla::joomla6();
    joomla.set_groups(joomla.id_of("bob"), &[6]);
    joomla.set_groups(joomla.id_of("carol"), &[7]);
    let house = House::open(joomla);
    let joomla = &house.joomla;
    let channel = |component: &str| format!("private-manage-{component}");
    for (name, may) in [
        ("anna", &[][..]),
        (
            "bob",
            &[
                "com_content",
                "com_banners",
                "com_contact",
                "com_media",
                "com_newsfeeds",
            ],
        ),
        (
            "carol",
            &[
                "com_content",
                "com_banners",
                "com_messages",
                "com_cache",
                "com_menus",
                "com_nosuch",
            ],
        ),
        (
            "admin",
            &["com_content", "com_installer", "com_nosuch", "com_websockets"],
        ),
    ] {
        let mut session = come(&house, name);
        for component in may {
            session.enter(&channel(component));
        }
        let denied: &[&str] = match name {
            // The rules of com_installer deny it to administrators.
            "carol" => &["com_installer"],
            "bob" => &["com_installer", "com_messages", "com_config", "com_nosuch"],
            "admin" => &[],
            _ => &["com_content", "com_installer", "com_nosuch"],
        };
        for component in denied {
            session.expect_denied(&channel(component));
        }
    }
    house.come_as_guest().expect_denied(&channel("com_content"));
    // The component's own permissions change: the connection stays.
    let mut bob = come(&house, "bob");
    bob.enter(&channel("com_media")).enter(&channel("com_content"));
    joomla.sql(r#"UPDATE #__assets SET rules = '{"core.manage":{"6":0}}' WHERE name = 'com_media'"#);
    let took = bob.expect_withdrawn(&channel("com_media"));
    assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");
    bob.expect_nothing();
}

#[test]
fn the_root_user_of_the_configuration_may_everything_but_be_another() {
    for root in ["'bob'", "292"] {
        let joomla = Joomla::joomla6();
        joomla.configure("root_user", root);
        let house = House::open(joomla);
        let mut bob = come(&house, "bob");
        // Every level that super users have, and every permission.
        for channel in [
            "private-level-3",
            "private-level-6",
            "private-manage-com_installer",
            "private-manage-com_nosuch",
        ] {
            bob.enter(channel);
        }
        bob.expect_denied("private-level-8").expect_denied("private-group-8");
        bob.expect_denied(&format!("private-user-{}", house.joomla.id_of("anna")));
        bob.expect_denied("private-com_content.article.7");
        come(&house, "anna")
            .expect_denied("private-level-6")
            .expect_denied("private-manage-com_installer");
    }
}

// --- channels of the configuration -----------------------------------------------------------------------------------

#[test]
fn rules_of_the_configuration_open_other_channels() {
    let joomla = Joomla::joomla6();
    let more = format!(
        "[[channels]]\npattern = \"private-staff-*\"\ngroups = [3, 8]\n\
         [[channels]]\npattern = \"private-staff-press\"\nlevels = [7]\n\
         [[channels]]\npattern = \"presence-room-*\"\nusers = [{}]\n\
         [[channels]]\npattern = \"private-guests*\"\ngroups = [9]\n\
         [[channels]]\npattern = \"private-user-*\"\ngroups = [1]\n",
        joomla.id_of("anna")
    );
    let terms = Terms {
        more: &more,
        ..Terms::default()
    };
    let house = House::with(joomla, terms);
    let mut who = ["anna", "bob", "carol", "admin"].map(|name| come(&house, name));
    let mut guest = house.come_as_guest();
    for (channel, may) in [
        ("private-staff-a", [false, true, true, true]),
        ("private-staff-", [false, true, true, true]),
        ("private-staff-press", [false, true, true, true]),
        ("private-cache-staff-a", [false; 4]),
    ] {
        for (session, may) in who.iter_mut().zip(may) {
            assert_eq!(may_enter_or_sign(session, channel), may, "{channel}");
        }
        assert!(!may_enter_or_sign(&mut guest, channel), "{channel}");
    }
    who[0].enter_presence("presence-room-1");
    who[1].expect_denied("presence-room-1");
    guest.enter("private-guests").expect_denied("presence-room-1");
    // A pattern that is too wide does not open the channel of one user.
    let own = format!("private-user-{}", house.joomla.id_of("anna"));
    who[1].expect_denied(&own);
    guest.expect_denied(&own);
    // Without a rule there is only the signature.
    let refused = who[3].ask_plainly("private-other").expect_refused("private-other");
    assert!(refused.is_auth(), "{refused:?}");

    // A user who has left the group loses the channel.
    let joomla = &house.joomla;
    let mut bob = come(&house, "bob");
    bob.enter("private-staff-a");
    joomla.set_groups(joomla.id_of("bob"), &[2]);
    loop {
        let (opcode, payload) = bob.next_frame();
        if opcode == crate::common::frame::CLOSE {
            assert_eq!(payload[..2], 4200_u16.to_be_bytes());
            break;
        }
    }
    assert!(!may_enter_or_sign(&mut come(&house, "bob"), "private-staff-a"));
}

/// Whether the rules admit the session; if not, it may still use a signature.
fn may_enter_or_sign(session: &mut Session, channel: &str) -> bool {
    let answer = session.ask_plainly(channel).next();
    if answer["event"] == "pusher_internal:subscription_succeeded" {
        session.unsubscribe(channel);
        return true;
    }
    assert_eq!(answer["event"], "pusher:subscription_error", "{answer}");
    session.expect_error();
    false
}

#[test]
fn other_tables_have_channels_by_configuration() {
    let joomla = Joomla::joomla6();
    joomla.sql(
        "CREATE TABLE #__example_items (item_id bigint unsigned PRIMARY KEY, vl int, shown tinyint, up datetime, down datetime, cat int);
         INSERT INTO #__example_items VALUES (1, 1, 1, NULL, NULL, 8), (2, 2, 1, NULL, NULL, 8), (3, 1, 0, NULL, NULL, 8),
           (4, 1, 1, UTC_TIMESTAMP() + INTERVAL 1 DAY, NULL, 8), (5, 1, 1, NULL, UTC_TIMESTAMP() - INTERVAL 1 DAY, 8),
           (6, 1, 1, NULL, NULL, 9), (7, 1, 1, NULL, NULL, NULL), (8, NULL, 1, NULL, NULL, 8), (9, 1, NULL, NULL, NULL, 8);
         CREATE TABLE #__example_plain (id int PRIMARY KEY, access int);
         INSERT INTO #__example_plain VALUES (1, 1), (2, 2), (3, 3);
         CREATE TABLE #__example_odd (id varchar(20), access varchar(20));
         INSERT INTO #__example_odd VALUES ('1', 'public'), ('2x', '1'), ('3', '1 OR 1=1')",
    );
    let item = |name: &str, table: &str| format!("[[items]]\nname = \"com_example.{name}\"\ntable = \"{table}\"\n");
    let more = [
        item("item", "example_items"),
        "id = \"item_id\"\naccess = \"vl\"\nstate = \"shown\"\npublish_up = \"up\"\npublish_down = \"down\"\ncategory = \"cat\"\n".into(),
        item("plain", "example_plain"),
        "id = \"id\"\naccess = \"access\"\n".into(),
        item("odd", "example_odd"),
        "id = \"id\"\naccess = \"access\"\n".into(),
        item("missing", "example_missing"),
        "id = \"id\"\naccess = \"access\"\n".into(),
    ]
    .concat();
    let terms = Terms {
        joomla: "identity_timeout = 1",
        more: &more,
        ..Terms::default()
    };
    let house = House::with(joomla, terms);
    let mut guest = house.come_as_guest();
    let mut anna = come(&house, "anna");
    assert_eq!(opened(&mut guest, "private-com_example.item.", 1..=10), [1]);
    assert_eq!(opened(&mut anna, "private-com_example.item.", 1..=10), [1, 2, 6]);
    assert_eq!(opened(&mut guest, "private-com_example.plain.", 1..=4), [1]);
    assert_eq!(opened(&mut anna, "private-com_example.plain.", 1..=4), [1, 2]);
    assert_eq!(opened(&mut anna, "private-com_example.odd.", 1..=3), [] as [u64; 0]);
    anna.expect_denied("private-com_example.missing.1");
    // It is not in the way of the others.
    anna.enter("private-com_example.plain.2").enter(ARTICLE);
    house.joomla.sql("UPDATE #__example_plain SET access = 3 WHERE id = 2");
    anna.expect_withdrawn("private-com_example.plain.2");
    anna.enter("private-com_example.item.1");
    house.joomla.sql("DELETE FROM #__example_items WHERE item_id = 1");
    anna.expect_withdrawn("private-com_example.item.1");
    anna.expect_nothing();
}

#[test]
fn guests_can_be_kept_out_of_everything() {
    let terms = Terms {
        joomla: "guests = false",
        ..Terms::default()
    };
    let house = House::with(Joomla::joomla6(), terms);
    let mut guest = house.come_as_guest();
    guest.expect_denied("news").expect_denied("cache-news");
    let mut anna = come(&house, "anna");
    anna.enter("news").enter("cache-news").expect_cache_miss("cache-news");
    anna.enter(&format!("private-user-{}", house.joomla.id_of("anna")));
}

// --- presence --------------------------------------------------------------------------------------------------------

#[test]
fn members_have_pseudonyms_that_differ_from_channel_to_channel() {
    let house = House::open(Joomla::joomla6());
    let joomla = &house.joomla;
    let page = page_of(&house, "anna");
    let mut anna = house.arrive(&page);
    // A client's own claims without a signature do not count.
    anna.say_subscribe(json!({
        "channel": "presence-level-2",
        "channel_data": json!({"user_id": "admin", "user_info": {"name": "The Boss"}}).to_string(),
    }));
    let presence = anna.expect_joined("presence-level-2");
    assert_eq!(presence["count"], 1);
    let name = presence["ids"][0].as_str().expect("a string").to_owned();
    assert!(presence["hash"][&name].is_null(), "{presence}");
    for (user, login) in joomla.rows::<(String, String)>("SELECT id, username FROM #__users") {
        assert!(name != user && !name.contains(&login), "{name} shows the user");
    }
    // Another tab is the same member. Another channel has another name for it.
    let mut tab = house.arrive(&page);
    assert_eq!(tab.enter_presence("presence-level-2")["ids"], json!([name]));
    let other = tab.enter_presence("presence-group-2");
    assert_ne!(other["ids"][0].as_str(), Some(name.as_str()));
    let article = tab.enter_presence("presence-com_content.article.2");
    assert!(article["ids"][0] != json!(name) && article["ids"][0] != other["ids"][0]);
    anna.expect_nothing();

    let mut bob = come(&house, "bob");
    let both = bob.enter_presence("presence-level-2");
    assert_eq!(both["count"], 2);
    let bobs = both["ids"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|id| **id != json!(name))
        .expect("bob");
    anna.expect_added("presence-level-2", bobs.as_str().expect("a string"), Value::Null);
    tab.expect_added("presence-level-2", bobs.as_str().expect("a string"), Value::Null);
    house
        .come_as_guest()
        .expect_denied("presence-level-1")
        .expect_denied("presence-level-2");
    // The members see a terminated user leave.
    joomla.block_by_sql(joomla.id_of("bob"));
    bob.expect_closed(4009);
    anna.expect_removed("presence-level-2", bobs.as_str().expect("a string"));
    // A withdrawn member too.
    joomla.set_article(2, "state = 0");
    tab.expect_removed("presence-level-2", bobs.as_str().expect("a string"));
    tab.expect_withdrawn("presence-com_content.article.2");
}

#[test]
fn members_have_their_names_where_the_configuration_says_so() {
    let terms = Terms {
        joomla: "presence_names = true",
        ..Terms::default()
    };
    let house = House::with(Joomla::joomla6(), terms);
    let id = house.joomla.id_of("anna").to_string();
    let presence = come(&house, "anna").enter_presence("presence-level-2");
    assert_eq!(presence["ids"], json!([id]));
    assert_eq!(
        presence["hash"],
        json!({id: {"name": "Anna Reader", "username": "anna"}})
    );
}

// --- failures --------------------------------------------------------------------------------------------------------

#[test]
fn corrupt_rules_open_nothing() {
    let joomla = Joomla::joomla6();
    let house = House::by_rows_only(joomla);
    let joomla = &house.joomla;
    let recheck = || control(joomla, "recheck-access", json!({}));
    let mut guest = house.come_as_guest();
    guest.enter("private-level-1");
    for rules in [
        "",
        "[",
        "null",
        "{}",
        "{\"2\":77}",
        "[[2]]",
        "[null]",
        "[\"two\"]",
        "[2.5]",
        "[99999999999999999999]",
        "[-0]",
        "\u{1}",
    ] {
        let anna = page_of(&house, "anna");
        joomla.exec("UPDATE #__viewlevels SET rules = ? WHERE id IN (3, 7, 8, 9)", (rules,));
        recheck();
        // Under none of these texts is Registered in one of the levels.
        wait_until(
            "the rules were read",
            || is_refused(come(&house, "carol"), "private-level-8"),
            || rules.to_owned(),
        );
        let mut session = house.arrive(&anna);
        for level in [3, 7, 8, 9] {
            session.expect_denied(&format!("private-level-{level}"));
        }
        session.enter("private-level-2").enter("private-level-1");
    }
    // Permissions that cannot be read are none.
    for rules in ["", "{", "[]", "null", "{\"core.manage\":1}", "{\"core.manage\":[[1]]}"] {
        joomla.exec("UPDATE #__assets SET rules = ? WHERE name = 'com_content'", (rules,));
        recheck();
        let mut anna = come(&house, "anna");
        anna.expect_denied("private-manage-com_content");
        let mut admin = come(&house, "admin");
        admin.enter("private-manage-com_content");
    }
    // Without the root's permissions no user is a super user.
    joomla.sql("UPDATE #__assets SET rules = '{\"core.admin\":{\"8\":1}' WHERE name = 'root.1'");
    recheck();
    let is_none = || is_refused(come(&house, "admin"), "private-manage-com_installer");
    wait_until("the super user is none", is_none, String::new);
    for params in [
        "",
        "{",
        "[]",
        "null",
        "{\"guest_usergroup\":[8]}",
        "{\"guest_usergroup\":\"8x\"}",
        "{\"guest_usergroup\":-8}",
    ] {
        joomla.exec(
            "UPDATE #__extensions SET params = ? WHERE element = 'com_users'",
            (params,),
        );
        recheck();
        let is_plain = || is_refused(house.come_as_guest(), "private-group-9");
        wait_until("the guests are none of their own", is_plain, || params.to_owned());
        let mut other = house.come_as_guest();
        other
            .expect_denied("private-group-8")
            .expect_denied("private-level-2")
            .enter("private-group-1");
    }
    guest.expect_nothing();
}

#[test]
fn without_the_tables_of_the_rules_no_visitor_is_admitted_until_they_are_back() {
    at_once(["usergroups", "viewlevels", "assets", "extensions"], |table| {
        let joomla = Joomla::joomla6();
        joomla.sql(&format!("RENAME TABLE #__{table} TO #__elsewhere"));
        let terms = Terms {
            joomla: "identity_timeout = 1",
            ..Terms::default()
        };
        let house = House::with(joomla, terms);
        let mut anna = come(&house, "anna");
        anna.expect_denied("private-level-1").enter("news");
        assert!(house.site.server.log().contains(table), "the log names it");
        house.joomla.sql(&format!("RENAME TABLE #__elsewhere TO #__{table}"));
        let page = page_of(&house, "anna");
        let may = || house.arrive(&page).may_enter("private-level-2");
        wait_until("the site is known", may, || house.site.server.log());
    });
}
