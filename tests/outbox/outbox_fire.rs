//! The outbox table under fire, by chance: two servers on one table; writers at all isolation levels, with rows that
//! take seconds, transactions that stay open, savepoints, rollbacks, ids of their own and bulk inserts; servers and the
//! database are killed, servers are stopped for a while, a backup holds an old snapshot, old rows are deleted. Against
//! that stand clients that follow `docs/protocol.md` to the letter (see `common/follower.rs`) and stock clients, which
//! move between the servers.
//!
//! The oracle: each committed row is handled exactly once, or a gap was reported where it should have been; all clients
//! have the same order; rolled back rows are never seen; no writer waits for a lock. The seed is printed; `FIRE_SEED`
//! sets it. The test takes some 40 s, and 2 minutes with `TEST_ALL=1`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::common::follower::Follower;
use crate::common::joomla::Site as Joomla;
use crate::common::mariadb::Mariadb;
use crate::common::outbox::{self, ready, serve};
use crate::common::pusher::{KEY, Site, below, pick};
use crate::common::store::{self, at, by_socket, new};
use crate::common::{Noise, PATIENCE, wait_until};
use jsocketd::protocol::position::Position;
use jsocketd::store::{Answer, Failure, Old, Question, Store as _};
use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};
use rustix::process::Signal;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

const WRITERS: usize = 8;
const CHANNELS: [&str; 3] = ["fire-a", "fire-b", "fire-c"];
const ISOLATION: [&str; 4] = ["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

/// Rows are deleted when they are so old, by a deleter that is more eager than servers may be configured to be.
const RETENTION: Duration = Duration::from_secs(12);

/// So much of the rows stays in memory that most recoveries read the table.
const SETTINGS: &str = "history_rows = 200\nretention = 60";

/// How a battle is fought.
#[derive(Clone, Copy)]
struct Plan {
    seed: u64,
    lasts: Duration,
    /// The longest that a transaction stays open.
    open: Duration,
    /// Of the database.
    options: &'static [&'static str],
}

/// The state that all threads share.
struct Field {
    plan: Plan,
    joomla: Joomla,
    database: Arc<Mariadb>,
    /// Where the servers listen now.
    addrs: [Mutex<SocketAddr>; 2],
    /// Connection ids of the writers.
    writing: [AtomicU32; WRITERS],
    committed: AtomicUsize,
    /// No more is written.
    over: AtomicBool,
    /// The highest number, once all that was written has one.
    last: Mutex<Option<u64>>,
}

impl Field {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Sleeps, but not beyond the end.
    fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.is_over() {
            thread::sleep(Duration::from_millis(5).min(until - Instant::now()));
        }
    }
}

// --- writers ---------------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Committed,
    RolledBack,
    /// The connection broke while it was committing.
    Unknown,
}

/// A writer's transaction.
#[derive(Default)]
struct Work {
    statements: Vec<String>,
    /// The tokens of its rows, and those that are rolled back to a savepoint in any case.
    tokens: Vec<u64>,
    taken_back: Vec<u64>,
    /// Milliseconds between statements, and before the end.
    pauses: usize,
    open: usize,
    /// Commit (true) or roll back at the end; `None`: there is one statement, and it commits itself.
    end: Option<bool>,
}

struct Writer<'a> {
    field: &'a Field,
    number: usize,
    noise: Noise,
    next: u64,
    /// The next id of its own, from here down.
    id: u64,
    fates: HashMap<u64, Outcome>,
    /// Times of statements that do not sleep, and how often a lock was in the way.
    took: Vec<Duration>,
    blocked: usize,
}

