//! The site's part of the console, as JSON.

use serde_json::{Value, json};

use super::rights::Rights;
use super::visits::{Visits, Who};
use crate::id::ConnectionId;
use crate::joomla::identity::Reason;
use crate::joomla::site::{Client, SiteConfig};

/// The user of a connection. `reasons`: includes the reason why the connection is a guest.
pub(super) fn connection(
    id: ConnectionId,
    reasons: bool,
    facts: &SiteConfig,
    visits: &Visits,
    rights: &Rights,
) -> Value {
    let who = visits.who(id);
    let Some(visitor) = visits.visitor(id, rights) else {
        return json!({"identity": "unknown"});
    };
    let mut shown = match (who, visits.user(visitor.user)) {
        (Who::User(user), Some(found)) => json!({
            "identity": "user",
            "user_id": user,
            "username": found.row().username,
            "client": match visits.client(id) {
                _ if facts.shared && facts.cookies.len() == 1 => "site and administrator",
                Some(Client::Administrator) => "administrator",
                _ => "site",
            },
        }),
        (Who::Provisional, _) => json!({"identity": "guest", "provisional": true}),
        _ => json!({"identity": "guest"}),
    };
    shown["groups"] = json!(visitor.groups);
    shown["levels"] = json!(visitor.levels);
    if reasons {
        shown["reason"] = match who {
            Who::Guest(reason) => json!(reason),
            Who::Provisional => json!(Reason::DatabaseUnavailable),
            Who::User(_) | Who::Asking => Value::Null,
        };
    }
    shown
}
