//! The requests of com_websockets to the server: the signed status, and the effect of its options on open connections.
//! The tests write the options as Joomla writes them, and a control row as the plugin does.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::joomla::{Site as Joomla, now};
use crate::common::mariadb::Mariadb;
use crate::common::outbox::seq;
use crate::common::pusher::{ID, KEY, SECRET, Session, Site, signature};
use crate::common::visits::{ADMIN_TOKEN, Arrival, Console, HOST, House, Terms, Visitor, control};
use crate::common::{Peer, Server, wait_until};
use jsocketd::joomla::site::Client;
use serde_json::{Value, json};

/// The fixed fields of a status and their values now.
fn status(house: &House) -> Value {
    house.site.api().get("/status", &[])
}

/// The names of all fields.
fn names(value: &Value) -> Vec<String> {
    let fields = value.as_object().into_iter().flatten();
    fields
        .flat_map(|(name, value)| [vec![name.clone()], names(value)].concat())
        .collect()
}

#[test]
fn a_signed_request_gets_the_status() {
    let house = House::by_rows_only(Joomla::joomla6());
    let mut guest = house.come_as_guest();
    let told = status(&house);
    assert_eq!(told["product"], "jsocketd");
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        told["uptime_s"].is_u64() && told["connections"].as_u64() >= Some(1),
        "{told}"
    );
    assert_eq!(told["draining"], false);
    assert!(
        told["loop"]["delay_ms_max"].as_f64() >= told["loop"]["delay_ms_p99"].as_f64(),
        "{told}"
    );
    assert_eq!(
        told["site"],
        json!({"joomla": house.joomla.version(), "offline": false, "enabled": true})
    );
    // The tests are on the proxy's address and send no header of a proxy, no Origin and no cookie.
    let host = told["request"]["host"].clone();
    assert_eq!(
        told["request"],
        json!({"peer": "127.0.0.1", "proxied": true, "client": null, "host": host, "scheme": "http", "origin": "none",
               "session": "none"})
    );
    assert!(host.is_string(), "{told}");
    let seconds = told["time"].as_i64().expect("milliseconds") / 1000;
    assert!((seconds - now()).abs() < 60, "{told}");
    let database = &told["database"];
    assert!(
        database["available"] == true && database["statements"].as_u64() > Some(5),
        "{told}"
    );
    assert!(database["overruns"].is_u64(), "{told}");
    let outbox = told["outbox"].clone();
    assert_eq!(
        (&outbox["available"], &outbox["waiting"]),
        (&json!(true), &json!(false))
    );
    assert!(outbox["lag_ms"].as_u64() < Some(2000), "{told}");
    let document = include_str!("../../docs/protocol.md").split("\n### Status\n").nth(1);
    let block = document.and_then(|text| text.split("```json\n").nth(1)?.split("```").next());
    let documented: Value = serde_json::from_str(block.expect("an example")).expect("JSON");
    assert_eq!(names(&told), names(&documented), "docs/protocol.md");
    // The position is the one that clients have.
    house.joomla.publish("news", "e", "1");
    let is_there = || {
        let newest = "SELECT MAX(seq) FROM #__websockets_outbox WHERE data = '1' AND channel = 'news'";
        let newest: Option<u64> = house.joomla.value(newest);
        newest.is_some_and(|newest| seq(&status(&house)["outbox"]["position"]) == newest)
    };
    wait_until("the position is the row's", is_there, || status(&house).to_string());
    let text = told.to_string();
    for secret in [house.joomla.secret, &house.joomla.password, SECRET, &house.joomla.user] {
        assert!(!text.contains(secret), "{text}");
    }
    guest.expect_nothing();

    // A client without the secret gets no status.
    let mut stranger = house.site.api();
    stranger.secret = "another".into();
    assert_eq!(stranger.send("GET", "/status", &[], "").status, 401);
    assert_eq!(house.site.api().send("POST", "/status", &[], "").status, 405);
    // Two on one connection come in order.
    let mut api = house.site.api();
    let both = api.request("GET", "/status", &[], "") + &api.request("GET", "/connections", &[], "");
    let (first, second) = (api.peer.send(both).reply(), api.peer.reply());
    assert!(first.body.contains("\"product\"") && second.body.starts_with("{\"connections\""));
}

