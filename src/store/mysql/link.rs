//! How a connection is made: the log-in first, then the set-up of the session in steps, so that the loop can run
//! between them.
//!
//! There is one thing that the driver cannot do without blocking. With [`TlsMode::Verify`] it checks the server's
//! certificate for the name that it connects to. Version 28 takes no address beside the name, so it resolves the name
//! itself. This is the only `getaddrinfo` of the loop. Rejected: not to check the name.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use mysql::{ClientIdentity, LocalInfileHandler, OptsBuilder, SslOpts};

use super::account::{self, Limits};
use super::advice;
use super::driver::{Conn, PACKET};
use super::fault::Fault;
use super::session::{self, Server};
use super::shape::{Shape, Survey};
use super::survey;
use crate::config::{self, ListenAddr};
use crate::store::{Database, Tls, TlsMode};
use crate::time::Time;

/// The number of prepared statements that are kept. It is enough for all of them: three dozen shapes and two for each
/// item type, in up to four lengths.
const STATEMENTS: usize = 256;

/// A connection that is set up.
pub(super) struct Link {
    pub(super) conn: Conn,
    pub(super) server: Server,
    pub(super) limits: Limits,
    /// When the connection was made, when it was surveyed last, and when it last answered.
    pub(super) made: Time,
    pub(super) surveyed: Time,
    pub(super) answered: Time,
    /// A statement met a missing table, column or privilege, so the survey may be out of date.
    pub(super) stale: bool,
    /// A privilege was missing.
    pub(super) denied: bool,
    /// Whether a transaction is open.
    pub(super) claimed: bool,
}

/// A connection that is being set up.
pub(super) struct Making {
    conn: Conn,
    pub(super) endpoint: usize,
    server: Option<Server>,
    survey: Option<Survey>,
    is_set_up: bool,
}

/// How far the set-up of a connection is.
pub(super) enum Made {
    Partly(Making),
    Whole(Link, Survey),
}

impl Making {
    /// Logs in. `patience`: how long the TCP connection may take.
    pub(super) fn begin(
        database: &Database,
        settings: &config::Database,
        watcher: Option<&Path>,
        endpoint: usize,
        patience: Duration,
    ) -> Result<Self, Fault> {
        let address = database.endpoints.get(endpoint);
        let address = address.ok_or_else(|| Fault::lost("there is no such endpoint"))?;
        let limit = Duration::from_millis(settings.read_timeout_ms.max(1));
        let mut conn = Conn::log_in(opts(database, address, limit, patience)?, limit).map_err(advice::unanswered)?;
        if let Some(program) = watcher
            && let Err(error) = conn.be_watched(program)
        {
            log::warn!(
                "an answer of the database that drips can hold up the loop, since nothing watches over it: {error}"
            );
        }
        Ok(Self {
            conn,
            endpoint,
            server: None,
            survey: None,
            is_set_up: false,
        })
    }

    /// Takes the next step. All statements of a step together have the time limit of one.
    pub(super) fn step(mut self, shape: &Shape, settings: &config::Database, now: Time) -> Result<Made, Fault> {
        let Self {
            conn,
            server,
            survey,
            is_set_up,
            ..
        } = &mut self;
        conn.begin();
        let Some(known) = server else {
            *server = Some(session::identify(conn)?);
            return Ok(Made::Partly(self));
        };
        // This comes before the statement limit is set, since it may take longer on a cold server.
        let Some(survey) = survey else {
            *survey = Some(survey::survey(conn, shape)?);
            return Ok(Made::Partly(self));
        };
        if !std::mem::replace(is_set_up, true) {
            session::set_up(conn, known, settings.statement_ms)?;
            return Ok(Made::Partly(self));
        }
        let survey = survey.clone();
        let link = Link {
            limits: account::limits(conn)?,
            server: known.clone(),
            conn: self.conn,
            made: now,
            surveyed: now,
            answered: now,
            stale: false,
            denied: false,
            claimed: false,
        };
        Ok(Made::Whole(link, survey))
    }
}

fn opts(database: &Database, endpoint: &ListenAddr, limit: Duration, patience: Duration) -> Result<OptsBuilder, Fault> {
    let refuse =
        |_: &[u8], _: &mut mysql::LocalInfile<'_>| Err(io::Error::other("no file of this machine is sent to a server"));
    let opts = OptsBuilder::new()
        .user(Some(&database.user))
        .pass(Some(&database.password.0))
        .db_name(Some(&database.name))
        .prefer_socket(false)
        .read_timeout(Some(limit))
        .write_timeout(Some(limit))
        .tcp_connect_timeout(Some(patience))
        .max_allowed_packet(Some(PACKET))
        .stmt_cache_size(STATEMENTS)
        .connect_attrs(Some(HashMap::from([("program_name", "jsocketd")])))
        .local_infile_handler(Some(LocalInfileHandler::new(refuse)));
    match endpoint {
        // The driver speaks no TLS over a Unix socket, where no other machine is in between.
        ListenAddr::Unix(path) => match path.to_str() {
            Some(path) => Ok(opts.socket(Some(path))),
            None => Err(Fault::lost("the path of the socket is not UTF-8")),
        },
        ListenAddr::Tcp(address) => {
            let tls = &database.tls;
            let named = tls.mode == TlsMode::Verify && !tls.host.is_empty() && tls.host.parse::<IpAddr>().is_err();
            let host = match address.ip() {
                _ if named => tls.host.clone(),
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            };
            Ok(opts
                .ip_or_hostname(Some(host))
                .tcp_port(address.port())
                .ssl_opts(ssl_opts(tls)))
        }
    }
}

fn ssl_opts(tls: &Tls) -> Option<SslOpts> {
    let identity = tls.cert.as_ref().zip(tls.key.as_ref());
    let opts = SslOpts::default()
        .with_root_cert_path(tls.ca.clone())
        .with_client_identity(identity.map(|(cert, key)| ClientIdentity::new(cert.clone(), key.clone())));
    match tls.mode {
        TlsMode::Off => None,
        TlsMode::On => Some(
            opts.with_danger_accept_invalid_certs(true)
                .with_danger_skip_domain_validation(true),
        ),
        TlsMode::Verify => Some(opts),
    }
}
