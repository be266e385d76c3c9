//! The state of the server in numbers, as one plain value. It is gathered when somebody asks and kept by nobody. `GET
//! /debug/status`, `jsocketd status`, the console's `stats` and the signed status of an app show parts of it.
//!
//! It has no secret and no name of a peer: no channel, no address, no user. A reader may be of another version, so a
//! part that is missing has its default.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Service;
use super::cluster_stats::ClusterStats;
use super::stats::{Ends, Handshakes, Lag, PerSecond, ProcessStats, SendQueues, Sql, Statement, TlsStats};
use crate::flight::Totals;
use crate::hub::roster::Load;
use crate::outbox::{Counters, Outbox};
use crate::site::Site;
use crate::time::Now;
use crate::webhooks;

/// See the top of this file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Always `jsocketd`.
    pub product: String,
    /// The version of the server.
    pub version: String,
    /// The commit that it was built from; `None`: not known.
    pub commit: Option<String>,
    /// The process id.
    pub pid: u32,
    /// The configuration file that was read; `None`: there is none.
    pub config_file: Option<PathBuf>,
    /// When it started, in milliseconds since 1970.
    pub started_ms: u64,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Whether the server shuts down.
    pub draining: bool,
    /// Open connections by kind.
    pub connections: Connections,
    /// Every app that the configuration has or had since the start.
    pub apps: Vec<AppNumbers>,
    /// What came and went.
    pub traffic: Traffic,
    /// Handshakes of WebSockets.
    pub handshakes: Handshakes,
    /// How connections ended, and which limits were reached.
    pub ends: Ends,
    /// TLS of clients.
    pub tls: TlsStats,
    /// What waits in the send queues.
    pub send_queues: SendQueues,
    /// Resident memory in bytes; 0: the system does not report it.
    pub resident_bytes: u64,
    /// Open descriptors; 0: the system does not report them.
    pub descriptors: u64,
    /// The limit of open descriptors.
    pub descriptor_limit: u64,
    /// How long the loop was away from its poller.
    #[serde(rename = "loop")]
    pub lag: Lag,
    /// The sums of all ticks; `GET /debug/loop` shows ticks one by one.
    #[serde(skip)]
    pub totals: Totals,
    /// `None`: there is no site.
    pub site: Option<SiteNumbers>,
    /// `None`: there is no database.
    pub database: Option<Sql>,
    /// The statements of the database by name, those that were used.
    pub statements: Vec<Statement>,
    /// `None`: no outbox table is read.
    pub outbox: Option<OutboxNumbers>,
    /// All targets of webhooks together.
    pub webhooks: webhooks::Counts,
    /// The other processes; `None`: there is no engine.
    pub cluster: Option<ClusterStats>,
}

/// Open connections by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connections {
    /// All of them.
    pub total: usize,
    /// The limit of all of them.
    pub max: usize,
    /// Those that speak HTTP or have sent nothing yet.
    pub http: usize,
    /// WebSockets of any protocol.
    pub websockets: usize,
    /// WebSockets of the console.
    pub console: usize,
    /// WebSockets of `/echo`.
    pub echo: usize,
    /// WebSockets of the Pusher protocol; `apps` has them by app.
    pub pusher: usize,
    /// Those that have said their last word and are about to end.
    pub closing: usize,
}

impl Connections {
    /// Each kind with its name for people.
    pub fn kinds(&self) -> [(&'static str, usize); 5] {
        [
            ("Pusher", self.pusher),
            ("console", self.console),
            ("/echo", self.echo),
            ("HTTP", self.http),
            ("closing", self.closing),
        ]
    }
}

/// One app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppNumbers {
    /// Its id.
    pub id: String,
    /// Whether it may be used.
    pub enabled: bool,
    /// How full it is.
    #[serde(flatten)]
    pub load: Load,
}

/// What came and went since the start, and in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// HTTP requests, handshakes not counted.
    pub requests: u64,
    /// Messages received.
    pub messages_in: u64,
    /// Messages sent; a message to many connections counts once for each of them.
    pub messages_out: u64,
    /// Bytes read from connections.
    pub bytes_in: u64,
    /// Bytes written to connections.
    pub bytes_out: u64,
    /// Copies of events that were sent.
    pub deliveries: u64,
    /// Connections that were accepted.
    pub accepts: u64,
    /// Positions of clients that were away, after which everything was still known.
    pub recovered: u64,
    /// The same, after which something was not known any more.
    pub gaps: u64,
    /// The average of the last seconds.
    pub per_second: PerSecond,
}