#[test]
fn the_status_shows_an_offline_site_and_an_absent_database() {
    let house = House::by_rows_only(Joomla::joomla6_on(Mariadb::start(&[]).into()));
    assert_eq!(status(&house)["outbox"]["available"], true);
    house.joomla.configure("offline", "true");
    let is_offline = || status(&house)["site"]["offline"] == true;
    wait_until("the site is offline", is_offline, || status(&house).to_string());
    house.joomla.server.pause();
    let is_away = || status(&house)["database"]["available"] == false;
    wait_until("the database is away", is_away, || status(&house).to_string());
    let told = status(&house);
    let outbox = &told["outbox"];
    assert!(outbox["available"] == false && outbox["lag_ms"].is_null(), "{told}");
    house.joomla.server.resume();
    let is_back = || {
        let lag = status(&house)["outbox"]["lag_ms"].as_u64();
        lag.is_some_and(|lag| lag < 1000)
    };
    wait_until("it is back", is_back, || status(&house).to_string());
}

#[test]
fn an_app_without_a_site_has_a_status_without_one() {
    let toml = format!("[[apps]]\nid = \"{ID}\"\nkey = \"{KEY}\"\nsecret = \"{SECRET}\"\n");
    let site = Site {
        server: Server::start(&toml),
    };
    let _client = site.connect();
    let told = site.api().get("/status", &[]);
    assert_eq!(told["connections"], 1);
    for none in ["site", "database", "outbox"] {
        assert!(told[none].is_null() && told.get(none).is_some(), "{told}");
    }
}

/// Saves the options, and writes the plugin's control row.
fn save(joomla: &Joomla, params: &Value) {
    joomla.exec(
        "UPDATE #__extensions SET params = ? WHERE element = 'com_websockets'",
        (params.to_string(),),
    );
    control(joomla, "recheck-access", json!({}));
}

/// A site whose app has its credentials from the component, and a server that reads nothing again without a control
/// row.
fn house(params: &Value) -> House {
    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    joomla.install_component(&params.to_string());
    let terms = Terms {
        app: "\n",
        ..Terms::without_sweep()
    };
    let house = House::with(joomla, terms);
    let is_known = || house.open_app(&Arrival::own()).next_frame().0 == crate::common::frame::TEXT;
    wait_until("the component's key is known", is_known, || house.stats().to_string());
    house.expect_reading();
    house
}

/// Credentials with another secret than before, which is valid up to a Unix second.
fn rotated(until: Value) -> Value {
    json!({
        "app_id": ID, "app_key": KEY, "app_secret": NEW,
        "app_secret_old": SECRET, "app_secret_old_until": until,
    })
}

const NEW: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// Whether a request to the API is accepted that is signed with this secret.
fn accepts(house: &House, secret: &str) -> bool {
    let mut api = house.site.api();
    api.secret = secret.into();
    api.send("GET", "/channels", &[], "").status == 200
}

/// Whether a channel and a user are accepted that are signed with this secret.
fn accepts_clients(house: &House, secret: &str) -> [bool; 2] {
    let mut session: Session = house.come_as_guest();
    let socket = session.socket_id.clone();
    let auth = format!("{KEY}:{}", signature(secret, &format!("{socket}:private-x")));
    let answer = session
        .say_subscribe(json!({"channel": "private-x", "auth": auth}))
        .next();
    let channel = answer["event"] == "pusher_internal:subscription_succeeded";
    if !channel {
        session.expect_error();
    }
    let user_data = json!({"id": "somebody"}).to_string();
    let auth = format!("{KEY}:{}", signature(secret, &format!("{socket}::user::{user_data}")));
    session.say(json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user_data}}));
    [channel, session.next()["event"] == "pusher:signin_success"]
}

#[test]
fn the_page_has_the_key_from_the_component_and_no_secret() {
    let of_key = |key: &str| json!({"app_id": ID, "app_key": key, "app_secret": SECRET});
    let house = house(&of_key(KEY));
    let page = || {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/html\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\r\n"
        );
        Peer::connect(&house.site.server).send(request).reply().body
    };
    let has = |key: &str| {
        page().contains(&format!(
            "{{&quot;path&quot;:&quot;&quot;,&quot;key&quot;:&quot;{key}&quot;}}"
        ))
    };
    assert!(has(KEY));
    save(&house.joomla, &of_key("another-key"));
    wait_until(
        "the page has the new key",
        || has("another-key"),
        || house.site.server.log(),
    );
    assert!(!page().contains(SECRET));
}

