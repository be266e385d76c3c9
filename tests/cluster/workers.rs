//! The workers of one server are processes of its cluster: a replacement of all of them, one by one, loses no event for
//! a client with recovery.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::cluster::{process_with, wait_for_standing};
use crate::common::engine::Engine;
use crate::common::follower::Client;
use crate::common::pusher::Settings;
use crate::common::wait_until;

/// How long it publishes, even if the replacement has no end.
const LONGEST: Duration = Duration::from_secs(40);

/// Between two publishes.
const PAUSE: Duration = Duration::from_millis(5);

#[test]
fn a_client_with_recovery_misses_nothing_while_all_workers_are_replaced() {
    let engine = Engine::start();
    let settings = Settings {
        server: "workers = 2",
        limits: "drain_seconds = 2",
        ..Settings::default()
    };
    let site = process_with(&engine.url(), "", settings);
    wait_for_standing(&site, "together", 2);
    let clients = [(); 8].map(|()| Client::enter(&site, &["news"]));
    let (is_over, began) = (AtomicBool::new(false), Instant::now());
    let (clients, published) = thread::scope(|scope| {
        let readers = clients.map(|mut client| {
            let site = &site;
            scope.spawn(move || {
                client.persist(site, "news", "the end");
                client
            })
        });
        let publisher = scope.spawn(|| {
            let mut published = Vec::new();
            let mut publish = |data: String| {
                site.api().publish("news", "e", &data);
                published.push(data);
            };
            (0..)
                .take_while(|_| !is_over.load(Ordering::Relaxed) && began.elapsed() < LONGEST)
                .for_each(|n| {
                    publish(n.to_string());
                    thread::sleep(PAUSE);
                });
            // The one before may have gone to another worker, which appends it to the log at its own time.
            thread::sleep(Duration::from_millis(500));
            publish("the end".to_owned());
            published
        });
        site.server.signal(Signal::USR2);
        let log = || site.server.log();
        wait_until(
            "all workers are replaced",
            || log().contains("all workers were replaced"),
            log,
        );
        is_over.store(true, Ordering::Relaxed);
        let published = publisher.join().expect("every publish is answered");
        (
            readers.map(|reader| reader.join().expect("it reads to the end")),
            published,
        )
    });
    // Requests to two workers have no order among each other; what came of them has the same one for all clients.
    for client in &clients {
        client.expect_each_once("news", &published);
        client.expect("news", &clients[0].follower.data("news"));
    }
    wait_for_standing(&site, "together", 2);
}
