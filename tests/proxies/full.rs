//! An open page costs one of Apache's workers. What that means for the site is shown with small numbers: without a cap
//! the site stops, and with the cap of `conf/apache.conf` it answers while the next page is refused and tries again.

use std::time::Duration;

use crate::common::pusher::Session;
use crate::products::{Conf, Place};
use crate::stage::{EVENT, PAGE, PREFORK, Stage};
use crate::visitor::Visitor;

/// How many requests Apache handles at once here, where nothing else is said.
const WORKERS: usize = 4;

/// How long a web server that has a free worker may take.
const SILENCE: Duration = Duration::from_secs(2);

/// Whether the site's page comes.
fn answers(visitor: &Visitor) -> bool {
    let mut peer = visitor.connect();
    peer.send("GET / HTTP/1.1\r\nHost: www.example.org\r\nConnection: close\r\n\r\n");
    peer.hears_within(SILENCE)
}

/// That many open pages.
fn pages(visitor: &Visitor, count: usize) -> Vec<Session> {
    (0..count).map(|_| visitor.session()).collect()
}

#[test]
fn open_pages_without_a_cap_stop_the_site() {
    let lines = include_str!("everyday/apache-upgrade.conf");
    let of_event = format!("StartServers 1\nServerLimit 1\nThreadsPerChild {WORKERS}\n");
    for (product, processes) in [(PREFORK, format!("StartServers {WORKERS}\n")), (EVENT, of_event)] {
        let stage = Stage::new("", "");
        let (_proxy, at) = stage.behind(product, &format!("{processes}MaxRequestWorkers {WORKERS}\n{lines}"));
        let visitor = Visitor::new(at, "www.example.org", "/ws");
        let mut open = pages(&visitor, WORKERS - 1);
        assert!(answers(&visitor));
        open.push(visitor.session());
        assert!(!answers(&visitor), "{WORKERS} open pages hold {WORKERS} workers");
        // The site is back as soon as a page is closed.
        drop(open.pop());
        assert!(answers(&visitor));
    }
}

#[test]
fn the_cap_of_conf_leaves_workers_to_the_site() {
    let text = include_str!("../../conf/apache.conf");
    let line = text
        .lines()
        .find(|line| line.trim().starts_with("ProxyPass "))
        .expect("the line");
    let word = line.split_whitespace().find_map(|word| word.strip_prefix("max="));
    let most: usize = word.and_then(|most| most.parse().ok()).expect("the cap");
    // One process with Debian's ThreadsPerChild.
    let threads = 25;
    assert!(most < threads);
    let processes = format!("StartServers 1\nServerLimit 1\nThreadsPerChild {threads}\nMaxRequestWorkers {threads}\n");
    let stage = Stage::new("", "");
    let running = Conf::Apache("event").start_with(&stage, Place::Beside, |lines| processes.clone() + &lines);
    let visitor = &running.secure;
    let mut open = pages(visitor, most);
    let reply = visitor.handshake().head();
    assert_eq!(reply.status, 503, "{}", reply.head);
    let reply = visitor.get("/");
    assert_eq!((reply.status, reply.body.as_str()), (200, PAGE), "{}", reply.head);
    // A page that is closed makes room for the next.
    drop(open.pop());
    crate::common::wait_until(
        "the next page is let in",
        || {
            let mut peer = visitor.handshake();
            let is_in = peer.head().status == 101;
            if is_in {
                open.push(Session::greeted(peer));
            }
            is_in
        },
        || running.server.log(),
    );
}

#[test]
fn max_connections_caps_behind_prefork() {
    let most = WORKERS - 1;
    let stage = Stage::new(&format!("max_connections = {most}"), "");
    let processes = format!("StartServers {WORKERS}\nMaxRequestWorkers {WORKERS}\n");
    let running = Conf::Apache("prefork").start_with(&stage, Place::Beside, |lines| processes.clone() + &lines);
    let visitor = &running.secure;
    let _open = pages(visitor, most);
    // A code after which the libraries try again.
    let mut next = visitor.handshake();
    next.expect_switch();
    next.expect_close(4100);
    let reply = visitor.get("/");
    assert_eq!((reply.status, reply.body.as_str()), (200, PAGE), "{}", reply.head);
}
