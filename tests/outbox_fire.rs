//! The outbox table under fire. Eight writers commit out of order, roll back, write slowly and are killed in the middle; the
//! server is killed twice and the database once. Against that stand clients that do what `docs/protocol.md` tells them: they
//! handle every committed row exactly once and no other, without being told of a gap. Stock clients get a row at most once.
//!
//! What was committed is what stands in the table at the end; what writers know of their transactions must agree with it.

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use common::joomla::Site as Joomla;
use common::mariadb::Mariadb;
use common::outbox::{self, enter, parts, positions, ready, row, serve, table_position};
use common::pusher::{KEY, below, pick};
use common::{Noise, PATIENCE, wait_until};
use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};
use rustix::process::Signal;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

const WRITERS: usize = 8;
const CHANNELS: [&str; 3] = ["fire-a", "fire-b", "fire-c"];

/// Rows that writers know to be committed between two misfortunes.
const STAGE: usize = 250;

const ISOLATION: [&str; 4] = ["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

/// What writers and clients share.
struct Field {
    joomla: Joomla,
    database: Arc<Mariadb>,
    /// Where the server listens now.
    addr: Mutex<SocketAddr>,
    /// Connection ids of the writers.
    writing: [AtomicU32; WRITERS],
    committed: AtomicUsize,
    /// No more is written.
    over: AtomicBool,
    /// What was committed, once it is known: row and token, by channel.
    truth: OnceLock<BTreeMap<String, BTreeMap<u64, u64>>>,
}

// --- writers -------------------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Committed,
    RolledBack,
    /// The connection broke while it was committing.
    Unknown,
}

/// What became of a row, as far as its writer knows.
#[derive(Clone, Copy, Debug)]
struct Fate {
    outcome: Outcome,
    /// It was visible to nobody before.
    began: Instant,
    /// If committed, it was visible to everybody after.
    ended: Instant,
}

/// What a writer does in one go.
struct Work {
    statements: Vec<String>,
    tokens: Vec<u64>,
    /// Commit (true) or roll back at the end; `None`: there is one statement, and it commits itself.
    end: Option<bool>,
}

struct Writer<'a> {
    field: &'a Field,
    number: usize,
    noise: Noise,
    next: u64,
    fates: HashMap<u64, Fate>,
    blocked: usize,
}

