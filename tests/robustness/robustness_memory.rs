//! The memory after a storm. The C library's allocator keeps most of the peak, so the peak is not checked. But the kept
//! memory must be used again: a crowd that connected, subscribed to long names, received events and left costs no more
//! memory when it comes another time, whether all of it left or one stayed.

use rustix::process::{Resource, Rlimit};
use serde_json::json;

use crate::common::alone;
use crate::common::pusher::{Session, Settings, Site};

/// Connections of a storm, all there at once, and how many connect before the first of them is waited for.
const CROWD: usize = 3000;
const WAVE: usize = 250;

/// Bytes by which the peak of a later storm may be above that of the first: pages that the allocator could not use
/// again. A storm takes more than three times as much.
const GROWN: usize = 4 << 20;

fn name(kind: &str, storm: usize, n: usize) -> String {
    format!("{kind}-{storm}-{n}-{}", "x".repeat(130))
}

/// A crowd comes, and is published to. Each has a channel of its own, one that caches, and shares one with 49 others
/// who see each other.
fn storm(site: &Site, storm: usize) -> Vec<Session> {
    let mut crowd: Vec<Session> = Vec::new();
    while crowd.len() < CROWD {
        let first = crowd.len();
        crowd.extend((0..WAVE).map(|_| site.connect()));
        for (n, session) in (first..).zip(&mut crowd[first..]) {
            let member = json!({"user_id": n.to_string(), "user_info": {"name": "y".repeat(200)}}).to_string();
            session
                .ask(&name("own", storm, n))
                .ask(&name("cache", storm, n))
                .ask_member(&name("presence", storm, n / 50), &member);
        }
    }
    let mut api = site.api();
    let data = "z".repeat(1000);
    for n in 0..CROWD {
        let mut channels = vec![name("own", storm, n), name("cache", storm, n)];
        if n % 50 == 0 {
            channels.push(name("presence", storm, n / 50));
        }
        api.trigger(json!({"name": "news", "channels": channels, "data": data}));
    }
    crowd
}

#[test]
fn a_storm_uses_the_memory_of_the_one_before() {
    let _alone = alone();
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    rustix::process::setrlimit(Resource::Nofile, raised).expect("the soft limit may be the hard one");
    let site = Site::with(Settings {
        limits: "requests_per_second = 0",
        // Each storm fills both, so that no peak depends on how fast the machine is.
        app: "history_bytes = 2097152\ncache_bytes = 2097152",
        ..Settings::default()
    });
    site.connect().subscribe("warm");
    let (fds, before) = (site.server.fds(), site.server.rss());
    let mut first = None;
    for (n, stays) in [None, None, Some(CROWD / 2), Some(CROWD - 1), None]
        .into_iter()
        .enumerate()
    {
        let mut crowd = storm(&site, n);
        let took = site.server.rss().saturating_sub(before);
        assert!(took > 3 * GROWN, "the storm was a breeze: {} KiB", took / 1024);
        println!("with storm {n} there are {} KiB", took / 1024);
        let most = *first.get_or_insert(took) + GROWN;
        assert!(
            took < most,
            "storm {n} took {} KiB, which is above {}",
            took / 1024,
            most / 1024
        );
        let one = stays.map(|one| crowd.swap_remove(one));
        drop(crowd);
        site.server.expect_fds(fds + 1);
        drop(one);
    }
}