#[test]
fn the_old_secret_is_accepted_for_a_while_after_a_rotation() {
    let before = json!({"app_id": ID, "app_key": KEY, "app_secret": SECRET});
    let house = house(&before);
    assert!(accepts(&house, SECRET) && !accepts(&house, NEW));
    save(&house.joomla, &rotated(json!(now() + 600)));
    let began = Instant::now();
    wait_until(
        "the new secret is known",
        || accepts(&house, NEW),
        || house.site.server.log(),
    );
    // PHP signs with the new one at once.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for secret in [SECRET, NEW] {
        assert!(accepts(&house, secret));
        assert_eq!(accepts_clients(&house, secret), [true; 2]);
    }
    assert!(!accepts(&house, "another"));
    assert_eq!(accepts_clients(&house, "another"), [false; 2]);

    // Its time ends without a control row. The options hold texts, too.
    save(&house.joomla, &rotated(json!((now() + 3).to_string())));
    wait_until("the old secret is over", || !accepts(&house, SECRET), String::new);
    assert!(accepts(&house, NEW));
    assert_eq!(accepts_clients(&house, SECRET), [false; 2]);
    assert_eq!(accepts_clients(&house, NEW), [true; 2]);
    for (until, valid) in [(json!(now() + 600), true), (json!("soon"), false)] {
        save(&house.joomla, &rotated(until.clone()));
        let is_right = || accepts(&house, SECRET) == valid;
        wait_until("the new time is known", is_right, || until.to_string());
    }
    let log = house.site.server.log();
    assert!(!log.contains(NEW) && !log.contains(SECRET), "{log}");
}

#[test]
fn a_secret_in_the_options_that_can_be_guessed_is_refused_or_warned_of() {
    let with = |secret: &str| json!({"app_id": ID, "app_key": KEY, "app_secret": secret});
    let (refused, short) = ("has fewer than 12 characters, so it is refused", "could be guessed");
    let house = house(&with("0123456789ab"));
    let told = |words: &str| house.site.server.log().matches(words).count();
    assert!(accepts(&house, "0123456789ab"));
    // Another change of the options logs nothing new.
    let mut more = with("0123456789ab");
    more["guests"] = json!(0);
    save(&house.joomla, &more);
    wait_until(
        "the options are read again",
        || !house.come_as_guest().may_enter("news"),
        || house.site.server.log(),
    );
    assert_eq!((told(short), told(refused)), (1, 0));
    save(&house.joomla, &with("0123456789a"));
    wait_until("it is refused", || told(refused) == 1, || house.site.server.log());
    assert!(accepts(&house, "0123456789ab") && !accepts(&house, "0123456789a"));

    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    joomla.install_component(&with("0123456789a").to_string());
    let terms = Terms {
        app: "\n",
        ..Terms::default()
    };
    let house = House::with(joomla, terms);
    let log = || house.site.server.log();
    wait_until("it is refused at the start", || log().contains(refused), log);
    assert!(!accepts(&house, "0123456789a"));
}

