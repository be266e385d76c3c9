//! Stories of a site: visitors with session cookies connect to one or two server processes over one database, subscribe
//! to channels that Joomla's rules may or may not allow, and receive the events that transactions publish. Meanwhile
//! they log in and out, are blocked and deleted; groups, levels, items and categories change; the database is slow,
//! stopped or killed; answers are lost, and processes are restarted. Against the oracle of `tables`:
//!
//! 1. no visitor receives an event of a forbidden channel for longer than the sweep takes; with a control row, for
//!    longer than 300 ms; and a visitor who lost a right never receives a row that was committed with the control row
//!    or after it, live or by recovery;
//! 2. no visitor is ever taken for another user;
//! 3. when all is quiet, every visitor has an answer, and the right one;
//! 4. every committed row comes exactly once to a client that recovers, or the client gets a gap, and that with a
//!    reason; once to a client that stays; and no other row ever;
//! 5. statements stay within their budget, and an outage costs one of them (see `tables`);
//! 6. answers come in the order of the questions, although frames wait;
//! 7. the loop sleeps when there is nothing to do.

mod barrier;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jsocketd::config::{App, ChannelRule, Config};
use jsocketd::joomla::site::{Client, Handler, SiteConfig};
use jsocketd::protocol::position::Position;
use jsocketd::protocol::signature::hmac_hex;
use jsocketd::server::{Flow, Server};
use jsocketd::store::{Failure, NewRow, Secret, SessionId};
use jsocketd::time::Time;
use serde_json::{Value, json};

use crate::client::{Heard, Transcript, frame};
use crate::memory::Transaction;
use crate::tables::{Answers, Base, Database, Line, SimStore, USERS, control, form_token_of, row};
use crate::world::{Dice, Shared, SimIo, World};

const SEEDS: u64 = 300;
const SECRET: &str = "a secret of the simulator";
const MASK: [u8; 4] = [2, 7, 1, 8];
const COOKIE: &str = "0ad504c8cb42b9a2c9379cf1921924da";

/// Seconds.
const SWEEP: u64 = 10;

/// The time that a question may wait for its turn, besides.
const SLACK: Duration = Duration::from_secs(2);

/// The server must have acted on a control row by then: the longest poll, and a few statements. Slow statements get
/// more time.
const TOLD: Duration = Duration::from_millis(300);
const TOLD_SLOWLY: Duration = Duration::from_secs(2);

/// Ticks in a second without work: ten polls of the outbox table, and timers.
const IDLE_TICKS: u64 = 30;

/// A process has noticed by then that the tables were restored.
const NOTICED: Duration = Duration::from_secs(8);

/// After trouble with the database, or of a process, a gap is no surprise for so long.
const TROUBLE: Duration = Duration::from_secs(12);

/// A question of this kind may be left alone for so long.
const RESTING: Duration = Duration::from_secs(8);

/// How often the oracle is asked when nothing happens.
const OBSERVED: Duration = Duration::from_millis(100);

/// The position that a client gets while the position of the table is unknown.
const NOWHERE: &str = "o00000000:0.0";

const CHANNELS: [&str; 19] = [
    "news",
    "private-user-41",
    "private-user-42",
    "private-group-2",
    "private-group-10",
    "private-group-11",
    "private-level-2",
    "private-level-5",
    "private-level-7",
    "private-com_content.article.1",
    "private-com_content.article.2",
    "private-com_content.article.3",
    "private-com_content.category.3",
    "private-com_content.category.4",
    "private-manage-com_content",
    "private-staff",
    "presence-level-2",
    "presence-com_content.article.2",
    "private-x",
];

/// A browser.
struct Visitor {
    cookie: Option<SessionId>,
    user: u32,
    /// Whether its pages belong to the site.
    own: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Speaks {
    Console,
    Stock,
    Recovering,
}

/// The server's pending answers, in order.
#[derive(Clone, Debug, PartialEq)]
enum Owed {
    Subscription(&'static str),
    Mark(u64),
    Who,
    SignIn(u32),
    FormToken,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Out,
    Asked,
    In,
    /// Until this mark has been answered.
    Leaving(u64),
}

/// A page's state of a channel.
#[derive(Debug, Default)]
struct Watch {
    state: State,
    signed: bool,
    /// Its positions, by stream.
    positions: BTreeMap<String, String>,
    /// Rows that were handled.
    handled: BTreeSet<u64>,
    /// Every commit from this one on must come.
    from: Option<u64>,
    /// When the oracle said yes last, in served time.
    allowed: Duration,
    /// When the events must stop, because a control row was written.
    stop_by: Option<Duration>,
}

/// A page with a socket.
struct Person {
    name: usize,
    visitor: usize,
    speaks: Speaks,
    server: usize,
    n: usize,
    connected: Time,
    /// The session that its cookie named.
    session: Option<SessionId>,
    signed_in: Option<u32>,
    /// It has shown the form token, or need not.
    proven: bool,
    told: Transcript,
    read: usize,
    socket_id: Option<String>,
    alive: bool,
    owed: VecDeque<Owed>,
    /// An error frame without a name follows.
    error_follows: bool,
    marks: u64,
    watches: BTreeMap<&'static str, Watch>,
    /// Channels that it lost the right to subscribe to, and the first commit whose rows it must not receive.
    barred: BTreeMap<&'static str, u64>,
}

struct Published {
    padding: usize,
    channel: String,
    /// The number of its commit.
    committed: Option<u64>,
}

/// A transaction that is under way.
struct Writing {
    transaction: Transaction,
    /// Rows that have an id but are not written yet.
    reserved: VecDeque<(u64, u64)>,
    rows: Vec<u64>,
    until: Time,
    commits: bool,
}

struct Process {
    server: Server<SimIo>,
    world: Shared,
    due: Time,
    /// Ticks that nothing outside caused.
    own_ticks: u64,
}

struct Stage {
    base: Base,
    dice: Dice,
    processes: Vec<Process>,
    visitors: Vec<Visitor>,
    people: Vec<Person>,
    published: Vec<Published>,
    commits: u64,
    writing: Vec<Writing>,
    /// Time in which every process could ask.
    served: Duration,
    /// When each session last belonged to a user, in served time.
    owners: BTreeMap<(SessionId, u32), Duration>,
    clients: u32,
    config: Config,
    site: SiteConfig,
    /// Bytes that a row has besides.
    padding: usize,
    observed: Time,
    /// When the tables were restored, in served time.
    restored: Option<Duration>,
    /// Until when a gap needs no reason.
    trouble: Time,
    /// Questions of these kinds are left alone until then.
    resting: Option<Time>,
    log: bool,
}

impl Stage {
    fn new(seed: u64) -> Self {
        let dice = Dice::new(seed);
        let mut stage = Self {
            base: Database::new(seed),
            dice,
            processes: Vec::new(),
            visitors: Vec::new(),
            people: Vec::new(),
            published: Vec::new(),
            commits: 0,
            writing: Vec::new(),
            served: Duration::ZERO,
            owners: BTreeMap::new(),
            clients: 0,
            config: config(seed),
            site: site(!seed.is_multiple_of(3)),
            padding: if seed % 7 == 3 { 8000 } else { 0 },
            observed: Time(0),
            restored: None,
            trouble: Time(0),
            resting: None,
            log: std::env::var("SIM_LOG").is_ok(),
        };
        stage.base.borrow_mut().log = stage.log;
        for _ in 0..1 + stage.dice.below(2) {
            stage.start(stage.processes.len());
        }
        for _ in 0..5 {
            let user = match stage.dice.below(6) {
                0 => 0,
                n => USERS[n % USERS.len()],
            };
            stage.visitors.push(Visitor {
                cookie: None,
                user,
                own: !stage.dice.one_in(8),
            });
            let cookie = stage.base.borrow_mut().log_in(None, user);
            stage.visitors.last_mut().unwrap().cookie = Some(cookie);
        }
        stage
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.log {
            let now = self.now().0;
            eprintln!("{}.{:06} {}", now / 1_000_000, now % 1_000_000, what());
        }
    }