impl Writer<'_> {
    fn run(mut self) -> Self {
        while !self.field.is_over() {
            let Some(mut connection) = self.connect() else {
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            self.field.writing[self.number].store(connection.connection_id(), Ordering::Relaxed);
            while !self.field.is_over() {
                let work = self.work();
                if !self.perform(&mut connection, work) {
                    break;
                }
                self.sleep(10);
            }
        }
        self
    }

    /// The database may be away.
    fn connect(&self) -> Option<Conn> {
        let options = OptsBuilder::new()
            .user(Some("root"))
            .db_name(Some(&self.field.joomla.database))
            .socket(self.field.database.socket.to_str())
            .init(vec!["SET SESSION innodb_lock_wait_timeout = 1"])
            .read_timeout(Some(PATIENCE));
        Conn::new(options).ok()
    }

    fn below(&mut self, n: usize) -> usize {
        below(&mut self.noise, n)
    }

    fn sleep(&mut self, most_ms: usize) {
        let ms = self.below(most_ms + 1) as u64;
        self.field.sleep(Duration::from_millis(ms));
    }

    fn work(&mut self) -> Work {
        let mut work = Work {
            pauses: 60,
            open: 200,
            end: Some(self.below(3) > 0),
            ..Work::default()
        };
        match self.below(12) {
            0..=2 => {
                let one = self.insert(1, 0, &mut work.tokens);
                work.statements.push(one);
                work.end = None;
            }
            3..=4 => {
                for _ in 0..=self.below(4) {
                    let one = self.insert(1, 0, &mut work.tokens);
                    work.statements.push(one);
                }
            }
            // Ids of several statements are taken at once, and the rows follow one by one, for seconds.
            5 => work.statements = vec![self.insert(8, 300, &mut work.tokens)],
            6 => work.statements = vec![self.select(7, 25, &mut work.tokens)],
            7 => {
                let kept = self.insert(2, 0, &mut work.tokens);
                let gone = self.insert(2, 0, &mut work.taken_back);
                let more = self.insert(1, 0, &mut work.tokens);
                work.statements = vec![kept, "SAVEPOINT a".into(), gone, "ROLLBACK TO SAVEPOINT a".into(), more];
            }
            8 => {
                let rows: Vec<String> = (0..3).map(|_| self.row_with_id(&mut work.tokens)).collect();
                work.statements = vec![self.insert_into("id, ", &rows.join(", "))];
            }
            9 => {
                work.statements = vec![self.insert(1, 0, &mut work.tokens)];
                work.open = self.field.plan.open.as_millis() as usize;
            }
            // More than a stamp has room for.
            10 => work.statements = vec![self.insert(300, 0, &mut work.tokens)],
            _ => {
                let row = "'#control', 'recheck-access', '{}', UTC_TIMESTAMP(3)";
                let before = self.insert(1, 0, &mut work.tokens);
                let control = self.insert_into("", &format!("({row})"));
                let behind = self.insert(1, 0, &mut work.tokens);
                work.statements = vec![before, control, behind];
                work.pauses = 0;
            }
        }
        work
    }

    /// A row's columns; some of them take their time.
    fn row(&mut self, slow_ms: usize, tokens: &mut Vec<u64>) -> String {
        self.next += 1;
        let token = (self.number as u64) << 32 | self.next;
        tokens.push(token);
        let channel = pick(&mut self.noise, &CHANNELS);
        let seconds = self.below(slow_ms + 1) as f64 / 1000.0;
        let slow = match slow_ms {
            0 => "''".to_owned(),
            _ => format!("IF(SLEEP({seconds}), '', '')"),
        };
        format!("'{channel}', 'event', CONCAT('{token}', {slow}), UTC_TIMESTAMP(3)")
    }

    fn row_with_id(&mut self, tokens: &mut Vec<u64>) -> String {
        self.id -= 1 + self.below(3) as u64;
        let row = self.row(0, tokens);
        format!("({}, {row})", self.id)
    }

    fn insert_into(&self, id: &str, values: &str) -> String {
        let into = format!("INSERT INTO #__websockets_outbox ({id}channel, event, data, created) VALUES {values}");
        self.field.joomla.text(&into)
    }

    fn insert(&mut self, rows: usize, slow_ms: usize, tokens: &mut Vec<u64>) -> String {
        let mut values = String::new();
        for n in 0..rows {
            let comma = if n > 0 { ", " } else { "" };
            write!(values, "{comma}({})", self.row(slow_ms, tokens)).expect("memory suffices");
        }
        self.insert_into("", &values)
    }

    /// Ids are taken in growing portions.
    fn select(&mut self, rows: usize, slow_ms: usize, tokens: &mut Vec<u64>) -> String {
        let rows = (0..rows).map(|_| format!("SELECT {}", self.row(slow_ms, tokens)));
        let selects: Vec<String> = rows.collect();
        let into = "INSERT INTO #__websockets_outbox (channel, event, data, created) ";
        self.field
            .joomla
            .text(&format!("{into}{}", selects.join(" UNION ALL ")))
    }

    /// Runs a statement and notes how long it took.
    fn run_one(&mut self, connection: &mut Conn, statement: &str) -> Result<(), ()> {
        let began = Instant::now();
        let result = connection.query_drop(statement);
        if result.is_ok() && !statement.contains("SLEEP(") {
            self.took.push(began.elapsed());
        }
        result.map_err(|error| {
            if let mysql::Error::MySqlError(told) = &error {
                self.blocked += usize::from(told.code == 1205 || told.code == 1213);
            }
        })
    }

    /// Does the work and records its outcome. False: the connection is of no use any more.
    fn perform(&mut self, connection: &mut Conn, work: Work) -> bool {
        let level = pick(&mut self.noise, &ISOLATION);
        let level = format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}");
        if self.run_one(connection, &level).is_err() {
            return false;
        }
        if work.end.is_some() && self.run_one(connection, "START TRANSACTION").is_err() {
            return false;
        }
        self.note(&work.taken_back, Outcome::RolledBack);
        for statement in &work.statements {
            if self.run_one(connection, statement).is_err() {
                let outcome = match work.end {
                    Some(_) => Outcome::RolledBack,
                    None => Outcome::Unknown,
                };
                self.note(&work.tokens, outcome);
                return false;
            }
            if work.statements.len() > 1 {
                self.sleep(work.pauses);
            }
        }
        let outcome = match work.end {
            None => Outcome::Committed,
            Some(commit) => {
                self.sleep(work.open);
                let done = self.run_one(connection, if commit { "COMMIT" } else { "ROLLBACK" });
                match (commit, done) {
                    (false, _) => Outcome::RolledBack,
                    (true, Ok(())) => Outcome::Committed,
                    (true, Err(())) => Outcome::Unknown,
                }
            }
        };
        self.note(&work.tokens, outcome);
        outcome != Outcome::Unknown
    }

    fn note(&mut self, tokens: &[u64], outcome: Outcome) {
        self.fates.extend(tokens.iter().map(|token| (*token, outcome)));
        if outcome == Outcome::Committed {
            self.field.committed.fetch_add(tokens.len(), Ordering::Relaxed);
        }
    }
}

