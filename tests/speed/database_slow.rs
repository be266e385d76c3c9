//! The cost of a slow database for requests that do not need it: too little to notice. A proxy between server and
//! database delays, drips, cuts, resets, swallows and refuses; another client of the database holds locks, takes
//! privileges away, ends the connection. For each of these a new server is measured undisturbed and then disturbed: an
//! echo, a fan-out, SQL's share of the loop's time. Rows that were written meanwhile come within a second of the end.
//! `scripts/test --all` runs this file on every server of `scripts/servers`. With `TEST_ALL=1` there are more
//! disturbances, and locks are held for 12 s.
//!
//! An echo or a publish is sent when it is due, whether or not the one before came back, and its time counts from then:
//! a loop that stands still for a tenth of the time delays a tenth of them. So the share of delayed echoes is the share
//! of the time too. A second server, which has no database, is measured at the same time: the delays of its echoes are
//! the machine's.

use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::common::between::{Between, Trick};
use crate::common::joomla::Site as Joomla;
use crate::common::mariadb::run;
use crate::common::pusher::Session;
use crate::common::visits::{Arrival, Console, House, Terms, Visitor};
use crate::common::{Frame, Peer, Server, alone, wait_until};
use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};
use serde_json::Value;

/// The time that a busy machine may add to any single time.
const NOISE: Duration = Duration::from_millis(20);

/// The time that it may add to a median, which is a fifth of this.
const MEDIAN_NOISE: Duration = Duration::from_millis(1);

/// `[database] share`, as it is by default.
const SHARE: f64 = 0.2;

/// The share of the loop's time that a busy machine may take while a statement runs.
const SHARE_NOISE: f64 = 0.03;

/// `[database] read_timeout_ms` and `statement_ms`, as they are by default.
const READ_TIMEOUT: Duration = Duration::from_millis(500);
const STATEMENT: Duration = Duration::from_millis(100);

/// Rows that were written during a disturbance come so soon after its end.
const SOON: Duration = Duration::from_secs(1);

/// The time that a busy machine may add to that.
const LATE: Duration = Duration::from_millis(500);

/// Between two echoes, two publishes to the subscribers, two rows.
const ECHO: Duration = Duration::from_millis(5);
const PUBLISH: Duration = Duration::from_millis(25);
const ROW: Duration = Duration::from_millis(200);

const SUBSCRIBERS: usize = 20;

/// How long the undisturbed server, a disturbance, and the time after it are measured.
const UNDISTURBED: Duration = Duration::from_millis(1500);
const DISTURBED: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_millis(1500);

/// If everything stands still for longer than that, the test ends. A server that is only slow is measured and reported.
const LONGEST: Duration = Duration::from_secs(60);

fn is_all() -> bool {
    std::env::var("TEST_ALL").is_ok_and(|all| all == "1")
}

/// How long another client holds a lock.
fn locked() -> Duration {
    Duration::from_secs(if is_all() { 12 } else { 6 })
}