    fn now(&self) -> Time {
        self.processes[0].world.borrow().now.at
    }

    /// Starts a process, in place of the one with this number if there is one.
    fn start(&mut self, n: usize) {
        let world = World::new(self.dice.roll());
        world.borrow_mut().unkind = true;
        self.clients += 1;
        {
            let mut base = self.base.borrow_mut();
            if let Some(old) = self.processes.first() {
                world.borrow_mut().now = old.world.borrow().now;
            }
            world.borrow_mut().database = match base.tables.down {
                true => Answers::Silent,
                false => Answers::Greets,
            };
            if let Some(client) = base.lines.get(n).map(|line| line.client) {
                base.tables.end(client);
            }
            base.line(n, self.clients);
            match base.worlds.get_mut(n) {
                Some(old) => *old = world.clone(),
                None => base.worlds.push(world.clone()),
            }
            base.pass(Duration::ZERO);
        }
        let mut seed = [0; 32];
        for byte in &mut seed {
            *byte = self.dice.roll() as u8;
        }
        let mut server = Server::new(SimIo(world.clone()), self.config.clone(), 1000, seed);
        server.set_site(self.site.clone(), Some(Box::new(SimStore::new(&self.base, n))));
        let process = Process {
            server,
            world,
            due: Time(0),
            own_ticks: 0,
        };
        match self.processes.get_mut(n) {
            Some(old) => *old = process,
            None => self.processes.push(process),
        }
    }

    fn restart(&mut self, n: usize) {
        self.say(|| format!("process {n} is restarted"));
        self.has_trouble();
        for person in self.people.iter_mut().filter(|person| person.server == n) {
            person.lose();
            // Its pipe is in another world.
            person.n = usize::MAX;
        }
        self.start(n);
    }

    // --- time ------------------------------------------------------------------------------------------------------

    /// Lets the loops run for a while, as the system would: each sleeps until a deadline is due or bytes come.
    fn run(&mut self, span: Duration) {
        let end = self.now() + span;
        loop {
            if self.now().since(self.observed) > OBSERVED {
                self.observe();
                self.rest_no_more(self.now());
            }
            for n in 0..self.processes.len() {
                let now = self.now();
                let process = &mut self.processes[n];
                let edges = process.world.borrow().has_edges();
                if !edges && process.due > now {
                    continue;
                }
                process.own_ticks += u64::from(!edges);
                self.base.borrow_mut().tick(n);
                assert_eq!(process.server.tick().unwrap(), Flow::Continue);
                let patience = process.server.timeout();
                process.due = patience.map_or(Time::NEVER, |patience| process.world.borrow().now.at + patience);
            }
            self.hear();
            let now = self.now();
            if now >= end {
                return;
            }
            let edges = self.processes.iter().any(|process| process.world.borrow().has_edges());
            let due = self.processes.iter().map(|process| process.due).min().unwrap();
            let next = if edges { now + Duration::from_micros(300) } else { due };
            let step = next.min(end).since(now).max(Duration::from_micros(20));
            let serves = self.serves();
            self.base.borrow_mut().pass(step);
            if serves {
                self.served += step;
            }
        }
    }

    /// Whether every process can send every question.
    fn serves(&self) -> bool {
        let base = self.base.borrow();
        let now = self.processes[0].world.borrow().now;
        let is_ready =
            |line: &Line| line.link.resting.is_empty() && line.link.readiness(now) == jsocketd::store::Readiness::Ready;
        !base.tables.down && base.lines.iter().all(is_ready)
    }

    /// An event after which a gap is allowed.
    fn has_trouble(&mut self) {
        self.trouble = self.trouble.max(self.now() + TROUBLE);
    }

    /// Records which channels every visitor may subscribe to now, and every visitor's user.
    fn observe(&mut self) {
        let serves = self.serves();
        let now = self.now();
        self.observed = now;
        let base = self.base.borrow();
        for person in self.people.iter_mut().filter(|person| person.alive) {
            let user = base.user_of(person.session.as_ref());
            if let Some(session) = &person.session
                && user > 0
            {
                self.owners.insert((session.clone(), user), self.served);
            }
            let user = person.is(&base);
            person.barred.retain(|channel, _| !base.may(user, channel));
            // A guest for the time being.
            let provisional = !serves || now.since(person.connected) < Duration::from_secs(8);
            let watches = person.watches.iter_mut();
            for (channel, watch) in watches.filter(|(_, watch)| watch.state != State::Out) {
                let may = watch.signed || base.may(user, channel) || provisional && base.may(0, channel);
                if may {
                    watch.allowed = self.served;
                    watch.stop_by = None;
                }
            }
        }
    }

    // --- people ----------------------------------------------------------------------------------------------------

    fn come(&mut self) {
        let visitor = self.dice.below(self.visitors.len());
        let speaks = [
            Speaks::Console,
            Speaks::Stock,
            Speaks::Stock,
            Speaks::Recovering,
            Speaks::Recovering,
        ][self.dice.below(5)];
        self.people.push(Person {
            name: self.people.len(),
            visitor,
            speaks,
            server: 0,
            n: usize::MAX,
            connected: Time(0),
            session: None,
            signed_in: None,
            proven: false,
            told: Transcript::default(),
            read: 0,
            socket_id: None,
            alive: false,
            owed: VecDeque::new(),
            error_follows: false,
            marks: 0,
            watches: BTreeMap::new(),
            barred: BTreeMap::new(),
        });
        self.connect(self.people.len() - 1);
    }

