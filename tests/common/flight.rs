//! What the flight recorder says about the ticks of a server, whose `admin_token` is that of [`super::outbox`].

use std::time::{Duration, Instant};

use serde_json::Value;

use super::outbox::ADMIN_TOKEN;
use super::{Peer, Server};

/// The records of the loop.
pub fn records(server: &Server) -> Value {
    let request = format!("GET /debug/loop HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\r\n");
    let reply = Peer::connect(server).send(request).expect_status(200);
    serde_json::from_str(&reply.body).expect("JSON")
}

/// The text of the longest tick with a culprit of this kind whose name contains this.
pub fn culprit(server: &Server, kind: &str, name: &str) -> Option<String> {
    let records = records(server);
    let ticks = records["recent"].as_array().expect("a list").iter();
    let of_kind = ticks.filter(|tick| tick["culprit"]["kind"] == kind);
    let named = of_kind.filter(|tick| tick["culprit"]["name"].as_str().is_some_and(|text| text.contains(name)));
    let longest = named.max_by_key(|tick| tick["us"].as_u64())?;
    Some(longest["culprit"]["text"].as_str()?.to_owned())
}

/// Brings it about until a tick has this culprit. On a busy machine the process may stand still just then, and the
/// machine is blamed; so it is brought about again.
pub fn expect_culprit(server: &Server, kind: &str, name: &str, mut bring_about: impl FnMut()) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        bring_about();
        for _ in 0..10 {
            if let Some(text) = culprit(server, kind, name) {
                return text;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let blame = records(server)["blame"].to_string();
        assert!(
            Instant::now() < deadline,
            "no tick is blamed on {kind} {name:?}: {blame}\n{}",
            server.log()
        );
    }
}