// --- clients ---------------------------------------------------------------------------------------------------------

/// Rows of the table that a client may have missed: the server reported the gap.
#[derive(Clone, Debug)]
struct Gap {
    channel: String,
    after: u64,
    up_to: u64,
    /// How old its position was.
    age: Duration,
    /// How many events of the channel it had handled.
    handled: usize,
}

struct Client<'a> {
    field: &'a Field,
    recovering: bool,
    /// It never leaves by itself, and comes back at once.
    steady: bool,
    noise: Noise,
    follower: Follower,
    gaps: Vec<Gap>,
    connections: usize,
    /// Of a stock client: the events of each connection, and its server.
    heard: Vec<(usize, Vec<u64>)>,
}

type Socket = WebSocket<TcpStream>;

impl<'a> Client<'a> {
    fn new(field: &'a Field, recovering: bool, steady: bool, seed: u64) -> Self {
        Self {
            field,
            recovering,
            steady,
            noise: Noise(seed.wrapping_mul(0x9e37_79b9) | 1),
            follower: Follower::of(&CHANNELS),
            gaps: Vec::new(),
            connections: 0,
            heard: Vec::new(),
        }
    }

    fn below(&mut self, n: usize) -> usize {
        below(&mut self.noise, n)
    }

    /// Reads until all written rows have come, or until it has waited too long.
    fn run(mut self, started: &std::sync::Barrier) -> Self {
        let mut started = Some(started);
        let mut deadline = None;
        loop {
            let server = self.below(2);
            match self.connect(server) {
                Some(socket) => self.listen(socket, server, &mut started),
                None => thread::sleep(Duration::from_millis(10)),
            }
            self.follower.lost();
            if self.is_done() {
                return self;
            }
            if self.field.last.lock().expect("no panic").is_some() {
                let deadline = *deadline.get_or_insert(Instant::now() + 2 * PATIENCE);
                assert!(
                    Instant::now() < deadline,
                    "it waits for the end at {:?}",
                    self.positions()
                );
                continue;
            }
            // Mostly it comes back at once, sometimes late, and seldom too late.
            let away = match self.below(40) {
                _ if self.steady => 0,
                0 => RETENTION.as_millis() as usize * 3 / 2,
                1..=9 => self.below(3000),
                _ => 0,
            };
            self.field.sleep(Duration::from_millis(away as u64));
        }
    }

