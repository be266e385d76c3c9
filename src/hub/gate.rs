//! The handshake of the Pusher protocol on `/app/{key}`: what the client requests, and which documented close code
//! rejects it (pusher.md 1.1–1.3). A handshake is rejected after the upgrade, because Pusher clients understand close
//! codes and not HTTP statuses.

use super::apps::Apps;
use crate::config;

/// A close code and its reason.
pub type Refusal = (u16, &'static str);

/// The key in a path `{prefix}/app/{key}`; `None`: the path is not for Pusher clients.
pub fn key<'a>(path: &'a str, config: &config::Pusher) -> Option<&'a str> {
    let key = path.strip_prefix(config.path.as_str())?.strip_prefix("/app/")?;
    (!key.is_empty() && !key.contains('/')).then_some(key)
}

/// Finds the app and checks the terms of the connection. Returns the app's number, and whether the client requests
/// recovery: `?recovery=1`.
///
/// # Errors
/// The close code and the reason of the rejection.
pub fn enter(key: &str, query: &str, apps: &Apps, config: &config::Pusher) -> Result<(usize, bool), Refusal> {
    let n = apps.find_key(key).ok_or((4001, "Application does not exist"))?;
    let app = apps.app(n);
    if !app.settings.enabled {
        return Err((4003, "Application is disabled"));
    }
    match parameter(query, "protocol") {
        None if config.strict_protocol => return Err((4008, "No protocol version supplied")),
        None => {}
        Some(text) => match text.parse::<u32>() {
            Ok(4..=7) => {}
            Ok(_) => return Err((4007, "Unsupported protocol version")),
            Err(_) => return Err((4006, "Invalid version string format")),
        },
    }
    if app.settings.max_connections > 0 && app.visible().connections() >= app.settings.max_connections {
        return Err((4004, "Application is over connection quota"));
    }
    Ok((n, parameter(query, "recovery") == Some("1")))
}

/// Whether the client's protocol version is below 6. Such a client gets an error frame before every close.
pub fn is_old(query: &str) -> bool {
    parameter(query, "protocol")
        .and_then(|text| text.parse::<u32>().ok())
        .is_some_and(|version| version < 6)
}

/// The first value of a parameter. The defined parameters need no decoding; unknown parameters are ignored.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}
