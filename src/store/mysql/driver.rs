//! Runs one statement on one connection, and turns every outcome into a value. All calls of the driver are fenced here.

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

/// The most bytes of one packet in either direction. It has room for the longest session text, for large `params` and
/// for rows to be published.
pub(super) const PACKET: usize = 16 << 20;

/// A connection on which every answer has a deadline.
pub(super) struct Conn {
    /// The first field, since it must be dropped before the connection.
    deadline: Option<Deadline>,
    conn: mysql::Conn,
    /// The time limit of a piece of work, and the deadline of the piece that was begun last.
    limit: Duration,
    until: Instant,
    /// The SQL texts that are prepared.
    prepared: HashSet<String>,
}

impl Conn {
    /// Logs in; each read has the driver's timeouts. Afterwards a piece of work may take as long as `limit`.
    pub(super) fn log_in(opts: OptsBuilder, limit: Duration) -> Result<Self, Fault> {
        Ok(Self {
            deadline: None,
            conn: fenced(|| mysql::Conn::new(opts))?,
            limit,
            until: Instant::now() + limit,
            prepared: HashSet::new(),
        })
    }

    /// Begins a piece of work: the limit is for all statements from here on together.
    pub(super) fn begin(&mut self) {
        self.until = Instant::now() + self.limit;
    }

    /// Lets `program` watch over the deadline. Without a watcher an answer that drips may take longer.
    ///
    /// # Errors
    /// See [`Deadline::start`].
    pub(super) fn be_watched(&mut self, program: &Path) -> io::Result<()> {
        self.deadline = Some(Deadline::start(&self.conn, program)?);
        Ok(())
    }

    /// The number of rows that the last statement changed.
    pub(super) fn affected_rows(&self) -> u64 {
        self.conn.affected_rows()
    }

    /// Calls the driver, which has to finish before the deadline.
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

/// The statements that are sent together.
#[derive(Debug)]
pub(super) enum Statement {
    /// A text with its parameters, prepared once.
    Prepared {
        sql: String,
        params: Vec<Value>,
        /// The number of columns of its rows.
        columns: usize,
    },
    /// Several texts without parameters in one packet, each with the number of columns of its rows.
    Packet { sql: String, columns: Vec<usize> },
}

impl Statement {
    pub(super) fn prepared(sql: String, params: Vec<Value>, columns: usize) -> Self {
        Statement::Prepared { sql, params, columns }
    }

    /// `sql`: texts that are separated by `; `, which stands nowhere else in them. `columns`: one number for each text.
    pub(super) fn packet(sql: impl Into<String>, columns: Vec<usize>) -> Self {
        let sql = sql.into();
        debug_assert_eq!(sql.split("; ").count(), columns.len(), "{sql}");
        Statement::Packet { sql, columns }
    }
}

/// The result of a statement: the rows of each part, or the id of the first row that it inserted.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) sets: Vec<Vec<Vec<Value>>>,
    pub(super) inserted: u64,
    /// The number of round trips: two if the statement had to be prepared first.
    pub(super) ways: u32,
}

/// Runs a statement and reads all its rows. If the server refuses a packet, its transaction is rolled back.
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

/// The rows of all parts. `columns`: the number of columns of each part's rows, if it is known.
fn take<T: Protocol>(
    result: QueryResult<'_, '_, '_, T>,
    columns: Option<&[usize]>,
    until: Instant,
) -> mysql::Result<Vec<Vec<Vec<Value>>>> {
    // Dropping the result would read the remaining rows. After a fault found here the result is not dropped, and the
    // caller drops the connection.
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

/// The rows of a plain query, for the few statements that are the store's own.
pub(super) fn query(conn: &mut Conn, sql: &str) -> Result<Vec<Vec<Value>>, Fault> {
    let sets = conn.in_time(|conn, until| take(conn.query_iter(sql)?, None, until))?;
    Ok(sets.into_iter().next().unwrap_or_default())
}

/// Calls the driver. The driver panics on some packets that no server should send (an empty one, an unknown way to sign
/// in). Such a panic ends the connection, not this program.
fn fenced<T>(call: impl FnOnce() -> mysql::Result<T>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(fault(&error)),
        Err(panic) => Err(advice::of_panic(panic.as_ref())),
    }
}

/// The fault that an error of the driver means.
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
        // The other errors would show values that could not be converted; nothing here asks the driver to convert
        // values.
        _ => Fault::lost("the driver failed"),
    }
}
