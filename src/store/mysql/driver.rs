//! One statement on one connection, and everything that can come of it. What calls the driver is fenced here.

use std::collections::HashSet;
use std::error::Error as _;
use std::io;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use mysql::prelude::{Protocol, Queryable};
use mysql::{DriverError, OptsBuilder, QueryResult, Value};

use super::advice;
use super::deadline::Deadline;
use super::fault::Fault;

/// The most bytes of one packet in either direction: the longest session text, a large `params`, rows to be published.
pub(super) const PACKET: usize = 16 << 20;

/// A connection on which every answer has a deadline.
pub(super) struct Conn {
    /// Goes before the connection.
    deadline: Option<Deadline>,
    conn: mysql::Conn,
    /// What a piece of work may take, and until when the one that was begun last may.
    limit: Duration,
    until: Instant,
    /// Texts that are prepared.
    prepared: HashSet<String>,
}

impl Conn {
    /// Logs in; each read has the driver's timeouts. Afterwards a piece of work may take `limit`.
    pub(super) fn log_in(opts: OptsBuilder, limit: Duration) -> Result<Self, Fault> {
        Ok(Self {
            deadline: None,
            conn: fenced(|| mysql::Conn::new(opts))?,
            limit,
            until: Instant::now() + limit,
            prepared: HashSet::new(),
        })
    }

    /// Begins a piece of work: all statements from here on together have the limit.
    pub(super) fn begin(&mut self) {
        self.until = Instant::now() + self.limit;
    }

    /// Lets `program` watch over the deadline. Without it answers that drip may take longer.
    ///
    /// # Errors
    /// See [`Deadline::start`].
    pub(super) fn be_watched(&mut self, program: &Path) -> io::Result<()> {
        self.deadline = Some(Deadline::start(&self.conn, program)?);
        Ok(())
    }

    /// Rows that the last statement changed.
    pub(super) fn affected_rows(&self) -> u64 {
        self.conn.affected_rows()
    }

    /// Calls the driver, which has to be done in time.
    fn in_time<T>(&mut self, call: impl FnOnce(&mut mysql::Conn, Instant) -> mysql::Result<T>) -> Result<T, Fault> {
        let (conn, until) = (&mut self.conn, self.until);
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Fault::late());
        }
        let done = match &self.deadline {
            Some(deadline) => deadline.within(left, || fenced(|| call(conn, until))),
            None => fenced(|| call(conn, until)),
        };
        match done {
            Err(Fault::Lost { .. }) if Instant::now() >= until => Err(Fault::late()),
            done => done,
        }
    }
}

/// What is sent in one go.
#[derive(Debug)]
pub(super) enum Statement {
    /// A text with its parameters, prepared once.
    Prepared {
        sql: String,
        params: Vec<Value>,
        /// How many columns its rows have.
        columns: usize,
    },
    /// Several texts without parameters in one packet, each with the number of columns of its rows.
    Packet { sql: String, columns: Vec<usize> },
}

impl Statement {
    pub(super) fn packet(statements: Vec<(String, usize)>) -> Self {
        let (texts, columns): (Vec<String>, Vec<usize>) = statements.into_iter().unzip();
        Statement::Packet {
            sql: texts.join("; "),
            columns,
        }
    }
}

/// What a statement came to: the rows of each part, or the id of the first row that it inserted.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) sets: Vec<Vec<Vec<Value>>>,
    pub(super) inserted: u64,
    /// How often something went there and back: twice where the statement had to be prepared.
    pub(super) ways: u32,
}

/// Runs a statement and takes all its rows. A packet that the server refuses is rolled back.
pub(super) fn run(conn: &mut Conn, statement: &Statement) -> Result<Output, Fault> {
    match statement {
        Statement::Prepared { sql, params, columns } => {
            let ways = if conn.prepared.contains(sql) { 1 } else { 2 };
            let output = conn.in_time(|conn, until| {
                let result = conn.exec_iter(sql.as_str(), params.clone())?;
                let sets = take(result, Some(&[*columns]), until)?;
                let inserted = conn.last_insert_id();
                Ok(Output { sets, inserted, ways })
            })?;
            if ways > 1 {
                conn.prepared.insert(sql.clone());
            }
            Ok(output)
        }
        Statement::Packet { sql, columns } => {
            let run = conn.in_time(|conn, until| {
                let sets = take(conn.query_iter(sql.as_str())?, Some(columns), until)?;
                Ok(Output {
                    sets,
                    inserted: 0,
                    ways: 1,
                })
            });
            if let Err(Fault::Server(..)) = run {
                query(conn, "ROLLBACK")?;
            }
            run
        }
    }
}

/// The rows of all parts. `columns`: how many columns each part's rows have, if that is known.
fn take<T: Protocol>(
    result: QueryResult<'_, '_, '_, T>,
    columns: Option<&[usize]>,
    until: Instant,
) -> mysql::Result<Vec<Vec<Vec<Value>>>> {
    // Dropping it would read what is left. After a fault of this side the connection goes right after it.
    let mut result = ManuallyDrop::new(result);
    let mut sets = Vec::new();
    while let Some(set) = result.iter() {
        let mut set = ManuallyDrop::new(set);
        let mut rows = Vec::new();
        for row in set.by_ref() {
            let row = row?;
            if Instant::now() > until {
                return Err(mysql::Error::IoError(io::ErrorKind::TimedOut.into()));
            }
            if columns.is_some_and(|columns| columns.get(sets.len()) != Some(&row.len())) {
                return Err(mysql::Error::DriverError(DriverError::PacketOutOfSync));
            }
            rows.push(row.unwrap());
        }
        drop(ManuallyDrop::into_inner(set));
        sets.push(rows);
    }
    drop(ManuallyDrop::into_inner(result));
    Ok(sets)
}

/// Rows of a plain query, for the store's own few.
pub(super) fn query(conn: &mut Conn, sql: &str) -> Result<Vec<Vec<Value>>, Fault> {
    let sets = conn.in_time(|conn, until| take(conn.query_iter(sql)?, None, until))?;
    Ok(sets.into_iter().next().unwrap_or_default())
}

/// Calls the driver. It panics on some packets that no server should send (an empty one, an unknown way to sign in);
/// that ends the connection, not the server.
fn fenced<T>(call: impl FnOnce() -> mysql::Result<T>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(fault(&error)),
        Err(panic) => Err(advice::of_panic(panic.as_ref())),
    }
}

/// What an error of the driver comes to.
fn fault(error: &mysql::Error) -> Fault {
    use mysql::Error;
    match error {
        Error::MySqlError(error) => Fault::Server(error.code, advice::advised(error.code, &error.message)),
        Error::IoError(error) => Fault::io(error),
        Error::DriverError(DriverError::ConnectTimeout) => Fault::Lost {
            late: true,
            why: "it did not take the connection in time".to_owned(),
        },
        Error::DriverError(DriverError::CouldNotConnect(Some((_, why, _)))) => Fault::lost(why),
        Error::DriverError(error) => advice::of_driver(error),
        Error::CodecError(error) => match error.source().and_then(|source| source.downcast_ref()) {
            Some(error) => Fault::io(error),
            None => Fault::lost(&error.to_string()),
        },
        Error::TlsError(error) => Fault::lost(&error.to_string()),
        // Nothing here asks the driver to convert values, which these would show.
        _ => Fault::lost("the driver failed"),
    }
}