    /// Connects a person, anew or again.
    fn connect(&mut self, who: usize) {
        let server = self.dice.below(self.processes.len());
        let now = self.now();
        let person = &mut self.people[who];
        let visitor = &self.visitors[person.visitor];
        let path = match person.speaks {
            Speaks::Console => "/",
            Speaks::Stock => "/app/key?protocol=7",
            Speaks::Recovering => "/app/key?protocol=7&recovery=1",
        };
        let origin = if visitor.own {
            "http://127.0.0.1"
        } else {
            "http://evil.example"
        };
        let cookie = visitor.cookie.as_ref().map(SessionId::expose).unwrap_or_default();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: {origin}\r\n\
             Cookie: other=1; {COOKIE}={cookie}\r\n\r\n"
        );
        let mut world = self.processes[server].world.borrow_mut();
        let n = world.connect(if self.padding > 0 { 20_000 } else { 1_000_000 });
        world.send(n, head.as_bytes());
        drop(world);
        person.server = server;
        person.n = n;
        person.connected = now;
        person.session = visitor.cookie.clone().filter(|_| visitor.own);
        person.signed_in = None;
        person.proven = !self.config.joomla.require_form_token;
        person.told = Transcript::default();
        person.read = 0;
        person.socket_id = None;
        person.alive = true;
        person.owed.clear();
        person.error_follows = false;
        let (name, session) = (person.name, person.session.clone());
        self.say(|| {
            format!(
                "{name} connects to process {server} with {:?}",
                session.as_ref().map(SessionId::expose)
            )
        });
        self.observe();
        if self.people[who].speaks == Speaks::Console {
            self.ask_who(who);
        }
    }