/// These, and those where all is tested.
fn and_in_all<T>(mut always: Vec<T>, in_all: Vec<T>) -> Vec<T> {
    if is_all() {
        always.extend(in_all);
    }
    always
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// --- measuring -------------------------------------------------------------------------------------------------------

/// When something was due, and how long it took from then.
type Samples = Arc<Mutex<Vec<(Instant, Duration)>>>;

/// A server whose database is behind a proxy, and the clients that measure it.
struct Stand {
    house: House,
    between: Between,
    console: Mutex<Console>,
    /// It has no database.
    other: Server,
    /// A client sends messages to the echo of each of them.
    echoes: Samples,
    others_echoes: Samples,
    /// A client publishes by HTTP to subscribers; the last of them counts.
    fan_outs: Samples,
    /// When each row was committed, by its number.
    written: Arc<Mutex<Vec<Instant>>>,
    /// The row of this number came.
    arrived: Arc<Mutex<Vec<(usize, Instant)>>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Stand {
    fn new() -> Self {
        let joomla = Joomla::joomla6();
        joomla.create_outbox();
        let between = Between::new(joomla.server.addr);
        joomla.configure("host", &format!("'{}'", between.addr));
        let terms = Terms {
            server: "log_level = \"debug\"",
            more: "[echo]\nenabled = true",
            ..Terms::without_sweep()
        };
        let house = House::with(joomla, terms);
        house.expect_reading();
        let mut console = house.console(&Arrival::foreign());
        console.allowed();
        console.peer = console.peer.patient(LONGEST);
        let mut stand = Self {
            house,
            between,
            console: Mutex::new(console),
            other: Server::start("[echo]\nenabled = true\n"),
            echoes: Samples::default(),
            others_echoes: Samples::default(),
            fan_outs: Samples::default(),
            written: Arc::default(),
            arrived: Arc::default(),
            over: Arc::default(),
            threads: Vec::new(),
        };
        let echoes = [&stand.echoes, &stand.others_echoes].map(Arc::clone);
        for (server, echoes) in [
            Peer::upgrade(&stand.house.site.server, "/echo"),
            Peer::upgrade(&stand.other, "/echo"),
        ]
        .into_iter()
        .zip(echoes)
        {
            stand.chat(server, echoes);
        }
        stand.fan_out();
        stand.read_rows();
        stand.write_rows();
        stand
    }

    fn joomla(&self) -> &Joomla {
        &self.house.joomla
    }

    fn subscribe(&self, channel: &str) -> Session {
        let mut session = self.house.come_as_guest();
        session.enter(channel);
        session.peer = session.peer.patient(LONGEST);
        session
    }

    fn chat(&mut self, reader: Peer, echoes: Samples) {
        let mut reader = reader.patient(LONGEST);
        let mut writer = reader.stream.try_clone().expect("a descriptor");
        let (sent, due) = mpsc::channel::<Instant>();
        let over = Arc::clone(&self.over);
        self.threads.push(thread::spawn(move || {
            every(ECHO, &over, |at| {
                sent.send(at).expect("the reader reads");
                let bytes = Frame::text("still there?").bytes();
                writer.write_all(&bytes).expect("the server reads");
            });
        }));
        self.threads.push(thread::spawn(move || {
            for at in due {
                reader.expect_text("still there?");
                lock(&echoes).push((at, at.elapsed()));
            }
        }));
    }

    fn fan_out(&mut self) {
        let mut sessions: Vec<Session> = (0..SUBSCRIBERS).map(|_| self.subscribe("fan-out")).collect();
        let api = self.house.site.api();
        let mut writer = api.peer.stream.try_clone().expect("a descriptor");
        let body = r#"{"name":"e","channel":"fan-out","data":"1"}"#;
        let request = api.request("POST", "/events", &[], body);
        let mut replies = api.peer.patient(LONGEST);
        let (sent, due) = mpsc::channel::<Instant>();
        let (over, fan_outs) = (Arc::clone(&self.over), Arc::clone(&self.fan_outs));
        self.threads.push(thread::spawn(move || {
            every(PUBLISH, &over, |at| {
                sent.send(at).expect("the reader reads");
                writer.write_all(request.as_bytes()).expect("the server reads");
            });
        }));
        self.threads.push(thread::spawn(move || {
            for at in due {
                assert_eq!(replies.reply().status, 200);
                for session in &mut sessions {
                    next_event(session, "fan-out");
                }
                lock(&fan_outs).push((at, at.elapsed()));
            }
        }));
    }

    fn write_rows(&mut self) {
        let joomla = self.joomla();
        let options = OptsBuilder::new()
            .user(Some("root"))
            .db_name(Some(&joomla.database))
            .socket(joomla.server.socket.to_str())
            // Locks are held for longer than the connections of other tests wait.
            .init(vec![
                "SET SESSION lock_wait_timeout = 60, SESSION innodb_lock_wait_timeout = 60",
            ])
            .read_timeout(Some(LONGEST));
        let mut connection = Conn::new(options).expect("root gets in by the socket");
        let insert = joomla.text(
            "INSERT INTO #__websockets_outbox (channel, event, data, created) VALUES ('rows', 'row', ?, UTC_TIMESTAMP(3))",
        );
        let (over, written) = (Arc::clone(&self.over), Arc::clone(&self.written));
        self.threads.push(thread::spawn(move || {
            every(ROW, &over, |_| {
                let n = lock(&written).len();
                connection.exec_drop(&insert, (n.to_string(),)).expect("a row");
                lock(&written).push(Instant::now());
            });
        }));
    }

    fn read_rows(&mut self) {
        let mut session = self.subscribe("rows");
        let (over, arrived) = (Arc::clone(&self.over), Arc::clone(&self.arrived));
        self.threads.push(thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                if session.peer.hears_within(Duration::from_millis(50)) {
                    let message = next_event(&mut session, "rows");
                    let n = message["data"].as_str().and_then(|n| n.parse().ok());
                    lock(&arrived).push((n.expect("a number"), Instant::now()));
                }
            }
        }));
    }

    /// Waits so long, and returns the measurements of that time.
    fn measure(&self, time: Duration) -> Measured {
        let (began, before) = (Instant::now(), self.database());
        thread::sleep(time);
        let end = Instant::now();
        // The echoes and events that were sent by then are on their way.
        wait_long("the last echo and the last event are back", || {
            [&self.echoes, &self.others_echoes, &self.fan_outs]
                .map(|samples| lock(samples).last().is_some_and(|(at, _)| *at >= end))
                == [true; 3]
        });
        let after = self.database();
        let within = |samples: &Samples| {
            let samples = lock(samples);
            let within = samples.iter().filter(|(at, _)| *at >= began && *at < end);
            Spread::of(within.map(|(_, took)| *took).collect())
        };
        Measured {
            time: after.0 - before.0,
            echo: within(&self.echoes),
            others_echo: within(&self.others_echoes),
            fan_out: within(&self.fan_outs),
            statements: after.1 - before.1,
            sql: after.2.zip(before.2).map(|(after, before)| after - before),
        }
    }

    /// Now; statements, and the time that they took, which the console says.
    fn database(&self) -> (Instant, u64, Option<Duration>) {
        let stats: Value = serde_json::from_str(&lock(&self.console).say("stats")).expect("JSON");
        let database = &stats["database"];
        let statements = database["statements"].as_u64().expect("a count");
        let total = database["total_us"].as_u64().map(Duration::from_micros);
        (Instant::now(), statements, total)
    }

    /// How much later than the end of a disturbance, or than its own commit, each row came: those from before the end,
    /// and those from after it.
    fn lateness(&self, from: Instant, end: Instant) -> (Vec<Duration>, Vec<Duration>) {
        let all = lock(&self.written).len();
        wait_long("all rows have come", || lock(&self.arrived).len() >= all);
        let (written, arrived) = (lock(&self.written), lock(&self.arrived));
        let numbers: Vec<usize> = arrived.iter().map(|(n, _)| *n).collect();
        assert!(
            numbers.iter().enumerate().all(|(place, n)| place == *n),
            "rows are lost, doubled or out of order: {numbers:?}"
        );
        let (mut during, mut after) = (Vec::new(), Vec::new());
        for ((_, came), committed) in arrived.iter().zip(written.iter()) {
            if *committed >= end {
                after.push(came.saturating_duration_since(*committed));
            } else if *committed >= from {
                during.push(came.saturating_duration_since(end));
            }
        }
        (during, after)
    }

    /// How long the echo stood still each time that this was longer than `least`. Echoes that wait for the same
    /// statement come back together. Two statements with one turn of the loop in between, as those of a stamp, are two
    /// stalls.
    fn stalls(&self, from: Instant, end: Instant, least: Duration) -> Vec<Duration> {
        let echoes = lock(&self.echoes);
        let mut stalls: Vec<(Instant, Instant)> = Vec::new();
        for (at, took) in echoes
            .iter()
            .filter(|(at, took)| (from..end).contains(at) && *took > least)
        {
            match stalls.last_mut() {
                Some((_, until)) if *at + *took <= *until + NOISE => *until = (*at + *took).max(*until),
                _ => stalls.push((*at, *at + *took)),
            }
        }
        stalls.into_iter().map(|(from, until)| until - from).collect()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.between.play(Trick::Pass);
        self.over.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so; a second panic would end the process.
            let failed = thread.join().is_err();
            assert!(!failed || thread::panicking(), "a measuring thread has failed");
        }
    }
}