    /// The number of its position in each channel.
    fn positions(&self) -> BTreeMap<&str, u64> {
        let number = |own: &crate::common::follower::Followed| own.positions.get(&'o').map_or(0, |text| number(text));
        let all = self.follower.channels.iter();
        all.map(|(name, own)| (name.as_str(), number(own))).collect()
    }

    fn is_done(&self) -> bool {
        let last = *self.field.last.lock().expect("no panic");
        last.is_some_and(|last| !self.recovering || self.positions().values().all(|number| *number >= last))
    }

    fn connect(&mut self, server: usize) -> Option<Socket> {
        let addr = *self.field.addrs[server].lock().expect("no panic");
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(2)).ok()?;
        // A stopped server takes connections and sends nothing.
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        let recovery = if self.recovering { "&recovery=1" } else { "" };
        let url = format!("ws://{addr}/app/{KEY}?protocol=7&client=js&version=8.6.0&flash=false{recovery}");
        let (mut socket, _) = tungstenite::client(url, stream).ok()?;
        let greeting = read(&mut socket)??;
        assert_eq!(greeting["event"], "pusher:connection_established", "{greeting}");
        let moment = Some(Duration::from_millis(20));
        socket.get_ref().set_read_timeout(moment).ok()?;
        self.connections += 1;
        self.heard.push((server, Vec::new()));
        for message in self.follower.subscribes() {
            say(&mut socket, message)?;
        }
        Some(socket)
    }

    /// Reads at least so many messages, then drops the connection; or until it breaks.
    fn listen(&mut self, mut socket: Socket, _server: usize, started: &mut Option<&std::sync::Barrier>) {
        let most = if self.steady { usize::MAX } else { 20 + self.below(400) };
        let (mut count, mut quiet) = (0, Instant::now());
        let mut asked = Instant::now() - PATIENCE;
        while count < most || started.is_some() {
            match read(&mut socket) {
                None => return,
                Some(Some(message)) => {
                    count += 1;
                    quiet = Instant::now();
                    self.take(&message);
                }
                // The server stands still.
                Some(None) if quiet.elapsed() > Duration::from_secs(4) => return,
                Some(None) => {}
            }
            let placed = |own: &crate::common::follower::Followed| !self.recovering || own.positions.contains_key(&'o');
            if self.follower.is_in() && self.follower.channels.values().all(placed) {
                started.take().map(std::sync::Barrier::wait);
            }
            if asked.elapsed() > Duration::from_millis(100) {
                asked = Instant::now();
                if self.is_done() || say(&mut socket, json!({"event": "pusher:ping", "data": {}})).is_none() {
                    return;
                }
            }
        }
    }

    fn take(&mut self, message: &Value) {
        if !self.recovering {
            return self.take_plainly(message);
        }
        let before: Vec<(usize, Position)> = self.follower.channels.values().map(state).collect();
        self.follower.take(message);
        for ((name, own), (gaps, position)) in self.follower.channels.iter().zip(before) {
            let (now, up_to) = state(own);
            if now > gaps {
                self.gaps.push(Gap {
                    channel: name.clone(),
                    after: position.number(),
                    up_to: up_to.number(),
                    age: age(position),
                    handled: own.handled.len(),
                });
            }
        }
    }

    /// A stock client gets exactly Pusher's frames.
    fn take_plainly(&mut self, message: &Value) {
        for added in ["id", "pos", "recovered"] {
            assert!(message.get(added).is_none(), "{message}");
        }
        match message["event"].as_str().expect("an event") {
            "event" => {
                let text = message["data"].as_str().expect("text");
                let heard = &mut self.heard.last_mut().expect("a connection").1;
                heard.push(text.parse().expect("a token"));
            }
            "pusher_internal:subscription_succeeded" => drop(self.follower.take(message)),
            other => assert_eq!(other, "pusher:pong", "{message}"),
        }
    }
}

/// The number of reported gaps, and the position in the table.
fn state(own: &crate::common::follower::Followed) -> (usize, Position) {
    let position = own.positions.get(&'o').map(|text| text.parse().expect("a position"));
    (own.gaps, position.unwrap_or(Position::NOWHERE))
}

/// How long ago its row got its number. The database's clock is this machine's.
fn age(position: Position) -> Duration {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is later than 1970");
    match position {
        Position::Table { place, .. } => now.saturating_sub(Duration::from_millis(place.mark)),
        Position::Memory { .. } => Duration::ZERO,
    }
}

