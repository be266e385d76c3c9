//! Processes of one cluster, and what they say about it.

use serde_json::Value;

use super::outbox::ADMIN_TOKEN;
use super::pusher::{Session, Settings, Site};
use super::{Peer, wait_until};

/// `[engine] lease` of these processes: the least.
pub const LEASE: &str = "lease = 3";

/// Starts one process of the cluster with the engine at this address, with these lines in `[engine]`.
pub fn process_with(url: &str, engine: &str, settings: Settings<'_>) -> Site {
    let server = format!(
        "admin_token = \"{ADMIN_TOKEN}\"\n{}\n[engine]\nurl = \"{url}\"\n{LEASE}\n{engine}",
        settings.server
    );
    Site::with(Settings {
        server: &server,
        ..settings
    })
}

/// Starts one whose clients may send events, with as many members in a channel as there are.
pub fn process(url: &str) -> Site {
    let app = "client_events = true\nmax_presence_members = 1000\nsubscription_count = false";
    let settings = Settings {
        app,
        ..Settings::default()
    };
    process_with(url, "", settings)
}

/// Starts that many, and waits until each sees all.
pub fn processes<const N: usize>(url: &str) -> [Site; N] {
    let sites = [(); N].map(|()| process(url));
    together(&sites);
    sites
}

/// Waits until each of these processes sees all of them, and no other.
pub fn together(sites: &[Site]) {
    for site in sites {
        wait_for_standing(site, "together", sites.len());
    }
}

/// Waits until a process stands so, and sees that many processes, itself included.
pub fn wait_for_standing(site: &Site, standing: &str, count: usize) {
    let what = format!("{} is {standing} with {count} processes", site.server.addr);
    wait_until(
        &what,
        || {
            let seen = cluster(site);
            seen["standing"] == standing && seen["processes"] == count && seen["complete"] == true
        },
        || format!("{}\n{}", cluster(site), site.server.log()),
    );
}

/// Waits until a process is alone; returns why. The log says it too.
pub fn wait_until_alone(site: &Site) -> String {
    let mut why = String::new();
    wait_until(
        "the process is alone",
        || {
            let seen = cluster(site);
            why = seen["why"].as_str().unwrap_or_default().to_owned();
            seen["standing"] == "isolated"
        },
        || format!("{}\n{}", cluster(site), site.server.log()),
    );
    let log = site.server.log();
    assert!(
        !why.is_empty() && log.contains(&why),
        "the log does not say {why:?}: {log}"
    );
    why
}

/// Waits until a process has read what this one has published by now.
pub fn wait_for_what_is_shared(from: &Site, to: &Site) {
    let mut session = to.connect();
    let mark = format!("mark-{}", session.socket_id.replace('.', "-"));
    session.subscribe(&mark);
    from.api().publish(&mark, "e", "1");
    session.expect_event(&mark, "e", "1");
}

/// What a process says about the cluster.
pub fn cluster(site: &Site) -> Value {
    let mut peer = Peer::upgrade(&site.server, "/");
    let mut say = |command: &str| {
        let (_, answer) = peer.text(command).next_frame();
        String::from_utf8(answer).expect("answers are text")
    };
    assert!(say(&format!("token {ADMIN_TOKEN}")).starts_with("Allowed"));
    let all: Value = serde_json::from_str(&say("stats")).expect("JSON");
    all["cluster"].clone()
}

/// Subscribes, with the positions that the client has; returns the confirmation.
pub fn enter(session: &mut Session, channel: &str, since: Option<&Value>) -> Value {
    super::outbox::enter(session, channel, since.cloned())
}

/// Reads up to an event of this name, and returns it.
pub fn until(session: &mut Session, event: &str) -> Value {
    loop {
        let message = session.next();
        if message["event"] == event {
            return message;
        }
    }
}