/// The site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SiteNumbers {
    /// Its version of Joomla; `None`: not known yet.
    pub joomla: Option<String>,
    /// Whether it is offline.
    pub offline: bool,
    /// Whether it has the server switched on.
    pub enabled: bool,
    /// Sessions of connected visitors.
    pub sessions: usize,
    /// Users among these visitors.
    pub users: usize,
}

/// The outbox table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutboxNumbers {
    /// Whether rows are delivered.
    pub available: bool,
    /// The newest row that was passed on; `None`: not known.
    pub position: Option<String>,
    /// Totals and the current state.
    #[serde(flatten)]
    pub counters: Counters,
}

/// Gathers the numbers of a service; `facts` are those of the process around it.
pub(super) fn take(service: &Service, facts: &ProcessStats, now: Now) -> Snapshot {
    let site = service.home.site();
    let (counts, totals) = (service.counts, &facts.totals);
    Snapshot {
        product: "jsocketd".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        commit: crate::COMMIT.map(str::to_owned),
        pid: facts.process.pid,
        config_file: facts.process.config_file.clone(),
        started_ms: facts.process.started_ms,
        uptime_s: now.at.seconds(),
        draining: service.entrance.draining,
        connections: connections(service, facts),
        apps: apps(service),
        traffic: Traffic {
            requests: counts.requests,
            messages_in: counts.messages_in,
            messages_out: facts.messages_out,
            bytes_in: facts.bytes_in,
            bytes_out: facts.bytes_out,
            deliveries: totals.deliveries,
            accepts: totals.accepts,
            recovered: counts.recovered,
            gaps: counts.gaps,
            per_second: facts.per_second,
        },
        handshakes: service.entrance.handshakes.clone(),
        ends: ends(service, facts),
        tls: facts.tls.clone(),
        send_queues: facts.send_queues,
        resident_bytes: facts.resident_bytes,
        descriptors: facts.descriptors,
        descriptor_limit: facts.descriptor_limit,
        lag: facts.lag.clone(),
        totals: *totals,
        site: site.map(of_site),
        database: facts.sql,
        statements: facts.statements.clone(),
        outbox: site.and_then(Site::outbox).map(|outbox| of_outbox(outbox, facts, now)),
        webhooks: service.webhooks.counts(),
        cluster: service.cluster(now).map(|state| ClusterStats::new(state, now)),
    }
}

fn connections(service: &Service, facts: &ProcessStats) -> Connections {
    let open = service.members.websockets();
    // A connection that is closing may still be counted as a WebSocket until the tick ends.
    let others = open.total() + facts.closing;
    Connections {
        total: facts.connections,
        max: facts.max_connections,
        http: facts.connections.saturating_sub(others),
        websockets: open.total(),
        console: open.console,
        echo: open.echo,
        pusher: open.pusher,
        closing: facts.closing,
    }
}

/// The limits of the connections, which the loop counts, and those of addresses and sessions.
fn ends(service: &Service, facts: &ProcessStats) -> Ends {
    let mut ends = facts.ends.clone();
    for (limit, times) in &service.entrance.limits {
        debug_assert!(ends.limits.contains_key(limit), "{limit} is one of the limits");
        *ends.limits.entry(limit.clone()).or_default() += times;
    }
    ends
}

fn apps(service: &Service) -> Vec<AppNumbers> {
    let numbers = service.apps.iter().map(|app| AppNumbers {
        id: app.settings.id.clone(),
        enabled: app.settings.enabled,
        load: app.roster.load(),
    });
    numbers.collect()
}

fn of_site(site: &Site) -> SiteNumbers {
    let (sessions, users) = site.counts();
    SiteNumbers {
        joomla: site.joomla_version().map(str::to_owned),
        offline: site.is_offline(),
        enabled: site.is_enabled(),
        sessions,
        users,
    }
}

fn of_outbox(outbox: &Outbox, facts: &ProcessStats, now: Now) -> OutboxNumbers {
    OutboxNumbers {
        available: outbox.is_ready() && facts.sql.is_some_and(|sql| sql.available),
        position: outbox.position().map(|position| position.to_string()),
        counters: outbox.counters(now),
    }
}