fn number(position: &str) -> u64 {
    let position: Position = position.parse().expect("a position");
    position.number()
}

/// The next message; `Some(None)`: none yet; `None`: there will be none.
fn read(socket: &mut Socket) -> Option<Option<Value>> {
    match socket.read() {
        Ok(Message::Text(text)) => Some(Some(serde_json::from_str(&text).expect("JSON"))),
        // "Come back and ask again."
        Ok(Message::Close(Some(why))) if u16::from(why.code) == 4200 => None,
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

// --- misfortunes -----------------------------------------------------------------------------------------------------

/// The two servers, and the faults of them and of the database.
struct Fate<'a> {
    field: &'a Field,
    sites: [Option<Site>; 2],
    noise: Noise,
    /// A connection with a snapshot that is held, and until when.
    snapshot: Option<(Conn, Instant)>,
    counts: BTreeMap<&'static str, usize>,
    logs: Vec<String>,
}

impl Fate<'_> {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn rage(&mut self) {
        let end = Instant::now() + self.field.plan.lasts;
        let mut database_at = Instant::now() + self.field.plan.lasts / 3;
        while Instant::now() < end {
            let pause = 50 + below(&mut self.noise, 800) as u64;
            self.field.sleep(Duration::from_millis(pause));
            if Instant::now() > database_at {
                database_at += self.field.plan.lasts / 3;
                self.kill_database();
            }
            let n = below(&mut self.noise, 2);
            match below(&mut self.noise, 10) {
                0..=2 => self.kill(n),
                3..=5 => self.stop(n),
                6 => self.hold_snapshot(),
                _ => self.kill_writer(),
            }
            if self.snapshot.as_ref().is_some_and(|(_, until)| Instant::now() > *until) {
                self.snapshot = None;
            }
        }
        self.snapshot = None;
    }

    fn kill(&mut self, n: usize) {
        self.count("servers killed");
        let Some(mut site) = self.sites[n].take() else { return };
        site.server.signal(Signal::KILL);
        site.server.ended();
        self.logs.push(site.server.log());
        let site = serve(&self.field.joomla, SETTINGS);
        *self.field.addrs[n].lock().expect("no panic") = site.server.addr;
        self.sites[n] = Some(site);
    }

    fn stop(&mut self, n: usize) {
        self.count("servers stopped");
        let ms = below(&mut self.noise, 2500) as u64;
        let signal = |signal| self.sites[n].as_ref().map(|site| site.server.signal(signal));
        signal(Signal::STOP);
        thread::sleep(Duration::from_millis(ms));
        signal(Signal::CONT);
    }

    fn kill_database(&mut self) {
        self.count("databases killed");
        self.snapshot = None;
        self.field.database.kill();
        self.field.database.restart();
    }

    /// As a backup with --single-transaction.
    fn hold_snapshot(&mut self) {
        if self.snapshot.is_some() {
            return;
        }
        self.count("snapshots held");
        let mut connection = self.field.joomla.connect();
        connection
            .query_drop(
                "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT",
            )
            .expect("a snapshot");
        self.snapshot = Some((connection, Instant::now() + Duration::from_secs(6)));
    }

    fn kill_writer(&mut self) {
        self.count("writers killed");
        let victim = pick(&mut self.noise, &self.field.writing).load(Ordering::Relaxed);
        // It may have ended by itself.
        let _ = self
            .field
            .database
            .connect(None)
            .query_drop(format!("KILL CONNECTION {victim}"));
    }
}

/// A row of the table: its number, its channel and its token.
type Row = (u64, String, u64);

/// Deletes rows older than [`RETENTION`], as a server does; returns the deleted rows, and perhaps a few rows that are
/// still there.
fn delete(field: &Field) -> Vec<Row> {
    let mut deleted = Vec::new();
    let mut store = new(by_socket(&field.joomla));
    while !field.is_over() {
        field.sleep(Duration::from_millis(100));
        let mut ask = |question: &Question| match store.ask(question, at(0)) {
            Err(Failure::Unavailable(_)) => {
                store = new(by_socket(&field.joomla));
                drop(store.connect(at(0)));
                None
            }
            answer => answer.ok(),
        };
        let Some(Answer::Old(Old { ids, processes })) = ask(&store::old(RETENTION.as_secs(), 100)) else {
            continue;
        };
        if !ids.is_empty() {
            let list: Vec<String> = ids.iter().map(u64::to_string).collect();
            let Some(rows) = read_rows(field, &format!("id IN ({})", list.join(","))) else {
                continue;
            };
            deleted.extend(rows);
        }
        let end = match ids.is_empty() && processes.is_empty() {
            true => Question::Release,
            false => Question::Delete { ids, processes },
        };
        ask(&end);
    }
    deleted
}