impl Writer<'_> {
    fn run(mut self) -> (HashMap<u64, Fate>, usize) {
        while !self.field.over.load(Ordering::Relaxed) {
            let Some(mut connection) = self.connect() else {
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            self.field.writing[self.number].store(connection.connection_id(), Ordering::Relaxed);
            while !self.field.over.load(Ordering::Relaxed) {
                let work = self.work();
                if !self.perform(&mut connection, work) {
                    break;
                }
                self.sleep(40);
            }
        }
        (self.fates, self.blocked)
    }

    /// The database may be away.
    fn connect(&self) -> Option<Conn> {
        let options = OptsBuilder::new()
            .user(Some("root"))
            .db_name(Some(&self.field.joomla.database))
            .socket(self.field.database.socket.to_str())
            .read_timeout(Some(PATIENCE));
        Conn::new(options).ok()
    }

    fn sleep(&mut self, most_ms: usize) {
        thread::sleep(Duration::from_millis(below(&mut self.noise, most_ms + 1) as u64));
    }

    fn work(&mut self) -> Work {
        let mut tokens = Vec::new();
        let statements: Vec<String> = match below(&mut self.noise, 6) {
            0 => vec![self.insert(1, 0, &mut tokens)],
            1..=3 => {
                let count = 1 + below(&mut self.noise, 4);
                (0..count).map(|_| self.insert(1, 0, &mut tokens)).collect()
            }
            // All ids are taken at once, and the rows follow one by one.
            4 => vec![self.insert(8, 25, &mut tokens)],
            // Ids are taken in growing portions.
            _ => vec![self.insert_select(7, 25, &mut tokens)],
        };
        let alone = statements.len() == 1 && below(&mut self.noise, 2) == 0;
        let end = (!alone).then(|| below(&mut self.noise, 3) > 0);
        Work {
            statements,
            tokens,
            end,
        }
    }

    /// A row's columns; some of them take their time.
    fn row(&mut self, slow_ms: usize, tokens: &mut Vec<u64>) -> String {
        self.next += 1;
        let token = (self.number as u64) << 32 | self.next;
        tokens.push(token);
        let channel = pick(&mut self.noise, &CHANNELS);
        let seconds = below(&mut self.noise, slow_ms + 1) as f64 / 1000.0;
        let slow = if slow_ms > 0 {
            format!("IF(SLEEP({seconds}), '', '')")
        } else {
            "''".to_owned()
        };
        format!("'{channel}', 'event', CONCAT('{token}', {slow}), UTC_TIMESTAMP(3)")
    }

    fn insert(&mut self, rows: usize, slow_ms: usize, tokens: &mut Vec<u64>) -> String {
        let mut statement = "INSERT INTO #__websockets_outbox (channel, event, data, created) VALUES ".to_owned();
        for n in 0..rows {
            let comma = if n > 0 { ", " } else { "" };
            write!(statement, "{comma}({})", self.row(slow_ms, tokens)).expect("memory suffices");
        }
        self.field.joomla.text(&statement)
    }

    fn insert_select(&mut self, rows: usize, slow_ms: usize, tokens: &mut Vec<u64>) -> String {
        let selects: Vec<String> = (0..rows)
            .map(|_| format!("SELECT {}", self.row(slow_ms, tokens)))
            .collect();
        let into = "INSERT INTO #__websockets_outbox (channel, event, data, created) ";
        self.field
            .joomla
            .text(&format!("{into}{}", selects.join(" UNION ALL ")))
    }

    /// Does it and notes what became of it. False: the connection is of no use any more.
    fn perform(&mut self, connection: &mut Conn, work: Work) -> bool {
        let level = pick(&mut self.noise, &ISOLATION);
        if connection
            .query_drop(format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}"))
            .is_err()
        {
            return false;
        }
        let Work {
            statements,
            tokens,
            end,
        } = work;
        let mut began = Instant::now();
        if end.is_some() && connection.query_drop("START TRANSACTION").is_err() {
            return false;
        }
        for statement in &statements {
            if let Err(error) = connection.query_drop(statement) {
                if let mysql::Error::MySqlError(told) = &error {
                    self.blocked += usize::from(told.code == 1205);
                }
                let outcome = if end.is_some() {
                    Outcome::RolledBack
                } else {
                    Outcome::Unknown
                };
                self.note(&tokens, outcome, began);
                return false;
            }
            if statements.len() > 1 {
                self.sleep(60);
            }
        }
        let outcome = match end {
            None => Outcome::Committed,
            Some(commit) => {
                self.sleep(300);
                began = Instant::now();
                let done = connection.query_drop(if commit { "COMMIT" } else { "ROLLBACK" });
                match (commit, done) {
                    (false, _) => Outcome::RolledBack,
                    (true, Ok(())) => Outcome::Committed,
                    (true, Err(_)) => Outcome::Unknown,
                }
            }
        };
        self.note(&tokens, outcome, began);
        true
    }

    fn note(&mut self, tokens: &[u64], outcome: Outcome, began: Instant) {
        let ended = Instant::now();
        let fate = Fate { outcome, began, ended };
        self.fates.extend(tokens.iter().map(|token| (*token, fate)));
        if outcome == Outcome::Committed {
            self.field.committed.fetch_add(tokens.len(), Ordering::Relaxed);
        }
    }
}

// --- clients -------------------------------------------------------------------------------------------------------------

/// A row as it came.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    connection: usize,
    at: Instant,
    token: u64,
    /// Nothing was being recovered on the connection any more.
    live: bool,
}

