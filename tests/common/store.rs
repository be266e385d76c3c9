//! The store as a test uses it: connections to a site's database with the test's own clock, and questions with their
//! answers taken apart.

use std::time::Duration;

use jsocketd::config::{self, ItemType, ListenAddr};
use jsocketd::outbox::{Reach, Seen};
use jsocketd::protocol::position::{Place, Position};
use jsocketd::store::mysql::MySql;
use jsocketd::store::{
    Answer, Checked, Claimed, Database, Failure, Look, Looked, Old, Question, Readiness, Row, Secret, Store as _, Tls,
};
use jsocketd::time::{Now, Time};

use super::joomla::Site;

/// Bytes of an event's data in tests of the store.
pub const LONGEST_EVENT: usize = 1000;

/// The time of a test's clock, in milliseconds since its start.
pub fn at(ms: u64) -> Now {
    Now {
        at: Time(ms * 1000),
        unix_ms: 1_800_000_000_000 + ms,
    }
}

/// The site's database by TCP.
pub fn by_tcp(site: &Site) -> Database {
    Database {
        host: site.server.addr.to_string(),
        endpoints: vec![ListenAddr::Tcp(site.server.addr)],
        host_name: None,
        user: site.user.clone(),
        password: Secret(site.password.clone()),
        name: site.database.clone(),
        prefix: site.prefix.to_owned(),
        tls: Tls::default(),
    }
}

/// The site's database by its Unix socket.
pub fn by_socket(site: &Site) -> Database {
    Database {
        endpoints: vec![ListenAddr::Unix(site.server.socket.clone())],
        ..by_tcp(site)
    }
}

/// A store that has not connected, with the limits of the embedded defaults.
pub fn new(database: Database) -> MySql {
    with_limits(database, config::Database::default())
}

fn with_limits(database: Database, limits: config::Database) -> MySql {
    MySql::new(database, limits, vec![ItemType::article()], LONGEST_EVENT)
}

/// A store that is connected with the limits of the embedded defaults.
pub fn hasty(database: Database) -> MySql {
    let mut store = new(database);
    store.connect(at(0)).expect("the database is there");
    store
}

/// A store that is connected and whose statements may take their time: a busy machine changes no answer.
pub fn connected(database: Database) -> MySql {
    let patient = config::Database {
        statement_ms: 10_000,
        read_timeout_ms: 20_000,
        ..config::Database::default()
    };
    let mut store = with_limits(database, patient);
    store.connect(at(0)).expect("the database is there");
    assert_eq!(store.readiness(at(0)), Readiness::Ready);
    store
}

/// Sets up a new connection as the loop does.
pub fn set_up(store: &mut MySql, now: Now) {
    while store.readiness(now) == Readiness::Preparing {
        store.prepare(now);
    }
}

/// Questions about the outbox's tables.
pub trait Outbox {
    /// Asks, and expects an answer.
    fn ask_for(&mut self, question: Question) -> Answer;

    /// Whether rows wait.
    fn look(&mut self, look: Look) -> Looked {
        match self.ask_for(Question::Look(look)) {
            Answer::Looked(looked) => looked,
            other => panic!("{other:?}"),
        }
    }

    /// The state of the tables, and the rows of these numbers.
    fn check(&mut self, seqs: &[u64]) -> Checked {
        match self.ask_for(Question::Check(seqs.to_vec())) {
            Answer::Checked(checked) => checked,
            other => panic!("{other:?}"),
        }
    }

    /// Takes the counter's lock.
    fn claim(&mut self, look: Look) -> Claimed {
        match self.ask_for(claim(look)) {
            Answer::Claimed(claimed) => claimed,
            other => panic!("{other:?}"),
        }
    }

    /// Stamps everything that a look finds, control rows first; the ids in order of their numbers.
    fn stamp_all(&mut self, look: Look) -> Vec<u64> {
        let claimed = self.claim(look);
        let others = claimed.ids.iter().filter(|id| !claimed.control.contains(id));
        let ids: Vec<u64> = claimed.control.iter().chain(others).copied().collect();
        let end = match ids.is_empty() {
            true => Question::Release,
            false => stamp(&claimed, &ids),
        };
        assert_eq!(self.ask_for(end), Answer::Done);
        ids
    }

    /// Rows behind a number.
    fn tail(&mut self, after: u64, limit: u32) -> Vec<Row> {
        match self.ask_for(Question::Tail { after, limit }) {
            Answer::Rows(rows) => rows,
            other => panic!("{other:?}"),
        }
    }