/// Rows of the channels that have a number; `None`: the database is away.
fn read_rows(field: &Field, condition: &str) -> Option<Vec<Row>> {
    let options = OptsBuilder::new()
        .user(Some("root"))
        .db_name(Some(&field.joomla.database))
        .socket(field.database.socket.to_str());
    let sql = format!(
        "SELECT seq, channel, CAST(data AS UNSIGNED) FROM #__websockets_outbox
         WHERE {condition} AND seq > 0 AND channel LIKE 'fire-%'"
    );
    Conn::new(options).ok()?.query(field.joomla.text(&sql)).ok()
}

// --- the battle ------------------------------------------------------------------------------------------------------

fn fight(plan: Plan) {
    println!("FIRE_SEED={} {:?}", plan.seed, plan.options);
    let database = Arc::new(Mariadb::start(plan.options));
    let joomla = Joomla::joomla6_on(Arc::clone(&database));
    joomla.create_outbox();
    // Ids of the writers' own are below.
    joomla.sql("ALTER TABLE #__websockets_outbox AUTO_INCREMENT = 100000000");
    let sites = [serve(&joomla, SETTINGS), serve(&joomla, SETTINGS)];
    sites.iter().for_each(|site| drop(ready(site)));
    let field = Field {
        plan,
        joomla,
        database,
        addrs: sites.each_ref().map(|site| Mutex::new(site.server.addr)),
        writing: [const { AtomicU32::new(0) }; WRITERS],
        committed: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        last: Mutex::new(None),
    };
    let field = &field;
    let mut fate = Fate {
        field,
        sites: sites.map(Some),
        noise: Noise(plan.seed | 1),
        snapshot: None,
        counts: BTreeMap::new(),
        logs: Vec::new(),
    };
    let (writers, clients, deleted) = thread::scope(|scope| {
        let kinds = [true, true, true, true, true, false, false];
        let started = Arc::new(std::sync::Barrier::new(kinds.len() + 1));
        let clients: Vec<_> = kinds
            .into_iter()
            .zip(1..)
            .map(|(recovering, n)| {
                let started = Arc::clone(&started);
                scope.spawn(move || Client::new(field, recovering, n == 1, plan.seed ^ n).run(&started))
            })
            .collect();
        // A client that is connected before the first row must get all of them.
        started.wait();
        let deleter = scope.spawn(move || delete(field));
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let writer = Writer {
                    field,
                    number,
                    noise: Noise((plan.seed ^ (0x51ed_2701 * (number as u64 + 1))) | 1),
                    next: 0,
                    id: 10_000_000 * (number as u64 + 1),
                    fates: HashMap::new(),
                    took: Vec::new(),
                    blocked: 0,
                };
                scope.spawn(move || writer.run())
            })
            .collect();
        fate.rage();
        field.over.store(true, Ordering::Relaxed);
        let writers: Vec<Writer> = writers
            .into_iter()
            .map(|writer| writer.join().expect("it works"))
            .collect();
        let deleted = deleter.join().expect("it works");
        let waiting = || {
            field
                .joomla
                .value::<u64>("SELECT COUNT(*) FROM #__websockets_outbox WHERE seq IS NULL")
        };
        let log = || {
            fate.sites
                .iter()
                .flatten()
                .map(|site| site.server.log())
                .collect::<String>()
        };
        wait_until("all rows have numbers", || waiting() == 0, log);
        let last = field.joomla.value("SELECT MAX(seq) FROM #__websockets_outbox");
        *field.last.lock().expect("no panic") = Some(last);
        let clients: Vec<Client> = clients
            .into_iter()
            .map(|client| client.join().expect("it works"))
            .collect();
        (writers, clients, deleted)
    });
    fate.logs
        .extend(fate.sites.iter().flatten().map(|site| site.server.log()));
    let log = fate.logs.join("--- another process\n");

    let order = one_order(field, &clients, &deleted);
    let fates: HashMap<u64, Outcome> = writers.iter().flat_map(|writer| writer.fates.clone()).collect();
    check_fates(&fates, &order);
    check_seen(&clients, &order, &log);
    for (n, client) in clients.iter().enumerate() {
        match client.recovering {
            true => check_exactly_once(n, client, &order, &log),
            false => check_stock(n, client, &fates, &order),
        }
    }
    check_writers(&writers);
    assert!(
        !log.contains("a new epoch of the outbox table begins"),
        "nothing was lost:\n{log}"
    );
    assert!(!log.contains("ERROR"), "{log}");

    let of = |outcome| fates.values().filter(|own| **own == outcome).count();
    let sum = |count: fn(&Client) -> usize| clients.iter().map(count).sum::<usize>();
    let recoveries = sum(|client| client.follower.channels.values().map(|own| own.recoveries).sum());
    println!(
        "{} rows committed, {} rolled back, {} interrupted, {} deleted; {} connections, {recoveries} recoveries, {} gaps; {:?}",
        of(Outcome::Committed),
        of(Outcome::RolledBack),
        of(Outcome::Unknown),
        deleted.len(),
        sum(|client| client.connections),
        sum(|client| client.gaps.len()),
        fate.counts,
    );
    assert!(of(Outcome::RolledBack) > 100 && recoveries > 50, "this proves little");
    if let Some(site) = fate.sites.iter().flatten().next() {
        println!("{}", outbox::stats(site));
    }
}

