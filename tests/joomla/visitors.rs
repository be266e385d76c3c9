//! The server's identity of a visitor: from real rows of a real database, over real sockets. A visitor who cannot be
//! identified is a guest and receives only the events of guests. A user whose identity ends loses the socket.

use crate::common::joomla::{Session as Login, Site as Joomla, fixture, md5, now};
use crate::common::pusher::{ID, KEY, SECRET, Session, Site, auth};
use crate::common::visits::{ADMIN_TOKEN, Arrival, HOST, House, SLACK, Terms, Visitor, at_once, control, expect_soon};
use crate::common::{Noise, Server, wait_until};
use jsocketd::joomla::site::Client;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A site of each kind.
fn both() -> [Joomla; 2] {
    [Joomla::joomla6(), Joomla::joomla3()]
}

// --- who comes -------------------------------------------------------------------------------------------------------

#[test]
fn a_site_whose_tables_have_no_prefix_works_like_any_other() {
    let mut joomla = Joomla::joomla6();
    joomla.create_outbox();
    let tables: Vec<String> = joomla.rows("SHOW TABLES");
    for table in &tables {
        let bare = table.strip_prefix(joomla.prefix).expect("it has the prefix");
        joomla.sql(&format!("RENAME TABLE `{table}` TO `{bare}`"));
    }
    joomla.prefix = "";
    joomla.configure("dbprefix", "''");
    let house = House::with(joomla, Terms::without_sweep());
    house.expect_reading();
    let anna = house.joomla.id_of("anna");
    let login = house.joomla.log_in(anna, Client::Site);
    house.expect_user(&house.page(&login), anna);
    let mut session = house.come_known(&login);
    session.enter("private-com_content.article.2").enter("news");
    house.joomla.publish("news", "e", "1");
    session.expect_event("news", "e", "1");
}

#[test]
fn people_are_known_by_their_sessions_on_site_and_administrator() {
    for (joomla, acl) in both().into_iter().zip(["j6", "j3"]) {
        let house = House::open(joomla);
        let joomla = &house.joomla;
        let answers: Value = serde_json::from_str(&fixture_of(acl)).expect("JSON");
        for name in ["admin", "anna", "bob", "carol"] {
            let user = joomla.id_of(name);
            for client in [Client::Site, Client::Administrator] {
                let login = joomla.log_in(user, client);
                let page = house.page(&login);
                house.expect_user(&page, user);
                let who = house.who(&page);
                assert_eq!(who["username"], name);
                assert_eq!(
                    who["client"],
                    if client == Client::Site {
                        "site"
                    } else {
                        "administrator"
                    }
                );
                assert_eq!(who["reason"], Value::Null);
                let said = &answers[user.to_string()];
                assert_eq!(
                    (&who["groups"], &who["levels"]),
                    (&said["groups"], &said["levels"]),
                    "{name}"
                );
            }
        }
        let guest = joomla.guest(Client::Site);
        house.expect_guest(&house.page(&guest), "guest-session");
        house.expect_guest(&Arrival::own(), "no-cookie");
        let who = house.who(&house.page(&guest));
        assert_eq!(
            (&who["groups"], &who["levels"]),
            (&answers["0"]["groups"], &answers["0"]["levels"])
        );
        // A page before the log-in: its session has got a new id, and the old one has no user.
        joomla.log_in_from(&guest, joomla.id_of("anna"));
        house.expect_guest(&house.page(&guest), "no-row");
        assert_eq!(house.console(&Arrival::own()).say("version"), version(joomla));
    }
}

fn fixture_of(major: &str) -> String {
    fixture(&format!("acl-{major}.json"))
}

fn version(joomla: &Joomla) -> String {
    format!("jsocketd {} (Joomla {})", env!("CARGO_PKG_VERSION"), joomla.version())
}