/// What a client knows of a channel.
#[derive(Default)]
struct Follows {
    /// The latest position of each stream, by first character.
    positions: BTreeMap<char, String>,
    /// Rows above the position that were handled. Those below are forgotten: they must not come again.
    kept: BTreeSet<u64>,
    confirmed: bool,
    /// Row and token of all that was handled, in order.
    handled: Vec<(u64, u64)>,
}

struct Client<'a> {
    field: &'a Field,
    recovering: bool,
    noise: Noise,
    follows: BTreeMap<&'static str, Follows>,
    arrivals: Vec<Arrival>,
    connections: usize,
    recoveries: usize,
    gaps: Vec<String>,
    live: bool,
}

/// What remains of a client.
struct Report {
    follows: BTreeMap<&'static str, Follows>,
    arrivals: Vec<Arrival>,
    connections: usize,
    recoveries: usize,
    gaps: Vec<String>,
}

type Socket = WebSocket<TcpStream>;

impl<'a> Client<'a> {
    fn new(field: &'a Field, recovering: bool, seed: u64) -> Self {
        Self {
            field,
            recovering,
            noise: Noise(seed * 0x9e37_79b9),
            follows: CHANNELS.iter().map(|name| (*name, Follows::default())).collect(),
            arrivals: Vec::new(),
            connections: 0,
            recoveries: 0,
            gaps: Vec::new(),
            live: false,
        }
    }

    /// Listens until it has handled everything that was committed (a stock client: until that is known), or waited too long.
    fn run(mut self, started: &std::sync::Barrier) -> Report {
        let mut deadline = None;
        let mut waits = true;
        loop {
            if let Some(socket) = self.connect() {
                let end = 20 + below(&mut self.noise, 300);
                self.listen(socket, end, waits.then_some(started));
                waits = false;
            } else {
                thread::sleep(Duration::from_millis(10));
            }
            let until = *deadline.get_or_insert(Instant::now() + Duration::from_secs(3600));
            if self.field.truth.get().is_some() && until > Instant::now() + PATIENCE {
                deadline = Some(Instant::now() + PATIENCE);
            }
            if self.is_done() || Instant::now() > until {
                return Report {
                    follows: self.follows,
                    arrivals: self.arrivals,
                    connections: self.connections,
                    recoveries: self.recoveries,
                    gaps: self.gaps,
                };
            }
        }
    }

    fn is_done(&self) -> bool {
        let Some(truth) = self.field.truth.get() else {
            return false;
        };
        !self.recovering
            || self.follows.iter().all(|(name, follows)| {
                let handled: BTreeSet<u64> = follows.handled.iter().map(|(row, _)| *row).collect();
                truth[*name].keys().all(|row| handled.contains(row))
            })
    }