/// Channel and token by the row's number: the same for all clients, and for the table.
fn one_order(field: &Field, clients: &[Client], deleted: &[Row]) -> BTreeMap<u64, (String, u64)> {
    let mut order = BTreeMap::new();
    let mut add = |seq: u64, channel: &str, token: u64| {
        let row = (channel.to_owned(), token);
        let known = order.entry(seq).or_insert_with(|| row.clone());
        assert_eq!(*known, row, "number {seq} is another row to another client");
    };
    let there = read_rows(field, "TRUE").expect("the database is there");
    for (seq, channel, token) in deleted.iter().chain(&there) {
        add(*seq, channel, *token);
    }
    for client in clients {
        for (name, own) in &client.follower.channels {
            for (id, data) in &own.handled {
                add(number(id), name, data.parse().expect("a token"));
            }
        }
    }
    let tokens: BTreeSet<u64> = order.values().map(|(_, token)| *token).collect();
    assert_eq!(tokens.len(), order.len(), "a row has two numbers");
    order
}

/// The writers' outcomes agree with the rows that clients saw and with the table.
fn check_fates(fates: &HashMap<u64, Outcome>, order: &BTreeMap<u64, (String, u64)>) {
    let tokens: BTreeSet<u64> = order.values().map(|(_, token)| *token).collect();
    for (token, outcome) in fates {
        match outcome {
            Outcome::Committed => assert!(tokens.contains(token), "{token:x} was committed and never seen"),
            Outcome::RolledBack => assert!(!tokens.contains(token), "{token:x} was rolled back and seen"),
            Outcome::Unknown => {}
        }
    }
    let stranger = tokens.iter().find(|token| !fates.contains_key(token));
    assert_eq!(stranger, None, "no writer has written it");
}

/// Only clients that were away for too long missed a row.
fn check_seen(clients: &[Client], order: &BTreeMap<u64, (String, u64)>, log: &str) {
    let of_client = |client: &Client| -> Vec<u64> {
        let all = client.follower.channels.values().flat_map(|own| &own.handled);
        all.map(|(id, _)| number(id)).collect()
    };
    let seen: BTreeSet<u64> = clients.iter().flat_map(of_client).collect();
    let unseen: Vec<u64> = order.keys().copied().filter(|seq| !seen.contains(seq)).collect();
    let gaps: Vec<&Gap> = clients.iter().flat_map(|client| &client.gaps).collect();
    assert!(
        unseen.is_empty(),
        "no client has handled {unseen:?}; gaps: {gaps:#?}\n{log}"
    );
}

