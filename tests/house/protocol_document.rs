//! docs/protocol.md is for authors of clients: the numbers of its table of limits are those of the server.

#![allow(clippy::unwrap_used)]

use jsocketd::config::{App, Config};

#[test]
fn the_table_of_limits_has_the_defaults() {
    let document = crate::read("docs/protocol.md");
    let table = document
        .split("\n## Limits\n")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let Config { limits, pusher, .. } = Config::default();
    let app = App::new("", "", "");
    let keys = [
        ("max_message_size", limits.max_message_size as u64),
        ("send_queue_bytes", limits.send_queue_bytes as u64),
        ("send_queue_seconds", limits.send_queue_seconds),
        ("max_connections", app.max_connections as u64),
        ("connections_per_address", limits.connections_per_address.into()),
        ("connections_per_session", limits.connections_per_session.into()),
        ("subscriptions_per_second", limits.subscriptions_per_second.into()),
        ("requests_per_second", limits.requests_per_second.into()),
        ("max_channels", app.max_channels as u64),
        ("subscription_bytes", app.subscription_bytes as u64),
        ("max_presence_members", app.max_presence_members as u64),
        ("max_user_info_size", app.max_user_info_size as u64),
        ("max_event_size", app.max_event_size as u64),
        ("client_events_per_second", app.client_events_per_second.into()),
        ("publishes_per_second", app.publishes_per_second.into()),
        ("max_body_size", limits.max_body_size as u64),
        ("cache_ttl", app.cache_ttl),
        ("cache_bytes", app.cache_bytes as u64),
        ("history_events", app.history_events as u64),
        ("history_channel_bytes", app.history_channel_bytes as u64),
        ("history_seconds", app.history_seconds),
        ("history_bytes", app.history_bytes as u64),
        ("ping_interval", limits.ping_interval),
        ("ping_timeout", limits.ping_timeout),
        ("activity_timeout", pusher.activity_timeout),
    ];
    for (key, default) in keys {
        let rows: Vec<&str> = table
            .lines()
            .filter(|row| row.split(" | ").nth(1).is_some_and(|cell| names(cell, key)))
            .collect();
        assert!(!rows.is_empty(), "the table does not speak of {key}");
        for row in rows {
            let numbers = row.split(" | ").nth(2).unwrap();
            let said = numbers
                .split(|c: char| !c.is_ascii_digit())
                .any(|number| number == default.to_string());
            assert!(said, "{key} is {default}, and the table says {numbers}");
        }
    }
    for row in table.lines().filter(|row| row.contains('`')) {
        let cell = row.split(" | ").nth(1).unwrap();
        let known = keys.iter().any(|(key, _)| names(cell, key));
        assert!(known || !cell.contains('`'), "the test does not know {cell}");
    }
}

/// Whether a cell names a key, alone or behind its section.
fn names(cell: &str, key: &str) -> bool {
    cell.split('`')
        .any(|part| part == key || part.rsplit_once(' ').is_some_and(|(_, name)| name == key))
}
