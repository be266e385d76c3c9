//! Presence, counts and users in a cluster, against the plain truth.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::model::{Entry, Model, settings};
use crate::hub::channel::Occupancy;
use crate::id::ConnectionId;
use crate::protocol::effects::HookEvent;
use crate::protocol::shared::{Holding, ProcessId};

const ROOM: &str = "presence-room";

/// A generator of random numbers that is the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % end
    }
}

/// What each channel has in truth: the users, or the number of subscriptions.
fn truth(
    model: &Model,
    subscribed: &BTreeSet<(u64, ConnectionId, &'static str)>,
) -> BTreeMap<&'static str, Vec<String>> {
    let mut all: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for process in &model.processes {
        for (of, id, channel) in subscribed {
            if *of == process.me.0 {
                all.entry(*channel).or_default().push(process.clients[id].user.clone());
            }
        }
    }
    all
}

#[test]
fn clients_are_told_each_change_once_and_the_truth_in_the_end() {
    let channels = ["presence-a", "presence-b", "public"];
    for seed in 0..60 {
        let (mut dice, settings) = (Dice(seed), settings());
        let mut model = Model::new(3, &settings);
        let mut subscribed: BTreeSet<(u64, ConnectionId, &'static str)> = BTreeSet::new();
        for _ in 0..300 {
            let n = dice.below(model.processes.len());
            let ids: Vec<ConnectionId> = model.processes[n].clients.keys().copied().collect();
            let me = model.processes[n].me.0;
            match dice.below(20) {
                0..=3 => drop(model.connect(n, &format!("u{}", dice.below(5)))),
                4..=8 if !ids.is_empty() => {
                    let (id, channel) = (ids[dice.below(ids.len())], channels[dice.below(3)]);
                    if subscribed.insert((me, id, channel)) {
                        model.subscribe(n, id, channel);
                    } else {
                        subscribed.remove(&(me, id, channel));
                        model.unsubscribe(n, id, channel);
                    }
                }
                9 if !ids.is_empty() => {
                    let id = ids[dice.below(ids.len())];
                    subscribed.retain(|(of, own, _)| (*of, *own) != (me, id));
                    model.disconnect(n, id);
                }
                10 if dice.below(8) == 0 && model.processes.len() > 1 => {
                    subscribed.retain(|(of, ..)| *of != me);
                    model.kill(n);
                }
                11 if dice.below(4) == 0 && model.processes.len() < 4 => model.start(&settings),
                12 if dice.below(6) == 0 => {
                    let entries = dice.below(30);
                    model.miss(n, entries);
                }
                13..=15 => model.append(n),
                _ => (0..dice.below(30)).for_each(|_| model.read(n)),
            }
        }
        model.read_all();
        model.wait(Duration::from_secs(6));
        check(&model, &truth(&model, &subscribed), seed);
    }
}

fn check(model: &Model, truth: &BTreeMap<&'static str, Vec<String>>, seed: u64) {
    for process in &model.processes {
        let visible = process.app.visible();
        let occupied: Vec<&str> = visible.occupied("").into_iter().map(|(channel, _)| channel).collect();
        let expected: Vec<&str> = truth.keys().copied().collect();
        assert_eq!(occupied, expected, "seed {seed}");
        for (channel, subscribers) in truth {
            let users: BTreeSet<&str> = subscribers.iter().map(String::as_str).collect();
            let is_presence = channel.starts_with("presence-");
            let occupancy = Occupancy {
                subscriptions: subscribers.len(),
                users: is_presence.then_some(users.len()),
            };
            assert_eq!(visible.occupancy(channel), Some(occupancy), "seed {seed}, {channel}");
            if is_presence {
                let expected: Vec<&str> = users.iter().copied().collect();
                assert_eq!(visible.members(channel), expected, "seed {seed}, {channel}");
            }
            for client in process.clients.values() {
                if let Some(members) = client.members.get(*channel) {
                    let members: BTreeSet<&str> = members.keys().map(String::as_str).collect();
                    assert_eq!(members, users, "seed {seed}, {channel}");
                }
                if let Some(count) = client.counts.get(*channel) {
                    assert_eq!(*count, subscribers.len() as u64, "seed {seed}, {channel}");
                }
            }
        }
        let connections: usize = model.processes.iter().map(|process| process.clients.len()).sum();
        assert_eq!(visible.connections(), connections, "seed {seed}");
    }
    let whole: Vec<_> = model.processes.iter().filter(|process| !process.had_hole).collect();
    for pair in whole.windows(2) {
        assert_eq!(pair[0].hooks, pair[1].hooks, "seed {seed}: the webhooks follow the log");
    }
    for process in whole {
        follow(&process.hooks, truth, seed);
    }
}

/// The webhooks name each change once, and end with the truth.
fn follow(hooks: &[HookEvent], truth: &BTreeMap<&'static str, Vec<String>>, seed: u64) {
    let (mut occupied, mut members) = (BTreeSet::new(), BTreeSet::new());
    for hook in hooks {
        let is_change = match hook {
            HookEvent::Occupied { channel } => occupied.insert(channel.clone()),
            HookEvent::Vacated { channel } => occupied.remove(channel),
            HookEvent::MemberAdded { channel, user_id } => members.insert((channel.clone(), user_id.clone())),
            HookEvent::MemberRemoved { channel, user_id } => members.remove(&(channel.clone(), user_id.clone())),
            _ => true,
        };
        assert!(is_change, "seed {seed}: {hook:?} is repeated");
    }
    assert!(
        occupied.iter().map(String::as_str).eq(truth.keys().copied()),
        "seed {seed}"
    );
    let expected: BTreeSet<(String, String)> = truth
        .iter()
        .filter(|(channel, _)| channel.starts_with("presence-"))
        .flat_map(|(channel, users)| users.iter().map(|user| ((*channel).to_owned(), user.clone())))
        .collect();
    assert_eq!(members, expected, "seed {seed}");
}

#[test]
fn five_hundred_members_of_a_dead_process_leave_once() {
    let settings = crate::config::App {
        max_presence_members: 1000,
        ..settings()
    };
    let mut model = Model::new(3, &settings);
    for user in 0..500 {
        let id = model.connect(0, &format!("u{user}"));
        model.subscribe(0, id, ROOM);
    }
    let shared = model.connect(1, "u7");
    model.subscribe(1, shared, ROOM);
    model.read_all();
    let own = model.connect(2, "own");
    model.subscribe(2, own, ROOM);
    model.read_all();
    assert_eq!(model.client(2, own).members[ROOM].len(), 501);
    let before = model.client(2, own).frames.len();
    model.kill(0);
    model.read_all();
    let client = model.client(1, own);
    assert_eq!(client.members[ROOM].keys().collect::<Vec<_>>(), ["own", "u7"]);
    assert_eq!(client.frames.len() - before, 499, "u7 is still there");
    let removed = |hook: &&HookEvent| matches!(hook, HookEvent::MemberRemoved { .. });
    assert_eq!(model.processes[1].hooks.iter().filter(removed).count(), 499);
}

#[test]
fn a_user_info_of_another_process_is_in_the_roll() {
    let mut model = Model::new(2, &settings());
    let ann = model.connect(0, "ann");
    model.subscribe(0, ann, ROOM);
    model.read_all();
    let bob = model.connect(1, "bob");
    model.subscribe(1, bob, ROOM);
    let members = &model.client(1, bob).members[ROOM];
    assert_eq!((&members["ann"], &members["bob"]), (&1.into(), &2.into()));
    model.read_all();
    assert_eq!(model.client(0, ann).members[ROOM]["bob"], 2);
}

#[test]
fn the_limits_of_an_app_count_all_processes() {
    let settings = crate::config::App {
        max_presence_members: 2,
        ..settings()
    };
    let mut model = Model::new(2, &settings);
    for user in ["a", "b"] {
        let id = model.connect(0, user);
        model.subscribe(0, id, ROOM);
    }
    model.read_all();
    let (late, known) = (model.connect(1, "c"), model.connect(1, "a"));
    model.subscribe(1, late, ROOM);
    model.subscribe(1, known, ROOM);
    let error = model.client(1, late).frames.last().unwrap()["data"]["message"].clone();
    assert_eq!(error, "a presence channel has at most 2 members");
    assert_eq!(model.client(1, known).members[ROOM].len(), 2);
}

#[test]
fn watchers_see_a_user_online_while_any_process_has_a_connection() {
    let mut model = Model::new(3, &settings());
    let watcher = model.connect(0, "w");
    model.sign_in(0, watcher, &["u"]);
    let first = model.connect(1, "u");
    model.sign_in(1, first, &[]);
    let second = model.connect(2, "u");
    model.sign_in(2, second, &[]);
    model.read_all();
    let online = |model: &Model| model.client(0, watcher).online.contains("u");
    assert!(online(&model));
    let late = model.connect(0, "v");
    model.sign_in(0, late, &["u"]);
    assert!(
        model.client(0, late).online.contains("u"),
        "the first status counts all processes"
    );
    model.disconnect(1, first);
    model.read_all();
    assert!(online(&model));
    let before = model.client(0, watcher).frames.len();
    model.disconnect(2, second);
    model.read_all();
    assert!(!online(&model));
    assert_eq!(model.client(0, watcher).frames.len() - before, 1);
}

#[test]
fn a_large_count_is_sent_later_also_to_webhooks() {
    let mut model = Model::new(2, &settings());
    let own = model.connect(1, "own");
    model.subscribe(1, own, "news");
    for user in 0..120 {
        let id = model.connect(0, &format!("u{user}"));
        model.subscribe(0, id, "news");
        model.read_all();
    }
    let counts = |model: &Model| {
        let is_count = |hook: &&HookEvent| matches!(hook, HookEvent::SubscriptionCount { .. });
        model.processes[1].hooks.iter().filter(is_count).count()
    };
    assert_eq!(counts(&model), 100, "one for each up to 100; the rest waits");
    model.wait(Duration::from_secs(6));
    assert_eq!(counts(&model), 101);
    assert_eq!(model.client(1, own).counts["news"], 121);
}

#[test]
fn an_engine_that_lies_makes_no_trouble() {
    let settings = crate::config::App {
        subscription_bytes: 65_536,
        ..settings()
    };
    let mut model = Model::new(1, &settings);
    let own = model.connect(0, "own");
    model.subscribe(0, own, ROOM);
    model.read_all();
    let liar = ProcessId(99);
    let holds = |holding| Entry::Shared(liar, crate::protocol::shared::Shared::Holds(holding));
    let member = |channel: &str, user_id: &str, info: &str| Holding::Member {
        channel: channel.into(),
        user_id: user_id.into(),
        user_info: Some(serde_json::value::RawValue::from_string(info.into()).unwrap()),
        is_present: true,
    };
    let before = model.client(0, own).frames.len();
    for lie in [
        member("public", "x", "1"),
        member("presence-bad name", "x", "1"),
        member(ROOM, "", "1"),
        member(ROOM, &"x".repeat(129), "1"),
        member(ROOM, "x", &format!("{}{}", "[".repeat(65), "]".repeat(65))),
    ] {
        model.log.push(holds(lie));
    }
    let subscriptions = |channel: &str, count| Holding::Subscriptions {
        channel: channel.into(),
        count,
    };
    model.log.push(holds(subscriptions("#server-to-user-1", 3)));
    model.log.push(holds(subscriptions("a b", 3)));
    model.log.push(holds(subscriptions("never-held", 0)));
    model.read_all();
    assert_eq!(model.client(0, own).frames.len(), before);
    assert_eq!(model.processes[0].app.visible().occupied("").len(), 1);
    for n in 0..5000 {
        model
            .log
            .push(holds(member(ROOM, &format!("u{n}"), "\"some public data\"")));
    }
    model.read_all();
    let members = model.client(0, own).members[ROOM].len();
    assert!((500..2000).contains(&members), "{members} members have room");
    assert_eq!(model.processes[0].app.visible().members(ROOM).len(), members);
    model.log.push(Entry::Gone(liar));
    model.read_all();
    assert_eq!(model.client(0, own).members[ROOM].len(), 1);
    model.disconnect(0, own);
    model.read_all();
    let replica = model.processes[0].app.notices.replica.as_ref().unwrap();
    let own = replica.connections_elsewhere();
    assert_eq!((own, replica.bytes), (0, 0), "all room is free again");
}
