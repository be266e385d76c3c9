use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::event::Kind;
use super::*;
use crate::config::{App, Webhook};
use crate::protocol::actions::{Action, Post};

/// Webhooks and a clock.
struct Table {
    webhooks: Webhooks,
    now: Now,
}

fn hook(url: &str, events: &[&str], prefix: &str) -> Webhook {
    Webhook {
        url: url.to_owned(),
        events: events.iter().map(|event| (*event).to_owned()).collect(),
        channel_prefix: prefix.to_owned(),
        headers: Vec::new(),
    }
}

fn app(id: &str, hooks: Vec<Webhook>) -> App {
    App {
        webhooks: hooks,
        ..App::new(id, &format!("key-{id}"), &format!("secret-{id}"))
    }
}

fn table(hooks: Vec<Webhook>) -> Table {
    Table {
        webhooks: Webhooks::new(&[app("1", hooks)]),
        now: Now {
            at: Time(5_000_000),
            unix_ms: 1_700_000_000_000,
        },
    }
}

fn everything() -> Table {
    table(vec![hook("http://a/", &KINDS, "")])
}

impl Table {
    fn pass(&mut self, ms: u64) {
        self.now.at = self.now.at + Duration::from_millis(ms);
        self.now.unix_ms += ms;
    }

    fn note(&mut self, event: HookEvent) {
        self.webhooks.note("1", event, self.now);
    }

    fn due(&mut self) -> Vec<Post> {
        let mut actions = Actions::default();
        self.webhooks.due(self.now, &mut actions);
        let list = actions.take();
        let posts = list.into_iter().map(|action| match action {
            Action::Post(post) => *post,
            other => panic!("{other:?}"),
        });
        posts.collect()
    }

    fn done(&mut self, post: &Post) {
        self.webhooks.posted(post.ticket, Outcome::Done, self.now);
    }

    /// Delivers all posts that are due now and returns their short forms.
    fn delivered(&mut self) -> Vec<String> {
        let mut delivered = Vec::new();
        loop {
            let posts = self.due();
            if posts.is_empty() {
                return delivered;
            }
            for post in posts {
                self.done(&post);
                delivered.push(short(&post));
            }
        }
    }

    /// Waits for the next post and returns how many milliseconds that took. Gives the post this outcome.
    fn fails_in(&mut self, outcome: Outcome<'_>) -> u64 {
        let from = self.now.at;
        for _ in 0..1000 {
            let posts = self.due();
            if let [post] = posts.as_slice() {
                self.webhooks.posted(post.ticket, outcome, self.now);
                return self.now.at.since(from).as_millis() as u64;
            }
            assert!(posts.is_empty());
            let next = self.webhooks.deadline();
            assert!(next > self.now.at && next != Time::NEVER, "{next:?}");
            self.pass(next.since(self.now.at).as_millis() as u64);
        }
        panic!("no post became due");
    }
}

/// The short form of a post: `channel_occupied x`, `member_added x u`.
fn short(post: &Post) -> String {
    let body: serde_json::Value = serde_json::from_slice(&post.body).unwrap();
    let event = &body["events"][0];
    let mut words = vec![event["name"].as_str().unwrap(), event["channel"].as_str().unwrap()];
    words.extend(event["user_id"].as_str());
    words.join(" ")
}

fn on(channel: &str) -> HookEvent {
    HookEvent::Occupied {
        channel: channel.to_owned(),
    }
}

fn off(channel: &str) -> HookEvent {
    HookEvent::Vacated {
        channel: channel.to_owned(),
    }
}

fn join(channel: &str, user: &str) -> HookEvent {
    HookEvent::MemberAdded {
        channel: channel.to_owned(),
        user_id: user.to_owned(),
    }
}

fn leave(channel: &str, user: &str) -> HookEvent {
    HookEvent::MemberRemoved {
        channel: channel.to_owned(),
        user_id: user.to_owned(),
    }
}

fn says(channel: &str, data: &str) -> HookEvent {
    HookEvent::ClientEvent {
        channel: channel.to_owned(),
        event: "client-x".to_owned(),
        data: data.to_owned(),
        socket_id: "1.2".to_owned(),
        user_id: None,
    }
}

