//! The status of the server, which the site's PHP requests with a signed request (`GET /apps/{id}/status`). It has the
//! numbers that a status page needs to name a fault, and no secret or name. The only addresses are those of the request
//! itself, so that `jsocketd doctor` can compare what the server sees with what was sent. `GET /debug/status` and the
//! console's `stats` show administrators more.

use std::net::IpAddr;

use bytes::Bytes;
use http::Response;
use serde::Serialize;
use serde_json::{Value, json};

use super::caller::{Call, Origin};
use super::cluster_stats::ClusterStats;
use super::snapshot::{OutboxNumbers, SiteNumbers, Snapshot};
use super::stats::Sql;
use crate::api::reply;
use crate::flight::Report;
use crate::joomla::identity::Reason;
use crate::site::{Site, cookie};
use crate::time::Now;

/// The request for a status, as the server sees it behind proxies.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// The TCP peer; `None`: a Unix socket.
    peer: Option<IpAddr>,
    /// The peer is a trusted proxy.
    proxied: bool,
    /// The client's address, by which clients are limited; `None`: the trusted proxy names none.
    client: Option<IpAddr>,
    /// The host that the client named.
    host: Option<String>,
    /// The scheme that the client used.
    scheme: &'static str,
    /// Whether the page that made the request is the site's own.
    origin: &'static str,
    /// Whether there is a session cookie of the site; `None`: the app is not the site's.
    session: Option<&'static str>,
}

impl Seen {
    /// `site`: the site, if the app is the site's.
    pub fn new(call: &Call<'_>, origin: Origin, site: Option<&Site>) -> Self {
        let session = |site: &Site| match cookie::session(call.request, &site.facts().cookies) {
            Ok(_) => "sent",
            Err(Reason::BadCookie) => "bad",
            Err(_) => "none",
        };
        Self {
            peer: call.caller.address,
            proxied: call.is_proxied,
            client: call.address(),
            host: call.named_host().map(|host| host.to_string()),
            scheme: call.named_scheme(),
            origin: match origin {
                Origin::None => "none",
                Origin::Own => "own",
                Origin::Foreign => "foreign",
            },
            session: site.map(session),
        }
    }
}

/// The records of the loop, for `GET /debug/loop`.
pub fn records(report: &Report) -> Response<Bytes> {
    reply::json(report)
}

/// The answer for the app with this number. `is_site`: whether the app is the site's.
pub fn answer(snapshot: &Snapshot, app: usize, is_site: bool, seen: &Seen, now: Now) -> Response<Bytes> {
    let ms = |us: u32| f64::from(us) / 1000.0;
    let of_app = snapshot.apps.get(app);
    // Another app's status has no database, although the site may have one.
    let site = snapshot.site.as_ref().filter(|_| is_site);
    reply::json(&json!({
        "product": snapshot.product,
        "version": snapshot.version,
        "uptime_s": snapshot.uptime_s,
        "time": now.unix_ms,
        "request": seen,
        "connections": of_app.map_or(0, |app| app.load.connections),
        "draining": snapshot.draining,
        "loop": {"delay_ms_p99": ms(snapshot.lag.p99_us), "delay_ms_max": ms(snapshot.lag.max_us)},
        "site": site.map(of_site),
        "database": snapshot.database.as_ref().filter(|_| is_site).map(of_database),
        "outbox": snapshot.outbox.as_ref().filter(|_| is_site).map(of_outbox),
        "cluster": snapshot.cluster.as_ref().map(of_cluster),
    }))
}

fn of_site(site: &SiteNumbers) -> Value {
    json!({"joomla": site.joomla, "offline": site.offline, "enabled": site.enabled})
}

fn of_database(sql: &Sql) -> Value {
    json!({"available": sql.available, "statements": sql.statements, "overruns": sql.overruns, "total_us": sql.total_us})
}

fn of_outbox(outbox: &OutboxNumbers) -> Value {
    let counters = &outbox.counters;
    json!({
        "available": outbox.available,
        "position": outbox.position,
        "lag_ms": outbox.available.then_some(counters.late_ms),
        "waiting": counters.behind > 0,
        "locked_ms": counters.locked_ms,
    })
}

fn of_cluster(cluster: &ClusterStats) -> Value {
    let ms = |us: u64| us as f64 / 1000.0;
    json!({
        "standing": cluster.standing,
        "processes": cluster.processes,
        "isolated_ms": cluster.isolated_ms,
        "lag_ms": ms(cluster.lag_us),
    })
}