    fn send(&self, who: usize, what: &Value) {
        let person = &self.people[who];
        self.say(|| format!("{} says {what}", person.name));
        let text = match what {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut world = self.processes[person.server].world.borrow_mut();
        world.send(person.n, &frame(true, 1, text.as_bytes(), MASK));
    }

    fn ask_who(&mut self, who: usize) {
        self.people[who].owed.push_back(Owed::Who);
        self.send(who, &json!("whoami"));
    }

    /// A visitor does something.
    fn act(&mut self, who: usize) {
        if !self.people[who].alive {
            if self.dice.one_in(3) {
                self.connect(who);
            }
            return;
        }
        let speaks = self.people[who].speaks;
        if speaks == Speaks::Console {
            return match self.dice.below(8) {
                0 => self.end(who),
                _ => self.ask_who(who),
            };
        }
        if self.people[who].socket_id.is_none() {
            return;
        }
        let channel = CHANNELS[self.dice.below(CHANNELS.len())];
        match self.dice.below(30) {
            0..14 => self.subscribe(who, channel),
            14..17 => self.unsubscribe(who, channel),
            17..21 => {
                self.mark(who);
            }
            21..25 => self.send(who, &json!({"event": "pusher:ping", "data": {}})),
            25 => self.sign_in(who),
            26 => {
                self.people[who].owed.push_back(Owed::FormToken);
                let right = !self.dice.one_in(3);
                let session = self.people[who].session.as_ref().filter(|_| right);
                let user = self.base.borrow().user_of(session);
                let token = session.map(|id| form_token_of(&self.site.secret.0, id, user));
                let data = json!({"form_token": token.unwrap_or_else(|| "0123456789abcdef0123456789abcdef".into())});
                self.send(who, &json!({"event": "jsocketd:form_token", "data": data}));
            }
            27 => self.end(who),
            _ => {}
        }
    }

    fn mark(&mut self, who: usize) -> u64 {
        self.people[who].marks += 1;
        let mark = self.people[who].marks;
        self.people[who].owed.push_back(Owed::Mark(mark));
        self.send(who, &json!({"event": format!("mark-{mark}")}));
        mark
    }

    fn subscribe(&mut self, who: usize, channel: &'static str) {
        let served = self.served;
        let person = &mut self.people[who];
        let watch = person.watches.entry(channel).or_default();
        if watch.state != State::Out {
            return;
        }
        watch.state = State::Asked;
        watch.allowed = served;
        watch.stop_by = None;
        let since: Vec<&String> = watch.positions.values().collect();
        let mut data = json!({"channel": channel});
        if person.speaks == Speaks::Recovering && !since.is_empty() {
            data["since"] = json!(since);
        }
        let signs = channel.starts_with("private-") && self.dice.one_in(12);
        if signs {
            let socket = person.socket_id.clone().unwrap();
            let signature = hmac_hex(SECRET, &[format!("{socket}:{channel}").as_bytes()]);
            data["auth"] = format!("key:{signature}").into();
        }
        watch.signed = signs;
        person.owed.push_back(Owed::Subscription(channel));
        self.send(who, &json!({"event": "pusher:subscribe", "data": data}));
    }

    fn unsubscribe(&mut self, who: usize, channel: &'static str) {
        if self.people[who]
            .watches
            .get(channel)
            .is_none_or(|watch| watch.state != State::In)
        {
            return;
        }
        self.send(
            who,
            &json!({"event": "pusher:unsubscribe", "data": {"channel": channel}}),
        );
        let mark = self.mark(who);
        let watch = self.people[who].watches.get_mut(channel).unwrap();
        watch.state = State::Leaving(mark);
    }

    fn sign_in(&mut self, who: usize) {
        let user = USERS[self.dice.below(USERS.len())];
        let person = &mut self.people[who];
        let signing = person.owed.iter().any(|owed| matches!(owed, Owed::SignIn(_)));
        if person.signed_in.is_some() || signing {
            return;
        }
        let socket = person.socket_id.clone().unwrap();
        let user_data = json!({"id": user.to_string()}).to_string();
        let signature = hmac_hex(SECRET, &[format!("{socket}::user::{user_data}").as_bytes()]);
        let data = json!({"auth": format!("key:{signature}"), "user_data": user_data});
        person.owed.push_back(Owed::SignIn(user));
        self.send(who, &json!({"event": "pusher:signin", "data": data}));
    }

    fn end(&mut self, who: usize) {
        let person = &mut self.people[who];
        let mut world = self.processes[person.server].world.borrow_mut();
        match self.dice.below(3) {
            0 => world.send(person.n, &frame(true, 8, &1000u16.to_be_bytes(), MASK)),
            1 => world.end(person.n),
            _ => world.reset(person.n),
        }
        person.lose();
    }

    // --- received messages -------------------------------------------------------------------------------------------

    fn hear(&mut self) {
        for who in 0..self.people.len() {
            let (server, n) = (self.people[who].server, self.people[who].n);
            let world = self.processes[server].world.clone();
            if !self.people[who].alive {
                if world.borrow().pipes.len() > n {
                    let mut world = world.borrow_mut();
                    world.receive(n, usize::MAX);
                    if world.pipes[n].server_ended && !world.pipes[n].client_ended {
                        world.end(n);
                    }
                }
                continue;
            }
            let more = world.borrow_mut().receive(n, usize::MAX);
            self.people[who].told.append(&more);
            while self.people[who].alive && self.people[who].read < self.people[who].told.heard.len() {
                let heard = self.people[who].told.heard[self.people[who].read].clone();
                self.people[who].read += 1;
                match heard {
                    Heard::Text(text) => {
                        let text = String::from_utf8(text).unwrap();
                        self.say(|| format!("{who} receives {text}"));
                        self.understand(who, &text);
                    }
                    Heard::Ping(payload) => world.borrow_mut().send(n, &frame(true, 10, &payload, MASK)),
                    Heard::Close(code) => {
                        self.say(|| format!("{who} is closed with {code}"));
                        assert!(matches!(code, 4200 | 4009), "closed with {code}");
                        world.borrow_mut().send(n, &frame(true, 8, &code.to_be_bytes(), MASK));
                        self.people[who].lose();
                    }
                    other => panic!("an unexpected frame {other:?}"),
                }
            }
            if self.people[who].alive && world.borrow().pipes[n].server_ended {
                let pipe = &world.borrow().pipes[n];
                let heard = &self.people[who].told;
                panic!(
                    "{who} was cut off without a close frame: freed {}, reset {}, unread {:?}, {:?}",
                    pipe.freed, pipe.server_reset, pipe.to_server, heard.status
                );
            }
        }
    }

    fn understand(&mut self, who: usize, text: &str) {
        if self.people[who].speaks == Speaks::Console {
            return self.hear_who(who, &serde_json::from_str(text).unwrap());
        }
        let frame: Value = serde_json::from_str(text).unwrap();
        let event = frame["event"].as_str().unwrap();
        let known = frame["channel"]
            .as_str()
            .map(|name| CHANNELS.into_iter().find(|known| *known == name).unwrap());
        let person = &mut self.people[who];
        match (event, known) {
            ("pusher:connection_established", None) => {
                let data: Value = serde_json::from_str(frame["data"].as_str().unwrap()).unwrap();
                person.socket_id = data["socket_id"].as_str().map(str::to_owned);
                self.come_back(who);
            }
            ("pusher:ping", None) => {}
            ("pusher:pong" | "pusher_internal:position", None) => person.take_position(&frame["pos"]),
            ("pusher:error", None) => person.hear_error(&frame),
            ("jsocketd:form_token_accepted", None) => {
                let owed = person.owed.pop_front();
                assert_eq!(owed, Some(Owed::FormToken), "an answer out of order");
                person.proven = true;
            }
            ("pusher:signin_success", None) => {
                let Some(Owed::SignIn(user)) = person.owed.pop_front() else {
                    panic!("an answer out of order: {text}");
                };
                person.signed_in = Some(user);
                self.must_stop(TOLD, Some(who));
            }
            ("pusher_internal:subscription_succeeded", Some(channel)) => {
                let owed = person.owed.pop_front();
                assert_eq!(owed, Some(Owed::Subscription(channel)), "an answer out of order");
                let list = |value: &Value| match value {
                    Value::Array(list) => list.clone(),
                    Value::Null => Vec::new(),
                    one => vec![one.clone()],
                };
                let recovered = list(&frame["recovered"]);
                let all = !recovered.is_empty() && recovered.iter().all(|one| one == true);
                let shown = person.watches[channel].positions.clone();
                for ((_, position), recovered) in shown.iter().zip(&recovered).filter(|((stream, _), _)| *stream == "o")
                {
                    let has_reason = recovered == true || self.is_gap(position);
                    assert!(has_reason, "{who} gets a gap since {position} without a reason");
                }
                let person = &mut self.people[who];
                let recovering = person.speaks == Speaks::Recovering;
                let watch = person.watches.get_mut(channel).unwrap();
                watch.state = State::In;
                if !recovering {
                    watch.handled.clear();
                    // To a process that has not read the table yet, the rows there are history.
                    let site = self.processes[person.server].server.service().site().unwrap();
                    let knows = site.outbox().unwrap().position().is_some();
                    let noticed = self.restored.is_none_or(|at| self.served > at + NOTICED);
                    watch.from = Some(if knows && noticed { self.commits } else { u64::MAX });
                } else if !all {
                    // The page loads its state anew.
                    watch.handled.clear();
                    watch.from = Some(self.commits);
                    watch.positions.clear();
                    for position in list(&frame["pos"]) {
                        watch.keep(position.as_str().unwrap());
                    }
                }
                assert_eq!(recovering, !frame["pos"].is_null(), "{text}");
            }
            ("pusher:subscription_error", Some(channel)) => {
                let withdrawn = frame["data"]["type"] == "AccessWithdrawn";
                if !withdrawn {
                    let owed = person.owed.pop_front();
                    assert_eq!(owed, Some(Owed::Subscription(channel)), "an answer out of order");
                }
                person.error_follows = true;
                let watch = person.watches.get_mut(channel).unwrap();
                assert!(!watch.signed, "a signature is always enough: {text}");
                if withdrawn {
                    assert!(
                        matches!(watch.state, State::In | State::Leaving(_)),
                        "{text} in {:?}",
                        watch.state
                    );
                }
                if !matches!(watch.state, State::Leaving(_)) {
                    watch.state = State::Out;
                }
                watch.forget();
            }
            ("pusher_internal:member_added" | "pusher_internal:member_removed", Some(channel)) => {
                person.must_be_in(channel, text);
            }
            ("news", Some(channel)) => self.hear_row(who, channel, &frame),
            _ => panic!("{text} was not expected"),
        }
    }

    /// Whether a gap has a reason: the row of the position is not there, or the table cannot be read.
    fn is_gap(&self, position: &str) -> bool {
        let parse = |text: &str| match text.parse() {
            Ok(Position::Table { epoch, place }) => Some((epoch, place)),
            _ => None,
        };
        let base = self.base.borrow();
        let outbox = &base.tables.outbox;
        let is_there = parse(position).is_some_and(|(epoch, place)| {
            let written = outbox.position().and_then(parse);
            written.is_some_and(|(now, _)| now == epoch) && outbox.place(place.seq) == Some(place)
        });
        !is_there || self.now() < self.trouble
    }

    /// A page that had channels subscribes to them again.
    fn come_back(&mut self, who: usize) {
        let person = &self.people[who];
        let channels: Vec<_> = person
            .watches
            .iter()
            .filter(|(_, watch)| !watch.positions.is_empty() && watch.state == State::Out)
            .map(|(channel, _)| *channel)
            .collect();
        for channel in channels {
            self.subscribe(who, channel);
        }
    }

    fn hear_row(&mut self, who: usize, channel: &'static str, frame: &Value) {
        let text = frame.to_string();
        let data: Value = serde_json::from_str(frame["data"].as_str().unwrap()).unwrap();
        let k = data["k"].as_u64().unwrap();
        let published = &self.published[k as usize];
        assert_eq!(published.channel, channel, "row {k} came to another channel");
        assert!(published.committed.is_some(), "row {k} was never committed");
        let commit = published.committed;
        self.must_not_be_barred(who, channel, commit, &text);
        let person = &mut self.people[who];
        person.must_be_in(channel, &text);
        let watch = person.watches.get_mut(channel).unwrap();
        let late = self.served - watch.allowed;
        assert!(
            late <= Duration::from_secs(SWEEP) + SLACK,
            "{who} received {text} when it was forbidden for {late:?}"
        );
        assert!(
            watch.stop_by.is_none_or(|by| self.served <= by),
            "{who} received {text} although a control row was written, {:?} too late",
            self.served - watch.stop_by.unwrap_or_default()
        );
        if person.speaks == Speaks::Recovering {
            assert!(frame["pos"].is_null(), "{text}");
            watch.keep(frame["id"].as_str().unwrap());
        } else {
            assert!(frame["id"].is_null() && frame["pos"].is_null(), "{text}");
        }
        assert!(watch.handled.insert(k), "{who} received row {k} twice");
    }

    /// A page that lost the right to a channel never receives a row that was committed with the control row about it,
    /// or after it.
    fn must_not_be_barred(&self, who: usize, channel: &'static str, commit: Option<u64>, text: &str) {
        let person = &self.people[who];
        let Some(from) = person.barred.get(channel).filter(|from| commit >= Some(**from)) else {
            return;
        };
        let base = self.base.borrow();
        let user = person.is(&base);
        let provisional = !self.serves() || self.now().since(person.connected) < Duration::from_secs(8);
        let may = person.watches[channel].signed || base.may(user, channel) || provisional && base.may(0, channel);
        assert!(
            may,
            "{who} ({user}) received {text}, commit {commit:?}, and lost the right with commit {from}"
        );
    }

    fn hear_who(&mut self, who: usize, reply: &Value) {
        let owed = self.people[who].owed.pop_front();
        assert_eq!(owed, Some(Owed::Who), "an answer to no question: {reply}");
        let Some(user) = reply["user_id"].as_u64() else {
            assert_eq!(reply["identity"], "guest");
            return;
        };
        let session = self.people[who].session.clone().expect("a guest has no user");
        let last = self.owners.get(&(session, user as u32));
        let late = last.map(|last| self.served - *last);
        assert!(
            late.is_some_and(|late| late <= Duration::from_secs(SWEEP) + SLACK),
            "{who} is taken for {user}, which it was {late:?} ago"
        );
    }

    // --- the site --------------------------------------------------------------------------------------------------

    /// Events of forbidden channels must stop soon, for a control row was written.
    fn must_stop(&mut self, within: Duration, only: Option<usize>) {
        let base = self.base.borrow();
        if self.restored.is_some_and(|at| self.served <= at + NOTICED) || !base.tables.outbox.locked.is_empty() {
            // Control rows may be lost, or wait like all others.
            return;
        }
        if !base.tells_all {
            // A change without a control row may keep the right open for as long as the sweep takes.
            return;
        }
        let within = if base.slow > 0 { TOLD_SLOWLY } else { within };
        for person in self.people.iter_mut().filter(|person| person.alive) {
            if only.is_some_and(|only| only != person.name) {
                continue;
            }
            let user = person.is(&base);
            for (channel, watch) in &mut person.watches {
                let fresh = watch.allowed == self.served;
                if fresh && watch.state == State::In && !watch.signed && !base.may(user, channel) {
                    watch.stop_by = Some(self.served + within);
                }
            }
        }
    }

    /// Something happens on the site.
    fn happen(&mut self) {
        match self.dice.below(20) {
            0..4 => {
                self.observe();
                let before = self.rights();
                let told = self.base.borrow_mut().change();
                self.say(|| format!("something changes, told: {told}"));
                self.commit_telling(&before);
                if told && self.serves() {
                    self.must_stop(TOLD, None);
                }
            }
            4..6 => {
                let which = self.dice.below(self.visitors.len());
                let user = if self.dice.one_in(5) {
                    0
                } else {
                    self.visitors[which].user
                };
                self.observe();
                let rights = self.rights();
                let before = self.visitors[which].cookie.clone();
                let cookie = self.base.borrow_mut().log_in(before.as_ref(), user);
                self.commit_telling(&rights);
                if self.serves() {
                    self.must_stop(TOLD, None);
                }
                self.say(|| format!("visitor {which} logs in as {user} with {}", cookie.expose()));
                self.visitors[which].cookie = Some(cookie);
            }
            6..14 => self.write(),
            14 => {
                let which = self.dice.below(self.base.borrow().lines.len());
                let many = 1 + self.dice.below(2);
                self.say(|| format!("process {which} loses {many} answers"));
                self.has_trouble();
                let how = self.dice.below(3);
                let mut base = self.base.borrow_mut();
                let link = &mut base.lines[which].link;
                match how {
                    0 => link.lose_next(1),
                    1 => link.delay_next(700),
                    _ => link.fail_next(1, Failure::Unavailable("it broke".into())),
                }
            }
            15 => {
                let slow = [0, 0, 3, 20][self.dice.below(4)];
                self.base.borrow_mut().slow = slow;
            }
            16 if self.dice.one_in(3) => self.outage(),
            17 if self.dice.one_in(4) => {
                let n = self.dice.below(self.processes.len());
                self.restart(n);
            }
            18 => {
                let mut base = self.base.borrow_mut();
                let outbox = &mut base.tables.outbox;
                let next = outbox.next;
                outbox.locked.clear();
                if self.dice.one_in(2) {
                    outbox.locked.push(next.saturating_sub(5)..=next);
                    for watch in self.people.iter_mut().flat_map(|person| person.watches.values_mut()) {
                        watch.stop_by = None;
                    }
                }
            }
            17 if self.dice.one_in(3) => self.restore(),
            17 => self.rest(),
            16 => self.base.borrow_mut().tables.outbox.flush(),
            19 => {
                // The site's configuration was read again and says the same.
                let n = self.dice.below(self.processes.len());
                self.processes[n].server.set_site(self.site.clone(), None);
            }
            _ => {}
        }
    }

    /// The outbox's tables are restored from a backup, or emptied. Stock clients get no report of the rows that they
    /// miss.
    fn restore(&mut self) {
        if !self.base.borrow_mut().back_up_or_restore() {
            return;
        }
        self.say(|| "the outbox's tables are restored".into());
        self.lose_rows();
    }

    /// Rows are gone from the tables, or will come again.
    fn lose_rows(&mut self) {
        self.base.borrow_mut().take_telling();
        self.writing.clear();
        self.restored = Some(self.served);
        self.has_trouble();
        for person in &mut self.people {
            // Control rows may be lost, and rows that no process had seen.
            person.barred.clear();
            let stock = person.speaks == Speaks::Stock;
            for watch in person.watches.values_mut() {
                if stock {
                    // Restored rows may come again.
                    watch.handled.clear();
                }
                let from = if stock { u64::MAX } else { self.commits };
                watch.from = watch.from.map(|own| own.max(from));
                watch.stop_by = None;
            }
        }
    }

    /// Some kinds of questions are left alone for a while by one process, because they took too long.
    fn rest(&mut self) {
        let kinds = ["sessions", "users", "groups", "levels", "assets", "items", "categories"];
        let (one, two) = (kinds[self.dice.below(kinds.len())], kinds[self.dice.below(kinds.len())]);
        let which = self.dice.below(self.processes.len());
        self.say(|| format!("process {which} leaves questions for {one} and {two} alone"));
        self.base.borrow_mut().lines[which].link.resting = [one, two].into();
        let longest = RESTING.as_millis() as usize;
        let span = Duration::from_millis(self.dice.below(longest) as u64);
        self.resting = Some(self.now() + span);
        self.has_trouble();
    }

    /// The kinds of questions that were left alone are sent again when their time has come.
    fn rest_no_more(&mut self, now: Time) {
        if self.resting.take_if(|until| *until <= now).is_some() {
            self.say(|| "everything is asked again".into());
            for line in &mut self.base.borrow_mut().lines {
                line.link.resting.clear();
            }
        }
    }

    /// The channels that each person may subscribe to.
    fn rights(&self) -> Vec<[bool; CHANNELS.len()]> {
        let base = self.base.borrow();
        let of = |person: &Person| {
            let user = person.is(&base);
            CHANNELS.map(|channel| base.may(user, channel))
        };
        self.people.iter().map(of).collect()
    }

    /// Commits the control rows about a change, with rows behind them in the same transaction. A page that loses a
    /// right by the change must not receive these rows, nor any that are committed later.
    fn commit_telling(&mut self, before: &[[bool; CHANNELS.len()]]) {
        let telling = self.base.borrow_mut().take_telling();
        let first = self.commits;
        let told = !telling.is_empty();
        for transaction in telling {
            for _ in 0..self.dice.below(4) {
                let channel = CHANNELS[self.dice.below(CHANNELS.len())];
                let k = self.published.len() as u64;
                self.published.push(Published {
                    padding: 0,
                    channel: channel.into(),
                    committed: Some(self.commits),
                });
                self.commits += 1;
                let row = self.published[k as usize].row(k);
                self.base.borrow_mut().tables.outbox.insert(transaction, row);
            }
            self.base.borrow_mut().tables.outbox.commit(transaction);
        }
        let lately = self
            .restored
            .is_some_and(|at| self.served <= at + Duration::from_secs(SWEEP) + NOTICED);
        if !told || lately || !self.base.borrow().tells_all {
            // A change without a control row may keep the right open.
            return;
        }
        let now = self.rights();
        for (person, (before, now)) in self.people.iter_mut().zip(before.iter().zip(&now)) {
            for (n, channel) in CHANNELS.into_iter().enumerate() {
                if before[n] && !now[n] {
                    person.barred.entry(channel).or_insert(first);
                }
            }
        }
    }

    fn outage(&mut self) {
        let killed = self.dice.one_in(2);
        let forgets = killed && self.dice.one_in(3);
        self.say(|| format!("the database goes down, killed: {killed}, forgets: {forgets}"));
        self.has_trouble();
        if killed {
            // The writers' transactions are lost.
            self.writing.clear();
        }
        self.base.borrow_mut().go_down(killed, forgets);
        if forgets {
            self.lose_rows();
        }
        let seconds = 1 + self.dice.below(8) as u64;
        if self.dice.one_in(2) {
            self.run(Duration::from_secs(2));
            let before: Vec<u64> = self.processes.iter().map(|process| process.own_ticks).collect();
            self.run(Duration::from_secs(seconds));
            self.assert_idle(&before, seconds);
        } else {
            for _ in 0..seconds * 4 {
                self.run(Duration::from_millis(250));
                let who = self.dice.below(self.people.len().max(1));
                if who < self.people.len() {
                    self.act(who);
                }
            }
        }
        self.say(|| "the database is there again".into());
        self.has_trouble();
        self.base.borrow_mut().come_up();
    }

    fn assert_idle(&self, before: &[u64], seconds: u64) {
        for (process, before) in self.processes.iter().zip(before) {
            let ticks = process.own_ticks - before;
            assert!(
                ticks <= seconds * IDLE_TICKS,
                "{ticks} ticks in {seconds} s without work"
            );
        }
    }

    /// A writer adds a row to the outbox table: at once, or in a transaction that ends later, one way or the other.
    fn write(&mut self) {
        let now = self.now();
        let mut base = self.base.borrow_mut();
        if base.tables.down {
            return;
        }
        let tables = &mut base.tables.outbox;
        let transaction = tables.begin();
        let mut writing = Writing {
            transaction,
            reserved: VecDeque::new(),
            rows: Vec::new(),
            until: now,
            commits: !self.dice.one_in(5),
        };
        let count = 1 + self.dice.below(4);
        let at_once = self.dice.one_in(2);
        let slowly = self.dice.one_in(3);
        let ids = if slowly {
            tables.reserve(count as u64)
        } else {
            Vec::new()
        };
        for n in 0..count {
            let channel = CHANNELS[self.dice.below(CHANNELS.len())];
            let k = self.published.len() as u64;
            self.published.push(Published {
                padding: self.dice.below(self.padding + 1),
                channel: channel.into(),
                committed: None,
            });
            match ids.get(n) {
                Some(id) => writing.reserved.push_back((*id, k)),
                None => {
                    tables.insert(transaction, self.published[k as usize].row(k));
                }
            }
            writing.rows.push(k);
        }
        writing.until = match (at_once, slowly) {
            (true, false) => now,
            // A statement whose ids are taken writes its rows one after the other, and is not away for a second.
            (_, true) => now + Duration::from_millis(self.dice.below(700) as u64),
            _ => now + Duration::from_millis(self.dice.below(20_000) as u64),
        };
        drop(base);
        self.writing.push(writing);
        self.go_on_writing();
    }

    /// Lets the writers go on.
    fn go_on_writing(&mut self) {
        let now = self.now();
        let mut base = self.base.borrow_mut();
        if base.tables.down {
            return;
        }
        for mut writing in std::mem::take(&mut self.writing) {
            let over = writing.until <= now;
            while let Some((id, k)) = writing.reserved.front().copied() {
                if !over && !self.dice.one_in(3) {
                    break;
                }
                writing.reserved.pop_front();
                let row = self.published[k as usize].row(k);
                base.tables.outbox.insert_at(writing.transaction, id, row);
            }
            if !over {
                self.writing.push(writing);
            } else if writing.commits {
                base.tables.outbox.commit(writing.transaction);
                for k in writing.rows {
                    self.published[k as usize].committed = Some(self.commits);
                    self.commits += 1;
                }
            } else {
                base.tables.outbox.rollback(writing.transaction);
            }
        }
    }

    // --- the end ---------------------------------------------------------------------------------------------------

    /// Nothing happens any more, and everything works: after a while every client must be up to date.
    fn settle(&mut self) {
        self.say(|| "all becomes quiet".into());
        {
            let mut base = self.base.borrow_mut();
            base.slow = 0;
            base.tables.outbox.locked.clear();
        }
        self.rest_no_more(Time::NEVER);
        for writing in &mut self.writing {
            writing.until = Time(0);
        }
        self.go_on_writing();
        for _ in 0..2 {
            self.run(Duration::from_secs(2 * SWEEP));
            for who in 0..self.people.len() {
                if !self.people[who].alive && self.people[who].speaks == Speaks::Recovering {
                    self.connect(who);
                }
            }
        }
        self.run(Duration::from_secs(5));
    }

    fn judge(&mut self) {
        let base = self.base.borrow();
        for person in self.people.iter().filter(|person| person.alive) {
            let who = person.name;
            assert!(person.owed.is_empty(), "{who} is still owed {:?}", person.owed);
            let user = person.is(&base);
            for (channel, watch) in person.watches.iter().filter(|(_, watch)| watch.state == State::In) {
                assert!(
                    watch.signed || base.may(user, channel),
                    "{who} ({user}) is still in {channel}"
                );
                let from = watch.from.unwrap();
                for (k, row) in self.published.iter().enumerate() {
                    let due = row.committed.is_some_and(|commit| commit >= from) && row.channel == *channel;
                    assert!(
                        !due || watch.handled.contains(&(k as u64)),
                        "{who} never received row {k} of {channel}"
                    );
                }
            }
        }
    }

    /// New visitors have the identity of their sessions, and the rights of the oracle.
    fn examine(&mut self) {
        for visitor in 0..self.visitors.len() {
            for speaks in [Speaks::Console, Speaks::Stock] {
                self.come();
                let person = self.people.last_mut().unwrap();
                let (server, n) = (person.server, person.n);
                person.lose();
                self.processes[server].world.borrow_mut().reset(n);
                person.visitor = visitor;
                person.speaks = speaks;
                self.connect(self.people.len() - 1);
            }
        }
        let count = 2 * self.visitors.len();
        self.run(Duration::from_secs(1));
        let first = self.people.len() - count;
        for who in first..self.people.len() {
            if self.people[who].speaks == Speaks::Stock {
                for channel in CHANNELS {
                    self.subscribe(who, channel);
                }
            }
        }
        self.run(Duration::from_secs(2));
        let base = self.base.borrow();
        for person in &self.people[first..] {
            assert!(
                person.alive && person.owed.is_empty(),
                "{} is owed {:?}",
                person.name,
                person.owed
            );
            let user = person.is(&base);
            for (channel, watch) in &person.watches {
                let may = watch.signed || base.may(user, channel);
                assert_eq!(watch.state == State::In, may, "{user} in {channel}");
            }
            if person.speaks == Speaks::Console {
                let heard = &person.told.heard[0];
                let Heard::Text(text) = heard else { panic!("{heard:?}") };
                let reply: Value = serde_json::from_slice(text).unwrap();
                assert_eq!(reply["user_id"].as_u64().unwrap_or(0), u64::from(user), "{reply}");
            }
        }
    }
}

impl Published {
    fn row(&self, k: u64) -> NewRow {
        row(&self.channel, &json!({"k": k, "padding": "x".repeat(self.padding)}))
    }
}

impl Watch {
    fn keep(&mut self, position: &str) {
        self.positions.insert(position[..1].to_owned(), position.to_owned());
    }