/// The next event on the session's channel.
fn next_event(session: &mut Session, channel: &str) -> Value {
    let message = session.next();
    assert_eq!(message["channel"], channel, "{message}");
    message
}

/// Calls `act` when it is due, again and again until it is over. A late call is made at once.
fn every(pause: Duration, over: &AtomicBool, mut act: impl FnMut(Instant)) {
    let mut due = Instant::now();
    while !over.load(Ordering::SeqCst) {
        act(due);
        due += pause;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn wait_long(what: &str, fact: impl Fn() -> bool) {
    let deadline = Instant::now() + LONGEST;
    while !fact() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Times in order.
struct Spread(Vec<Duration>);

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        assert!(times.len() >= 50, "{} samples are none", times.len());
        times.sort_unstable();
        Self(times)
    }

    fn at(&self, hundredth: usize) -> Duration {
        self.0[(self.0.len() * hundredth / 100).min(self.0.len() - 1)]
    }

    /// The part of them that is longer.
    fn beyond(&self, time: Duration) -> f64 {
        self.0.iter().filter(|took| **took > time).count() as f64 / self.0.len() as f64
    }

    /// Half of them, nearly all and all are no longer than this.
    fn shown(&self) -> String {
        let [p50, p99, max] = [50, 99, 100].map(|hundredth| self.at(hundredth));
        format!("p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?}")
    }
}

/// The measurements of some seconds.
struct Measured {
    time: Duration,
    echo: Spread,
    /// Of the server that has no database.
    others_echo: Spread,
    fan_out: Spread,
    statements: u64,
    /// The time of the statements, where the server counts it.
    sql: Option<Duration>,
}

impl Measured {
    /// The longest delay that the machine alone caused.
    fn noise(&self) -> Duration {
        self.others_echo.at(100)
    }

    /// SQL's share of the loop's time: the server's own count, or else the share of delayed echoes.
    fn share(&self, undisturbed: &Self) -> f64 {
        match self.sql {
            Some(sql) => sql.as_secs_f64() / self.time.as_secs_f64(),
            None => self.echo.beyond(undisturbed.echo.at(50) * 2 + Duration::from_millis(5)),
        }
    }
}

// --- promises --------------------------------------------------------------------------------------------------------

/// The bound of a disturbance.
#[derive(Clone, Copy)]
struct Bound {
    /// How long it goes on.
    time: Duration,
    /// The longest statement.
    statement: Duration,
    /// So many of them may take that long; an echo waits for one of them.
    stalls: usize,
}

impl Bound {
    /// How soon rows come after the end. Where a statement has just taken long, SQL rests until that was its share.
    fn soon(&self) -> Duration {
        SOON.max(self.statement.mul_f64(1.0 / SHARE - 1.0)) + LATE
    }
}

/// Any number of statements may take this long, one after the other with a rest in between.
const MANY: usize = usize::MAX;

/// The broken promises of all disturbances, so that one run reports them all.
#[derive(Default)]
struct Broken(Vec<String>);

impl Broken {
    fn expect(&mut self, holds: bool, what: String) {
        if !holds {
            println!("  BROKEN: {what}");
            self.0.push(what);
        }
    }

    /// At the end.
    fn none(self) {
        assert!(self.0.is_empty(), "{:#?}", self.0);
    }

    /// Measures a server undisturbed, then disturbed from `begin` on until `end`, and then after the disturbance.
    fn disturb<T>(&mut self, what: &str, bound: Bound, begin: impl FnOnce(&Stand) -> T, end: impl FnOnce(&Stand, T)) {
        let stand = Stand::new();
        let undisturbed = stand.measure(UNDISTURBED);
        let from = Instant::now();
        let begun = begin(&stand);
        let during = stand.measure(bound.time);
        end(&stand, begun);
        let ended = Instant::now();
        thread::sleep(AFTER);
        println!("{what}; without a database: echo {}", during.others_echo.shown());
        let noise = during.noise().max(undisturbed.noise());
        for (name, now, before) in [
            ("echo", &during.echo, &undisturbed.echo),
            ("fan-out", &during.fan_out, &undisturbed.fan_out),
        ] {
            println!("  {name}: {}; undisturbed {}", now.shown(), before.shown());
            let most = before.at(50) * 6 / 5 + MEDIAN_NOISE;
            let p50 = now.at(50);
            self.expect(
                p50 <= most,
                format!("{what}: {name} p50 {p50:.1?}, more than {most:.1?}"),
            );
            let most = before.at(99).max(noise) + bound.statement + NOISE;
            let p99 = now.at(99);
            self.expect(
                p99 <= most,
                format!("{what}: {name} p99 {p99:.1?}, more than {most:.1?}"),
            );
        }
        self.share(what, bound, &during, during.share(&undisturbed));
        self.stalls(
            what,
            bound,
            noise,
            &stand.stalls(from, ended, bound.statement / 2 + NOISE * 2 + noise),
        );
        let (waited, after) = stand.lateness(from, ended);
        self.rows(what, bound.soon(), &waited, after);
    }

    fn share(&mut self, what: &str, bound: Bound, during: &Measured, share: f64) {
        let how = if during.sql.is_some() { "counted" } else { "by echoes" };
        println!(
            "  SQL: {:.1} % of the time ({how}), {} statements",
            share * 100.0,
            during.statements
        );
        let most = SHARE + bound.statement.as_secs_f64() / during.time.as_secs_f64() + SHARE_NOISE;
        self.expect(
            share <= most,
            format!("{what}: SQL has {share:.2} of the time, more than {most:.2}"),
        );
    }

    fn stalls(&mut self, what: &str, bound: Bound, noise: Duration, stalls: &[Duration]) {
        let worst = stalls.iter().max().copied().unwrap_or_default();
        println!("  {} stalls, the longest {worst:.1?}", stalls.len());
        let most = bound.statement + NOISE * 5 + noise;
        self.expect(
            worst <= most,
            format!("{what}: all stood still for {worst:.1?}, more than {most:.1?}"),
        );
        let most = bound.stalls;
        self.expect(
            stalls.len() <= most,
            format!("{what}: {} stalls, more than {most}", stalls.len()),
        );
    }

    fn rows(&mut self, what: &str, soon: Duration, waited: &[Duration], mut after: Vec<Duration>) {
        let last = waited.iter().max().copied().unwrap_or_default();
        after.sort_unstable();
        assert!(!after.is_empty(), "no row was written after the end");
        let median = after[after.len() / 2];
        println!(
            "  {} rows before the end, the last came {last:.1?} after it; later ones took {median:.1?}",
            waited.len()
        );
        self.expect(
            last <= soon,
            format!("{what}: rows came {last:.1?} after the end, more than {soon:.1?}"),
        );
        self.expect(
            median <= soon,
            format!("{what}: rows after the end take {median:.1?}, more than {soon:.1?}"),
        );
    }

    /// Tricks of the proxy, one after the other, which go on until the end.
    fn play(&mut self, what: &str, bound: Bound, tricks: &[Trick]) {
        let begin = |stand: &Stand| tricks.iter().for_each(|trick| stand.between.play(trick.clone()));
        self.disturb(what, bound, begin, |stand, ()| stand.between.play(Trick::Pass));
    }
}

// --- the network -----------------------------------------------------------------------------------------------------

/// A statement takes as long as its answer. Beyond the statement limit, and often, it opens the breaker.
#[test]
fn every_database_that_is_far_away_delays_no_push() {
    let _alone = alone();
    let mut broken = Broken::default();
    for ms in and_in_all(vec![80], vec![10, 90, 400]) {
        let bound = Bound {
            time: DISTURBED,
            statement: Duration::from_millis(ms),
            stalls: MANY,
        };
        let trick = Trick::Delay(bound.statement);
        broken.play(&format!("each answer {ms} ms later"), bound, &[trick]);
    }
    broken.none();
}

/// A deadline holds for the whole answer: one of them is waited for, and then the breaker keeps the loop away.
#[test]
fn every_database_that_drips_is_left_alone() {
    let _alone = alone();
    let mut broken = Broken::default();
    for ms in and_in_all(vec![50], vec![5, 400]) {
        let bound = Bound {
            time: DISTURBED,
            statement: READ_TIMEOUT,
            stalls: 2,
        };
        let trick = Trick::Drip(Duration::from_millis(ms));
        broken.play(&format!("{ms} ms a byte"), bound, &[trick]);
    }
    broken.none();
}

#[test]
fn every_database_that_breaks_off_is_found_again() {
    let _alone = alone();
    let mut broken = Broken::default();
    let at_once = Bound {
        time: DISTURBED,
        statement: Duration::ZERO,
        stalls: 0,
    };
    let once = Bound {
        statement: READ_TIMEOUT,
        stalls: 1,
        ..at_once
    };
    let always = vec![("connections end", at_once, vec![Trick::Cut])];
    let in_all = vec![
        ("everything is swallowed", once, vec![Trick::Swallow]),
        ("connections are reset", at_once, vec![Trick::Reset]),
        ("no server listens", at_once, vec![Trick::Cut, Trick::Refuse]),
    ];
    for (what, bound, tricks) in and_in_all(always, in_all) {
        broken.play(what, bound, &tricks);
    }
    broken.none();
}

// --- locks -----------------------------------------------------------------------------------------------------------

/// A dump that stands still because its output is not read. The tables are locked meanwhile.
struct Dump(Child);

impl Dump {
    fn begin(joomla: &Joomla) -> Self {
        // More than fits into a pipe and the buffers at its ends.
        let long = "x".repeat(10_000);
        let mut connection = joomla.connect();
        for _ in 0..300 {
            joomla.publish_on(&mut connection, "long", "e", &long);
        }
        let waiting = "SELECT COUNT(*) FROM #__websockets_outbox WHERE seq IS NULL AND channel = 'long'";
        let is_stamped = || joomla.value::<u64>(waiting) == 0;
        wait_until("the long rows are stamped", is_stamped, String::new);
        let mut child = joomla
            .server
            .command("dump")
            .args(["--skip-opt", "--lock-tables", "--quick"])
            .arg(&joomla.database)
            .args(["websockets_outbox", "websockets_state"].map(|table| format!("{}{table}", joomla.prefix)))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the script is there");
        // Its output shows that it holds the lock.
        let mut some = [0; 65_536];
        let output = child.stdout.as_mut().expect("a pipe");
        output.read_exact(&mut some).expect("the head of a dump");
        Self(child)
    }

    fn end(mut self) {
        let is_over = self.0.try_wait().expect("our child").is_some();
        assert!(!is_over, "the dump did not wait: this proves nothing");
        let mut rest = Vec::new();
        let output = self.0.stdout.as_mut().expect("a pipe");
        output.read_to_end(&mut rest).expect("a dump");
        assert!(self.0.wait().expect("our child").success());
    }
}

#[test]
fn every_database_whose_tables_are_locked_delays_no_push() {
    let _alone = alone();
    let mut broken = Broken::default();
    let bound = Bound {
        time: locked(),
        statement: STATEMENT,
        stalls: MANY,
    };
    let always = vec![(
        "the tables are locked",
        "LOCK TABLES #__websockets_outbox WRITE, #__websockets_state WRITE",
    )];
    let in_all = vec![
        (
            "the outbox table is locked for writers",
            "LOCK TABLES #__websockets_outbox READ",
        ),
        (
            "the counter's row is locked",
            "START TRANSACTION; SELECT value FROM #__websockets_state WHERE name = 'position' FOR UPDATE",
        ),
    ];
    for (what, lock) in and_in_all(always, in_all) {
        let begin = |stand: &Stand| {
            let mut holder = stand.joomla().connect();
            run(&mut holder, &stand.joomla().text(lock)).unwrap_or_else(|why| panic!("{what}: {why}"));
            holder
        };
        broken.disturb(what, bound, begin, |_, mut holder| {
            run(&mut holder, "UNLOCK TABLES; ROLLBACK").expect("the end");
        });
    }
    if is_all() {
        let begin = |stand: &Stand| Dump::begin(stand.joomla());
        broken.disturb("a dump is made", bound, begin, |_, dump| dump.end());
    }
    broken.none();
}

// --- privileges and connections --------------------------------------------------------------------------------------

/// Ends every connection of the site's user, as an administrator does.
fn kill_all(joomla: &Joomla) {
    let mut root = joomla.connect();
    for id in connections(&mut root, joomla) {
        // It may have ended by itself.
        let _ = root.query_drop(format!("KILL {id}"));
    }
}

fn connections(root: &mut Conn, joomla: &Joomla) -> Vec<u64> {
    let who = format!(
        "SELECT id FROM information_schema.processlist WHERE user = '{}'",
        joomla.user
    );
    root.query(who).expect("root may")
}

/// A connection reads its privileges when it is made. Privileges that are given back count for the next one.
#[test]
fn every_database_that_takes_privileges_and_gives_them_back_is_read_again() {
    let _alone = alone();
    let mut broken = Broken::default();
    let bound = Bound {
        time: DISTURBED,
        statement: STATEMENT,
        stalls: MANY,
    };
    let always = vec![("only the sessions may be read", vec!["SELECT ON #__session"])];
    let in_all = vec![
        ("no privilege is left", Vec::new()),
        (
            "the outbox may only be read",
            vec!["SELECT ON #__websockets_outbox", "SELECT ON #__websockets_state"],
        ),
    ];
    for (what, kept) in and_in_all(always, in_all) {
        let begin = |stand: &Stand| {
            let Joomla { user, database, .. } = stand.joomla();
            stand.joomla().sql(&format!("REVOKE ALL ON {database}.* FROM {user}"));
            for privilege in &kept {
                stand.joomla().sql(&format!("GRANT {privilege} TO {user}"));
            }
            kill_all(stand.joomla());
        };
        broken.disturb(what, bound, begin, |stand, ()| {
            let Joomla { user, database, .. } = stand.joomla();
            stand.joomla().sql(&format!("GRANT ALL ON {database}.* TO {user}"));
        });
    }
    broken.none();
}

/// No row is published for a while, the database ends the connection, and the next row comes as if nothing had
/// happened.
#[test]
fn every_database_that_ends_a_quiet_connection_brings_the_next_row_soon() {
    let joomla = Joomla::joomla6();
    joomla.create_outbox();
    let house = House::with(joomla, Terms::without_sweep());
    house.expect_reading();
    let joomla = &house.joomla;
    let mut guest = house.come_as_guest();
    guest.enter("news");
    let mut root = joomla.connect();
    // A connection that ended soon after it came is no good one.
    thread::sleep(Duration::from_secs(11));
    let before = connections(&mut root, joomla);
    assert!(!before.is_empty(), "the server is not connected");
    kill_all(joomla);
    joomla.publish("news", "e", "1");
    let began = Instant::now();
    guest.expect_event("news", "e", "1");
    let took = began.elapsed();
    let after = connections(&mut root, joomla);
    assert!(before.iter().all(|id| !after.contains(id)), "no connection has ended");
    println!("after a connection was ended the next row came {took:.1?} later");
    assert!(took <= SOON + LATE, "{took:?}");
}
