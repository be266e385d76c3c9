//! Some processes of a cluster, each with one app, connected by a log in order. Each process reads the log in its own
//! time. Clients keep what they were told, and fail when they are told a change twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::config;
use crate::hub::app::App;
use crate::hub::ask::Asked;
use crate::hub::events::Publication;
use crate::id::ConnectionId;
use crate::protocol::actions::{Action, Actions, Message};
use crate::protocol::effects::{Effect, HookEvent};
use crate::protocol::rows::{Missed, Reach};
use crate::protocol::shared::{HoldingKey, ProcessId, Shared, SharedEvent};
use crate::protocol::signature::hmac_hex;
use crate::protocol::{Attempt, Member, SocketId, Verdict};
use crate::time::{Now, Time};

/// The start of the positions.
pub const EPOCH: u32 = 0xab;

/// An entry of the log.
#[derive(Clone, Debug)]
pub enum Entry {
    Shared(ProcessId, Shared),
    Gone(ProcessId),
    Fresh(ProcessId),
}

pub struct Model {
    pub log: Vec<Entry>,
    pub processes: Vec<Process>,
    pub now: Now,
    /// How many processes there ever were.
    born: u64,
}

pub struct Process {
    pub me: ProcessId,
    pub app: App,
    /// How many entries of the log it has read.
    pub read: usize,
    /// What it has not appended yet.
    waiting: Vec<Shared>,
    /// The webhooks in the order of the log.
    pub hooks: Vec<HookEvent>,
    pub clients: BTreeMap<ConnectionId, Client>,
    /// It has missed entries.
    pub had_hole: bool,
    actions: Actions,
    slots: u32,
}

/// What a client was told.
#[derive(Debug, Default)]
pub struct Client {
    pub user: String,
    pub members: BTreeMap<String, BTreeMap<String, Value>>,
    pub counts: BTreeMap<String, u64>,
    pub online: BTreeSet<String>,
    pub events: Vec<Value>,
    pub frames: Vec<Value>,
    pub closed: Option<u16>,
}

pub fn settings() -> config::App {
    config::App {
        subscription_count: true,
        watchlist: true,
        user_authentication: true,
        client_events: true,
        webhooks: vec![config::Webhook::default()],
        ..config::App::new("7", "key", "secret")
    }
}

impl Model {
    pub fn new(processes: usize, settings: &config::App) -> Self {
        let mut model = Self {
            log: Vec::new(),
            processes: Vec::new(),
            now: Now {
                at: Time(1_000_000),
                unix_ms: 0,
            },
            born: 0,
        };
        (0..processes).for_each(|_| model.start(settings));
        model
    }

    /// A process starts and reads the log from its beginning.
    pub fn start(&mut self, settings: &config::App) {
        self.born += 1;
        let me = ProcessId(self.born);
        let mut app = App::new(0, settings.clone(), 1);
        app.join_cluster(me);
        let mut process = Process {
            me,
            app,
            read: 0,
            waiting: Vec::new(),
            hooks: Vec::new(),
            clients: BTreeMap::new(),
            had_hole: false,
            actions: Actions::default(),
            slots: 0,
        };
        process.set_epoch(EPOCH, 0);
        self.processes.push(process);
    }

    /// A process dies. What it had not appended is lost, and the others declare it gone.
    pub fn kill(&mut self, n: usize) {
        let process = self.processes.remove(n);
        self.log.push(Entry::Gone(process.me));
    }

    /// A process appends what waits. Of each thing only the newest state counts.
    pub fn append(&mut self, n: usize) {
        let process = &mut self.processes[n];
        let mut newest: BTreeMap<HoldingKey, usize> = BTreeMap::new();
        let waiting = std::mem::take(&mut process.waiting);
        for (at, shared) in waiting.iter().enumerate() {
            if let Shared::Holds(holding) = shared {
                newest.insert(holding.key(), at);
            }
        }
        for (at, shared) in waiting.into_iter().enumerate() {
            let is_old = matches!(&shared, Shared::Holds(holding) if newest[&holding.key()] != at);
            if !is_old {
                self.log.push(Entry::Shared(process.me, shared));
            }
        }
    }