    /// Takes the deleter's lock.
    fn old(&mut self, retention: u64, limit: u32) -> Old {
        match self.ask_for(old(retention, limit)) {
            Answer::Old(old) => old,
            other => panic!("{other:?}"),
        }
    }

    /// Deletes rows older than so many seconds; returns their ids.
    fn delete_old(&mut self, retention: u64, limit: u32) -> Vec<u64> {
        let Old { ids, processes } = self.old(retention, limit);
        let deleted = ids.clone();
        let end = match ids.is_empty() && processes.is_empty() {
            true => Question::Release,
            false => Question::Delete { ids, processes },
        };
        assert_eq!(self.ask_for(end), Answer::Done);
        deleted
    }
}

impl Outbox for MySql {
    fn ask_for(&mut self, question: Question) -> Answer {
        self.ask(&question, at(0))
            .unwrap_or_else(|failure| panic!("{question:?}: {failure}"))
    }
}

/// Takes the counter's lock and reads up to 500 rows.
pub fn claim(look: Look) -> Question {
    Question::Claim {
        look,
        limit: 500,
        ensure: false,
    }
}

/// Takes the deleter's lock.
pub fn old(retention: u64, limit: u32) -> Question {
    Question::Old {
        retention,
        dead: 600,
        limit,
    }
}

/// Stamps these rows behind the position that was claimed.
pub fn stamp(claimed: &Claimed, ids: &[u64]) -> Question {
    let (epoch, last) = place(claimed.tables.position.as_deref());
    Question::Stamp {
        ids: ids.to_vec(),
        epoch,
        first: last.seq + 1,
        mark: claimed.tables.now_ms,
    }
}

/// A position of the table, taken apart.
pub fn place(position: Option<&str>) -> (u32, Place) {
    match position.map(str::parse) {
        Some(Ok(Position::Table { epoch, place })) => (epoch, place),
        _ => panic!("{position:?} is no position in the table"),
    }
}

/// Whether the question failed because of a lock.
pub fn is_locked<T>(answer: &Result<T, Failure>) -> bool {
    matches!(answer, Err(Failure::Locked | Failure::TooLong))
}

/// A server's reader and store with a clock of the test's own.
pub struct Process {
    /// It decides.
    pub outbox: jsocketd::outbox::Outbox,
    /// It is asked.
    pub store: MySql,
    /// The time of its clock, in seconds.
    pub seconds: u64,
}

impl Process {
    /// It keeps rows for so many seconds.
    pub fn new(joomla: &Site, number: u32, retention: u64) -> Self {
        let settings = config::Database {
            retention,
            history_rows: 0,
            ..config::Database::default()
        };
        let mut store = MySql::new(by_tcp(joomla), settings.clone(), vec![ItemType::article()], 1000);
        store.connect(at(1_000_000)).expect("the database is there");
        let outbox = jsocketd::outbox::Outbox::new(&settings, number, 1000);
        let mut process = Self {
            outbox,
            store,
            seconds: 1000,
        };
        process.live(1);
        assert!(process.outbox.is_ready());
        process
    }

    /// Runs for so many seconds of its own clock, which take it a moment; returns the rows that it saw.
    pub fn live(&mut self, seconds: u64) -> Vec<Seen> {
        let mut seen = Vec::new();
        for _ in 0..seconds {
            for ms in (0..1000).step_by(50) {
                let now = at(self.seconds * 1000 + ms);
                while let Some(question) = self.outbox.question(false, now) {
                    let answer = self.store.ask(&question, now);
                    seen.extend(self.outbox.answer(&question, answer, now));
                }
            }
            self.seconds += 1;
        }
        seen
    }

    /// Where it is.
    pub fn position(&self) -> Position {
        self.outbox.position().expect("it is known")
    }

    /// Whether everything in `news` after a position can be replayed.
    pub fn reaches(&mut self, position: Position) -> Reach {
        for _ in 0..4 {
            let now = at(self.seconds * 1000);
            match self.outbox.reaches("news", position, Duration::ZERO, now) {
                Reach::Read | Reach::Ask => drop(self.live(1)),
                reach => return reach,
            }
        }
        panic!("it is not found out whether {position} is there")
    }
}

/// The rows of the outbox table.
pub fn ids(joomla: &Site) -> Vec<u64> {
    joomla.rows("SELECT id FROM #__websockets_outbox ORDER BY id")
}

/// These rows were stamped an hour ago. (The marks of their positions change with that.)
pub fn age(joomla: &Site, ids: &[u64]) {
    for id in ids {
        joomla.sql(&format!(
            "UPDATE #__websockets_outbox SET stamped = stamped - INTERVAL 1 HOUR WHERE id = {id}"
        ));
    }
}