    /// It was turned out, so it has missed something.
    fn forget(&mut self) {
        self.positions.clear();
        self.from = None;
    }
}

impl Person {
    /// Its user by the tables; 0: a guest.
    fn is(&self, base: &Database) -> u32 {
        match self.signed_in {
            Some(user) => base
                .tables
                .users
                .get(&user)
                .filter(|row| !row.blocked)
                .map_or(0, |row| row.id),
            None if !self.proven => 0,
            None => base.user_of(self.session.as_ref()),
        }
    }

    /// The connection is gone.
    fn lose(&mut self) {
        self.alive = false;
        for watch in self.watches.values_mut() {
            // A pending unsubscribe is done, and a page that stays away without positions must begin anew.
            if matches!(watch.state, State::Leaving(_)) || self.speaks == Speaks::Stock {
                watch.forget();
            }
            watch.state = State::Out;
        }
    }

    fn must_be_in(&self, channel: &str, text: &str) {
        let state = self.watches.get(channel).map(|watch| watch.state);
        assert!(
            matches!(state, Some(State::In | State::Leaving(_))),
            "{} received {text} in {state:?}",
            self.name
        );
    }

    fn take_position(&mut self, pos: &Value) {
        let list = match pos {
            Value::Array(list) => list.clone(),
            Value::Null => return,
            one => vec![one.clone()],
        };
        for watch in self.watches.values_mut().filter(|watch| watch.state == State::In) {
            for position in &list {
                let position = position.as_str().unwrap();
                assert_ne!(position, NOWHERE, "{} gets a position without a meaning", self.name);
                watch.keep(position);
            }
        }
    }

