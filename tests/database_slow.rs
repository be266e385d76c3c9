//! What a slow database costs those who do not need it: nothing that they notice. A proxy between server and database delays,
//! drips, cuts, resets, swallows and refuses; somebody else holds locks, takes privileges away, ends the connection. For each of
//! these an echo and a fan-out are measured beside undisturbed ones of the same run, SQL's share of the loop's time is counted,
//! and rows that were written meanwhile come within a second of the end. `scripts/test --all` runs this file on every server
//! that `scripts/servers` knows, and with `TEST_ALL=1` locks are held for 20 s.
//!
//! An echo is sent when it is due, whether or not the one before came back, and its time counts from then: a loop that stands
//! still for a tenth of the time delays a tenth of them. So the part of the echoes that waited is the share of the time too.

mod common;

use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::between::{Between, Trick};
use common::joomla::Site as Joomla;
use common::mariadb::{Mariadb, run};
use common::pusher::Session;
use common::visits::{House, Terms, Visitor};
use common::{Frame, Peer, wait_until};
use mysql::Conn;
use mysql::prelude::Queryable;

/// What a busy machine may add to any single time.
const NOISE: Duration = Duration::from_millis(20);

/// What it may add to a median, which is about a tenth of this.
const MEDIAN_NOISE: Duration = Duration::from_millis(1);

/// `[database] share`, as it is by default.
const SHARE: f64 = 0.2;

/// Of the loop's time, what a busy machine may take while a statement runs.
const SHARE_NOISE: f64 = 0.03;

/// `[database] read_timeout_ms` and `statement_ms`, as they are by default.
const READ_TIMEOUT: Duration = Duration::from_millis(500);
const STATEMENT: Duration = Duration::from_millis(100);

/// Rows that were written during a disturbance come so soon after its end: a second, and half of one for a busy machine.
const SOON: Duration = Duration::from_millis(1500);

/// Between two echoes, two publishes to the subscribers, two rows.
const ECHO: Duration = Duration::from_millis(5);
const PUBLISH: Duration = Duration::from_millis(25);
const ROW: Duration = Duration::from_millis(200);

const SUBSCRIBERS: usize = 20;

/// How long the undisturbed server, a disturbance, and what comes after it are measured.
const UNDISTURBED: Duration = Duration::from_secs(3);
const DISTURBED: Duration = Duration::from_secs(4);
const AFTER: Duration = Duration::from_millis(1500);

/// How long somebody holds a lock.
fn locked() -> Duration {
    let all = std::env::var("TEST_ALL").is_ok_and(|all| all == "1");
    Duration::from_secs(if all { 20 } else { 6 })
}

// One after the other: each measures a machine that the others would keep busy.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

// --- what is measured ----------------------------------------------------------------------------------------------------

/// When something was due, and how long it took from then.
type Sample = (Instant, Duration);

type Samples = Arc<Mutex<Vec<Sample>>>;

