//! Stories of channels and presence: clients subscribe to a few channels and leave them, send events, close, vanish and
//! are reset, at any point and in any order, over the same unkind network. The messages of each client are checked on
//! their own:
//!
//! - a channel's events come only between `subscription_succeeded` and the end of the subscription;
//! - an added member was not there and a removed one was, so every `member_added` has one `member_removed`;
//! - when all is quiet, every client's member list and every count are true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jsocketd::config::{App, Config};
use jsocketd::protocol::signature::hmac_hex;
use jsocketd::server::Server;
use serde_json::{Value, json};

use crate::client::{Heard, Transcript, frame, handshake};
use crate::world::{Dice, Shared, SimIo, World};

const SEEDS: u64 = 2000;
const CHANNELS: [&str; 4] = ["lobby", "private-a", "presence-a", "presence-b"];
const SECRET: &str = "a secret of the simulator";
const MASK: [u8; 4] = [3, 1, 4, 1];

/// A user with a Pusher client.
struct Person {
    n: usize,
    /// The user as which it joins presence channels; two connections may be one user.
    user: String,
    told: Transcript,
    /// How much of `told` has been handled.
    read: usize,
    socket_id: Option<String>,
    /// Its requests: the state of each channel.
    asked: BTreeMap<&'static str, Asked>,
    /// The members of each channel, by the server's messages.
    members: BTreeMap<String, BTreeSet<String>>,
    counts: BTreeMap<String, u64>,
    /// Pings sent whose pong has not come: everything before the ping was handled by then.
    barriers: usize,
    alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    Subscribing,
    In,
    /// Out since so many pongs from now.
    Leaving(usize),
}

impl Person {
    fn new(world: &mut World, user: String) -> Self {
        let n = world.connect(100_000);
        world.send(n, &handshake("/app/key?protocol=7"));
        Self {
            n,
            user,
            told: Transcript::default(),
            read: 0,
            socket_id: None,
            asked: BTreeMap::new(),
            members: BTreeMap::new(),
            counts: BTreeMap::new(),
            barriers: 0,
            alive: true,
        }
    }

    fn say(&self, world: &mut World, what: &Value) {
        let bytes = frame(true, 1, what.to_string().as_bytes(), MASK);
        // Sometimes torn: the rest comes with the next message, or at once.
        let cut = world.dice.below(bytes.len());
        world.send(self.n, &bytes[..cut]);
        world.send(self.n, &bytes[cut..]);
    }

    fn step(&mut self, world: &mut World) {
        if !self.alive {
            return;
        }
        let most = 1 + world.dice.below(4000);
        let more = world.receive(self.n, most);
        self.told.append(&more);
        self.understand(world);
        if self.socket_id.is_none() || !self.alive {
            return;
        }
        let channel = CHANNELS[world.dice.below(CHANNELS.len())];
        match world.dice.below(40) {
            0..8 => self.subscribe(world, channel),
            8..12 => self.unsubscribe(world, channel),
            12..16 if channel != "lobby" && self.asked.get(channel) == Some(&Asked::In) => {
                self.say(
                    world,
                    &json!({"event": "client-hello", "channel": channel, "data": {"from": self.user}}),
                );
            }
            16 => self.end(world),
            _ => {}
        }
    }

    fn subscribe(&mut self, world: &mut World, channel: &'static str) {
        if self.asked.contains_key(channel) {
            return;
        }
        let socket = self.socket_id.clone().unwrap_or_default();
        let mut data = json!({"channel": channel});
        let mut signed = format!("{socket}:{channel}");
        if channel.starts_with("presence-") {
            let me = json!({"user_id": self.user, "user_info": {"n": 1}}).to_string();
            signed = format!("{signed}:{me}");
            data["channel_data"] = me.into();
        }
        if channel.starts_with("pr") {
            data["auth"] = format!("key:{}", hmac_hex(SECRET, &[signed.as_bytes()])).into();
        }
        self.asked.insert(channel, Asked::Subscribing);
        self.say(world, &json!({"event": "pusher:subscribe", "data": data}));
    }

    fn unsubscribe(&mut self, world: &mut World, channel: &'static str) {
        if self.asked.get(channel) != Some(&Asked::In) {
            return;
        }
        self.barriers += 1;
        self.asked.insert(channel, Asked::Leaving(self.barriers));
        self.say(
            world,
            &json!({"event": "pusher:unsubscribe", "data": {"channel": channel}}),
        );
        self.say(world, &json!({"event": "pusher:ping", "data": {}}));
    }

    /// Ends in one of the ways in which connections end.
    fn end(&mut self, world: &mut World) {
        match world.dice.below(3) {
            0 => world.send(self.n, &frame(true, 8, &1000u16.to_be_bytes(), MASK)),
            1 => world.end(self.n),
            _ => world.reset(self.n),
        }
        self.alive = false;
    }

    fn understand(&mut self, world: &mut World) {
        while self.read < self.told.heard.len() {
            let heard = self.told.heard[self.read].clone();
            self.read += 1;
            match heard {
                Heard::Text(text) => self.hear(&serde_json::from_slice(&text).unwrap()),
                Heard::Ping(payload) => world.send(self.n, &frame(true, 10, &payload, MASK)),
                Heard::Close(code) => panic!("closed with {code}"),
                other => panic!("an unexpected frame {other:?}"),
            }
        }
    }

