//! The status of the server, which the site's PHP requests with a signed request (`GET /apps/{id}/status`). It has the
//! numbers that a status page needs to name a fault, and no secret, name or address. The console's `stats` shows
//! administrators more.

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};

use super::stats::{ProcessStats, Sql};
use crate::api::reply;
use crate::hub::app::App;
use crate::outbox::Outbox;
use crate::site::Site;
use crate::time::Now;

/// The answer for one app. `site`: given only if the app is the site's.
pub fn answer(facts: &ProcessStats, app: &App, site: Option<&Site>, draining: bool, now: Now) -> Response<Bytes> {
    // Without a site the status has no database, although another app's site may have one.
    let sql = facts.sql.filter(|_| site.is_some());
    let ms = |us: u32| f64::from(us) / 1000.0;
    reply::json(&json!({
        "product": "jsocketd",
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": now.at.seconds(),
        "connections": app.roster.connections(),
        "draining": draining,
        "loop": {"delay_ms_p99": ms(facts.lag.p99_us), "delay_ms_max": ms(facts.lag.max_us)},
        "site": site.map(of_site),
        "database": sql.map(|sql| of_database(&sql)),
        "outbox": site.and_then(Site::outbox).map(|outbox| of_outbox(outbox, sql, now)),
    }))
}

fn of_site(site: &Site) -> Value {
    json!({"joomla": site.joomla_version(), "offline": site.is_offline(), "enabled": site.is_enabled()})
}

fn of_database(sql: &Sql) -> Value {
    json!({"available": sql.available, "statements": sql.statements, "overruns": sql.overruns, "total_us": sql.total_us})
}

fn of_outbox(outbox: &Outbox, sql: Option<Sql>, now: Now) -> Value {
    let available = outbox.is_ready() && sql.is_some_and(|sql| sql.available);
    let counters = outbox.counters(now);
    json!({
        "available": available,
        "position": outbox.position().map(|position| position.to_string()),
        "lag_ms": available.then_some(counters.late_ms),
        "waiting": counters.waiting,
        "locked_ms": counters.locked_ms,
    })
}
