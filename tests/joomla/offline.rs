//! A site whose configuration.php changes while the server runs: it goes offline and comes back, its sessions and
//! cookies become others, its database moves; and a file that cannot be read changes nothing.

use std::fs;
use std::time::{Duration, Instant};

use crate::common::PATIENCE;
use crate::common::joomla::Site as Joomla;
use crate::common::pusher::Session;
use crate::common::visits::{Arrival, House, Terms, Visitor, at_once};
use crate::common::wait_until;
use jsocketd::joomla::site::Client;
use serde_json::json;

/// How soon the server sees that the file has changed, and some time more.
const SEEN: Duration = Duration::from_secs(4);

/// A connection of the app whose first frame may also be that of a close.
fn is_let_in(house: &House, arrival: &Arrival) -> bool {
    let mut peer = house.open_app(arrival);
    let (greeting, _) = peer.next_frame();
    assert_eq!(greeting, crate::common::frame::TEXT);
    let began = Instant::now();
    // A client with a cookie is greeted before its user is known.
    peer.text(r#"{"event":"pusher:subscribe","data":{"channel":"private-level-1"}}"#);
    let (opcode, payload) = peer.next_frame();
    assert!(began.elapsed() < PATIENCE);
    match opcode {
        crate::common::frame::CLOSE => {
            assert_eq!(payload[..2], 4100_u16.to_be_bytes());
            peer.expect_eof();
            false
        }
        _ => true,
    }
}

fn pages(house: &House) -> [Arrival; 4] {
    let joomla = &house.joomla;
    let page = |name: &str| house.page(&joomla.log_in(joomla.id_of(name), Client::Site));
    [Arrival::own(), page("anna"), page("carol"), page("admin")]
}

#[test]
fn an_offline_site_admits_users_with_the_offline_permission() {
    let joomla = Joomla::joomla6();
    joomla.configure("offline", "true");
    joomla.set_groups(joomla.id_of("carol"), &[6]);
    let house = House::open(joomla);
    house.expect_ready();
    let [guest, anna, carol, admin] = pages(&house);
    assert!(!is_let_in(&house, &guest));
    assert!(!is_let_in(&house, &anna));
    assert!(is_let_in(&house, &carol), "managers have core.login.offline");
    assert!(is_let_in(&house, &admin));
    assert!(!is_let_in(&house, &admin.clone().of_origin("https://evil.example")));
    // The console is no part of the site.
    let who = house.who(&guest);
    assert_eq!(who["identity"], "guest", "{who}");
    // A user who loses the permission loses the socket.
    let mut open = house.arrive(&carol);
    open.enter("private-level-1");
    house
        .joomla
        .sql("UPDATE #__assets SET rules = JSON_REMOVE(rules, '$.\"core.login.offline\"') WHERE name = 'root.1'");
    open.expect_closed(4100);
    assert!(is_let_in(&house, &admin), "a super user may everything");
}

#[test]
fn an_offline_site_admits_visitors_who_still_have_to_send_a_form_token() {
    let joomla = Joomla::joomla6();
    joomla.configure("offline", "true");
    let terms = Terms {
        joomla: "require_form_token = true",
        ..Terms::default()
    };
    let house = House::with(joomla, terms);
    let joomla = &house.joomla;
    let [admin, anna] = ["admin", "anna"].map(|name| joomla.log_in(joomla.id_of(name), Client::Site));
    let mut session = house.come(&admin);
    let own = format!("private-user-{}", admin.user);
    session.expect_denied(&own);
    session.say(json!({"event": "jsocketd:form_token", "data": {"form_token": joomla.form_token(&admin)}}));
    session.expect(json!({"event": "jsocketd:form_token_accepted", "data": "{}"}));
    session.enter(&own);
    house.come(&anna).expect_closed(4100);
}

#[test]
fn going_offline_and_coming_back_is_seen_in_the_file() {
    at_once([("true", "false"), ("'1'", "'0'")], |(on, off)| {
        let house = House::with(Joomla::joomla6(), Terms::without_sweep());
        let pages = pages(&house);
        let mut open: Vec<Session> = pages.iter().map(|page| house.arrive(page)).collect();
        for session in &mut open {
            session.enter("private-level-1");
        }
        house.joomla.configure("offline", on);
        for session in &mut open[..3] {
            let (_, took) = session.expect_closed(4100);
            assert!(took < SEEN, "{took:?}");
        }
        open[3].expect_nothing();
        assert!(!is_let_in(&house, &pages[0]) && is_let_in(&house, &pages[3]));
        house.joomla.configure("offline", off);
        for page in &pages {
            let is_in = || is_let_in(&house, page);
            wait_until("the site is online again", is_in, || house.site.server.log());
        }
        open[3].expect_nothing();
    });
}

#[test]
fn sessions_are_judged_by_the_current_file() {
    let house = House::open(Joomla::joomla6());
    let joomla = &house.joomla;
    let anna = joomla.id_of("anna");
    let login = joomla.log_in(anna, Client::Site);
    joomla.age(&login, 600);
    let mut open = house.come_known(&login);
    joomla.configure("lifetime", "5");
    open.expect_closed(4200);
    house.expect_guest(&house.page(&login), "expired");
    joomla.configure("lifetime", "15");
    let page = house.page(&login);
    let is_back = || house.who(&page)["user_id"] == anna;
    wait_until("the session lives again", is_back, || house.site.server.log());

    // Another secret makes other cookie names.
    let mut text = fs::read_to_string(joomla.configuration()).expect("a text");
    text = text.replace(joomla.secret, "FedcbaFedcbaFedc");
    fs::write(joomla.configuration(), text).expect("it is written");
    let is_gone = || house.who(&page)["reason"] == "no-cookie";
    wait_until("the cookie is another's", is_gone, || house.site.server.log());
}

#[test]
fn a_file_that_cannot_be_read_changes_nothing() {
    let spoil: [fn(&str) -> String; 5] = [
        |_| String::new(),
        |good| good[..200].to_owned(),
        |good| good.replace("public $secret", "public $secrets"),
        |good| good.replace("'mysqli'", "'pgsql'"),
        |_| "<?php class JConfig { public $db = getenv('DB'); public $host = ".to_owned(),
    ];
    at_once(spoil, |spoil| {
        let house = House::with(Joomla::joomla6(), Terms::without_sweep());
        let joomla = &house.joomla;
        let anna = joomla.id_of("anna");
        let login = joomla.log_in(anna, Client::Site);
        let page = house.page(&login);
        let good = fs::read_to_string(joomla.configuration()).expect("a text");
        let mut open = house.come_known(&login);
        fs::write(joomla.configuration(), spoil(&good)).expect("it is written");
        let log = || house.site.server.log();
        wait_until("the server has seen it", || log().contains("stays in force"), log);
        open.expect_nothing();
        house.expect_user(&page, anna);
        // A file that is not there is about to be replaced; when it is as it must be again, it is obeyed.
        fs::remove_file(joomla.configuration()).expect("it is there");
        house.expect_user(&page, anna);
        fs::write(joomla.configuration(), &good).expect("it is written");
        joomla.configure("offline", "true");
        open.expect_closed(4100);
        assert!(
            !log().contains(joomla.secret) && !log().contains(&joomla.password),
            "{}",
            log()
        );
    });
}

#[test]
fn a_site_that_moves_is_followed() {
    let terms = Terms {
        joomla: "identity_timeout = 1",
        ..Terms::default()
    };
    let house = House::with(Joomla::joomla6(), terms);
    let joomla = &house.joomla;
    let anna = joomla.id_of("anna");
    let login = joomla.log_in(anna, Client::Site);
    let mut open = house.come_known(&login);
    // Another password first, which the database does not have yet.
    joomla.configure("password", "'another'");
    let is_told = || house.site.server.log().contains("Access denied");
    wait_until("the database refuses the new password", is_told, || {
        house.site.server.log()
    });
    // Connected visitors stay, new ones are guests for the time being.
    open.expect_nothing();
    let mut early = house.come(&login);
    early.expect_denied(&format!("private-user-{anna}"));
    joomla.sql(&format!("ALTER USER {} IDENTIFIED BY 'another'", joomla.user));
    let (reason, _) = early.expect_closed(4200);
    assert!(reason.contains("known"), "{reason}");
    house.expect_user(&house.page(&login), anna);
    open.expect_nothing();

    // Another database, where no user is logged in.
    let other = Joomla::joomla6();
    other.sql(&format!("GRANT ALL ON {}.* TO {}", other.database, joomla.user));
    joomla.configure("db", &format!("'{}'", other.database));
    open.expect_closed(4200);
    house.expect_guest(&house.page(&login), "no-row");
    let there = other.log_in(anna, Client::Site);
    house.expect_user(&house.page(&there), anna);
}

#[test]
fn jsocketd_toml_overrides_configuration_php() {
    let joomla = Joomla::joomla6();
    joomla.configure("offline", "true");
    joomla.configure("lifetime", "1");
    let terms = Terms {
        joomla: "offline = false\nlifetime = 60",
        ..Terms::default()
    };
    let house = House::with(joomla, terms);
    let anna = house.joomla.id_of("anna");
    let login = house.joomla.log_in(anna, Client::Site);
    house.joomla.age(&login, 3000);
    house.expect_user(&house.page(&login), anna);
}

#[test]
fn a_site_needs_no_folder_if_all_values_are_configured() {
    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    let terms = Terms {
        joomla: &format!(
            "secret = \"{}\"\nsession_handler = \"database\"\nlifetime = 15",
            joomla.secret
        ),
        database: &format!(
            "host = \"{}\"\nuser = \"{}\"\npassword = {:?}\nname = \"{}\"\nprefix = \"{}\"",
            joomla.server.addr, joomla.user, joomla.password, joomla.database, joomla.prefix
        ),
        ..Terms::default()
    };
    let server = crate::common::Server::start(&terms.toml());
    let house = House {
        joomla,
        site: crate::common::pusher::Site { server },
    };
    let anna = house.joomla.id_of("anna");
    house.expect_user(&house.page(&house.joomla.log_in(anna, Client::Site)), anna);
    house.expect_guest(&Arrival::own(), "no-cookie");
}
