//! What com_websockets says to the server and asks of it: the signed status, and what its options change while connections are
//! open. The options are written as Joomla writes them, and a control row tells of it as the plugin does.

use crate::common::joomla::Site as Joomla;
use crate::common::mariadb::Mariadb;
use crate::common::pusher::{ID, KEY, SECRET, Site};
use crate::common::visits::House;
use crate::common::{Server, wait_until};
use serde_json::{Value, json};

/// The fixed fields of a status and what they are now.
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
fn a_signed_request_is_told_the_status() {
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
    let row: u64 = house.joomla.value("SELECT MAX(id) FROM #__websockets_outbox");
    let is_there = || {
        let position = status(&house)["outbox"]["position"].as_str().map(str::to_owned);
        position.is_some_and(|position| position.ends_with(&format!(":{row}")))
    };
    wait_until("the position is the row's", is_there, || status(&house).to_string());
    let text = told.to_string();
    for secret in [house.joomla.secret, &house.joomla.password, SECRET, &house.joomla.user] {
        assert!(!text.contains(secret), "{text}");
    }
    guest.expect_nothing();

    // Whoever has not the secret is told nothing.
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
fn the_status_tells_of_a_site_that_is_offline_and_of_a_database_that_is_away() {
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