/// A server whose database is behind a proxy, and those who measure it.
struct Stand {
    house: House,
    between: Between,
    /// Somebody chats with the echo.
    echoes: Samples,
    /// Somebody publishes by HTTP to subscribers; the last of them counts.
    fan_outs: Samples,
    /// When each row was committed, by its number.
    written: Arc<Mutex<Vec<Instant>>>,
    /// The row of this number came.
    arrived: Arc<Mutex<Vec<(usize, Instant)>>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Stand {
    fn new(database: &str) -> Self {
        let joomla = Joomla::joomla6();
        joomla.create_outbox();
        let between = Between::new(joomla.server.addr);
        joomla.configure("host", &format!("'{}'", between.addr));
        let terms = Terms {
            server: "log_level = \"debug\"",
            database,
            more: "[echo]\nenabled = true",
            ..Terms::without_sweep()
        };
        let house = House::with(joomla, terms);
        house.expect_reading();
        let mut stand = Self {
            house,
            between,
            echoes: Samples::default(),
            fan_outs: Samples::default(),
            written: Arc::default(),
            arrived: Arc::default(),
            over: Arc::default(),
            threads: Vec::new(),
        };
        stand.chat();
        stand.fan_out();
        stand.write_rows();
        stand.read_rows();
        stand
    }

    fn chat(&mut self) {
        let mut reader = Peer::upgrade(&self.house.site.server, "/echo");
        let mut writer = reader.stream.try_clone().expect("a descriptor");
        let (sent, due) = mpsc::channel::<Instant>();
        let (over, echoes) = (Arc::clone(&self.over), Arc::clone(&self.echoes));
        self.threads.push(thread::spawn(move || {
            every(ECHO, &over, |at| {
                sent.send(at).is_ok() && writer.write_all(&Frame::text("still there?").bytes()).is_ok()
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
        let mut sessions: Vec<Session> = (0..SUBSCRIBERS).map(|_| self.house.come_as_guest()).collect();
        for session in &mut sessions {
            session.enter("fan-out");
        }
        let mut api = self.house.site.api();
        let (over, fan_outs) = (Arc::clone(&self.over), Arc::clone(&self.fan_outs));
        self.threads.push(thread::spawn(move || {
            every(PUBLISH, &over, |at| {
                api.publish("fan-out", "e", "1");
                for session in &mut sessions {
                    session.expect_event("fan-out", "e", "1");
                }
                lock(&fan_outs).push((at, at.elapsed()));
                true
            });
        }));
    }

    fn write_rows(&mut self) {
        let mut connection = self.house.joomla.connect();
        let insert = self.house.joomla.text(
            "INSERT INTO #__websockets_outbox (channel, event, data, created) VALUES ('rows', 'row', ?, UTC_TIMESTAMP(3))",
        );
        let (over, written) = (Arc::clone(&self.over), Arc::clone(&self.written));
        self.threads.push(thread::spawn(move || {
            every(ROW, &over, |_| {
                let n = lock(&written).len();
                connection.exec_drop(&insert, (n.to_string(),)).expect("a row");
                lock(&written).push(Instant::now());
                true
            });
        }));
    }

    fn read_rows(&mut self) {
        let mut session = self.house.come_as_guest();
        session.enter("rows");
        let (over, arrived) = (Arc::clone(&self.over), Arc::clone(&self.arrived));
        self.threads.push(thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                if session.peer.hears_within(Duration::from_millis(50)) {
                    let message = session.next();
                    if message["event"] == "row" {
                        let n = message["data"].as_str().and_then(|n| n.parse().ok()).expect("a number");
                        lock(&arrived).push((n, Instant::now()));
                    }
                }
            }
        }));
    }

    /// Waits so long, and says what was measured in that time.
    fn measure(&self, time: Duration) -> Measured {
        let (began, database) = (Instant::now(), self.database());
        thread::sleep(time);
        let end = Instant::now();
        // Those that were sent at the end are on their way.
        let is_last = || lock(&self.echoes).last().is_some_and(|(at, _)| *at >= end);
        wait_until("the last echo is back", is_last, || self.house.site.server.log());
        let after = self.database();
        let within = |samples: &Samples| {
            let samples = lock(samples);
            let within = samples.iter().filter(|(at, _)| *at >= began && *at < end);
            Spread::of(within.map(|(_, took)| *took).collect())
        };
        Measured {
            time: end - began,
            echo: within(&self.echoes),
            fan_out: within(&self.fan_outs),
            statements: after.0 - database.0,
            sql: after
                .1
                .zip(database.1)
                .map(|(after, before)| Duration::from_micros(after - before)),
        }
    }

    /// Statements and the microseconds that they took, which the console says.
    fn database(&self) -> (u64, Option<u64>) {
        let database = &self.house.stats()["database"];
        let statements = database["statements"].as_u64().expect("a count");
        (statements, database["total_us"].as_u64())
    }

    /// How much later than the end of a disturbance, or than its own commit, each row came: those from before the end, and
    /// those from after it.
    fn lateness(&self, from: Instant, end: Instant) -> (Vec<Duration>, Vec<Duration>) {
        let all = lock(&self.written).len();
        wait_until(
            "all rows have come",
            || lock(&self.arrived).len() >= all,
            || format!("{} of {all} rows", lock(&self.arrived).len()),
        );
        let (written, arrived) = (lock(&self.written), lock(&self.arrived));
        let numbers: Vec<usize> = arrived.iter().map(|(n, _)| *n).collect();
        assert!(
            numbers.iter().enumerate().all(|(place, n)| place == *n),
            "rows are lost, doubled or out of order: {numbers:?}"
        );
        let (mut during, mut after) = (Vec::new(), Vec::new());
        for ((_, came), committed) in arrived.iter().zip(written.iter()) {
            match (*committed >= from, *committed >= end) {
                (_, true) => after.push(came.saturating_duration_since(*committed)),
                (true, false) => during.push(came.saturating_duration_since(end)),
                (false, false) => {}
            }
        }
        (during, after)
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.between.play(Trick::Pass);
        self.over.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so; a second panic would end the process.
            let failed = thread.join().is_err();
            assert!(!failed || thread::panicking(), "somebody who measures has failed");
        }
    }
}

/// Calls it when it is due, again and again until it is over. What is late is called at once.
fn every(pause: Duration, over: &AtomicBool, mut act: impl FnMut(Instant) -> bool) {
    let mut due = Instant::now();
    while !over.load(Ordering::SeqCst) && act(due) {
        due += pause;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
}

/// What was measured in some seconds.
struct Measured {
    time: Duration,
    echo: Spread,
    fan_out: Spread,
    statements: u64,
    /// What they took, where the server counts it.
    sql: Option<Duration>,
}

impl Measured {
    /// The share of the loop's time that SQL had: as the server counts it, or else as those who waited for it tell.
    fn share(&self, undisturbed: &Self) -> f64 {
        match self.sql {
            Some(sql) => sql.as_secs_f64() / self.time.as_secs_f64(),
            None => self.echo.beyond(undisturbed.echo.at(50) * 2 + Duration::from_millis(5)),
        }
    }
}

// --- what is promised ----------------------------------------------------------------------------------------------------

/// What a disturbance may cost.
struct Bound {
    /// The longest statement.
    statement: Duration,
    /// So many of them may take that long; an echo waits for one of them.
    stalls: usize,
}

/// What was promised and did not hold, so that one run tells about all disturbances.
#[derive(Default)]
struct Broken(Vec<String>);

impl Broken {
    fn expect(&mut self, holds: bool, what: String) {
        if !holds {
            println!("  BROKEN: {what}");
            self.0.push(what);
        }
    }

    fn none(self) {
        assert!(self.0.is_empty(), "{:#?}", self.0);
    }
}

/// Measures the server while it is disturbed from `begin` on until `end`, and what comes after that.
fn disturb(
    stand: &Stand,
    undisturbed: &Measured,
    what: &str,
    time: Duration,
    bound: &Bound,
    broken: &mut Broken,
    [begin, end]: [&mut dyn FnMut(); 2],
) {
    let from = Instant::now();
    begin();
    let during = stand.measure(time);
    end();
    let ended = Instant::now();
    thread::sleep(AFTER);
    let (waited, mut after) = stand.lateness(from, ended);
    let last = waited.iter().max().copied().unwrap_or_default();
    after.sort_unstable();
    let median = after.get(after.len() / 2).copied().unwrap_or_default();
    let share = during.share(undisturbed);
    println!("{what}:");
    for (name, now, before) in [
        ("echo", &during.echo, &undisturbed.echo),
        ("fan-out", &during.fan_out, &undisturbed.fan_out),
    ] {
        let [p50, p99, max] = [50, 99, 100].map(|hundredth| now.at(hundredth));
        let [p50_before, p99_before, max_before] = [50, 99, 100].map(|hundredth| before.at(hundredth));
        println!(
            "  {name}: p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?}; undisturbed {p50_before:.1?}, {p99_before:.1?}, {max_before:.1?}"
        );
        let most = p50_before * 6 / 5 + MEDIAN_NOISE;
        broken.expect(p50 <= most, format!("{what}: {name} p50 {p50:?}, more than {most:?}"));
        let most = p99_before + bound.statement + NOISE;
        broken.expect(p99 <= most, format!("{what}: {name} p99 {p99:?}, more than {most:?}"));
    }
    // Echoes that wait for the same statement stand side by side.
    let stalls = stalls(stand, from, ended, bound.statement / 2 + NOISE);
    println!(
        "  SQL: {:.1} % of the time ({}), {} statements, stalls {stalls:.0?}",
        share * 100.0,
        if during.sql.is_some() { "counted" } else { "by echoes" },
        during.statements,
    );
    println!(
        "  rows: {} waited, the last {last:.0?} after the end; then {median:.0?}",
        waited.len()
    );
    let longest = bound.statement.as_secs_f64() / during.time.as_secs_f64();
    let most = SHARE + longest + SHARE_NOISE;
    broken.expect(
        share <= most,
        format!("{what}: SQL has {share:.2} of the time, more than {most:.2}"),
    );
    let most = bound.statement + NOISE * 5;
    let worst = stalls.iter().max().copied().unwrap_or_default();
    broken.expect(
        worst <= most,
        format!("{what}: everything stood still for {worst:?}, more than {most:?}"),
    );
    broken.expect(
        stalls.len() <= bound.stalls,
        format!(
            "{what}: {} stalls, more than {}: {stalls:?}",
            stalls.len(),
            bound.stalls
        ),
    );
    broken.expect(
        last <= SOON,
        format!("{what}: rows came {last:?} after the end, more than {SOON:?}"),
    );
    broken.expect(
        median <= SOON,
        format!("{what}: rows after the end take {median:?}, more than {SOON:?}"),
    );
}

/// How long the echo stood still each time that this was longer than `least`.
fn stalls(stand: &Stand, from: Instant, end: Instant, least: Duration) -> Vec<Duration> {
    let echoes = lock(&stand.echoes);
    let mut stalls: Vec<(Instant, Instant)> = Vec::new();
    for (at, took) in echoes
        .iter()
        .filter(|(at, took)| (from..end).contains(at) && *took > least)
    {
        match stalls.last_mut() {
            Some((_, until)) if *at <= *until => *until = (*at + *took).max(*until),
            _ => stalls.push((*at, *at + *took)),
        }
    }
    stalls.into_iter().map(|(from, until)| until - from).collect()
}

/// Any number of statements may take this long, one after the other with a rest in between.
const MANY: usize = usize::MAX;

/// Several tricks of the proxy, one after the other.
fn expect_tricks(database: &str, tricks: &[(&str, &[Trick], Bound)]) {
    let _alone = alone();
    let stand = Stand::new(database);
    let undisturbed = stand.measure(UNDISTURBED);
    let mut broken = Broken::default();
    for (what, tricks, bound) in tricks {
        let mut begin = || tricks.iter().for_each(|trick| stand.between.play(trick.clone()));
        let mut end = || stand.between.play(Trick::Pass);
        disturb(
            &stand,
            &undisturbed,
            what,
            DISTURBED,
            bound,
            &mut broken,
            [&mut begin, &mut end],
        );
    }
    broken.none();
}

// --- the network ---------------------------------------------------------------------------------------------------------

/// A statement takes as long as its answer. Beyond the statement limit, and often, it opens the breaker.
#[test]
fn every_database_that_is_far_away_delays_no_push() {
    let far = |ms| {
        let statement = Duration::from_millis(ms);
        let trick = Trick::Delay(statement);
        (
            [trick],
            Bound {
                statement,
                stalls: MANY,
            },
        )
    };
    let all = [10, 80, 90, 400].map(|ms| (format!("each answer {ms} ms later"), far(ms)));
    let all = all.each_ref().map(|(what, (trick, bound))| {
        let bound = Bound { ..*bound };
        (what.as_str(), &trick[..], bound)
    });
    expect_tricks("", &all);
}

/// A deadline holds for the whole answer: one of them is waited for once, and then the breaker keeps the loop away.
#[test]
fn every_database_that_drips_is_left_alone() {
    let all = [5, 50, 400].map(|ms| (format!("{ms} ms a byte"), [Trick::Drip(Duration::from_millis(ms))]));
    let all = all.each_ref().map(|(what, trick)| {
        let bound = Bound {
            statement: READ_TIMEOUT,
            stalls: 2,
        };
        (what.as_str(), &trick[..], bound)
    });
    expect_tricks("", &all);
}

#[test]
fn every_database_that_breaks_off_is_found_again() {
    let at_once = || Bound {
        statement: Duration::ZERO,
        stalls: 0,
    };
    let once = Bound {
        statement: READ_TIMEOUT,
        stalls: 1,
    };
    expect_tricks(
        "",
        &[
            ("connections end", &[Trick::Cut], at_once()),
            ("connections are reset", &[Trick::Reset], at_once()),
            ("nobody listens", &[Trick::Cut, Trick::Refuse], at_once()),
            ("everything is swallowed", &[Trick::Swallow], once),
        ],
    );
}

// --- locks ---------------------------------------------------------------------------------------------------------------

/// A dump that stands still: who reads it is slow. The tables are locked meanwhile.
struct Dump(Child);

impl Dump {
    fn begin(joomla: &Joomla) -> Self {
        let mut child = joomla
            .server
            .command("dump")
            .args(["--skip-opt", "--add-locks", "--lock-tables", "--quick"])
            .arg(&joomla.database)
            .args(["websockets_outbox", "websockets_state"].map(|table| format!("{}{table}", joomla.prefix)))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the script is there");
        // What it has written shows that it holds the lock.
        let mut some = [0; 4096];
        let output = child.stdout.as_mut().expect("a pipe");
        output.read_exact(&mut some).expect("the head of a dump");
        Self(child)
    }

    fn end(mut self) {
        let mut rest = Vec::new();
        let output = self.0.stdout.as_mut().expect("a pipe");
        output.read_to_end(&mut rest).expect("a dump");
        assert!(
            rest.len() > 500_000,
            "{} bytes would not have filled the pipe",
            rest.len()
        );
        assert!(self.0.wait().expect("our child").success());
    }
}

#[test]
fn every_database_whose_tables_are_locked_delays_no_push() {
    let _alone = alone();
    let stand = Stand::new("");
    let joomla = &stand.house.joomla;
    // More than fits into a pipe and the buffers at its ends, so that the dump of it stands still.
    let long = "x".repeat(10_000);
    let mut connection = joomla.connect();
    for _ in 0..60 {
        joomla.publish_on(&mut connection, "long", "e", &long);
    }
    let waiting = "SELECT COUNT(*) FROM #__websockets_outbox WHERE seq IS NULL AND channel = 'long'";
    wait_until(
        "the long rows are stamped",
        || joomla.value::<u64>(waiting) == 0,
        String::new,
    );
    let undisturbed = stand.measure(UNDISTURBED);
    let mut broken = Broken::default();
    let bound = Bound {
        statement: STATEMENT,
        stalls: MANY,
    };
    let holder = Mutex::new(connection);
    let say = |sql: &str| run(&mut lock(&holder), &joomla.text(sql)).unwrap_or_else(|why| panic!("{sql}: {why}"));
    for (what, begin, end) in [
        (
            "the tables are locked",
            "LOCK TABLES #__websockets_outbox WRITE, #__websockets_state WRITE",
            "UNLOCK TABLES",
        ),
        (
            "the outbox table is locked for writing",
            "LOCK TABLES #__websockets_outbox READ",
            "UNLOCK TABLES",
        ),
        (
            "the counter's row is locked",
            "START TRANSACTION; SELECT value FROM #__websockets_state WHERE name = 'position' FOR UPDATE",
            "ROLLBACK",
        ),
    ] {
        let (mut begin, mut end) = (|| say(begin), || say(end));
        disturb(
            &stand,
            &undisturbed,
            what,
            locked(),
            &bound,
            &mut broken,
            [&mut begin, &mut end],
        );
    }
    let dump = Mutex::new(None);
    let mut begin = || *lock(&dump) = Some(Dump::begin(joomla));
    let mut end = || lock(&dump).take().into_iter().for_each(Dump::end);
    let what = "a dump is made";
    disturb(
        &stand,
        &undisturbed,
        what,
        locked(),
        &bound,
        &mut broken,
        [&mut begin, &mut end],
    );
    broken.none();
}

// --- privileges and connections ------------------------------------------------------------------------------------------

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

/// What a connection may do in its database it learns when it comes: given back, privileges count for the next one only.
#[test]
fn every_database_that_takes_privileges_and_gives_them_back_is_read_again() {
    let _alone = alone();
    let stand = Stand::new("");
    let joomla = &stand.house.joomla;
    let undisturbed = stand.measure(UNDISTURBED);
    let mut broken = Broken::default();
    let (user, database) = (&joomla.user, &joomla.database);
    let bound = Bound {
        statement: STATEMENT,
        stalls: MANY,
    };
    for (what, kept) in [
        ("no privilege is left", &[][..]),
        ("only the sessions may be read", &["SELECT ON #__session"]),
        (
            "the outbox may be read only",
            &["SELECT ON #__websockets_outbox", "SELECT ON #__websockets_state"],
        ),
    ] {
        let mut begin = || {
            joomla.sql(&format!("REVOKE ALL ON {database}.* FROM {user}"));
            for privilege in kept {
                joomla.sql(&format!("GRANT {privilege} TO {user}"));
            }
            kill_all(joomla);
        };
        let mut end = || joomla.sql(&format!("GRANT ALL ON {database}.* TO {user}"));
        disturb(
            &stand,
            &undisturbed,
            what,
            DISTURBED,
            &bound,
            &mut broken,
            [&mut begin, &mut end],
        );
    }
    broken.none();
}

/// Nobody publishes anything for a while, somebody ends the connection, and the next row comes as if nothing had happened.
#[test]
fn every_database_that_ends_a_quiet_connection_brings_the_next_row_soon() {
    let joomla = Joomla::joomla6_on(Mariadb::shared());
    joomla.create_outbox();
    let house = House::with(joomla, Terms::without_sweep());
    house.expect_reading();
    let joomla = &house.joomla;
    let mut guest = house.come_as_guest();
    guest.enter("news");
    let mut root = joomla.connect();
    let mut took = Vec::new();
    for n in 0..3 {
        // A connection that ended soon after it came is no good one.
        thread::sleep(Duration::from_secs(11));
        let before = connections(&mut root, joomla);
        assert!(!before.is_empty(), "the server is not connected");
        kill_all(joomla);
        joomla.publish("news", "e", &n.to_string());
        let began = Instant::now();
        guest.expect_event("news", "e", &n.to_string());
        took.push(began.elapsed());
        let after = connections(&mut root, joomla);
        assert!(
            before.iter().all(|id| !after.contains(id)),
            "nobody's connection has ended"
        );
    }
    println!("after a connection was ended rows came {took:.0?} later");
    took.sort_unstable();
    assert!(took[1] <= Duration::from_secs(1), "{took:?}");
    assert!(took[2] <= SOON, "{took:?}");
}