    fn connect(&mut self) -> Option<Socket> {
        let addr = *self.field.addr.lock().expect("nobody panics with it");
        let stream = TcpStream::connect_timeout(&addr, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let recovery = if self.recovering { "&recovery=1" } else { "" };
        let url = format!("ws://{addr}/app/{KEY}?protocol=7&client=js&version=8.6.0&flash=false{recovery}");
        let (mut socket, _) = tungstenite::client(url, stream).ok()?;
        let greeting = read(&mut socket)??;
        assert_eq!(greeting["event"], "pusher:connection_established", "{greeting}");
        socket
            .get_ref()
            .set_read_timeout(Some(Duration::from_millis(20)))
            .ok()?;
        self.connections += 1;
        self.live = !self.recovering;
        for (name, follows) in &mut self.follows {
            follows.confirmed = false;
            let mut data = json!({"channel": name});
            if self.recovering && !follows.positions.is_empty() {
                data["since"] = json!(follows.positions.values().collect::<Vec<_>>());
            }
            say(&mut socket, json!({"event": "pusher:subscribe", "data": data}))?;
        }
        Some(socket)
    }

    /// Reads at least so many messages, then drops the connection; or until it breaks.
    fn listen(&mut self, mut socket: Socket, most: usize, mut started: Option<&std::sync::Barrier>) {
        let mut count = 0;
        let mut asked = Instant::now();
        if say(&mut socket, json!({"event": "pusher:ping", "data": {}})).is_none() {
            return;
        }
        while count < most && !self.is_done() {
            match read(&mut socket) {
                None => return,
                Some(Some(message)) => {
                    count += 1;
                    self.take(&message);
                }
                Some(None) if self.field.truth.get().is_some() => count += 1,
                Some(None) => {}
            }
            let placed =
                |follows: &Follows| follows.confirmed && (!self.recovering || follows.positions.contains_key(&'o'));
            if started.is_some() && self.follows.values().all(placed) {
                started.take().map(std::sync::Barrier::wait);
            }
            if asked.elapsed() > Duration::from_millis(100) {
                asked = Instant::now();
                if say(&mut socket, json!({"event": "pusher:ping", "data": {}})).is_none() {
                    return;
                }
            }
        }
    }

    fn take(&mut self, message: &Value) {
        let event = message["event"].as_str().expect("an event");
        match event {
            "pusher:pong" | "pusher_internal:position" => {
                let found = positions(&message["pos"]);
                self.live |= !found.is_empty();
                for follows in self.follows.values_mut().filter(|follows| follows.confirmed) {
                    follows.move_to(&found);
                }
            }
            "pusher_internal:subscription_succeeded" => self.confirmed(message),
            "event" => {
                let name = message["channel"].as_str().expect("a channel");
                let token = message["data"]
                    .as_str()
                    .and_then(|data| data.parse().ok())
                    .expect("a token");
                let arrival = Arrival {
                    connection: self.connections,
                    at: Instant::now(),
                    token,
                    live: self.live,
                };
                self.arrivals.push(arrival);
                let recovering = self.recovering;
                let follows = self.follows.get_mut(name).expect("it subscribed to it");
                assert!(follows.confirmed, "before the confirmation: {message}");
                if !recovering {
                    assert!(message.get("id").is_none() && message.get("pos").is_none(), "{message}");
                    return follows.handled.push((0, token));
                }
                let id = row(&message["id"]);
                if follows.kept.insert(id) {
                    follows.handled.push((id, token));
                }
                let position = message.get("pos").unwrap_or(&message["id"]);
                follows.move_to(&positions(position));
            }
            _ => panic!("{message}"),
        }
    }

    fn confirmed(&mut self, message: &Value) {
        let name = message["channel"].as_str().expect("a channel");
        let follows = self.follows.get_mut(name).expect("it subscribed to it");
        follows.confirmed = true;
        if !self.recovering {
            return;
        }
        let streams: Vec<char> = follows.positions.keys().copied().collect();
        let told: Vec<bool> = match message.get("recovered") {
            None => Vec::new(),
            Some(told) => serde_json::from_value(told.clone()).expect("a list, as since was"),
        };
        assert_eq!(told.len(), streams.len(), "an answer to each position: {message}");
        if let Some((_, recovered)) = streams.iter().zip(&told).find(|(stream, _)| **stream == 'o') {
            match recovered {
                true => self.recoveries += 1,
                false => self
                    .gaps
                    .push(format!("{name} since {:?}: {message}", follows.positions)),
            }
        }
        follows.move_to(&positions(&message["pos"]));
    }
}

impl Follows {
    fn move_to(&mut self, found: &[String]) {
        for position in found {
            let stream = position.chars().next().expect("a position");
            self.positions.insert(stream, position.clone());
            if stream == 'o' {
                let (_, row) = parts(position);
                self.kept = self.kept.split_off(&(row + 1));
            }
        }
    }
}

/// The next message; `Some(None)`: none yet; `None`: there will be none.
fn read(socket: &mut Socket) -> Option<Option<Value>> {
    match socket.read() {
        Ok(Message::Text(text)) => Some(Some(serde_json::from_str(&text).expect("JSON"))),
        // A server that is killed says nothing.
        Ok(Message::Close(why)) => panic!("sent away: {why:?}"),
        Ok(_) => Some(None),
        Err(tungstenite::Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Some(None)
        }
        Err(_) => None,
    }
}

fn say(socket: &mut Socket, message: Value) -> Option<()> {
    socket.send(Message::text(message.to_string())).ok()
}

// --- the battle ----------------------------------------------------------------------------------------------------------

#[test]
fn every_committed_row_is_handled_once_and_no_other_whoever_is_killed() {
    // As MySQL 8 has it: ids of several statements are mixed.
    let database = Arc::new(Mariadb::start(&["--innodb-autoinc-lock-mode=2"]));
    let joomla = Joomla::joomla6_on(Arc::clone(&database));
    joomla.create_outbox();
    let mut site = serve(&joomla, "");
    let start = ready(&site);
    let field = Field {
        joomla,
        database,
        addr: Mutex::new(site.server.addr),
        writing: [const { AtomicU32::new(0) }; WRITERS],
        committed: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        truth: OnceLock::new(),
    };
    let mut logs = Vec::new();
    let began = Instant::now();
    let (fates, reports) = thread::scope(|scope| {
        let field = &field;
        let kinds = [true, true, true, true, false, false];
        let started = Arc::new(std::sync::Barrier::new(kinds.len() + 1));
        let clients: Vec<_> = kinds
            .into_iter()
            .zip(1..)
            .map(|(recovering, seed)| {
                let started = Arc::clone(&started);
                (
                    recovering,
                    scope.spawn(move || Client::new(field, recovering, seed).run(&started)),
                )
            })
            .collect();
        // Whoever was there before the first row must get all of them.
        started.wait();
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let writer = Writer {
                    field,
                    number,
                    noise: Noise(0x51ed_2701 * (number as u64 + 1)),
                    next: 0,
                    fates: HashMap::new(),
                    blocked: 0,
                };
                scope.spawn(move || writer.run())
            })
            .collect();
        let mut assassin = Assassin {
            field,
            connection: None,
            noise: Noise(7),
            killed: 0,
        };
        let restart = |site: &mut common::pusher::Site, logs: &mut Vec<String>| {
            site.server.signal(Signal::KILL);
            site.server.ended();
            logs.push(site.server.log());
            *site = serve(&field.joomla, "");
            *field.addr.lock().expect("nobody panics with it") = site.server.addr;
        };
        assassin.wait_for(STAGE);
        restart(&mut site, &mut logs);
        assassin.wait_for(2 * STAGE);
        assassin.connection = None;
        field.database.kill();
        field.database.restart();
        assassin.wait_for(3 * STAGE);
        restart(&mut site, &mut logs);
        assassin.wait_for(4 * STAGE);
        field.over.store(true, Ordering::Relaxed);
        assert!(assassin.killed > 5, "only {} writers were killed", assassin.killed);

        let mut fates = HashMap::new();
        let mut blocked = 0;
        for writer in writers {
            let (own, waits) = writer.join().expect("the writer works");
            fates.extend(own);
            blocked += waits;
        }
        assert_eq!(blocked, 0, "somebody waited for a lock");
        let mut truth: BTreeMap<String, BTreeMap<u64, u64>> = CHANNELS
            .iter()
            .map(|name| ((*name).to_owned(), BTreeMap::new()))
            .collect();
        for (id, channel, data) in field
            .joomla
            .rows::<(u64, String, String)>("SELECT id, channel, data FROM #__websockets_outbox ORDER BY id")
        {
            let token = data.parse().expect("a token");
            truth.get_mut(&channel).expect("a channel").insert(id, token);
        }
        field.truth.set(truth).expect("it is known once");
        let reports: Vec<(bool, Report)> = clients
            .into_iter()
            .map(|(recovering, client)| (recovering, client.join().expect("the client works")))
            .collect();
        (fates, reports)
    });
    let took = began.elapsed();
    logs.push(site.server.log());
    let log = logs.join("--- killed\n");

    let truth = field.truth.get().expect("it was set");
    check_writers(&fates, truth);
    for (number, (recovering, report)) in reports.iter().enumerate() {
        check_tokens(report, &fates, truth);
        check_live_order(report, &fates);
        if *recovering {
            check_exactly_once(number, report, truth, &log);
        } else {
            check_at_most_once(report);
        }
    }
    check_recovery_order(&site, &start, truth);

    let rows: usize = truth.values().map(BTreeMap::len).sum();
    let rolled_back = fates
        .values()
        .filter(|fate| fate.outcome == Outcome::RolledBack)
        .count();
    let unknown = fates.values().filter(|fate| fate.outcome == Outcome::Unknown).count();
    let count = |pick: fn(&Report) -> usize| reports.iter().map(|(_, report)| pick(report)).sum::<usize>();
    println!(
        "{rows} rows committed, {rolled_back} rolled back, {unknown} interrupted; {} connections, {} recoveries; {took:?}\n{}",
        count(|report| report.connections),
        count(|report| report.recoveries),
        outbox::stats(&site),
    );
    assert!(
        rolled_back > 100,
        "only {rolled_back} rows were rolled back: this proves little"
    );
    assert!(
        count(|report| report.recoveries) > 50,
        "too few recoveries: this proves little"
    );
    let epochs = log.matches("a new epoch").count();
    assert_eq!(epochs, 1, "{log}");
}