#[test]
fn a_site_s_app_is_said_to_have_no_secret_only_if_the_component_has_none() {
    let words = "the app joomla has no secret";
    let server = |joomla: Joomla, app: &str| {
        joomla.create_outbox();
        let terms = Terms {
            app,
            ..Terms::default()
        };
        let house = House::with(joomla, terms);
        // The extensions are read before the rest of the rights.
        let is_known = || house.stats()["site"]["joomla"].is_string();
        wait_until("the extensions are read", is_known, || house.site.server.log());
        house
    };
    let told = |house: &House| house.site.server.log().matches(words).count();
    let check = |house: &House| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
        command
            .env_clear()
            .args(["check", "--config"])
            .arg(house.site.server.config_path());
        let said = command
            .arg("--joomla")
            .arg(house.joomla.root())
            .output()
            .expect("jsocketd runs");
        let errors = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(!errors.contains("fewer than"), "{errors}");
        (
            errors.matches(words).count(),
            String::from_utf8_lossy(&said.stdout).into_owned(),
        )
    };
    let with = Joomla::joomla6();
    let params = json!({"app_id": ID, "app_key": KEY, "app_secret": SECRET});
    with.install_component(&params.to_string());
    let house = server(with, "\n");
    assert_eq!(told(&house), 0, "{}", house.site.server.log());
    let (warnings, summary) = check(&house);
    assert_eq!(warnings, 0);
    assert!(
        summary.contains(&format!("apps            {ID} (from com_websockets)\n")),
        "{summary}"
    );
    let openness = house.site.server.log();
    assert!(
        openness.contains("to users of the site who have a permission for it"),
        "{openness}"
    );

    let house = server(Joomla::joomla6(), "\n");
    wait_until("it is said", || told(&house) == 1, || house.site.server.log());
    let (warnings, summary) = check(&house);
    assert_eq!(warnings, 1);
    assert!(
        summary.contains("apps            joomla (without a secret)\n"),
        "{summary}"
    );

    // A secret in the configuration needs none in the component, and a weak one there does no harm.
    let with = Joomla::joomla6();
    with.install_component(&json!({"app_id": ID, "app_key": KEY, "app_secret": "short"}).to_string());
    let house = server(with, "");
    let log = house.site.server.log();
    assert!(!log.contains(words) && !log.contains("fewer than"), "{log}");
    let (warnings, summary) = check(&house);
    assert_eq!(warnings, 0);
    assert!(summary.contains(&format!("apps            {ID}\n")), "{summary}");
}

