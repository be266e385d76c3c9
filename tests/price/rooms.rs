//! `[[apps]] subscription_bytes`: where it is full, that leaving makes room, and that the count is right after any
//! number of joins and leaves.

use crate::common::pusher::{Session, Settings, Site};
use crate::common::wait_until;
use serde_json::json;

/// The least that there can be, so that a few hundred channels fill it.
const APP: &str = "subscription_bytes = 65536";

fn site() -> Site {
    Site::with(Settings {
        limits: "subscriptions_per_second = 0",
        app: APP,
        ..Settings::default()
    })
}

/// A kind of subscription.
struct Kind {
    /// The name of the nth channel.
    name: fn(usize) -> String,
    /// On presence channels, how many bytes a member has to say.
    says: Option<usize>,
}

const PUBLIC: Kind = Kind {
    name: |n| format!("a-channel-of-its-own-{n:05}"),
    says: None,
};
const LONG: Kind = Kind {
    name: |n| format!("{n:x>164}"),
    says: None,
};
const MEMBER: Kind = Kind {
    name: |n| format!("presence-{n}"),
    says: Some(0),
};
const LARGE_MEMBER: Kind = Kind {
    says: Some(2000),
    ..MEMBER
};

impl Kind {
    fn ask(&self, session: &mut Session, n: usize) {
        let channel = (self.name)(n);
        let Some(bytes) = self.says else {
            session.ask(&channel);
            return;
        };
        let member = json!({"user_id": "1", "user_info": {"text": "i".repeat(bytes)}});
        session.ask_member(&channel, &member.to_string());
    }
}

/// Asks for one after the other until there is no room; returns how many there are.
fn fill(session: &mut Session, kind: &Kind) -> usize {
    for n in 0..1000 {
        kind.ask(session, n);
        let (channel, answer) = ((kind.name)(n), session.next());
        assert_eq!(answer["channel"], *channel, "{answer}");
        if answer["event"] == "pusher:subscription_error" {
            assert_eq!(answer["data"]["type"], "LimitReached", "{answer}");
            assert_eq!(answer["data"]["status"], 4100, "{answer}");
            let why = session.expect_error();
            assert!(why.contains("no room"), "{why}");
            return n;
        }
        assert_eq!(answer["event"], "pusher_internal:subscription_succeeded", "{answer}");
    }
    panic!("a thousand are in");
}

#[test]
fn a_client_that_leaves_a_channel_makes_room_for_one_more() {
    let site = site();
    let mut session = site.connect();
    let full = fill(&mut session, &PUBLIC);
    // It is full for all clients and all kinds of channels. Subscribers stay and receive events.
    let mut other = site.connect();
    assert!(other.ask("one-more").expect_refused("one-more").is_limit());
    assert!(
        other
            .ask("private-one-more")
            .expect_refused("private-one-more")
            .is_limit()
    );
    let channel = "a-channel-of-its-own-00000";
    assert!(other.ask(channel).expect_refused(channel).is_limit());
    site.api().publish(channel, "event", "x");
    session.expect_event(channel, "event", "x");
    // A channel without a prefix costs the same whatever its number is.
    session.unsubscribe(channel).expect_nothing();
    other.subscribe(channel);
    assert!(other.ask("one-more").expect_refused("one-more").is_limit());
    other.unsubscribe(channel).expect_nothing();
    session.subscribe(channel).expect_nothing();
    assert!(full > 100, "only {full} channels");
}

#[test]
fn long_names_and_large_members_count_with_their_length() {
    let site = site();
    let counts = [PUBLIC, LONG, MEMBER, LARGE_MEMBER].map(|kind| {
        let mut session = site.connect();
        let full = fill(&mut session, &kind);
        session.peer.finish_and_drain();
        wait_for_none(&site);
        full
    });
    let [public, long, member, large_member] = counts;
    println!("{public} short names, {long} long names, {member} members, {large_member} large members");
    // Each subscription counts with its name and its member, and the last one may go beyond the limit.
    assert!(long < public && long <= 65_536 / 164 + 1, "{long} names of 164 bytes");
    assert!(member < public, "{member} members, {public} channels");
    assert!(
        large_member <= 65_536 / 2000 + 1,
        "{large_member} members of 2,000 bytes"
    );
}

#[test]
fn after_thousands_of_joins_and_leaves_it_is_full_at_the_same_place() {
    let site = site();
    for kind in [PUBLIC, LONG, MEMBER, LARGE_MEMBER] {
        let mut first = site.connect();
        let full = fill(&mut first, &kind);
        first.peer.finish_and_drain();
        wait_for_none(&site);
        for round in 0..12 {
            let mut session = site.connect();
            assert_eq!(fill(&mut session, &kind), full, "in round {round}");
            // One after the other from either end, or all at once.
            let mut numbers: Vec<usize> = (0..full).collect();
            match round % 3 {
                0 => {}
                1 => numbers.reverse(),
                _ => numbers.clear(),
            }
            for n in numbers {
                session.unsubscribe(&(kind.name)(n));
            }
            session.expect_nothing();
            match round % 2 {
                0 => drop(session.peer.finish_and_drain()),
                _ => session.peer.reset(),
            }
            wait_for_none(&site);
        }
    }
}

/// Waits until no connection is in any channel.
fn wait_for_none(site: &Site) {
    let mut api = site.api();
    wait_until(
        "all channels are empty",
        || api.get("/channels", &[])["channels"] == json!({}),
        || site.server.log(),
    );
}