#[test]
fn only_users_with_permission_see_why_they_are_guests_and_the_state() {
    let house = House::open(Joomla::joomla6());
    let joomla = &house.joomla;
    let mut guest = house.console(&Arrival::own());
    let who: Value = serde_json::from_str(&guest.say("whoami")).expect("JSON");
    assert!(who.get("reason").is_none() && who["may_see_state"] == false, "{who}");
    assert!(guest.say("stats").starts_with("Not allowed"));
    // The super user may use all commands, the others those that the component's permissions allow.
    for (name, may) in [("admin", true), ("anna", false), ("carol", false)] {
        let login = joomla.log_in(joomla.id_of(name), Client::Administrator);
        let mut console = house.console(&house.page(&login).proved(joomla.form_token(&login)));
        assert_eq!(console.say("stats").starts_with('{'), may, "{name}");
    }
    joomla.exec(
        "INSERT INTO #__assets (parent_id, lft, rgt, level, name, title, rules) VALUES (1, 203, 204, 1, 'com_websockets', 'x', ?)",
        (r#"{"websockets.monitor":{"4":1}}"#,),
    );
    let carol = joomla.log_in(joomla.id_of("carol"), Client::Administrator);
    let page = house.page(&carol).proved(joomla.form_token(&carol));
    let may = || house.console(&page).say("stats").starts_with('{');
    wait_until("carol, an editor, may see the state", may, String::new);
    let anna = joomla.log_in(joomla.id_of("anna"), Client::Administrator);
    assert!(house.console(&house.page(&anna)).say("lag").starts_with("Not allowed"));
}

#[test]
fn users_who_may_not_log_in_are_guests() {
    for joomla in both() {
        let house = House::open(joomla);
        let joomla = &house.joomla;
        let [anna, bob, carol, dave] = ["anna", "bob", "carol", "dave"].map(|name| joomla.id_of(name));
        // Blocked with SQL after the log-in: Joomla goes on, we do not.
        house.expect_guest(&house.page(&joomla.log_in(dave, Client::Site)), "blocked");
        let login = joomla.log_in(carol, Client::Site);
        joomla.require_reset(carol);
        house.expect_guest(&house.page(&login), "must-reset");
        let login = joomla.log_in(anna, Client::Site);
        joomla.sql(&format!("DELETE FROM #__users WHERE id = {anna}"));
        house.expect_guest(&house.page(&login), "no-user");
        for (age, live) in [(895, true), (905, false), (100_000, false)] {
            let login = joomla.log_in(bob, Client::Site);
            joomla.age(&login, age);
            let page = house.page(&login);
            match live {
                true => house.expect_user(&page, bob),
                false => house.expect_guest(&page, "expired"),
            }
        }
        // Sessions of the API, of the installer, and one that says that it is a guest's.
        for (change, reason) in [
            ("client_id = 3", "other-client"),
            ("client_id = 2", "other-client"),
            ("client_id = 1", "other-client"),
            ("guest = 1", "guest-session"),
            ("userid = 0", "guest-session"),
        ] {
            let login = joomla.log_in(bob, Client::Site);
            joomla.exec(
                &format!("UPDATE #__session SET {change} WHERE session_id = ?"),
                (login.id.as_bytes(),),
            );
            house.expect_guest(&house.page(&login), reason);
        }
    }
}

#[test]
fn a_user_with_a_second_factor_is_identified_only_once_it_was_given() {
    let house = House::open(Joomla::joomla6());
    let joomla = &house.joomla;
    let anna = joomla.id_of("anna");
    joomla.add_second_factor(anna);
    let login = joomla.log_in_half(anna, Client::Site);
    let page = house.page(&login);
    house.expect_guest(&page, "second-factor-pending");

    // The first client was refused a channel that it may use now. The second was not, and becomes a user without a new
    // connection.
    let mut refused = house.arrive(&page);
    refused.expect_denied(&format!("private-user-{anna}"));
    let mut quiet = house.arrive(&page);
    quiet.enter("news");
    let mut console = house.console(&page);
    assert_eq!(console.whoami()["reason"], "second-factor-pending");

    joomla.exec(
        "UPDATE #__session SET data = ? WHERE session_id = ?",
        (joomla.session_text(&login).to_string(), login.id.as_bytes()),
    );
    let (_, took) = refused.expect_closed(4200);
    assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");
    expect_soon(&mut console, |who| who["user_id"] == anna);
    quiet.enter(&format!("private-user-{anna}")).expect_nothing();
    house.expect_user(&page, anna);

    // The text is out of reach, cut off, another user's or no text at all: the user is unknown.
    for (text, reason) in [
        (None, "second-factor-unknown"),
        (Some(String::new()), "second-factor-unknown"),
        (Some("joomla|s:12:\"AAAA\";".to_owned()), "second-factor-unknown"),
        (
            Some(joomla.session_text(&login).to_string()[..300].to_owned()),
            "second-factor-unknown",
        ),
        (
            Some(
                joomla
                    .session_text(&joomla.log_in(joomla.id_of("bob"), Client::Site))
                    .to_string(),
            ),
            "text-disagrees",
        ),
    ] {
        let login = joomla.log_in(anna, Client::Site);
        joomla.exec(
            "UPDATE #__session SET data = ? WHERE session_id = ?",
            (text, login.id.as_bytes()),
        );
        house.expect_guest(&house.page(&login), reason);
    }
}

#[test]
fn users_who_must_set_up_a_second_factor_first_are_guests() {
    let joomla = Joomla::joomla6();
    // Registered users must have one.
    joomla.sql(
        "UPDATE #__extensions SET params = JSON_SET(params, '$.forceMFAUserGroups', JSON_ARRAY('2')) WHERE element = 'com_users'",
    );
    let house = House::open(joomla);
    let joomla = &house.joomla;
    let [anna, bob] = ["anna", "bob"].map(|name| joomla.id_of(name));
    let login = joomla.log_in_with(anna, Client::Site, |text| {
        text.mfa_checked = Some(0);
        text.mandatory_mfa_setup = Some(1);
    });
    house.expect_guest(&house.page(&login), "second-factor-pending");
    joomla.add_second_factor(bob);
    house.expect_user(&house.page(&joomla.log_in(bob, Client::Site)), bob);
}

// --- how sessions are kept -------------------------------------------------------------------------------------------

#[test]
fn a_shared_session_is_one_for_both_applications() {
    for named in [true, false] {
        let joomla = Joomla::joomla6();
        joomla.configure("shared_session", "true");
        if named {
            joomla.configure("session_name", "'abcdefgh12345678'");
        }
        let house = House::open(joomla);
        let joomla = &house.joomla;
        let anna = joomla.id_of("anna");
        let login = joomla.log_in(anna, Client::Site);
        assert_eq!(joomla.value::<Option<u8>>("SELECT client_id FROM #__session"), None);
        for client in [Client::Site, Client::Administrator] {
            let page = Arrival::own().cookie(format!("{}={}", joomla.cookie_name(client), login.id));
            house.expect_user(&page, anna);
            house.expect_user(&page.clone().query("client=administrator"), anna);
        }
        let page = house.page(&login);
        let client = if named { "site and administrator" } else { "site" };
        assert_eq!(house.who(&page)["client"], client);
        let mut open = house.come_known(&login);
        joomla.log_out(&login);
        open.expect_closed(4200);
    }
}

#[test]
fn a_shared_session_without_a_name_has_a_cookie_for_each_application() {
    for joomla in both() {
        joomla.configure("shared_session", "true");
        let house = House::open(joomla);
        let joomla = &house.joomla;
        let [anna, admin] = ["anna", "admin"].map(|name| joomla.id_of(name));
        let guest = |client| joomla.cookie(&joomla.guest(client));
        let back = joomla.cookie(&joomla.log_in(admin, Client::Administrator));
        let page = Arrival::own().cookie(format!("{}; {back}", guest(Client::Site)));
        house.expect_user(&page.clone().query("client=administrator"), admin);
        house.expect_guest(&page, "guest-session");

        let site = joomla.cookie(&joomla.log_in(anna, Client::Site));
        let page = Arrival::own().cookie(format!("{site}; {}", guest(Client::Administrator)));
        house.expect_guest(&page.clone().query("client=administrator"), "guest-session");
        house.expect_user(&page, anna);
    }
}

#[test]
fn without_metadata_the_session_text_names_its_user() {
    let joomla = Joomla::joomla6();
    joomla.configure("session_metadata", "false");
    let house = House::open(joomla);
    let joomla = &house.joomla;
    let [anna, bob, dave] = ["anna", "bob", "dave"].map(|name| joomla.id_of(name));
    let login = joomla.log_in(anna, Client::Site);
    assert_eq!(
        joomla.value::<u32>("SELECT userid FROM #__session"),
        0,
        "the row does not tell"
    );
    house.expect_user(&house.page(&login), anna);
    house.expect_guest(&house.page(&joomla.guest(Client::Site)), "guest-session");
    house.expect_guest(&house.page(&joomla.log_in(dave, Client::Site)), "blocked");
    joomla.add_second_factor(bob);
    house.expect_guest(
        &house.page(&joomla.log_in_half(bob, Client::Site)),
        "second-factor-pending",
    );
    house.expect_user(&house.page(&joomla.log_in(bob, Client::Site)), bob);
    let expired = joomla.log_in(bob, Client::Site);
    joomla.age(&expired, 905);
    house.expect_guest(&house.page(&expired), "expired");
    let corrupt = joomla.log_in(anna, Client::Site);
    joomla.exec(
        "UPDATE #__session SET data = 'joomla|s:4:\"////\";' WHERE session_id = ?",
        (corrupt.id.as_bytes(),),
    );
    house.expect_guest(&house.page(&corrupt), "bad-text");

    let mut open = house.come_known(&login);
    joomla.block_by_sql(anna);
    open.expect_closed(4009);
}

#[test]
fn with_another_handler_the_row_names_the_user_but_not_the_second_factor() {
    for joomla in both() {
        joomla.configure("session_handler", "'redis'");
        let is_three = joomla.version().starts_with("3.");
        let house = House::open(joomla);
        let joomla = &house.joomla;
        let [anna, bob] = ["anna", "bob"].map(|name| joomla.id_of(name));
        let login = joomla.log_in(anna, Client::Site);
        house.expect_user(&house.page(&login), anna);
        joomla.age(&login, 1000);
        match is_three {
            // The row keeps the time of the session's start.
            true => house.expect_user(&house.page(&login), anna),
            false => house.expect_guest(&house.page(&login), "expired"),
        }
        if !is_three {
            joomla.add_second_factor(bob);
            house.expect_guest(&house.page(&joomla.log_in(bob, Client::Site)), "second-factor-unknown");
        }
    }
    let joomla = Joomla::joomla6();
    joomla.configure("session_handler", "'filesystem'");
    joomla.configure("session_metadata", "false");
    let house = House::open(joomla);
    let login = house.joomla.log_in(house.joomla.id_of("anna"), Client::Site);
    house.expect_guest(&house.page(&login), "no-row");
}

// --- cookies and origins ---------------------------------------------------------------------------------------------

#[test]
fn made_up_cookies_are_nobodys() {
    let house = House::open(Joomla::joomla6());
    let joomla = &house.joomla;
    let anna = joomla.id_of("anna");
    let login = joomla.log_in(anna, Client::Site);
    let name = joomla.cookie_name(Client::Site);
    let with = |value: &[u8]| Arrival::own().cookie([name.as_bytes(), b"=", value].concat());
    let as_long_as = |len: usize| "x".repeat(len);

    house.expect_guest(&with(b"0123456789abcdef0123456789"), "no-row");
    house.expect_guest(&with(as_long_as(192).as_bytes()), "no-row");
    for (value, why) in [
        (as_long_as(193).into_bytes(), "too long for the column"),
        (as_long_as(4000).into_bytes(), "much too long"),
        (Vec::new(), "empty"),
        (b"' OR 1=1 -- ".to_vec(), "SQL"),
        (login.id.to_uppercase().into_bytes(), "another case"),
        (format!("{}%", login.id).into_bytes(), "a pattern"),
        (
            format!("\"{}\"", login.id).into_bytes(),
            "quoted, as PHP does not understand it",
        ),
        (login.id.as_bytes()[..25].to_vec(), "a part"),
    ] {
        let who = house.who(&with(&value));
        assert_eq!(who["identity"], "guest", "{why}: {who}");
        let reason = who["reason"].as_str().expect("a reason");
        assert!(["bad-cookie", "no-row"].contains(&reason), "{why}: {who}");
    }
    let mut noise = Noise(4711);
    for round in 0..50 {
        // What HTTP lets through: no control characters.
        let len = 1 + round * 3;
        let value: Vec<u8> = noise
            .bytes(len)
            .into_iter()
            .filter(|byte| *byte >= 32 && *byte != 127)
            .collect();
        let mut peer = house.console(&with(&value));
        let who = peer.whoami();
        assert_eq!(who["identity"], "guest", "{value:?}: {who}");
    }
    house.expect_user(&house.page(&login), anna);

    // As long as the column takes them, they are as good as any.
    let longest = as_long_as(192);
    joomla.exec(
        "UPDATE #__session SET session_id = ? WHERE session_id = ?",
        (longest.as_bytes(), login.id.as_bytes()),
    );
    house.expect_user(&with(longest.as_bytes()), anna);
    house.expect_guest(&with(longest.to_uppercase().as_bytes()), "no-row");
    house.expect_guest(&with(as_long_as(193).as_bytes()), "bad-cookie");
    house.expect_guest(&with(as_long_as(191).as_bytes()), "no-row");
}

#[test]
fn an_id_with_a_comma_comes_as_php_writes_it_into_the_cookie() {
    let house = House::open(Joomla::joomla6());
    let joomla = &house.joomla;
    let anna = joomla.id_of("anna");
    let login = joomla.log_in(anna, Client::Site);
    let name = joomla.cookie_name(Client::Site);
    let with = |value: &str| Arrival::own().cookie(format!("{name}={value}"));
    // As PHP makes them with `session.sid_bits_per_character = 6`.
    joomla.exec(
        "UPDATE #__session SET session_id = ? WHERE session_id = ?",
        ("k,9-Zq,0AbCdEfGhIjKlMn".as_bytes(), login.id.as_bytes()),
    );
    house.expect_user(&with("k%2C9-Zq%2C0AbCdEfGhIjKlMn"), anna);
    house.expect_user(&with("k,9-Zq%2c0AbCdEfGhIjKl%4Dn"), anna);
    for bad in [
        "k%252C9-Zq%2C0AbCdEfGhIjKlMn",
        "k%2C9-Zq%2C0AbCdEfGhIjKlMn%",
        "k%2C9-Zq%2C0AbCdEfGhIjKlMn%4",
        "k%2C9-Zq%2C0AbCdEfGhIjKlMn%zz",
        "k%2C9-Zq%2C0AbCdEfGhIjKlMn%00",
        "k%2C9-Zq%2C0AbCdEfGhIjKlMn+",
        "k%2C9-Zq%2C0AbCdEfGhIjKlMn ;a=b",
        "k%2C9-Zq%2C0AbCdEfGhIjKlMn%20",
        "k%2C9-Zq%2C0AbCdEfGhIjKlMn%FF",
    ] {
        house.expect_guest(&with(bad), "bad-cookie");
    }
}

#[test]
fn cookies_of_the_same_name_and_of_both_applications_are_separated_as_php_does() {
    let house = House::open(Joomla::joomla6());
    let joomla = &house.joomla;
    let [anna, admin] = ["anna", "admin"].map(|name| joomla.id_of(name));
    let (site, back) = (
        joomla.log_in(anna, Client::Site),
        joomla.log_in(admin, Client::Administrator),
    );
    let (site, back) = (joomla.cookie(&site), joomla.cookie(&back));
    let guest = joomla.cookie(&joomla.guest(Client::Site));

    // The first of the same name counts, in one line or in two.
    house.expect_user(&Arrival::own().cookie(format!("{site}; {guest}")), anna);
    house.expect_guest(&Arrival::own().cookie(format!("{guest}; {site}")), "guest-session");
    house.expect_user(&Arrival::own().cookie(&site).cookie(&guest), anna);
    house.expect_guest(&Arrival::own().cookie(&guest).cookie(&site), "guest-session");
    // Others' cookies, with anything in them, do not matter.
    house.expect_user(
        &Arrival::own().cookie([b"a=\xff\xfe\x80; ", site.as_bytes(), b"; =; b; ;"].concat()),
        anna,
    );
    house.expect_user(&Arrival::own().cookie(format!("xx{site}; {site}")), anna);
    house.expect_guest(&Arrival::own().cookie(format!("xx{site}")), "no-cookie");
    // The name is all of the name.
    house.expect_guest(&Arrival::own().cookie(site.to_uppercase()), "no-cookie");

    let two = Arrival::own().cookie(format!("{back}; {site}"));
    house.expect_user(&two, anna);
    house.expect_user(&two.clone().query("client=administrator"), admin);
    house.expect_user(&Arrival::own().cookie(&back), admin);
    house.expect_user(&Arrival::own().cookie(&site).query("client=administrator"), anna);
    // The site's page uses the site's session, also without a logged-in user there.
    house.expect_guest(&Arrival::own().cookie(format!("{back}; {guest}")), "guest-session");
    // Neither cookie opens the other application.
    let id = back.split_once('=').expect("a cookie").1;
    let swapped = format!("{}={id}", joomla.cookie_name(Client::Site));
    house.expect_guest(&Arrival::own().cookie(swapped), "other-client");
}

#[test]
fn cookies_count_only_on_pages_of_the_site() {
    let joomla = Joomla::joomla6();
    joomla.configure("live_site", "'https://www.live.example:8443/joomla'");
    let terms = Terms {
        server: "allowed_origins = [\"https://shop.example\"]",
        ..Terms::default()
    };
    let house = House::with(joomla, terms);
    let anna = house.joomla.id_of("anna");
    let page = house.page(&house.joomla.log_in(anna, Client::Site));
    for origin in ["https://shop.example", "https://www.live.example:8443"] {
        house.expect_user(&page.clone().of_origin(origin), anna);
    }
    // The name that a request gives the server is any page's own that is made to lead here.
    let rebound = page.clone().to("evil.example");
    house.expect_guest(&rebound.of_origin("https://evil.example"), "foreign-origin");
    for origin in [
        &format!("https://{HOST}"),
        &format!("http://{HOST}"),
        "null",
        "",
        "https://evil.example",
        "https://joomla.example.evil.example",
        "https://evil.example/joomla.example",
        "https://xjoomla.example",
        "https://joomla.example@evil.example",
        "https://shop.example:444",
        "http://shop.example",
        "https://www.live.example",
        "https://live.example:8443",
        "http://www.live.example:8443",
        "joomla.example",
        "file://",
    ] {
        house.expect_guest(&page.clone().of_origin(origin), "foreign-origin");
    }
    house.expect_guest(&page.clone().without_origin(), "foreign-origin");
    let two = page.clone().origin("https://evil.example");
    house.expect_guest(&two, "foreign-origin");
}

#[test]
fn without_a_live_site_pages_of_the_host_of_the_request_count() {
    let house = House::open(Joomla::joomla6());
    let anna = house.joomla.id_of("anna");
    let page = house.page(&house.joomla.log_in(anna, Client::Site));
    for origin in [
        format!("https://{HOST}"),
        format!("http://{HOST}"),
        format!("https://{HOST}:8443"),
        format!("HTTPS://{}", HOST.to_uppercase()),
    ] {
        house.expect_user(&page.clone().of_origin(&origin), anna);
    }
    let port = house.site.server.addr.port();
    let here = page.clone().to(&format!("127.0.0.1:{port}"));
    house.expect_user(&here.of_origin("http://127.0.0.1:18044"), anna);
    // A request that came to the proxy by https is of a page of https.
    let secure = page.header("X-Forwarded-Proto: https");
    house.expect_user(&secure.clone().of_origin(&format!("https://{HOST}:8443")), anna);
    house.expect_guest(&secure.of_origin(&format!("http://{HOST}")), "foreign-origin");
}

#[test]
fn with_strict_origin_others_pages_get_no_socket_at_all() {
    let joomla = Joomla::joomla6();
    let terms = Terms {
        pusher: "strict_origin = true",
        ..Terms::default()
    };
    let house = House::with(joomla, terms);
    let anna = house.joomla.id_of("anna");
    let page = house.page(&house.joomla.log_in(anna, Client::Site));
    house.expect_user(&page.clone().of_origin(&format!("http://{HOST}")), anna);
    let secure = page.clone().header("X-Forwarded-Proto: https");
    house.expect_user(&secure.clone().of_origin(&format!("https://{HOST}")), anna);
    for page in [
        secure.of_origin(&format!("http://{HOST}")),
        page.clone().of_origin(&format!("https://{HOST}")),
        page.clone().of_origin(&format!("http://{HOST}:8443")),
        page.clone().of_origin("null"),
        page.clone().of_origin("https://evil.example"),
        page.clone().without_origin(),
    ] {
        house.open_app(&page).expect_close(4009);
    }
}

// --- form tokens -----------------------------------------------------------------------------------------------------

fn show(session: &mut Session, token: &str) {
    session.say(json!({"event": "jsocketd:form_token", "data": {"form_token": token}}));
}

fn expect_accepted(session: &mut Session) {
    session.expect(json!({"event": "jsocketd:form_token_accepted", "data": "{}"}));
}

#[test]
fn a_form_token_is_verified_and_a_wrong_one_makes_a_guest() {
    for joomla in both() {
        let house = House::open(joomla);
        let joomla = &house.joomla;
        let anna = joomla.id_of("anna");
        let login = joomla.log_in(anna, Client::Site);
        let right = joomla.form_token(&login);
        let own = format!("private-user-{anna}");

        let mut session = house.come(&login);
        show(&mut session, &right);
        expect_accepted(&mut session);
        session.enter(&own).expect_nothing();

        let other = joomla.log_in(anna, Client::Site);
        for wrong in [
            md5("something"),
            joomla.form_token(&other),
            right.to_uppercase(),
            format!("{right} "),
            right[..31].to_owned(),
            String::new(),
            "x".repeat(5000),
        ] {
            let mut session = house.come(&login);
            show(&mut session, &wrong);
            session.expect_error();
            session.expect_denied(&own);
            // After one wrong token the server ignores all others.
            show(&mut session, &right);
            session.expect_error();
            session.expect_denied(&own).enter("news");
        }
        // The channels from before are withdrawn.
        let mut session = house.come_known(&login);
        session.enter("news");
        show(&mut session, &md5("something"));
        session.expect_error();
        session.expect_withdrawn(&own);
        session.expect_nothing();
        // Data that are no token at all.
        for data in [json!({}), json!(null), json!({"form_token": 5}), json!([]), json!("x")] {
            let mut session = house.come(&login);
            session.say(json!({"event": "jsocketd:form_token", "data": data}));
            session.expect_error();
        }
    }
}

#[test]
fn with_mandatory_form_tokens_every_visitor_is_a_guest_before() {
    let terms = Terms {
        joomla: "require_form_token = true",
        ..Terms::default()
    };
    let house = House::with(Joomla::joomla6(), terms);
    let joomla = &house.joomla;
    let anna = joomla.id_of("anna");
    let login = joomla.log_in(anna, Client::Site);
    let own = format!("private-user-{anna}");
    house.expect_guest(&house.page(&login), "no-form-token");

    let mut session = house.come(&login);
    session.expect_denied(&own);
    show(&mut session, &joomla.form_token(&login));
    expect_accepted(&mut session);
    session.enter(&own);
    let mut wrong = house.come(&login);
    show(&mut wrong, &md5("something"));
    wrong.expect_error();
    wrong.expect_denied(&own);
    // A signature proves more than a token.
    let mut signed = house.come_as_guest();
    let user_data = json!({"id": anna.to_string()}).to_string();
    signed.sign_in(&user_data).enter(&own);
    // It is the same page still when the session is looked at again, and not when that has ended.
    joomla.log_out(&login);
    session.expect_closed(4200);
}

// --- signatures and credentials --------------------------------------------------------------------------------------

#[test]
fn a_signature_makes_a_connection_that_user() {
    let house = House::open(Joomla::joomla6());
    let joomla = &house.joomla;
    let [anna, bob, dave] = ["anna", "bob", "dave"].map(|name| joomla.id_of(name));
    let user_data = |id: &str| json!({"id": id}).to_string();

    let mut signed = house.arrive(&Arrival::foreign());
    signed.expect_denied(&format!("private-user-{bob}"));
    signed.sign_in(&user_data(&bob.to_string()));
    signed.enter(&format!("private-user-{bob}")).enter("private-group-12");
    signed.expect_denied(&format!("private-user-{anna}"));

    // It counts more than the cookie.
    let login = joomla.log_in(anna, Client::Site);
    let mut both = house.come_known(&login);
    both.sign_in(&user_data(&bob.to_string()));
    both.expect_withdrawn(&format!("private-user-{anna}"));
    both.enter(&format!("private-user-{bob}"));

    // An id that is no user of the site has no effect on the site's identity.
    for id in [
        "0",
        "-1",
        "4000000000",
        "99999999999999999999",
        "0x123",
        "anna",
        " 291",
        "1e3",
        "00",
        &format!("+{anna}"),
        &format!("0{anna}"),
        &format!("{anna} "),
    ] {
        let mut session = house.arrive(&Arrival::foreign());
        session.sign_in(&user_data(id));
        session.expect_denied(&format!("private-user-{anna}"));
    }
    for id in [dave, 9999] {
        let mut session = house.arrive(&Arrival::foreign());
        session.sign_in(&user_data(&id.to_string()));
        session
            .expect_denied(&format!("private-user-{id}"))
            .expect_denied("private-level-2")
            .enter("news");
    }
    // Nor does the API mean a user by another spelling.
    for id in [format!("%2B{bob}"), format!("0{bob}")] {
        let path = format!("/users/{id}/terminate_connections");
        house.site.api().ask("POST", &path, &[], "");
    }
    signed.expect_nothing();
    // The site says so later too.
    joomla.block_by_sql(bob);
    signed.expect_closed(4009);
}

#[test]
fn no_log_line_has_a_secret_or_a_payload_in_it() {
    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    let server = Server::start_with(&Terms::default().toml(), |command, _| {
        command.env("RUST_LOG", "trace").arg("--joomla").arg(joomla.root());
    });
    let site = Site { server };
    let house = House { joomla, site };
    house.expect_reading();
    let joomla = &house.joomla;
    let anna = joomla.id_of("anna");
    let login = joomla.log_in(anna, Client::Site);
    let mut session = house.come_known(&login);
    let token = joomla.form_token(&login);
    show(&mut session, &token);
    expect_accepted(&mut session);
    session.sign_in(&json!({"id": anna.to_string(), "user_info": {"name": "MARKER-USER"}}).to_string());
    let shown = session.auth("private-room");
    session.subscribe("private-room");
    session.whisper("private-room", "client-x", json!("MARKER-CLIENT"));
    let answer = session.next();
    session.enter("news");
    house.site.api().publish("news", "x", "MARKER-API");
    joomla.publish("news", "x", "\"MARKER-ROW\"");
    let heard = [session.next().to_string(), session.next().to_string()].concat();
    assert!(
        heard.contains("MARKER-API") && heard.contains("MARKER-ROW"),
        "{answer} {heard}"
    );
    session.peer.text("{MARKER-BROKEN");
    session.expect_error();
    let mut console = house.console(&house.page(&login));
    console.allowed().say("MARKER-COMMAND");
    let made_up = Arrival::own().cookie(format!(
        "{}=MARKERCOOKIE; other=MARKER-OTHER",
        joomla.cookie_name(Client::Site)
    ));
    house.expect_guest(&made_up.query("MARKER-QUERY"), "no-row");
    let log = house.site.server.log();
    for said in [
        " has a session; its user is looked up".to_owned(),
        format!(" is user {anna}"),
        " is a guest: no-row".to_owned(),
        " has shown the form token of its session".to_owned(),
        " x is published to news of 4711, from row ".to_owned(),
        " gives the command that is unknown".to_owned(),
    ] {
        let is_there = log
            .lines()
            .any(|line| line.contains(" DEBUG jsocketd::") && line.contains(&said));
        assert!(is_there, "no line at debug has {said}:\n{log}");
    }
    let signature = shown.split_once(':').expect("key:signature").1;
    let secrets = [
        SECRET,
        joomla.secret,
        &joomla.password,
        &login.id,
        &login.token,
        &token,
        signature,
    ];
    for secret in secrets.into_iter().chain(["MARKER", "auth_signature", ADMIN_TOKEN]) {
        assert!(!log.contains(secret), "{secret} stands in the log:\n{log}");
    }
}

#[test]
fn a_valid_signature_opens_more_than_the_rules_and_an_invalid_one_nothing() {
    let house = House::open(Joomla::joomla6());
    let joomla = &house.joomla;
    let anna = joomla.id_of("anna");
    let mut session = house.come(&joomla.log_in(anna, Client::Site));
    for channel in ["private-group-8", "private-anything", "private-com_content.article.6"] {
        session.expect_denied_or_unsigned(channel);
        session.subscribe(channel);
    }
    let own = format!("private-user-{anna}");
    for wrong in [auth("nonsense"), format!("{KEY}:"), "x".into(), " ".into()] {
        session.say_subscribe(json!({"channel": own, "auth": wrong}));
        assert!(session.expect_refused(&own).is_auth(), "{wrong}");
    }
    for nothing in [json!(""), json!(null)] {
        session
            .say_subscribe(json!({"channel": own, "auth": nothing}))
            .expect_subscribed(&own);
        session.unsubscribe(&own);
    }
    // Encrypted channels take a shared secret that only the signer can give.
    let encrypted = format!("private-encrypted-user-{anna}");
    assert!(session.ask_plainly(&encrypted).expect_refused(&encrypted).is_auth());
    // A signed channel does not depend on the session; a channel that the rules opened does.
    joomla.block_by_sql(anna);
    session.expect_closed(4009);
}

trait Refusals {
    fn expect_denied_or_unsigned(&mut self, channel: &str);
}

impl Refusals for Session {
    fn expect_denied_or_unsigned(&mut self, channel: &str) {
        let refused = self.ask_plainly(channel).expect_refused(channel);
        assert!(refused.kind == "AccessDenied" || refused.is_auth(), "{refused:?}");
    }
}

#[test]
fn the_app_has_its_credentials_from_the_component() {
    let joomla = Joomla::joomla6();
    let terms = Terms {
        app: "\n",
        ..Terms::default()
    };
    let house = House::with(joomla, terms);
    let joomla = &house.joomla;
    let anna = joomla.id_of("anna");
    let own = format!("private-user-{anna}");
    let login = joomla.log_in(anna, Client::Site);
    let page = house.page(&login);
    let arrive = |key: &str| Session::greeted(house.open_app_at(key, &page));
    // Without a secret nothing can be signed, but the site's own rules need none.
    let mut early = arrive("joomla");
    early.enter(&own);
    let secretless = crate::common::pusher::signature("", &format!("{}:private-x", early.socket_id));
    early.say_subscribe(json!({"channel": "private-x", "auth": format!("joomla:{secretless}")}));
    assert!(early.expect_refused("private-x").is_auth());

    joomla.install_component(&json!({"app_id": ID, "app_key": KEY, "app_secret": SECRET}).to_string());
    let is_known = || {
        let mut peer = house.open_app_at(KEY, &page);
        let (opcode, _) = peer.next_frame();
        opcode == crate::common::frame::TEXT
    };
    wait_until("the component's key is known", is_known, || house.stats().to_string());
    arrive(KEY).subscribe("private-x").enter(&own);
    house.open_app_at("joomla", &page).expect_close(4001);
    house.site.api().publish(&own, "e", "1");
    early.expect_event(&own, "e", "1");
    early.enter("private-level-2").expect_nothing();

    // New ones are in force within the sweep, and invalid credentials change nothing.
    for (params, key) in [
        (
            r#"{"app_id":"a2","app_key":"k2","app_secret":"0123456789abcdef"}"#,
            "k2",
        ),
        (r#"{"app_id":"a3","app_key":"","app_secret":"0123456789abcdef"}"#, "k2"),
        ("{corrupt", "k2"),
        ("", "k2"),
        (
            r#"{"app_id":"a4","app_key":"k4","app_secret":"0123456789abcdef"}"#,
            "k4",
        ),
    ] {
        joomla.exec(
            "UPDATE #__extensions SET params = ? WHERE element = 'com_websockets'",
            (params,),
        );
        let is_known = || {
            let (opcode, _) = house.open_app_at(key, &page).next_frame();
            opcode == crate::common::frame::TEXT
        };
        wait_until("the new key is known", is_known, || key.to_owned());
    }
    early.expect_nothing();
    // The configuration is read again. It does not hold these credentials, and takes none away.
    house.site.server.signal(rustix::process::Signal::HUP);
    let is_read = || house.site.server.log().contains("was read again");
    wait_until("the configuration is read again", is_read, || house.site.server.log());
    early.expect_nothing();
    arrive("k4").enter(&own);
}

// --- who goes --------------------------------------------------------------------------------------------------------

/// The ways in which a user's visit ends, and the close code of each.
const ENDS: [(&str, u16); 6] = [
    ("log-out", 4200),
    ("expiry", 4200),
    ("block", 4009),
    ("block with SQL", 4009),
    ("deletion", 4009),
    ("reset", 4200),
];

/// Ends the visit of this login in one of these ways.
fn end(joomla: &Joomla, login: &Login, how: &str) {
    match how {
        "log-out" => drop(joomla.log_out(login)),
        "expiry" => joomla.age(login, 905),
        "block" => joomla.block(login.user),
        "block with SQL" => joomla.block_by_sql(login.user),
        "deletion" => joomla.delete_user(login.user),
        "reset" => joomla.require_reset(login.user),
        other => panic!("{other}"),
    }
}

#[test]
fn a_visitor_whose_login_has_ended_loses_the_socket_within_the_sweep() {
    let joomla = Joomla::joomla6();
    let house = House::open(joomla);
    let joomla = &house.joomla;
    let names = ["anna", "bob", "carol", "admin"];
    for (turn, (how, code)) in ENDS.into_iter().enumerate() {
        let user = match how {
            // These ways use up their user, so it is a new one.
            "block" => new_user(joomla, turn),
            "block with SQL" => new_user(joomla, turn),
            "deletion" => new_user(joomla, turn),
            "reset" => new_user(joomla, turn),
            _ => joomla.id_of(names[turn % names.len()]),
        };
        let login = joomla.log_in(user, Client::Site);
        let mut session = house.come_known(&login);
        let mut guest = house.come_as_guest();
        guest.enter("news");
        end(joomla, &login, how);
        let (reason, took) = session.expect_closed(code);
        assert!(took < Duration::from_secs(1) + SLACK, "{how} took {took:?}: {reason}");
        guest.expect_nothing();
        let who = house.who(&house.page(&login));
        assert_eq!(who["identity"], "guest", "{how}: {who}");
    }
}

fn new_user(joomla: &Joomla, n: usize) -> u32 {
    let id = 500 + u32::try_from(n).expect("few");
    joomla.sql(&format!(
        "INSERT INTO #__users (id, name, username, email, registerDate, params) \
         VALUES ({id}, 'New User', 'new{n}', 'new{n}@example.org', UTC_TIMESTAMP(), '{{}}')"
    ));
    joomla.set_groups(id, &[2]);
    id
}

#[test]
fn a_control_row_ends_it_at_once() {
    let house = House::by_rows_only(Joomla::joomla6());
    let joomla = &house.joomla;
    for (turn, (how, code)) in ENDS.into_iter().enumerate() {
        let user = new_user(joomla, turn);
        let login = joomla.log_in(user, Client::Site);
        let mut session = house.come_known(&login);
        let verb = match how {
            "block" | "deletion" => "terminate-user",
            _ => "recheck-user",
        };
        end(joomla, &login, how);
        control(joomla, verb, json!({"user_id": user}));
        let (_, took) = session.expect_closed(code);
        // Long before it is looked at a second time.
        assert!(took < SLACK, "{how} took {took:?}");
    }
}

#[test]
fn a_control_row_takes_no_more_than_300_milliseconds() {
    let house = House::by_rows_only(Joomla::joomla6());
    let joomla = &house.joomla;
    let mut times: Vec<Duration> = (0..7)
        .map(|turn| {
            let login = joomla.log_in(new_user(joomla, turn), Client::Site);
            let mut session = house.come_known(&login);
            joomla.log_out(&login);
            let began = Instant::now();
            control(joomla, "recheck-user", json!({"user_id": login.user}));
            session.expect_closed(4200);
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    // The machine may be busy once or twice.
    assert!(times[times.len() / 2] < Duration::from_millis(300), "{times:?}");
}

#[test]
fn a_control_row_that_comes_too_early_is_checked_again_later() {
    let house = House::by_rows_only(Joomla::joomla6());
    let joomla = &house.joomla;
    let login = joomla.log_in(joomla.id_of("anna"), Client::Site);
    let mut session = house.come_known(&login);
    control(joomla, "recheck-user", json!({"user_id": login.user}));
    // Joomla destroys some sessions only after its events.
    session.enter("news").expect_nothing();
    wait_until("the row was handled", || house.statements() > 0, String::new);
    joomla.destroy(&login);
    let (_, took) = session.expect_closed(4200);
    assert!(took < Duration::from_secs(2) + SLACK, "{took:?}");
}

#[test]
fn a_control_row_closes_only_connections_whose_session_is_gone() {
    let house = House::by_rows_only(Joomla::joomla6());
    let joomla = &house.joomla;
    let [anna, bob] = ["anna", "bob"].map(|name| joomla.id_of(name));
    let site = [joomla.log_in(anna, Client::Site), joomla.log_in(anna, Client::Site)];
    let back = joomla.log_in(anna, Client::Administrator);
    let other = joomla.log_in(bob, Client::Site);
    // Two tabs of the first browser.
    let mut gone = [&site[0], &site[0], &site[1]].map(|login| house.come_known(login));
    let mut kept = [&back, &other].map(|login| house.come_known(login));

    joomla.log_out(&site[0]);
    control(joomla, "recheck-user", json!({"user_id": anna}));
    for session in &mut gone {
        session.expect_closed(4200);
    }
    for session in &mut kept {
        session.expect_nothing();
    }
    // The session that has set a new password stays.
    let third = joomla.log_in(anna, Client::Site);
    let mut third_page = house.come_known(&third);
    joomla.change_password(&third);
    control(joomla, "recheck-user", json!({"user_id": anna}));
    kept[0].expect_closed(4200);
    third_page.expect_nothing();
    // A kick does not ask.
    control(joomla, "terminate-user", json!({"user_id": anna}));
    third_page.expect_closed(4009);
    kept[1].expect_nothing();
}

#[test]
fn logging_out_without_a_row_closes_all_sockets_of_that_application() {
    for joomla in both() {
        let house = House::open(joomla);
        let joomla = &house.joomla;
        let [anna, bob] = ["anna", "bob"].map(|name| joomla.id_of(name));
        let site = [joomla.log_in(anna, Client::Site), joomla.log_in(anna, Client::Site)];
        let mut gone = [&site[0], &site[1]].map(|login| house.come_known(login));
        let mut kept = [
            house.come_known(&joomla.log_in(anna, Client::Administrator)),
            house.come_known(&joomla.log_in(bob, Client::Site)),
        ];
        joomla.log_out(&site[0]);
        for session in &mut gone {
            session.expect_closed(4200);
        }
        for session in &mut kept {
            session.expect_nothing();
        }
    }
}

#[test]
fn a_signed_in_user_is_terminated_by_a_row_and_by_the_api() {
    let house = House::by_rows_only(Joomla::joomla6());
    let joomla = &house.joomla;
    let anna = joomla.id_of("anna");
    let user_data = json!({"id": anna.to_string()}).to_string();
    let mut signed = house.arrive(&Arrival::foreign());
    signed.sign_in(&user_data).enter(&format!("private-user-{anna}"));
    control(joomla, "terminate-user", json!({"user_id": anna}));
    signed.expect_closed(4009);
    // A verb or data without a meaning changes nothing.
    let login = joomla.log_in(anna, Client::Site);
    let mut session = house.come_known(&login);
    for (verb, data) in [
        ("recheck-user", json!({"user_id": 99999})),
        ("recheck-user", json!({"user_id": -1})),
        ("recheck-user", json!("x")),
        ("terminate-user", json!({})),
        ("terminate-user", json!({"user_id": anna.to_string() + "x"})),
        ("terminate-everybody", json!({"user_id": anna})),
        ("recheck-item", json!({"type": "com_nosuch.item", "id": 1})),
        ("recheck-item", json!({"type": 1, "id": "x"})),
        ("recheck-access", json!([])),
    ] {
        control(joomla, verb, data);
    }
    joomla.publish("#control", "terminate-user", "{not JSON");
    session.enter("news");
    joomla.publish("news", "last", "2");
    session.expect_event("news", "last", "2").expect_nothing();
}

// --- many at once ----------------------------------------------------------------------------------------------------

#[test]
fn five_hundred_at_once_are_looked_up_a_hundred_at_a_time() {
    let terms = Terms {
        database: "outbox = false",
        ..Terms::without_sweep()
    };
    let house = House::with(Joomla::joomla6(), terms);
    house.expect_ready();
    let joomla = &house.joomla;
    let users = ["admin", "anna", "bob", "carol"].map(|name| joomla.id_of(name));
    let rows: Vec<String> = (0..500)
        .map(|n| format!("('crowd{n}', 0, 0, {}, {}, 'x')", now(), users[n % 4]))
        .collect();
    joomla.sql(&format!(
        "INSERT INTO #__session (session_id, client_id, guest, time, userid, username) VALUES {}",
        rows.join(", ")
    ));
    let name = joomla.cookie_name(Client::Site);
    let before = house.statements();
    let mut crowd: Vec<Session> = Vec::new();
    // While the server stands still, all of them come.
    house.site.server.signal(rustix::process::Signal::STOP);
    let mut peers: Vec<crate::common::Peer> = (0..500)
        .map(|n| {
            let mut peer = crate::common::Peer::connect(&house.site.server);
            let page = Arrival::own().cookie(format!("{name}=crowd{n}"));
            peer.send(page.handshake(&format!("/app/{KEY}?protocol=7")));
            peer
        })
        .collect();
    house.site.server.signal(rustix::process::Signal::CONT);
    for mut peer in peers.drain(..) {
        peer.expect_switch();
        crowd.push(Session::greeted(peer));
    }
    for (n, session) in crowd.iter_mut().enumerate() {
        session.ask_plainly(&format!("private-user-{}", users[n % 4]));
    }
    for (n, session) in crowd.iter_mut().enumerate() {
        session.expect_subscribed(&format!("private-user-{}", users[n % 4]));
        session.expect_denied(&format!("private-user-{}", users[(n + 1) % 4]));
    }
    let asked = house.statements() - before;
    assert!((5..=10).contains(&asked), "{asked} statements for 500 sessions");
}

// --- failures --------------------------------------------------------------------------------------------------------

#[test]
fn corrupt_session_texts_make_guests() {
    let joomla = Joomla::joomla6();
    joomla.configure("session_metadata", "false");
    let house = House::open(joomla);
    let joomla = &house.joomla;
    let anna = joomla.id_of("anna");
    let good = joomla.session_text(&joomla.log_in(anna, Client::Site)).to_string();
    let mut noise = Noise(17);
    let mut texts: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"joomla".to_vec(),
        b"joomla|".to_vec(),
        b"joomla|s:99999999999999999999:\"\";".to_vec(),
        b"joomla|s:4:\"T05F\";".to_vec(),
        b"a:1:{s:6:\"joomla\";i:5;}".to_vec(),
        // Nested without end.
        [b"joomla|".to_vec(), b"a:1:{i:0;".repeat(50_000)].concat(),
        vec![b'x'; 600_000],
    ];
    for cut in [1, 20, good.len() / 2, good.len() - 3] {
        texts.push(good.as_bytes()[..cut].to_vec());
    }
    for _ in 0..30 {
        let mut text = good.clone().into_bytes();
        let at = crate::common::pusher::below(&mut noise, text.len());
        text[at] = b'!' + (noise.next() % 90) as u8;
        texts.push(text);
    }
    for text in texts {
        let login = joomla.log_in(anna, Client::Site);
        joomla.exec(
            "UPDATE #__session SET data = ? WHERE session_id = ?",
            (text.as_slice(), login.id.as_bytes()),
        );
        let who = house.who(&house.page(&login));
        // The changed byte may have no effect on the user; it must not name another.
        let whole = text.len() == good.len() && who["user_id"] == anna;
        assert!(
            who["identity"] == "guest" || whole,
            "{who}\n{}",
            crate::common::peer::show(&text)
        );
    }
    house.expect_user(&house.page(&joomla.log_in(anna, Client::Site)), anna);
}

#[test]
fn tables_that_are_not_joomlas_identify_no_user() {
    let changes = [
        (
            "ALTER TABLE #__session DROP COLUMN userid",
            "ALTER TABLE #__session ADD userid int DEFAULT 0",
        ),
        (
            "ALTER TABLE #__users DROP COLUMN block",
            "ALTER TABLE #__users ADD block tinyint NOT NULL DEFAULT 0",
        ),
        (
            "RENAME TABLE #__session TO #__sessions",
            "RENAME TABLE #__sessions TO #__session",
        ),
        (
            "ALTER TABLE #__users MODIFY block varchar(20) NOT NULL DEFAULT 'maybe'; UPDATE #__users SET block = 'maybe'",
            "",
        ),
        (
            "ALTER TABLE #__session MODIFY time varchar(30); UPDATE #__session SET time = 'tomorrow'",
            "",
        ),
        (
            "ALTER TABLE #__session MODIFY guest varchar(30); UPDATE #__session SET guest = 'no'",
            "",
        ),
        (
            "ALTER TABLE #__users MODIFY requireReset text; UPDATE #__users SET requireReset = 'perhaps'",
            "",
        ),
    ];
    at_once(changes, |(change, back)| {
        let joomla = Joomla::joomla6();
        let anna = joomla.id_of("anna");
        let login = joomla.log_in(anna, Client::Site);
        joomla.sql(change);
        let terms = Terms {
            joomla: "identity_timeout = 1",
            ..Terms::default()
        };
        let house = House::with(joomla, terms);
        let mut session = house.come(&login);
        session
            .expect_denied(&format!("private-user-{anna}"))
            .expect_denied("private-level-2")
            .enter("news");
        let who = house.who(&house.page(&login));
        assert_eq!(who["identity"], "guest", "{change}: {who}");
        assert!(
            house
                .site
                .server
                .log()
                .contains(if back.is_empty() { "" } else { "the question for " }),
            "{change}"
        );
    });
}
