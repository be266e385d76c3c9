//! One statement on one connection, and everything that can come of it. What calls the driver is fenced here.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use mysql::prelude::{Protocol, Queryable};
use mysql::{Conn, DriverError, QueryResult, Value};

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

/// Why a statement has no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server said so, and the connection is as good as before.
    Server(u16, String),
    /// The connection is not to be used again. `late`: because an answer did not come in time.
    Lost { late: bool, why: String },
    /// The server answers, but it is not one that we use.
    Unfit(String),
}

/// What a statement came to: the rows of each part, or the id of the first row that it inserted.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) sets: Vec<Vec<Vec<Value>>>,
    pub(super) inserted: u64,
}

/// Runs a statement and takes all its rows. A packet that the server refuses is rolled back.
pub(super) fn run(conn: &mut Conn, statement: &Statement, limit: Duration) -> Result<Output, Fault> {
    let deadline = Instant::now() + limit;
    match statement {
        Statement::Prepared { sql, params, columns } => fenced(|| {
            let result = conn.exec_iter(sql.as_str(), params.clone())?;
            let sets = take(result, &[*columns], deadline)?;
            let inserted = conn.last_insert_id();
            Ok(Output { sets, inserted })
        }),
        Statement::Packet { sql, columns } => {
            let run = fenced(|| {
                let sets = take(conn.query_iter(sql.as_str())?, columns, deadline)?;
                Ok(Output { sets, inserted: 0 })
            });
            if let Err(Fault::Server(..)) = run {
                query(conn, "ROLLBACK")?;
            }
            run
        }
    }
}

/// The rows of all parts. `columns`: how many columns each part's rows have.
fn take<T: Protocol>(
    result: QueryResult<'_, '_, '_, T>,
    columns: &[usize],
    deadline: Instant,
) -> mysql::Result<Vec<Vec<Vec<Value>>>> {
    // Dropping it would read what is left. After a fault of this side the connection goes right after it.
    let mut result = ManuallyDrop::new(result);
    let mut sets = Vec::with_capacity(columns.len());
    while let Some(set) = result.iter() {
        let mut set = ManuallyDrop::new(set);
        let mut rows = Vec::new();
        for row in set.by_ref() {
            let row = row?;
            if Instant::now() > deadline {
                return Err(mysql::Error::IoError(io::ErrorKind::TimedOut.into()));
            }
            if columns.get(sets.len()) != Some(&row.len()) {
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
    fenced(|| {
        let rows = conn.query_iter(sql)?.map(|row| row.map(mysql::Row::unwrap));
        rows.collect()
    })
}

/// Calls the driver. It panics on some packets that no server should send (an empty one, an unknown way to sign in); that
/// ends the connection, not the server.
pub(super) fn fenced<T>(call: impl FnOnce() -> mysql::Result<T>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Fault::from(error)),
        Err(_) => Err(Fault::lost("the driver could not make sense of the server's answer")),
    }
}

impl Fault {
    pub(super) fn lost(why: &str) -> Self {
        Fault::Lost {
            late: false,
            why: why.to_owned(),
        }
    }

    fn io(error: &io::Error) -> Self {
        let late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        Fault::Lost {
            late,
            why: match late {
                true => "it did not answer in time".to_owned(),
                false => error.to_string(),
            },
        }
    }
}

impl From<mysql::Error> for Fault {
    fn from(error: mysql::Error) -> Self {
        use mysql::Error;
        match &error {
            Error::MySqlError(error) => Fault::Server(error.code, error.message.clone()),
            Error::IoError(error) => Fault::io(error),
            Error::DriverError(DriverError::ConnectTimeout) => Fault::Lost {
                late: true,
                why: "it did not take the connection in time".to_owned(),
            },
            Error::DriverError(DriverError::CouldNotConnect(Some((_, why, _)))) => Fault::lost(why),
            Error::DriverError(error) => Fault::lost(&error.to_string()),
            Error::CodecError(error) => match error.source().and_then(|source| source.downcast_ref()) {
                Some(error) => Fault::io(error),
                None => Fault::lost(&error.to_string()),
            },
            Error::TlsError(error) => Fault::lost(&error.to_string()),
            // Nothing here asks the driver to convert values, which these would show.
            _ => Fault::lost("the driver failed"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Server(_, why) | Fault::Lost { why, .. } | Fault::Unfit(why) => f.write_str(why),
        }
    }
}
