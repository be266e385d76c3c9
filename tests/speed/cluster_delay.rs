//! What a cluster costs an event: from the request of the publisher to the client, on one process without an engine,
//! and from one process of a cluster to a client of another. Each event of one kind is followed by one of the other, so
//! both have the same machine.

use std::time::{Duration, Instant};

use crate::common::alone;
use crate::common::cluster::processes;
use crate::common::engine::Engine;
use crate::common::pusher::{Api, Session, Site};

/// How much later the slowest hundredth may come from another process.
const MORE: Duration = Duration::from_millis(2);

/// Events of each kind in one try.
const EVENTS: usize = 1000;

/// A busy machine may spoil a try.
const TRIES: usize = 5;

/// The time that an event takes to this client.
fn delay(api: &mut Api, session: &mut Session) -> Duration {
    let began = Instant::now();
    api.publish("news", "e", "1");
    session.expect_event("news", "e", "1");
    began.elapsed()
}

fn subscribed(site: &Site) -> Session {
    let mut session = site.connect();
    session.subscribe("news");
    session
}

/// The median and the 99th of a hundred.
fn quantiles(delays: &mut [Duration]) -> [Duration; 2] {
    delays.sort_unstable();
    [delays[delays.len() / 2], delays[delays.len() * 99 / 100]]
}

#[test]
fn an_event_of_another_process_comes_at_most_two_milliseconds_later() {
    let _alone = alone();
    let engine = Engine::start();
    let single = Site::start();
    let [a, b] = processes(&engine.socket_url());
    let (mut local, mut remote) = (subscribed(&single), subscribed(&b));
    let (mut to_single, mut to_a) = (single.api(), a.api());
    let mut tries = Vec::new();
    for _ in 0..TRIES {
        let (mut locals, mut remotes): (Vec<_>, Vec<_>) = (0..EVENTS)
            .map(|_| (delay(&mut to_single, &mut local), delay(&mut to_a, &mut remote)))
            .unzip();
        let (own, others) = (quantiles(&mut locals), quantiles(&mut remotes));
        println!("median and p99: {own:?} on one process, {others:?} from another one");
        if others[1] <= own[1] + MORE {
            return;
        }
        tries.push((own, others));
    }
    panic!("median and p99 of one process and of another one: {tries:?}");
}
