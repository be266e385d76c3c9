//! `GET /metrics` beside ten thousand connections and ten thousand channels: what it costs the loop, and how long its
//! answer is.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

use crate::common::peer::handshake;
use crate::common::pusher::{ID, KEY, Settings, Site};
use crate::common::{Peer, alone};

const MANY: usize = 10_000;

/// Connections that are made at once: fewer than a backlog holds.
const AT_ONCE: usize = 100;

/// Scrapes, of which the fastest counts: the machine may have had other work during the others.
const SCRAPES: usize = 30;

/// The most that a scrape may take of the loop's time.
const MOST: Duration = Duration::from_millis(5);

/// The most bytes of an answer, whatever is connected.
const LONGEST: usize = 64 * 1024;

const TOKEN: &str = "an-admin-token-of-this-test";

fn get(site: &Site, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    Peer::connect(&site.server).send(request).expect_status(200).body
}

/// Connections, each with a channel of its own.
fn crowd(site: &Site) -> Vec<Peer> {
    let mut crowd = Vec::with_capacity(MANY);
    while crowd.len() < MANY {
        let first = crowd.len();
        for _ in 0..AT_ONCE {
            let mut peer = Peer::connect(&site.server);
            peer.send(handshake(&format!("/app/{KEY}?protocol=7")));
            crowd.push(peer);
        }
        for (n, peer) in crowd.iter_mut().enumerate().skip(first) {
            peer.expect_switch();
            peer.next_frame();
            peer.text(&format!(
                r#"{{"event":"pusher:subscribe","data":{{"channel":"a-channel-{n}"}}}}"#
            ));
        }
        for peer in crowd.iter_mut().skip(first) {
            peer.next_frame();
        }
    }
    crowd
}

#[test]
fn a_scrape_beside_ten_thousand_channels_is_short_and_soon_done() {
    let _alone = alone();
    let own = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: own.maximum,
        ..own
    };
    setrlimit(Resource::Nofile, raised).expect("the hard limit is allowed");
    let server = &format!("admin_token = \"{TOKEN}\"");
    let site = Site::with(Settings {
        server,
        ..Settings::default()
    });
    let before = get(&site, "/metrics");
    let crowd = crowd(&site);
    let after = get(&site, "/metrics");
    for what in ["jsocketd_app_channels", "jsocketd_app_connections"] {
        let line = format!("{what}{{app=\"{ID}\"}} {}", crowd.len());
        assert!(after.contains(&line), "no {line} in:\n{after}");
    }
    let lines = |text: &str| text.lines().count();
    assert_eq!(lines(&before), lines(&after));
    assert!(after.len() < LONGEST, "{} bytes", after.len());
    let mut best = Duration::MAX;
    for _ in 0..SCRAPES {
        get(&site, "/metrics");
        let report: Value = serde_json::from_str(&get(&site, "/debug/loop")).expect("JSON");
        let recent = report["recent"].as_array().expect("ticks");
        let scrapes = recent.iter().filter(|tick| tick["culprit"]["kind"] == "report");
        let times = scrapes.map(|tick| Duration::from_micros(tick["culprit"]["us"].as_u64().expect("µs")));
        best = times.min().unwrap_or(best).min(best);
    }
    println!("a scrape takes {best:?} and has {} bytes", after.len());
    assert!(best < MOST, "a scrape takes {best:?}");
}