    fn hear_error(&mut self, frame: &Value) {
        if std::mem::take(&mut self.error_follows) {
            return;
        }
        let message = frame["data"]["message"].as_str().unwrap();
        match self.owed.pop_front() {
            Some(Owed::Mark(mark)) => {
                assert_eq!(
                    message,
                    format!("unknown event `mark-{mark}`"),
                    "an answer out of order"
                );
                for watch in self
                    .watches
                    .values_mut()
                    .filter(|watch| watch.state == State::Leaving(mark))
                {
                    watch.state = State::Out;
                    watch.forget();
                }
            }
            Some(Owed::FormToken) => {
                assert!(message.contains("form token"), "an answer out of order: {message}");
                if message.contains("is not this session's") && self.signed_in.is_none() {
                    self.session = None;
                }
            }
            other => panic!("{} was owed {other:?} and got {frame}", self.name),
        }
    }
}

fn config(seed: u64) -> Config {
    let mut config = Config::default();
    config.apps.push(App {
        client_events: true,
        ..App::new("joomla", "key", SECRET)
    });
    config.joomla.sweep_interval = SWEEP;
    config.joomla.identity_timeout = 5;
    config.joomla.require_form_token = seed % 5 == 4;
    if seed % 4 == 1 {
        // So little that recoveries must read the table.
        config.database.history_rows = 4;
    }
    config.channels.push(ChannelRule {
        pattern: "private-staff".into(),
        groups: vec![3],
        levels: Vec::new(),
        users: vec![41],
    });
    config
}

fn site(metadata: bool) -> SiteConfig {
    SiteConfig {
        cookies: vec![
            (Client::Site, COOKIE.into()),
            (Client::Administrator, "5386e5f722696aa90f2935566d512572".into()),
        ],
        secret: Secret("0Joyhpv7XRo55TVH".into()),
        handler: Handler::Database,
        metadata,
        lifetime: 900,
        shared: false,
        live_site: None,
        offline: false,
        root_user: None,
    }
}

/// Plays a story and returns the hash of all that could be observed on the networks.
fn story(seed: u64) -> u64 {
    let mut stage = Stage::new(seed);
    stage.run(Duration::from_millis(500));
    let turns = 40 + stage.dice.below(80);
    for _ in 0..turns {
        if stage.people.len() < 8 && stage.dice.one_in(3) {
            stage.come();
        }
        for _ in 0..1 + stage.dice.below(4) {
            let who = stage.dice.below(stage.people.len().max(1));
            if who < stage.people.len() {
                stage.act(who);
            }
        }
        stage.go_on_writing();
        stage.happen();
        stage.observe();
        let span = match stage.dice.below(10) {
            0 => stage.dice.below(6000),
            1..4 => stage.dice.below(500),
            _ => stage.dice.below(60),
        };
        // In pieces, so that writers do not wait for long.
        let mut left = span as u64;
        while left > 0 {
            let piece = left.min(200);
            stage.run(Duration::from_millis(piece));
            stage.go_on_writing();
            left -= piece;
        }
    }
    stage.settle();
    stage.judge();
    stage.examine();
    let before: Vec<u64> = stage.processes.iter().map(|process| process.own_ticks).collect();
    stage.run(Duration::from_secs(5));
    stage.assert_idle(&before, 5);
    stage.processes.iter().fold(stage.commits, |hash, process| {
        hash.rotate_left(7) ^ process.world.borrow().history
    })
}

#[test]
fn thousands_of_stories_of_visitors_end_well() {
    crate::tell(SEEDS, |seed| {
        story(seed);
    });
}

#[test]
fn the_same_seed_plays_the_same_story_of_visitors() {
    for seed in [1, 57, 426] {
        assert_eq!(story(seed), story(seed), "seed {seed}");
    }
}

/// A scene with one process, one visitor, who is user 42, and one page of this visitor, connected and identified.
fn scene(speaks: Speaks) -> Stage {
    // A site with metadata, as most are.
    scene_of(2, speaks)
}

/// The same of the first fitting one of every sixth seed: those of 0 are sites without metadata.
fn scene_of(first: u64, speaks: Speaks) -> Stage {
    let stages = (first..).step_by(6).map(Stage::new);
    let mut stage = stages.into_iter().find(|stage| stage.processes.len() == 1).unwrap();
    stage.visitors.truncate(1);
    let cookie = stage.base.borrow_mut().log_in(None, 42);
    stage.visitors[0] = Visitor {
        cookie: Some(cookie),
        user: 42,
        own: true,
    };
    stage.come();
    stage.end(0);
    stage.people[0].speaks = speaks;
    stage.connect(0);
    stage.run(Duration::from_secs(1));
    stage
}

impl Stage {
    fn is_in(&self, channel: &str) -> bool {
        self.people[0]
            .watches
            .get(channel)
            .is_some_and(|watch| watch.state == State::In)
    }