    fn hear(&mut self, frame: &Value) {
        let event = frame["event"].as_str().unwrap();
        let channel = frame["channel"].as_str().unwrap_or_default().to_owned();
        let data: Value = frame["data"]
            .as_str()
            .map_or(Value::Null, |data| serde_json::from_str(data).unwrap());
        assert!(
            self.socket_id.is_some() || event == "pusher:connection_established",
            "{event} came before connection_established"
        );
        match event {
            "pusher:connection_established" => self.socket_id = data["socket_id"].as_str().map(str::to_owned),
            "pusher:pong" => self.pass_barrier(),
            "pusher:ping" => {}
            "pusher_internal:subscription_succeeded" => {
                assert_eq!(
                    self.asked[channel.as_str()],
                    Asked::Subscribing,
                    "an answer to no question"
                );
                let channel = CHANNELS.into_iter().find(|known| *known == channel).unwrap();
                self.asked.insert(channel, Asked::In);
                if let Some(ids) = data["presence"]["ids"].as_array() {
                    let ids: BTreeSet<String> = ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
                    assert_eq!(data["presence"]["count"], ids.len());
                    assert!(ids.contains(&self.user), "the newcomer is among them");
                    self.members.insert(channel.to_owned(), ids);
                }
            }
            "pusher_internal:member_added" | "pusher_internal:member_removed" => {
                self.must_be_in(&channel, event);
                let id = data["user_id"].as_str().unwrap().to_owned();
                let members = self.members.get_mut(&channel).unwrap();
                match event {
                    "pusher_internal:member_added" => assert!(members.insert(id.clone()), "{id} was there already"),
                    _ => assert!(members.remove(&id), "{id} was not there"),
                }
            }
            "pusher_internal:subscription_count" => {
                self.must_be_in(&channel, event);
                self.counts
                    .insert(channel, data["subscription_count"].as_u64().unwrap());
            }
            "client-hello" => self.must_be_in(&channel, event),
            other => panic!("{other} was not expected: {frame}"),
        }
    }

    /// Events come to subscribers, and to clients whose unsubscribe the server may not have read yet.
    fn must_be_in(&self, channel: &str, event: &str) {
        let asked = self.asked.get(channel);
        assert!(
            matches!(asked, Some(Asked::In | Asked::Leaving(_))),
            "{event} of {channel} came to {asked:?}"
        );
    }

    fn pass_barrier(&mut self) {
        self.barriers -= 1;
        for asked in self.asked.values_mut() {
            if let Asked::Leaving(pongs) = asked {
                *pongs -= 1;
            }
        }
        self.asked.retain(|_, asked| *asked != Asked::Leaving(0));
    }
}

fn server(seed: u64) -> (Server<SimIo>, Shared) {
    let world = World::new(seed);
    let mut config = Config::default();
    config.apps.push(App {
        client_events: true,
        client_events_per_second: 1000,
        subscription_count: true,
        ..App::new("id", "key", SECRET)
    });
    (Server::new(SimIo(world.clone()), config, 1000, [seed as u8; 32]), world)
}

fn story(seed: u64) {
    let (mut server, world) = server(seed);
    world.borrow_mut().unkind = true;
    let mut people: Vec<Person> = Vec::new();
    let turns = 30 + Dice::new(seed).below(120);
    for _ in 0..turns {
        {
            let mut world = world.borrow_mut();
            if people.len() < 8 && world.dice.one_in(4) {
                let user = format!("u{}", world.dice.below(4));
                people.push(Person::new(&mut world, user));
            }
            for person in &mut people {
                if world.dice.one_in(2) {
                    person.step(&mut world);
                }
            }
            let step = world.dice.below(3000) as u64;
            world.pass(Duration::from_micros(step));
        }
        server.tick().unwrap();
    }
    settle(&mut server, &world, &mut people);
    compare(&server, &people);

    for person in people.iter_mut().filter(|person| person.alive) {
        person.end(&mut world.borrow_mut());
    }
    settle(&mut server, &world, &mut people);
    assert_eq!(
        server.service().apps().app(0).visible().occupied("").len(),
        0,
        "an empty channel is kept"
    );
    assert_eq!(server.service().apps().app(0).roster.connections(), 0);
}

/// Lets everything that was said arrive, both ways.
fn settle(server: &mut Server<SimIo>, world: &Shared, people: &mut [Person]) {
    for _ in 0..60 {
        server.tick().unwrap();
        let mut world = world.borrow_mut();
        world.pass(Duration::from_millis(200));
        for person in people.iter_mut() {
            let more = world.receive(person.n, usize::MAX);
            if person.alive {
                person.told.append(&more);
                person.understand(&mut world);
            } else if world.pipes[person.n].server_ended {
                world.end(person.n);
            }
        }
    }
}

fn compare(server: &Server<SimIo>, people: &[Person]) {
    let app = server.service().apps().app(0);
    for channel in CHANNELS {
        let inside: Vec<&Person> = people
            .iter()
            .filter(|person| person.alive && person.asked.get(channel) == Some(&Asked::In))
            .collect();
        let occupancy = app.visible().occupancy(channel);
        assert_eq!(
            occupancy.map_or(0, |occupancy| occupancy.subscriptions),
            inside.len(),
            "{channel}"
        );
        let truth: BTreeSet<String> = inside.iter().map(|person| person.user.clone()).collect();
        for person in inside {
            if channel.starts_with("presence-") {
                assert_eq!(person.members[channel], truth, "{} of {channel}", person.user);
                assert_eq!(app.visible().members(channel).len(), truth.len());
            } else {
                assert_eq!(
                    person.counts.get(channel).copied(),
                    occupancy.map(|o| o.subscriptions as u64),
                    "{channel}"
                );
            }
        }
    }
}

#[test]
fn thousands_of_stories_of_channels_end_well() {
    crate::tell(SEEDS, story);
}