/// Kills writers' connections while it waits.
struct Assassin<'a> {
    field: &'a Field,
    connection: Option<Conn>,
    noise: Noise,
    killed: usize,
}

impl Assassin<'_> {
    /// Until so many rows were committed.
    fn wait_for(&mut self, rows: usize) {
        let mut last = Instant::now();
        let field = self.field;
        wait_until(
            "writers have committed enough",
            || {
                if last.elapsed() > Duration::from_millis(150) {
                    last = Instant::now();
                    self.strike();
                }
                field.committed.load(Ordering::Relaxed) >= rows
            },
            || format!("{} of {rows} rows", field.committed.load(Ordering::Relaxed)),
        );
    }

    fn strike(&mut self) {
        let victim = pick(&mut self.noise, &self.field.writing).load(Ordering::Relaxed);
        let connection = self.connection.get_or_insert_with(|| self.field.database.connect(None));
        // It may have ended by itself.
        self.killed += usize::from(connection.query_drop(format!("KILL CONNECTION {victim}")).is_ok());
    }
}

/// What writers know agrees with what stands in the table.
fn check_writers(fates: &HashMap<u64, Fate>, truth: &BTreeMap<String, BTreeMap<u64, u64>>) {
    let tokens: BTreeSet<u64> = truth.values().flat_map(BTreeMap::values).copied().collect();
    for (token, fate) in fates {
        match fate.outcome {
            Outcome::Committed => assert!(tokens.contains(token), "{token:x} was committed and is gone"),
            Outcome::RolledBack => assert!(!tokens.contains(token), "{token:x} was rolled back and is there"),
            Outcome::Unknown => {}
        }
    }
}