fn miss(channel: &str) -> HookEvent {
    HookEvent::CacheMiss {
        channel: channel.to_owned(),
    }
}

/// pusher.md 10.1 and 10.2. The signature was computed with `openssl dgst -sha256 -hmac secret-1`.
#[test]
fn a_post_has_exactly_these_bytes_and_headers() {
    let mut target = hook("http://a/hook", &["channel_occupied"], "");
    target.headers = vec![("X-Site".into(), "7".into())];
    let mut table = table(vec![target]);
    table.note(on("news"));
    table.pass(250);
    let posts = table.due();
    assert_eq!(posts.len(), 1);
    assert_eq!(posts[0].url, "http://a/hook");
    let body = r#"{"time_ms":1700000000000,"events":[{"name":"channel_occupied","channel":"news"}]}"#;
    assert_eq!(posts[0].body, body);
    let headers: Vec<(&str, &str)> = posts[0].headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let sign = "5ba279be47a446e97928592d4f5b0d010d63ee48cd75ee2c21719f4d39ebfa0f";
    assert_eq!(
        headers,
        [
            ("Content-Type", "application/json"),
            ("X-Pusher-Key", "key-1"),
            ("X-Pusher-Signature", sign),
            ("X-Site", "7"),
        ]
    );
}

#[test]
fn each_kind_has_its_fields_and_no_others() {
    let client = |user_id: Option<&str>| HookEvent::ClientEvent {
        channel: "c".into(),
        event: "client-e".into(),
        data: "{\"a\":\"\u{fc}\"}".into(),
        socket_id: "1.2".into(),
        user_id: user_id.map(str::to_owned),
    };
    let count = HookEvent::SubscriptionCount {
        channel: "c".into(),
        count: 7,
    };
    for (event, json) in [
        (on("c"), r#"{"name":"channel_occupied","channel":"c"}"#),
        (off("c"), r#"{"name":"channel_vacated","channel":"c"}"#),
        (join("c", "u"), r#"{"name":"member_added","channel":"c","user_id":"u"}"#),
        (
            leave("c", "u"),
            r#"{"name":"member_removed","channel":"c","user_id":"u"}"#,
        ),
        (
            client(None),
            r#"{"name":"client_event","channel":"c","event":"client-e","data":"{\"a\":\"ü\"}","socket_id":"1.2"}"#,
        ),
        (
            client(Some("u")),
            r#"{"name":"client_event","channel":"c","event":"client-e","data":"{\"a\":\"ü\"}","socket_id":"1.2","user_id":"u"}"#,
        ),
        (miss("c"), r#"{"name":"cache_miss","channel":"c"}"#),
        (
            count,
            r#"{"name":"subscription_count","channel":"c","subscription_count":7}"#,
        ),
    ] {
        assert_eq!(serde_json::to_string(&event).unwrap(), json);
        assert!(json.contains(&format!("\"name\":\"{}\"", KINDS[Kind::of(&event) as usize])));
    }
}

/// pusher.md 10.5.
#[test]
fn a_target_receives_its_kinds_and_channels_only() {
    let mut table = table(vec![
        hook("http://a/", &["member_added"], ""),
        hook("http://b/", &KINDS, "presence-staff"),
    ]);
    table.note(on("presence-staff-1"));
    table.note(join("presence-staff-1", "u"));
    table.note(join("presence-others", "u"));
    table.note(says("#server-to-user-1", "x"));
    let mut received: BTreeMap<String, Vec<String>> = BTreeMap::new();
    loop {
        let posts = table.due();
        for post in &posts {
            received.entry(post.url.clone()).or_default().push(short(post));
            table.done(post);
        }
        if posts.is_empty() {
            break;
        }
    }
    assert_eq!(
        received["http://a/"],
        ["member_added presence-staff-1 u", "member_added presence-others u"]
    );
    assert_eq!(
        received["http://b/"],
        ["channel_occupied presence-staff-1", "member_added presence-staff-1 u"]
    );
}

/// pusher.md 10.4.
#[test]
fn a_departure_and_a_return_within_the_grace_are_not_sent() {
    let mut table = everything();
    table.note(on("c"));
    table.note(join("c", "u"));
    assert_eq!(table.delivered(), ["channel_occupied c", "member_added c u"]);
    for _ in 0..5 {
        table.note(leave("c", "u"));
        table.note(off("c"));
        table.pass(2999);
        assert_eq!(table.delivered(), Vec::<String>::new());
        table.note(on("c"));
        table.note(join("c", "u"));
        table.pass(5000);
        assert_eq!(table.delivered(), Vec::<String>::new());
    }
    assert_eq!(
        table.webhooks.deadline(),
        Time::NEVER,
        "no event and no departure is left"
    );
    table.note(leave("c", "u"));
    table.note(off("c"));
    assert_eq!(table.webhooks.deadline(), table.now.at + GRACE);
    table.pass(3000);
    table.note(on("c"));
    assert_eq!(
        table.delivered(),
        ["member_removed c u", "channel_vacated c", "channel_occupied c"]
    );
}

#[test]
fn a_return_within_the_grace_is_not_sent_to_a_target_without_departures() {
    let mut table = table(vec![hook("http://a/", &["channel_occupied", "client_event"], "")]);
    table.note(on("c"));
    assert_eq!(table.delivered(), ["channel_occupied c"]);
    table.note(off("c"));
    // The target does not receive departures, so the event does not wait for one.
    table.note(says("c", "x"));
    assert_eq!(table.delivered(), ["client_event c"]);
    table.pass(1000);
    table.note(on("c"));
    assert_eq!(table.delivered(), Vec::<String>::new());
    table.note(off("c"));
    table.pass(3000);
    table.note(on("c"));
    assert_eq!(table.delivered(), ["channel_occupied c"]);
}

#[test]
fn later_events_of_a_channel_do_not_overtake_a_departure() {
    let mut table = everything();
    table.note(leave("c", "u"));
    table.pass(1000);
    table.note(join("c", "v"));
    table.note(leave("c", "w"));
    table.note(says("c", "x"));
    table.note(says("other", "x"));
    assert_eq!(
        table.delivered(),
        ["client_event other"],
        "another channel does not wait"
    );
    table.pass(2000);
    assert_eq!(table.delivered(), ["member_removed c u", "member_added c v"]);
    table.pass(500);
    table.note(join("c", "w"));
    assert_eq!(
        table.delivered(),
        ["client_event c"],
        "the event does not wait for the undone departure any more"
    );
}

#[test]
fn a_post_has_the_time_of_its_event() {
    let mut table = everything();
    table.note(off("c"));
    table.pass(10_000);
    let posts = table.due();
    assert!(posts[0].body.starts_with(br#"{"time_ms":1700000000000,"#));
}

/// pusher.md 10.3 and the last line of section 16.
#[test]
fn retries_come_after_1_2_4_seconds_and_end_after_five_minutes() {
    let mut table = everything();
    table.note(on("c"));
    let mut pauses = Vec::new();
    let began = table.now.at;
    while table.webhooks.counts().dropped == 0 {
        let before = table.webhooks.counts().failed;
        if table.now.at.since(began) + LONGEST_PAUSE > LIFE {
            // The last pause ends after the event's life.
            table.pass(LONGEST_PAUSE.as_millis() as u64);
            assert!(table.due().is_empty());
            continue;
        }
        pauses.push(table.fails_in(Outcome::Refused(500)) / 1000);
        assert_eq!(table.webhooks.counts().failed, before + 1);
    }
    assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 64, 64, 64]);
    assert_eq!(table.webhooks.counts().waiting, 0);
    assert_eq!(table.webhooks.deadline(), Time::NEVER);
}

#[test]
fn the_same_bytes_are_posted_again_and_the_next_waits() {
    let mut table = everything();
    table.note(on("c"));
    table.note(on("d"));
    let first = table.due();
    table.webhooks.posted(first[0].ticket, Outcome::Failed("no"), table.now);
    assert!(table.due().is_empty());
    table.pass(1000);
    let again = table.due();
    assert_eq!((&again[0].body, &again[0].headers), (&first[0].body, &first[0].headers));
    assert_ne!(again[0].ticket, first[0].ticket);
    table.webhooks.posted(first[0].ticket, Outcome::Done, table.now);
    assert!(table.due().is_empty(), "an old ticket does not end the new attempt");
    table.done(&again[0]);
    assert_eq!(table.delivered(), ["channel_occupied d"], "a success ends the pauses");
}

#[test]
fn a_target_that_fails_does_not_delay_another() {
    let mut table = table(vec![hook("http://a/", &KINDS, ""), hook("http://b/", &KINDS, "")]);
    let mut delivered = 0;
    for n in 0..100 {
        table.note(on(&n.to_string()));
        loop {
            let posts = table.due();
            if posts.is_empty() {
                break;
            }
            for post in posts {
                match post.url.as_str() {
                    "http://a/" => table.webhooks.posted(post.ticket, Outcome::Failed("down"), table.now),
                    _ => {
                        assert_eq!(short(&post), format!("channel_occupied {n}"));
                        delivered += 1;
                        table.done(&post);
                    }
                }
            }
        }
        table.pass(100);
    }
    assert_eq!(delivered, 100);
    assert_eq!(table.webhooks.counts().failed, 4, "after 0, 1, 3 and 7 s");
}

#[test]
fn an_event_that_is_refused_for_five_minutes_makes_room_for_the_next() {
    let mut table = everything();
    table.note(on("bad"));
    for _ in 0..10 {
        table.fails_in(Outcome::Refused(400));
    }
    table.note(on("good"));
    table.pass(LIFE.as_millis() as u64 - 255_000);
    assert!(table.due().is_empty());
    table.pass(1000);
    assert_eq!(table.delivered(), ["channel_occupied good"]);
    assert_eq!(table.webhooks.counts().dropped, 1);
}

#[test]
fn a_queue_is_bounded_in_events_and_drops_the_oldest_that_is_not_under_way() {
    let mut table = everything();
    for n in 0..QUEUE_EVENTS + 5 {
        table.note(on(&n.to_string()));
        if n == 0 {
            assert_eq!(table.due().len(), 1);
        }
    }
    let counts = table.webhooks.counts();
    assert_eq!((counts.waiting, counts.dropped), (QUEUE_EVENTS, 5));
    let under_way = table.webhooks.targets[0].waits_for(1 << 32 | 1);
    assert!(under_way, "the first one is still under way");
    table.webhooks.posted(1 << 32 | 1, Outcome::Done, table.now);
    assert_eq!(table.delivered()[0], "channel_occupied 6", "1 to 5 were dropped");
}

#[test]
fn a_queue_is_bounded_in_bytes() {
    let mut table = everything();
    let large = "x".repeat(1 << 20);
    for _ in 0..20 {
        table.note(says("c", &large));
    }
    let counts = table.webhooks.counts();
    assert_eq!((counts.waiting, counts.dropped), (7, 13));
    table.note(says("c", &"x".repeat(QUEUE_BYTES + 1)));
    assert_eq!(
        table.webhooks.counts().waiting,
        0,
        "an event larger than the queue is dropped too"
    );
}

#[test]
fn departures_beyond_the_limit_are_sent_early_and_every_event_is_counted() {
    let mut table = everything();
    for n in 0..QUEUE_EVENTS + 5 {
        table.note(off(&n.to_string()));
    }
    assert_eq!(table.delivered().len(), 5);
    let large = "x".repeat(1 << 20);
    for _ in 0..20 {
        table.note(says(&QUEUE_EVENTS.to_string(), &large));
    }
    let counts = table.webhooks.counts();
    assert_eq!(
        counts.waiting as u64 + counts.delivered + counts.dropped,
        QUEUE_EVENTS as u64 + 25
    );
    assert!(table.webhooks.targets[0].counts().waiting <= 2 * QUEUE_EVENTS);
}

/// pusher.md section 5.
#[test]
fn misses_of_one_channel_within_a_short_time_are_sent_once() {
    let mut table = everything();
    for _ in 0..10 {
        table.note(miss("cache-a"));
        table.pass(100);
    }
    table.note(miss("cache-b"));
    assert_eq!(table.delivered(), ["cache_miss cache-a", "cache_miss cache-b"]);
    table.pass(ONE_MISS.as_millis() as u64 - 1000);
    table.note(miss("cache-a"));
    table.note(miss("cache-b"));
    assert_eq!(table.delivered(), ["cache_miss cache-a"]);
    for n in 0..3 * QUEUE_EVENTS {
        table.note(miss(&n.to_string()));
    }
    assert!(table.webhooks.targets[0].remembered_misses() <= QUEUE_EVENTS);
}

#[test]
fn a_reload_keeps_the_waiting_events_of_a_remaining_target() {
    let mut table = table(vec![hook("http://a/", &KINDS, ""), hook("http://b/", &KINDS, "")]);
    table.note(on("c"));
    table.note(off("d"));
    let posts = table.due();
    let mut new = app("1", vec![hook("http://b/", &["channel_vacated"], "")]);
    new.secret = "changed".into();
    table
        .webhooks
        .reconfigure(&[app("0", vec![hook("http://b/", &KINDS, "")]), new]);
    assert_eq!(table.webhooks.counts().dropped, 2, "the events of target a");
    for post in &posts {
        table.webhooks.posted(post.ticket, Outcome::Failed("x"), table.now);
    }
    table.webhooks.note("1", on("e"), table.now);
    table.pass(5000);
    let again = table.due();
    assert_eq!(short(&again[0]), "channel_occupied c");
    let before = posts.iter().find(|post| post.url == "http://b/").unwrap();
    assert_eq!(again[0].body, before.body);
    assert_ne!(
        again[0].headers, before.headers,
        "the post is signed with the new secret"
    );
    table.done(&again[0]);
    assert_eq!(table.delivered(), ["channel_vacated d"], "the new filter excludes e");
    table.webhooks.note("0", on("c"), table.now);
    let other = table.due();
    assert_eq!(other[0].headers[1], ("X-Pusher-Key".to_owned(), "key-0".to_owned()));
    assert_ne!(other[0].ticket >> 32, again[0].ticket >> 32);
}

#[test]
fn a_drain_sends_departures_at_once() {
    let mut table = everything();
    table.note(off("c"));
    assert!(table.webhooks.is_busy());
    table.webhooks.drain();
    assert!(table.webhooks.deadline() <= table.now.at);
    table.note(off("d"));
    assert_eq!(table.delivered(), ["channel_vacated c", "channel_vacated d"]);
    assert!(!table.webhooks.is_busy());
    table.note(on("c"));
    table.fails_in(Outcome::Failed("down"));
    assert!(
        !table.webhooks.is_busy(),
        "the server does not wait for a target that fails"
    );
}

/// Random arrivals and departures, and targets that fail and work again: the events that each target received must be
/// possible.
#[test]
fn targets_receive_possible_events_in_hundreds_of_random_stories() {
    for seed in 0..500 {
        story(seed);
    }
}

#[derive(Default)]
struct Truth {
    occupied: bool,
    members: HashMap<String, bool>,
}

fn story(seed: u64) {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut table = table(vec![
        hook("http://a/", &KINDS, ""),
        hook("http://b/", &KINDS, "x"),
        hook("http://c/", &KINDS, ""),
    ]);
    let failing = [0.0, 0.2, 0.7].map(|chance: f64| chance * dice.random::<f64>());
    let mut truth: HashMap<&str, Truth> = HashMap::new();
    let mut flying: Vec<Post> = Vec::new();
    let mut received: [Vec<(String, u64)>; 3] = Default::default();
    let mut spoken = 0;
    let turns = dice.random_range(1..300);
    let end = turns + 2000;
    for turn in 0..end {
        let settling = turn >= turns;
        if !settling {
            let channel = ["x1", "x2", "y"][dice.random_range(0..3)];
            let user = ["u", "v", "w"][dice.random_range(0..3)];
            let state = truth.entry(channel).or_default();
            match dice.random_range(0..4) {
                0 if state.occupied => {
                    for (member, here) in state.members.iter_mut().filter(|(_, here)| **here) {
                        *here = false;
                        table.webhooks.note("1", leave(channel, member), table.now);
                    }
                    state.occupied = false;
                    table.note(off(channel));
                }
                0 | 1 => {
                    if !std::mem::replace(&mut state.occupied, true) {
                        table.webhooks.note("1", on(channel), table.now);
                    }
                    let here = state.members.entry(user.to_owned()).or_default();
                    let event = if *here {
                        leave(channel, user)
                    } else {
                        join(channel, user)
                    };
                    *here = !*here;
                    table.note(event);
                }
                2 if state.occupied => {
                    spoken += 1;
                    table.note(says(channel, &spoken.to_string()));
                }
                _ => {}
            }
        }
        let before = table.webhooks.deadline();
        let posts = table.due();
        assert!(
            posts.is_empty() || before <= table.now.at,
            "seed {seed}: a post was due before the deadline"
        );
        flying.extend(posts);
        flying.sort_by_key(|post| post.ticket >> 32);
        for pair in flying.windows(2) {
            assert_ne!(
                pair[0].ticket >> 32,
                pair[1].ticket >> 32,
                "seed {seed}: two posts at once to a target"
            );
        }
        let mut n = 0;
        while n < flying.len() {
            if dice.random_bool(0.3) {
                n += 1;
                continue;
            }
            let post = flying.remove(n);
            let which = ["http://a/", "http://b/", "http://c/"]
                .iter()
                .position(|url| *url == post.url)
                .unwrap();
            if !settling && dice.random_bool(failing[which]) {
                let outcome = [Outcome::Failed("x"), Outcome::Refused(503)][dice.random_range(0..2)];
                table.webhooks.posted(post.ticket, outcome, table.now);
                continue;
            }
            let body: serde_json::Value = serde_json::from_slice(&post.body).unwrap();
            let data = body["events"][0]["data"].as_str().unwrap_or_default();
            received[which].push((format!("{} {data}", short(&post)), body["time_ms"].as_u64().unwrap()));
            table.done(&post);
        }
        table.pass(dice.random_range(0..1500));
        if settling && flying.is_empty() && table.webhooks.deadline() == Time::NEVER {
            break;
        }
        assert!(turn + 1 < end, "seed {seed}: the events are never all delivered");
    }
    let counts = table.webhooks.counts();
    assert_eq!(counts.waiting, 0, "seed {seed}");
    assert_eq!(
        counts.delivered as usize,
        received.iter().map(Vec::len).sum::<usize>(),
        "seed {seed}: a post was counted twice or never"
    );
    for (which, received) in received.iter().enumerate() {
        judge(seed, which, received, &truth, spoken, counts.dropped);
    }
    for target in &table.webhooks.targets {
        assert!(target.is_empty(), "seed {seed}: the target is not empty: {target:?}");
    }
}

fn judge(
    seed: u64,
    which: usize,
    received: &[(String, u64)],
    truth: &HashMap<&str, Truth>,
    spoken: usize,
    dropped: u64,
) {
    let place = format!("seed {seed}, target {which}");
    let mut known: HashMap<String, bool> = HashMap::new();
    let mut times: HashMap<&str, u64> = HashMap::new();
    let mut last_word: HashMap<&str, usize> = HashMap::new();
    for (event, time) in received {
        let words: Vec<&str> = event.split(' ').collect();
        let channel = words[1];
        assert!(which != 1 || channel.starts_with('x'), "{place}: {event}");
        let last = times.insert(channel, *time).unwrap_or(0);
        assert!(last <= *time, "{place}: {event} was overtaken");
        let (subject, here) = match words[0] {
            "channel_occupied" => (channel.to_owned(), true),
            "channel_vacated" => (channel.to_owned(), false),
            "member_added" => (format!("{channel} {}", words[2]), true),
            "member_removed" => (format!("{channel} {}", words[2]), false),
            _ => {
                let number = words[2].parse().unwrap();
                let last = last_word.insert(channel, number).unwrap_or(0);
                assert!(last < number, "{place}: {event} came after {last}");
                continue;
            }
        };
        let before = known.insert(subject, here).unwrap_or(false);
        assert!(before != here || dropped > 0, "{place}: {event} twice");
    }
    if dropped > 0 {
        return;
    }
    for (channel, state) in truth
        .iter()
        .filter(|(channel, _)| which != 1 || channel.starts_with('x'))
    {
        let believed = |subject: &str| known.get(subject).copied().unwrap_or(false);
        assert_eq!(believed(channel), state.occupied, "{place}: {channel}");
        for (member, here) in &state.members {
            assert_eq!(
                believed(&format!("{channel} {member}")),
                *here,
                "{place}: {member} in {channel}"
            );
        }
    }
    if which != 1 {
        let words = received
            .iter()
            .filter(|(event, _)| event.starts_with("client_event"))
            .count();
        assert_eq!(words, spoken, "{place}: client events");
    }
}