#[test]
fn commands_have_the_credentials_of_the_component() {
    let house = house(&options(&json!({"app_id": "of-the-site"})));
    let config = house.site.server.config_path();
    let command = |name: &str, more: &[&str]| {
        let url = format!("http://{}", house.site.server.addr);
        let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
        command.env_clear().env("JSOCKETD_JOOMLA_ROOT", house.joomla.root());
        command.args([name, "--url", &url, "--config"]).arg(&config).args(more);
        command
    };
    // Only a signature opens this channel to somebody without a session.
    let mut listen = command("listen", &["private-level-3"]);
    let mut listen = listen
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("jsocketd runs");
    let mut lines = BufReader::new(listen.stdout.take().expect("a pipe")).lines();
    let publish = |more: &[&str]| {
        let output = command("publish", &[more, &["private-level-3", "e", "1"]].concat()).output();
        let output = output.expect("jsocketd runs");
        (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let is_heard = || publish(&[]).0 == "published to 1 connection\n";
    wait_until("it listens", is_heard, || house.site.server.log());
    let line = lines.next().expect("a line").expect("text");
    assert_eq!(line, r#"{"channel":"private-level-3","event":"e","data":1}"#);
    // Both ids name it.
    for id in ["of-the-site", "joomla"] {
        assert_eq!(publish(&["--app", id]).0, "published to 1 connection\n", "{id}");
    }
    let (_, why) = publish(&["--app", "another"]);
    assert!(
        why.contains("the configuration has no app \"another\", but of-the-site"),
        "{why}"
    );
    listen.kill().expect("it can be ended");
    listen.wait().expect("it ended");

    house.joomla.exec("RENAME TABLE #__extensions TO #__elsewhere", ());
    let (_, why) = publish(&[]);
    assert!(
        why.contains("no secret for the app joomla, and the component's cannot be read"),
        "{why}"
    );
}

/// How soon a control row has done its work, and a good deal more for a busy machine.
const TOLD: Duration = Duration::from_secs(2);

fn options(more: &Value) -> Value {
    let mut all = json!({"app_id": ID, "app_key": KEY, "app_secret": SECRET});
    let more = more.as_object().cloned().unwrap_or_default();
    all.as_object_mut().expect("an object").extend(more);
    all
}

#[test]
fn a_site_can_switch_the_server_off_and_on_again() {
    let house = house(&options(&json!({"enabled": 1})));
    let joomla = &house.joomla;
    let admin = joomla.log_in(joomla.id_of("admin"), Client::Administrator);
    for off in [json!(0), json!("0"), json!(false)] {
        let (mut guest, mut user) = (house.come_as_guest(), house.come(&admin));
        guest.enter("news");
        user.enter("private-level-1");
        let mut console = house.console(&house.page(&admin));
        console.whoami();
        save(joomla, &options(&json!({"enabled": off})));
        for session in [&mut guest, &mut user] {
            let (reason, took) = session.expect_closed(4003);
            assert!(
                took < TOLD && reason == "the site has switched jsocketd off",
                "{took:?} {reason}"
            );
        }
        // New clients are closed. The console and PHP get the reason.
        for page in [Arrival::own(), house.page(&admin)] {
            house.open_app(&page).expect_close(4003);
        }
        assert_eq!(console.whoami()["identity"], "user");
        assert_eq!(status(&house)["site"]["enabled"], false);
        house.site.api().publish("news", "e", "1");

        // PHP publishes nothing before it is on, so no control row reports the change.
        joomla.exec(
            "UPDATE #__extensions SET params = ? WHERE element = 'com_websockets'",
            (options(&json!({"enabled": "1"})).to_string(),),
        );
        let is_on = || house.open_app(&Arrival::own()).next_frame().0 == crate::common::frame::TEXT;
        wait_until("it is switched on", is_on, || house.site.server.log());
        assert_eq!(status(&house)["site"]["enabled"], true);
        let mut again = house.come_as_guest();
        again.enter("news");
        joomla.publish("news", "e", "2");
        again.expect_event("news", "e", "2");
    }
}

#[test]
fn a_server_that_starts_while_it_is_switched_off_has_no_visitors() {
    let joomla = Joomla::joomla6();
    joomla.install_component(&options(&json!({"enabled": "0"})).to_string());
    let house = House::open(joomla);
    wait_until(
        "the options are read",
        || status(&house)["site"]["enabled"] == false,
        || status(&house).to_string(),
    );
    house.open_app(&Arrival::own()).expect_close(4003);
}

#[test]
fn the_options_decide_which_channels_guests_may_use() {
    let house = house(&options(&json!({})));
    let joomla = &house.joomla;
    let mut guest = house.come_as_guest();
    let mut anna = house.come(&joomla.log_in(joomla.id_of("anna"), Client::Site));
    guest.enter("news").enter("private-level-1");
    anna.enter("news");
    for (closed, open) in [
        (json!(0), json!(1)),
        (json!("0"), json!({})),
        (json!(false), json!("1")),
    ] {
        save(joomla, &options(&json!({"guests": closed})));
        let took = guest.expect_withdrawn("news");
        assert!(took < TOLD, "{took:?}");
        guest.expect_denied("other");
        anna.enter("cache-other")
            .expect_cache_miss("cache-other")
            .unsubscribe("cache-other");
        joomla.publish("news", "e", "1");
        anna.expect_event("news", "e", "1");
        joomla.publish("private-level-1", "e", "2");
        guest.expect_event("private-level-1", "e", "2");
        save(joomla, &options(&json!({"guests": open})));
        let is_open = || guest.may_enter("news");
        wait_until("guests may subscribe again", is_open, || house.site.server.log());
        guest.enter("news");
    }
    anna.expect_nothing();
}

#[test]
fn the_options_say_whether_members_have_names() {
    let house = house(&options(&json!({"presence_names": "0"})));
    let joomla = &house.joomla;
    let [anna, bob] = ["anna", "bob"].map(|name| joomla.id_of(name));
    let page = |user: u32| house.page(&joomla.log_in(user, Client::Site));
    let mut first = house.arrive(&page(anna));
    let unnamed = first.enter_presence("presence-level-2")["ids"][0].clone();
    assert_ne!(unnamed, json!(anna.to_string()));
    save(joomla, &options(&json!({"presence_names": 1})));
    let named = page(bob);
    let comes_named = || {
        let mut session = house.arrive(&named);
        session.enter_presence("presence-group-2")["ids"] == json!([bob.to_string()])
    };
    wait_until("members have names", comes_named, || house.site.server.log());
    // A member that is there keeps the name that the others have seen.
    first.expect_nothing();
    let both = house.arrive(&named).enter_presence("presence-level-2");
    let ids = both["ids"].as_array().expect("a list");
    assert!(
        ids.contains(&unnamed) && ids.contains(&json!(bob.to_string())),
        "{both}"
    );
}

#[test]
fn jsocketd_toml_overrides_the_options() {
    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    joomla.install_component(&options(&json!({"guests": 0, "presence_names": 1})).to_string());
    let terms = Terms {
        joomla: "guests = true\npresence_names = false",
        ..Terms::default()
    };
    let house = House::with(joomla, terms);
    let joomla = &house.joomla;
    house.expect_ready();
    house.come_as_guest().enter("news");
    let anna = joomla.id_of("anna");
    let mut session = house.come(&joomla.log_in(anna, Client::Site));
    let ids = session.enter_presence("presence-level-2")["ids"].clone();
    assert_ne!(ids, json!([anna.to_string()]));
}

// --- the console -----------------------------------------------------------------------------------------------------

/// Permissions of the component, as Joomla keeps them.
fn permit(joomla: &Joomla, rules: &Value) {
    joomla.sql("DELETE FROM #__assets WHERE name = 'com_websockets'");
    joomla.exec(
        "INSERT INTO #__assets (parent_id, lft, rgt, level, name, title, rules) VALUES (1, 203, 204, 1, 'com_websockets', 'x', ?)",
        (rules.to_string(),),
    );
    control(joomla, "recheck-access", json!({}));
}

/// A page of this user in the administration, which shows its form token on a console.
fn proved(house: &House, name: &str) -> Arrival {
    let joomla = &house.joomla;
    let login = joomla.log_in(joomla.id_of(name), Client::Administrator);
    house.page(&login).proved(joomla.form_token(&login))
}

/// A browser sends a cookie with every request, also with those of other sites. So publishing and seeing the state need
/// more than a cookie.
#[test]
fn a_cookie_alone_opens_no_command_of_those_that_show_the_state_or_publish() {
    for joomla in [Joomla::joomla6(), Joomla::joomla3()] {
        let house = House::open(joomla);
        let joomla = &house.joomla;
        let login = joomla.log_in(joomla.id_of("admin"), Client::Administrator);
        let other = joomla.log_in(joomla.id_of("admin"), Client::Site);
        let mut console = house.console(&house.page(&login));
        let guarded = ["stats", "lag", "publish news e 1"];
        let refused = |console: &mut Console| {
            for command in guarded {
                let answer = console.say(command);
                assert!(
                    answer.starts_with("Not allowed: say \"token VALUE\" first"),
                    "{command}: {answer}"
                );
            }
            let who: Value = serde_json::from_str(&console.say("whoami")).expect("JSON");
            assert_eq!(
                (&who["identity"], &who["may_see_state"]),
                (&json!("user"), &json!(false))
            );
        };
        refused(&mut console);
        // Neither another session's token nor an empty one opens anything, and the visitor keeps its identity.
        for wrong in [&joomla.form_token(&other), ""] {
            assert_eq!(console.say(&format!("token {wrong}")), "Not allowed: wrong token.\n");
            refused(&mut console);
        }
        let right = format!("token {}", joomla.form_token(&login));
        assert_eq!(
            console.say(&right),
            "Allowed: what your account may do answers from here on."
        );
        for command in guarded {
            assert!(!console.say(command).starts_with("Not allowed"), "{command}");
        }
        let who: Value = serde_json::from_str(&console.say("whoami")).expect("JSON");
        assert_eq!(who["may_see_state"], true);
        // The token opens the account's own commands, and no others.
        let anna = joomla.log_in(joomla.id_of("anna"), Client::Administrator);
        let mut anna = house.console(&house.page(&anna).proved(joomla.form_token(&anna)));
        for command in guarded {
            assert!(anna.say(command).contains("it takes websockets."), "{command}");
        }
        // A guest's form token proves nothing.
        let guest = joomla.guest(Client::Site);
        let mut guest_console = house.console(&house.page(&guest));
        for _ in 0..2 {
            let answer = guest_console.say(&format!("token {}", joomla.form_token(&guest)));
            assert_eq!(answer, "Not allowed: wrong token.\n");
        }
    }
}

/// The state is only read, and a page of another site cannot read the answer: here the cookie of a user with the right
/// is enough, as for the page.
#[test]
fn the_state_is_for_sessions_whose_user_may_monitor() {
    let house = House::by_rows_only(Joomla::joomla6());
    let joomla = &house.joomla;
    let ask_for = |path: &str, name: &str, origin: &str| {
        let login = joomla.log_in(joomla.id_of(name), Client::Administrator);
        let cookie = joomla.cookie(&login);
        let request =
            format!("GET {path}?client=administrator HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\n{origin}\r\n");
        Peer::connect(&house.site.server).send(request).reply()
    };
    let ask = |name: &str, origin: &str| ask_for("/debug/status", name, origin);
    let evil = "Origin: https://evil.example\r\n";
    let state: Value = serde_json::from_str(&ask("admin", "").body).expect("JSON");
    assert_eq!(state["site"]["enabled"], true, "{state}");
    assert_eq!(state["database"]["available"], true, "{state}");
    assert_eq!(state["outbox"]["available"], true, "{state}");
    assert!(
        state["outbox"]["position"]
            .as_str()
            .is_some_and(|position| position.starts_with('o'))
    );
    let metrics = ask_for("/metrics", "admin", "").body;
    for line in [
        "jsocketd_database_up 1",
        "jsocketd_outbox_up 1",
        "jsocketd_outbox_epochs_total 1",
        "jsocketd_statement_errors_total{statement=\"sessions\"} 0",
        "jsocketd_statement_seconds_bucket{statement=\"sessions\",le=\"+Inf\"} ",
    ] {
        assert!(
            metrics.contains(&format!("\n{line}")),
            "there is no {line} in:\n{metrics}"
        );
    }
    assert_eq!(ask_for("/metrics", "anna", "").status, 401);
    assert_eq!(ask("admin", evil).status, 401);
    assert_eq!(ask("anna", "").status, 401);
    permit(joomla, &json!({"websockets.monitor": {"2": 1}}));
    wait_until(
        "anna may see the state",
        || ask("anna", "").status == 200,
        || ask("anna", "").body,
    );
    assert_eq!(ask("anna", evil).status, 401);
    let unknown = format!("GET /debug/status HTTP/1.1\r\nHost: {HOST}\r\nCookie: a=b\r\n\r\n");
    Peer::connect(&house.site.server).send(unknown).expect_status(401);
}

/// Where texts of sessions are not in the database no form token can be checked.
#[test]
fn a_form_token_that_cannot_be_checked_opens_nothing() {
    let joomla = Joomla::joomla6();
    joomla.configure("session_handler", "'redis'");
    let house = House::open(joomla);
    let joomla = &house.joomla;
    let login = joomla.log_in(joomla.id_of("admin"), Client::Administrator);
    joomla.exec("UPDATE #__session SET data = ''", ());
    let mut console = house.console(&house.page(&login));
    for _ in 0..2 {
        let answer = console.say(&format!("token {}", joomla.form_token(&login)));
        assert!(
            answer.starts_with("Not allowed: the form token of this session cannot be read"),
            "{answer}"
        );
        assert!(console.say("stats").starts_with("Not allowed"));
    }
    console.peer.text(&format!("token {}", joomla.form_token(&login)));
    console.peer.next_frame();
    console.peer.expect_close(1008);
}

/// Repeats a command on new consoles until the answer begins as expected.
fn wait_to_say(house: &House, page: &Arrival, command: &str, expected: &str) {
    let say = || house.console(page).say(command);
    wait_until(command, || say().starts_with(expected), say);
}

#[test]
fn users_who_may_publish_can_publish_on_the_console() {
    let house = House::by_rows_only(Joomla::joomla6());
    let joomla = &house.joomla;
    let page = |name: &str| proved(&house, name);
    let (admin, carol, anna) = (page("admin"), page("carol"), page("anna"));
    let mut guest = house.come_as_guest();
    guest.enter("news");
    let command = r#"publish  news a.name  {"a": "b  c"} "#;
    for stranger in [&carol, &anna, &Arrival::own()] {
        let answer = house.console(stranger).say(command);
        let words = answer.starts_with("Not allowed") && answer.contains("websockets.publish");
        assert!(words, "{answer}");
    }
    // A page of another site has no user's rights.
    let login = joomla.log_in(joomla.id_of("admin"), Client::Administrator);
    let mut evil = house.console(&house.page(&login).of_origin("https://evil.example"));
    let token = format!("token {}", joomla.form_token(&login));
    for command in [command, &token, command, "stats"] {
        let answer = evil.say(command);
        assert!(answer.starts_with("Not allowed"), "{answer}");
    }
    guest.expect_nothing();

    let mut console = house.console(&admin);
    assert_eq!(console.say(command), "Published to 1 connection.");
    guest.expect_event("news", "a.name", r#"{"a": "b  c"}"#);
    let mut token = house.console(&Arrival::own());
    assert_eq!(token.allowed().say("publish news e 1"), "Published to 1 connection.");
    guest.expect_event("news", "e", "1");
    let long = format!("publish news e {}", "x".repeat(10_241));
    for (bad, why) in [
        ("publish", "publish CHANNEL EVENT DATA"),
        ("publish news", "publish CHANNEL EVENT DATA"),
        ("publish news e", "publish CHANNEL EVENT DATA"),
        ("publish #control recheck-access {}", "channel"),
        ("publish ne,/ws e 1", "channel"),
        ("publish news pusher:e 1", "reserved"),
        (&long, "10240"),
    ] {
        let answer = console.say(bad);
        assert!(
            answer.starts_with("Not published: ") && answer.contains(why),
            "{bad}: {answer}"
        );
        assert!(answer.ends_with(".\n"), "{answer}");
    }
    guest.expect_nothing();
    assert!(
        console
            .say("help")
            .contains("\npublish  \"publish CHANNEL EVENT DATA\"")
    );

    // Editors may, but not see the state.
    permit(joomla, &json!({"websockets.publish": {"4": 1}}));
    wait_to_say(&house, &carol, "publish news e 2", "Published to 1 connection.");
    guest.expect_event("news", "e", "2");
    let mut carol = house.console(&carol);
    assert!(carol.say("stats").starts_with("Not allowed"));
    assert_eq!(carol.say("test"), "This is a test!");
    assert!(house.console(&anna).say("publish news e 3").starts_with("Not allowed"));
    // Managers see the state unless the site says who does, and publish only if they were allowed that.
    permit(joomla, &json!({"core.manage": {"2": 1}}));
    wait_to_say(&house, &anna, "stats", "{");
    assert!(house.console(&anna).say("publish news e 3").starts_with("Not allowed"));
    permit(
        joomla,
        &json!({"core.manage": {"2": 1}, "websockets.monitor": {"2": 0}}),
    );
    wait_to_say(&house, &anna, "stats", "Not allowed");
}

#[test]
fn a_site_can_restrict_the_console_to_some_users() {
    let house = House::by_rows_only(Joomla::joomla6());
    let joomla = &house.joomla;
    let page = |name: &str| proved(&house, name);
    let (admin, carol, anna) = (page("admin"), page("carol"), page("anna"));
    // Without a rule every client may use the console. An empty list is no rule.
    permit(
        joomla,
        &json!({"websockets.console": [], "websockets.monitor": {"2": 1}}),
    );
    wait_to_say(&house, &anna, "stats", "{");
    assert_eq!(house.console(&Arrival::own()).say("test"), "This is a test!");

    permit(
        joomla,
        &json!({"websockets.console": {"4": 1}, "websockets.monitor": {"2": 1}}),
    );
    wait_to_say(&house, &Arrival::own(), "test", "Not allowed");
    for (page, may) in [(&admin, true), (&carol, true), (&anna, false), (&Arrival::own(), false)] {
        let mut console = house.console(page);
        for command in ["test", "version", "time", "ping", "nonsense", "", "stats", "lag"] {
            let answer = console.say(command);
            assert_eq!(!answer.starts_with("Not allowed"), may, "{command}: {answer}");
        }
        assert!(console.say("whoami").starts_with('{') && console.say("help").contains("whoami"));
    }
    let mut token = house.console(&Arrival::own());
    assert_eq!(token.allowed().say("test"), "This is a test!");
}

#[test]
fn without_a_site_the_console_publishes_into_the_only_app() {
    let server = Server::start_defaults();
    let site = Site { server };
    let mut console = Peer::upgrade(&site.server, "/");
    console
        .text("publish news e 1")
        .expect_text("Published to 0 connections.");
    let token = "0123456789abcdef0123456789abcdef";
    let app = |id: &str| format!("[[apps]]\nid = \"{id}\"\nkey = \"{id}\"\nsecret = \"{SECRET}\"\n");
    let toml = format!("[server]\nadmin_token = \"{token}\"\n{}{}", app("one"), app("two"));
    let server = Server::start(&toml);
    let mut console = Peer::upgrade(&server, "/");
    let (_, answer) = console.text("publish news e 1").next_frame();
    assert!(answer.starts_with(b"Not allowed"));
    console.text(&format!("token {token}")).next_frame();
    let (_, answer) = console.text("publish news e 1").next_frame();
    assert!(answer.starts_with(b"Not published: there are several apps"));
}