    /// A process reads the next entry of the log.
    pub fn read(&mut self, n: usize) {
        let process = &mut self.processes[n];
        let Some(entry) = self.log.get(process.read) else {
            return;
        };
        process.read += 1;
        let number = process.read as u64;
        let (now, actions) = (self.now, &mut process.actions);
        let mut together = process.app.together().unwrap();
        match entry {
            Entry::Shared(from, Shared::Holds(holding)) => together.heard(*from, holding, now, actions),
            Entry::Shared(_, Shared::Event(event)) => drop(together.deliver(event, number, now, actions)),
            Entry::Shared(_, Shared::CacheMiss(channel)) => together.cache_missed(channel, actions),
            Entry::Shared(_, Shared::Cached(cached)) => together.keep_cached(cached, now),
            Entry::Shared(..) => {}
            Entry::Gone(of) => together.gone(*of, now, actions),
            Entry::Fresh(of) => together.fresh(*of, now, actions),
        }
        together.advance(number);
        process.settle();
    }

    pub fn read_all(&mut self) {
        (0..self.processes.len()).for_each(|n| self.append(n));
        for n in 0..self.processes.len() {
            while self.processes[n].read < self.log.len() {
                self.read(n);
            }
        }
    }

    /// A process misses the next entries. All processes tell what they hold.
    pub fn miss(&mut self, n: usize, entries: usize) {
        let process = &mut self.processes[n];
        process.read = self.log.len().min(process.read + entries);
        process.had_hole = true;
        let all: BTreeSet<ProcessId> = (1..=self.born).map(ProcessId).collect();
        for of in &all {
            process.app.together().unwrap().stale(*of);
        }
        let here: BTreeSet<ProcessId> = self.processes.iter().map(|process| process.me).collect();
        for of in all.difference(&here) {
            self.log.push(Entry::Gone(*of));
        }
        for n in 0..self.processes.len() {
            self.append(n);
            let process = &mut self.processes[n];
            let me = process.me;
            let holdings = process.app.together().unwrap().holdings(false, self.now);
            self.log
                .extend(holdings.into_iter().map(|shared| Entry::Shared(me, shared)));
            self.log.push(Entry::Fresh(me));
        }
    }

    pub fn wait(&mut self, span: Duration) {
        self.now.at = self.now.at + span;
        for process in &mut self.processes {
            process.app.due(self.now, &mut process.actions);
            process.settle();
        }
    }

    pub fn connect(&mut self, n: usize, user: &str) -> ConnectionId {
        let process = &mut self.processes[n];
        let id = ConnectionId::new(process.slots, 1);
        let socket = SocketId(process.me.0 as u32, process.slots + 1);
        process.slots += 1;
        let client = Client {
            user: user.into(),
            ..Client::default()
        };
        process.clients.insert(id, client);
        let pusher = config::Pusher::default();
        let (app, actions) = (&mut process.app, &mut process.actions);
        app.connect(id, socket, true, &pusher, self.now, actions);
        process.settle();
        id
    }

    pub fn disconnect(&mut self, n: usize, id: ConnectionId) {
        let process = &mut self.processes[n];
        process.clients.remove(&id);
        process.app.disconnect(id, self.now, &mut process.actions);
        process.settle();
    }

    /// A connection sends a frame; a subscription is allowed.
    pub fn send(&mut self, n: usize, id: ConnectionId, frame: &Value) {
        let now = self.now;
        let process = &mut self.processes[n];
        let (app, actions) = (&mut process.app, &mut process.actions);
        let asked = app.message(id, &Message::Text(frame.to_string().into()), now, actions);
        if let Asked::Subscribe(subscribe) = asked {
            let user = &process.clients[&id].user;
            let info = serde_json::value::to_raw_value(&process.me.0).unwrap();
            let rule = |name: crate::protocol::channel::ChannelName<'_>| {
                let member = name.as_str().starts_with("presence-").then(|| Member {
                    user_id: user.as_str().into(),
                    user_info: Some(info),
                });
                Some(Verdict::Yes(member))
            };
            if let Verdict::Yes(ticket) = app.admit(id, &subscribe, rule, now, actions) {
                let attempt = Attempt::default();
                let absence = app.absence(id, &ticket, &attempt, |_| Reach::No).unwrap();
                app.join(id, ticket, &absence, |_| Missed::Nothing, now, actions);
            }
        }
        process.settle();
    }

    pub fn subscribe(&mut self, n: usize, id: ConnectionId, channel: &str) {
        let frame = serde_json::json!({"event": "pusher:subscribe", "data": {"channel": channel}});
        self.send(n, id, &frame);
    }

    pub fn unsubscribe(&mut self, n: usize, id: ConnectionId, channel: &str) {
        let frame = serde_json::json!({"event": "pusher:unsubscribe", "data": {"channel": channel}});
        self.send(n, id, &frame);
        if let Some(client) = self.processes[n].clients.get_mut(&id) {
            client.members.remove(channel);
            client.counts.remove(channel);
        }
    }

    /// A connection signs in and watches users.
    pub fn sign_in(&mut self, n: usize, id: ConnectionId, watchlist: &[&str]) {
        let user = &self.processes[n].clients[&id].user;
        let data = serde_json::json!({"id": user, "watchlist": watchlist}).to_string();
        let socket = format!("{}.{}", self.processes[n].me.0, id.slot() + 1);
        let signature = hmac_hex("secret", &[format!("{socket}::user::{data}").as_bytes()]);
        let data = serde_json::json!({"auth": format!("key:{signature}"), "user_data": data});
        self.send(n, id, &serde_json::json!({"event": "pusher:signin", "data": data}));
    }

    pub fn client(&self, n: usize, id: ConnectionId) -> &Client {
        &self.processes[n].clients[&id]
    }
}