/// Nothing came that was not committed. (Of a row whose commit was interrupted by the death of the database nobody knows.)
fn check_tokens(report: &Report, fates: &HashMap<u64, Fate>, truth: &BTreeMap<String, BTreeMap<u64, u64>>) {
    let tokens: BTreeSet<u64> = truth.values().flat_map(BTreeMap::values).copied().collect();
    for Arrival { token, .. } in &report.arrivals {
        let fate = fates
            .get(token)
            .unwrap_or_else(|| panic!("{token:x} was never written"));
        assert_ne!(fate.outcome, Outcome::RolledBack, "{token:x} was rolled back and came");
        assert!(
            tokens.contains(token) || fate.outcome == Outcome::Unknown,
            "{token:x} came and is gone"
        );
    }
}

fn check_exactly_once(number: usize, report: &Report, truth: &BTreeMap<String, BTreeMap<u64, u64>>, log: &str) {
    assert!(
        report.gaps.is_empty(),
        "client {number} was told of gaps: {:#?}\n{log}",
        report.gaps
    );
    for (name, follows) in &report.follows {
        let mut handled = follows.handled.clone();
        handled.sort_unstable();
        let expected: Vec<(u64, u64)> = truth[*name].iter().map(|(row, token)| (*row, *token)).collect();
        let missing: Vec<_> = expected.iter().filter(|row| !handled.contains(row)).collect();
        let mut twice: Vec<_> = handled.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        twice.dedup();
        assert!(
            missing.is_empty() && twice.is_empty(),
            "client {number}, {name}: {missing:?} are missing, {twice:?} were handled twice; it is at {:?}\n{log}",
            follows.positions
        );
        assert_eq!(handled, expected, "client {number}, {name}");
    }
}