    fn signs_in(&mut self, user: u32) {
        let socket = self.people[0].socket_id.clone().unwrap();
        let user_data = json!({"id": user.to_string()}).to_string();
        let signature = hmac_hex(SECRET, &[format!("{socket}::user::{user_data}").as_bytes()]);
        let data = json!({"auth": format!("key:{signature}"), "user_data": user_data});
        self.people[0].owed.push_back(Owed::SignIn(user));
        self.send(0, &json!({"event": "pusher:signin", "data": data}));
    }

    fn enters(&mut self, channel: &'static str) -> bool {
        self.subscribe(0, channel);
        self.run(Duration::from_secs(1));
        self.is_in(channel)
    }
}

#[test]
fn a_wrong_form_token_takes_the_channels_away() {
    let mut stage = scene(Speaks::Stock);
    assert!(stage.enters("private-user-42"));
    stage.people[0].owed.push_back(Owed::FormToken);
    stage.send(
        0,
        &json!({"event": "jsocketd:form_token", "data": {"form_token": "wrong"}}),
    );
    stage.run(Duration::from_secs(1));
    assert!(!stage.is_in("private-user-42"));
    assert!(stage.people[0].alive && stage.people[0].owed.is_empty());
}

#[test]
fn a_sign_in_as_another_user_takes_the_channels_away() {
    let mut stage = scene(Speaks::Stock);
    assert!(stage.enters("private-user-42") && !stage.enters("private-x"));
    stage.signs_in(41);
    stage.run(Duration::from_secs(1));
    assert!(!stage.is_in("private-user-42") && stage.enters("private-user-41"));
}

#[test]
fn a_configuration_that_is_read_again_takes_nothing_away() {
    let mut stage = scene(Speaks::Stock);
    // It has a date from which on it is shown.
    stage.base.borrow_mut().tables.items[0].get_mut(&3).unwrap().access = 1;
    assert!(stage.enters("private-com_content.article.3"));
    let site = stage.site.clone();
    for process in &mut stage.processes {
        process.server.set_site(site.clone(), None);
    }
    stage.run(Duration::from_secs(1));
    assert!(stage.is_in("private-com_content.article.3"));
}

#[test]
fn a_form_token_that_cannot_be_checked_is_asked_for_once() {
    let mut stage = scene(Speaks::Stock);
    assert!(stage.enters("private-user-42"));
    for session in stage.base.borrow_mut().tables.sessions.values_mut() {
        session.data = None;
    }
    let asked = |stage: &Stage| {
        let base = stage.base.borrow();
        base.lines.iter().map(|line| line.link.asked("sessions")).sum::<u64>()
    };
    let before = asked(&stage);
    stage.people[0].owed.push_back(Owed::FormToken);
    stage.send(
        0,
        &json!({"event": "jsocketd:form_token", "data": {"form_token": "any"}}),
    );
    stage.run(Duration::from_secs(1));
    assert!(stage.people[0].owed.is_empty(), "it is answered at once");
    assert!(asked(&stage) <= before + 2, "{} questions", asked(&stage) - before);
}

#[test]
fn a_client_that_subscribes_without_the_table_gets_a_gap() {
    let mut stage = scene(Speaks::Recovering);
    stage.base.borrow_mut().go_down(true, false);
    stage.restart(0);
    stage.run(Duration::from_secs(1));
    stage.people[0].server = 0;
    stage.connect(0);
    stage.run(Duration::from_secs(1));
    stage.subscribe(0, "news");
    stage.run(Duration::from_secs(6));
    assert!(stage.is_in("news"), "it is admitted without a position of the table");
    stage.base.borrow_mut().come_up();
    stage.run(Duration::from_secs(4));
    assert!(!stage.people[0].alive, "it is sent back");
    let from = stage.people[0].watches["news"].from;
    stage.commits += 1;
    stage.connect(0);
    stage.run(Duration::from_secs(2));
    let watch = &stage.people[0].watches["news"];
    assert!(watch.state == State::In && watch.from > from, "and gets a gap");
}

#[test]
fn a_client_that_pings_without_the_table_keeps_its_position() {
    let mut stage = scene(Speaks::Recovering);
    assert!(stage.enters("news"));
    let before = stage.people[0].watches["news"].positions["o"].clone();
    let missing = "Table 'x_websockets_outbox' doesn't exist".to_owned();
    stage.base.borrow_mut().tables.refused.insert("look", missing);
    stage.run(Duration::from_secs(2));
    stage.send(0, &json!({"event": "pusher:ping", "data": {}}));
    stage.run(Duration::from_secs(1));
    assert_eq!(stage.people[0].watches["news"].positions["o"], before);
    // It is sent back, and has missed nothing.
    stage.base.borrow_mut().tables.refused.clear();
    stage.run(Duration::from_secs(12));
    stage.connect(0);
    stage.run(Duration::from_secs(1));
    assert!(stage.is_in("news"));
    assert_eq!(stage.people[0].watches["news"].from, Some(0), "without a gap");
}

#[test]
fn a_user_that_changes_and_leaves_during_its_look_up_is_forgotten() {
    let mut stage = scene_of(0, Speaks::Stock);
    stage.end(0);
    stage.run(Duration::from_secs(1));
    // Its session is known, but not whose it is.
    stage.base.borrow_mut().lines[0].link.resting.insert("users");
    stage.connect(0);
    stage.run(Duration::from_secs(1));
    stage
        .base
        .borrow_mut()
        .tables
        .outbox
        .publish(control("recheck-user", &json!({"user_id": 42})));
    stage.run(Duration::from_secs(1));
    stage.end(0);
    stage.run(Duration::from_secs(2 * SWEEP));
}