impl Process {
    /// Carries out the actions and effects.
    pub fn settle(&mut self) {
        for effect in std::mem::take(self.actions.effects()) {
            match effect {
                Effect::Share(0, shared) => self.waiting.push(shared),
                Effect::LogHook(0, hook) => self.hooks.push(hook),
                other => panic!("a process of a cluster has no such effect: {other:?}"),
            }
        }
        let list = self.actions.take();
        for action in &list {
            match action {
                Action::Send(id, Message::Text(text)) => self.tell(*id, text),
                Action::Fanout(range, text) => {
                    for id in self.actions.recipients(range.clone()).to_vec() {
                        self.tell(id, text);
                    }
                }
                Action::Close(id, code, _) => {
                    if let Some(client) = self.clients.get_mut(id) {
                        client.closed = Some(*code);
                    }
                }
                _ => {}
            }
        }
        self.actions.reuse(list);
    }

    fn tell(&mut self, id: ConnectionId, text: &str) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.understand(&serde_json::from_str(text).unwrap());
        }
    }

    pub fn publish(&mut self, publication: &Publication<'_>, now: Now) -> usize {
        let count = self.app.publish(publication, now, &mut self.actions);
        self.settle();
        count
    }

    pub fn deliver(&mut self, event: &SharedEvent, n: u64, now: Now) -> usize {
        let mut together = self.app.together().unwrap();
        let count = together.deliver(event, n, now, &mut self.actions);
        self.settle();
        count
    }

    pub fn set_epoch(&mut self, start: u32, after: u64) {
        let mut together = self.app.together().unwrap();
        together.set_epoch(start, after, &mut self.actions);
        self.settle();
    }
}

impl Client {
    fn understand(&mut self, frame: &Value) {
        self.frames.push(frame.clone());
        let data: Value = match &frame["data"] {
            Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
            data => data.clone(),
        };
        let channel = frame["channel"].as_str().unwrap_or_default().to_owned();
        let user = || data["user_id"].as_str().unwrap().to_owned();
        match frame["event"].as_str().unwrap() {
            "pusher_internal:subscription_succeeded" if channel.starts_with("presence-") => {
                let roll = &data["presence"];
                let hash = roll["hash"].as_object().unwrap();
                assert_eq!(roll["count"].as_u64(), Some(hash.len() as u64));
                let ids: Vec<&str> = roll["ids"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter_map(Value::as_str)
                    .collect();
                assert!(ids.iter().eq(hash.keys().collect::<BTreeSet<_>>()), "{roll}");
                let members = hash.iter().map(|(user, info)| (user.clone(), info.clone()));
                self.members.insert(channel, members.collect());
            }
            "pusher_internal:member_added" => {
                let members = self.members.get_mut(&channel).unwrap();
                let before = members.insert(user(), data["user_info"].clone());
                assert_eq!(before, None, "{} joins {channel} twice", user());
            }
            "pusher_internal:member_removed" => {
                let before = self.members.get_mut(&channel).unwrap().remove(&user());
                assert!(before.is_some(), "{} leaves {channel} twice", user());
            }
            "pusher_internal:subscription_count" => {
                let count = data["subscription_count"].as_u64().unwrap();
                self.counts.insert(channel, count);
            }
            "pusher_internal:watchlist_events" => {
                for event in data["events"].as_array().unwrap() {
                    for user in event["user_ids"].as_array().unwrap() {
                        let user = user.as_str().unwrap().to_owned();
                        let is_online = event["name"] == "online";
                        let is_change = match is_online {
                            true => self.online.insert(user.clone()),
                            // The first status names the users who are offline.
                            false => self.online.remove(&user) || !self.frames.is_empty(),
                        };
                        assert!(is_change, "{user} comes online twice");
                    }
                }
            }
            event if !event.starts_with("pusher") => self.events.push(frame.clone()),
            _ => {}
        }
    }
}