fn check_at_most_once(report: &Report) {
    let mut seen = BTreeSet::new();
    for Arrival { token, .. } in &report.arrivals {
        assert!(seen.insert(token), "{token:x} came twice to a stock client");
    }
    assert!(
        seen.len() > STAGE / 2,
        "only {} rows came to a stock client",
        seen.len()
    );
}

/// Live order is order of visibility: if the server had demonstrably read the table after `y` was visible and before `x` was,
/// `y` comes before `x`. What shows it is a row that was written after `y` and came before `x` was committed. Rows that were
/// written for a second or longer are left out: ids of one statement that are not written yet look empty, and what is found
/// empty twice, a second apart, counts as rolled back and comes late if it comes after all.
fn check_live_order(report: &Report, fates: &HashMap<u64, Fate>) {
    let mut checked = 0;
    for connection in 1..=report.connections {
        let of_it = |arrival: &&Arrival| arrival.connection == connection && arrival.live;
        let rows: Vec<(&Arrival, Fate)> = report
            .arrivals
            .iter()
            .filter(of_it)
            .map(|arrival| (arrival, fates[&arrival.token]))
            .collect();
        for (n, (y, fate)) in rows
            .iter()
            .enumerate()
            .filter(|(_, (_, fate))| fate.outcome == Outcome::Committed)
            .filter(|(_, (_, fate))| fate.ended - fate.began < Duration::from_secs(1))
        {
            let shows = rows
                .iter()
                .filter(|(_, other)| other.began > fate.ended)
                .map(|(z, _)| z.at)
                .min();
            let Some(read) = shows else { continue };
            checked += 1;
            let early = rows[..n].iter().find(|(_, other)| other.began > read);
            if let Some((x, _)) = early {
                panic!(
                    "{:x} came before {:x}, which had been visible since the table was read",
                    x.token, y.token
                );
            }
        }
    }
    assert!(checked > 20, "only {checked} rows were compared: this proves little");
}

/// Whoever comes back is told by id.
fn check_recovery_order(site: &common::pusher::Site, start: &str, truth: &BTreeMap<String, BTreeMap<u64, u64>>) {
    for name in CHANNELS {
        let mut session = site.connect_recovering();
        let got = enter(&mut session, name, Some(json!([start])));
        assert_eq!(got["recovered"], json!([true]), "{got}");
        for (row, token) in &truth[name] {
            let mut got = session.next();
            while got["event"] == "pusher_internal:position" {
                got = session.next();
            }
            assert_eq!(
                (outbox::row(&got["id"]), &got["data"]),
                (*row, &json!(token.to_string())),
                "{got}"
            );
        }
        let mut last = 0;
        let highest = truth
            .values()
            .filter_map(|rows| rows.keys().last())
            .max()
            .copied()
            .unwrap_or(0);
        // Nothing holds the position back for ever.
        wait_until(
            "everything is settled",
            || {
                let pong = outbox::pong(&mut session);
                last = table_position(&pong["pos"]).map_or(0, |position| parts(&position).1);
                last >= highest
            },
            || site.server.log(),
        );
    }
}