/// A client handled every row of its channels in order and once, but for the rows of a reported gap. A gap is for a
/// position that is too old, or that another server gave while the database was away from this one: then the client
/// goes back with it.
fn check_exactly_once(n: usize, client: &Client, order: &BTreeMap<u64, (String, u64)>, log: &str) {
    for gap in &client.gaps {
        let is_needed = gap.age >= RETENTION && !client.steady || gap.after > gap.up_to;
        assert!(is_needed, "client {n} got a gap without need: {gap:?}\n{log}");
    }
    for (name, own) in &client.follower.channels {
        let gaps: Vec<&Gap> = client.gaps.iter().filter(|gap| gap.channel == *name).collect();
        let excused = |seq: u64| gaps.iter().any(|gap| gap.after < seq && seq <= gap.up_to);
        let handled: Vec<u64> = own.handled.iter().map(|(id, _)| number(id)).collect();
        let mut from = 0;
        for to in gaps.iter().map(|gap| gap.handled).chain([handled.len()]) {
            let part = &handled[from..to];
            assert!(
                part.is_sorted_by(|a, b| a < b),
                "client {n}, {name}: out of order, or doubles"
            );
            from = to;
        }
        let have: BTreeSet<u64> = handled.iter().copied().collect();
        let rows = order
            .iter()
            .filter(|(_, (channel, _))| channel == name)
            .map(|(seq, _)| *seq);
        let missing: Vec<u64> = rows.filter(|seq| !have.contains(seq) && !excused(*seq)).collect();
        assert!(
            missing.is_empty(),
            "client {n}, {name}: {missing:?} are missing; gaps: {gaps:?}"
        );
        let back: u64 = gaps.iter().map(|gap| gap.after.saturating_sub(gap.up_to)).sum();
        assert!(
            (handled.len() - have.len()) as u64 <= back,
            "client {n}, {name}: doubles"
        );
    }
}

/// A live socket gets an event at most once and in order, and never one that was rolled back.
fn check_stock(n: usize, client: &Client, fates: &HashMap<u64, Outcome>, order: &BTreeMap<u64, (String, u64)>) {
    let seqs: HashMap<u64, (&str, u64)> = order
        .iter()
        .map(|(seq, (channel, token))| (*token, (channel.as_str(), *seq)))
        .collect();
    let mut count = 0;
    for (_, heard) in &client.heard {
        let mut last: HashMap<&str, u64> = HashMap::new();
        for token in heard {
            let Some((channel, seq)) = seqs.get(token) else {
                panic!("stock client {n} got {token:x}, which is {:?}", fates.get(token));
            };
            let before = last.insert(channel, *seq);
            assert!(before < Some(*seq), "stock client {n} got {seq} behind {before:?}");
            count += 1;
        }
    }
    assert!(count > 30, "only {count} rows came to a stock client");
}

/// No writer had to wait for the servers.
fn check_writers(writers: &[Writer]) {
    let blocked: usize = writers.iter().map(|writer| writer.blocked).sum();
    assert_eq!(blocked, 0, "a writer waited for a lock");
    let mut took: Vec<Duration> = writers.iter().flat_map(|writer| writer.took.iter().copied()).collect();
    took.sort_unstable();
    let (p50, p99, max) = (took[took.len() / 2], took[took.len() * 99 / 100], took[took.len() - 1]);
    println!(
        "{} statements of writers: p50 {p50:?}, p99 {p99:?}, max {max:?}",
        took.len()
    );
    assert!(p99 < Duration::from_millis(250), "p99 {p99:?}");
}

/// Seconds of a battle, and how long a transaction stays open.
fn lasts() -> (Duration, Duration) {
    match std::env::var("TEST_ALL").as_deref() {
        Ok("1") => (Duration::from_secs(120), Duration::from_secs(45)),
        _ => (Duration::from_secs(25), Duration::from_secs(8)),
    }
}

fn seed() -> u64 {
    match std::env::var("FIRE_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => rand::random(),
    }
}

/// As MySQL 8 has it: ids of several statements are mixed.
#[test]
fn every_committed_row_is_handled_once_even_if_processes_are_killed() {
    let (lasts, open) = lasts();
    let (seed, options) = (seed(), &["--innodb-autoinc-lock-mode=2"]);
    fight(Plan {
        seed,
        lasts,
        open,
        options,
    });
}

/// With commits that are written to the disk, where servers group them.
#[test]
fn every_committed_row_is_handled_once_where_commits_are_durable() {
    let (lasts, open) = lasts();
    let options = &[
        "--innodb-flush-log-at-trx-commit=1",
        "--innodb-flush-method=fsync",
        "--log-bin=log",
    ];
    fight(Plan {
        seed: seed(),
        lasts,
        open,
        options,
    });
}
