//! The status of the server, which the site's PHP requests with a signed request (`GET /apps/{id}/status`). It has the
//! numbers that a status page needs to name a fault, and no secret, name or address. `GET /debug/status` and the
//! console's `stats` show administrators more.

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};

use super::snapshot::{OutboxNumbers, SiteNumbers, Snapshot};
use super::stats::Sql;
use crate::api::reply;
use crate::flight::Report;

/// The records of the loop, for `GET /debug/loop`.
pub fn records(report: &Report) -> Response<Bytes> {
    reply::json(report)
}

/// The answer for the app with this number. `is_site`: whether the app is the site's.
pub fn answer(snapshot: &Snapshot, app: usize, is_site: bool) -> Response<Bytes> {
    let ms = |us: u32| f64::from(us) / 1000.0;
    let of_app = snapshot.apps.get(app);
    // Another app's status has no database, although the site may have one.
    let site = snapshot.site.as_ref().filter(|_| is_site);
    reply::json(&json!({
        "product": snapshot.product,
        "version": snapshot.version,
        "uptime_s": snapshot.uptime_s,
        "connections": of_app.map_or(0, |app| app.load.connections),
        "draining": snapshot.draining,
        "loop": {"delay_ms_p99": ms(snapshot.lag.p99_us), "delay_ms_max": ms(snapshot.lag.max_us)},
        "site": site.map(of_site),
        "database": snapshot.database.as_ref().filter(|_| is_site).map(of_database),
        "outbox": snapshot.outbox.as_ref().filter(|_| is_site).map(of_outbox),
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
