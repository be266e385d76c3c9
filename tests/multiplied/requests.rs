//! Plain requests, requests to the HTTP API and console commands, each in its worst circumstances.

use jsocketd::id::ConnectionId;
use serde_json::{Value, json};

use crate::crowds::{USER, members, recovering, signed_in, subscribers, wait_ahead};
use crate::stage::{Inputs, Stage, TOKEN};
use crate::words::{get, text};
use crate::{Row, Tells, row};

pub fn rows() -> Vec<Row> {
    let mut rows = paths();
    rows.extend(resources());
    rows.extend(commands());
    rows
}

// --- paths -----------------------------------------------------------------------------------------------------------

fn ask(stage: &mut Stage, times: usize, path: &str) -> Inputs {
    let cookie = stage.log_in(USER, 1);
    (0..times).map(|_| (stage.opened(), get(path, Some(&cookie)))).collect()
}

fn paths() -> Vec<Row> {
    const MANY: &str = "with a session that many show";
    vec![
        Row {
            acts: |stage, times| ask(stage, times, "/"),
            proof: "401",
            ..row("path /", MANY, Tells::Nobody)
        },
        Row {
            acts: |stage, times| ask(stage, times, "/echo"),
            proof: "426",
            ..row("path /echo", MANY, Tells::Nobody)
        },
        Row {
            acts: |stage, times| ask(stage, times, "/health"),
            proof: "200",
            ..row("path /health", MANY, Tells::Nobody)
        },
        Row {
            acts: |stage, times| ask(stage, times, "/up"),
            proof: "200",
            ..row("path /up", MANY, Tells::Nobody)
        },
        Row {
            acts: |stage, times| ask(stage, times, "/ready"),
            proof: "200",
            ..row("path /ready", MANY, Tells::Nobody)
        },
        Row {
            acts: |stage, times| ask(stage, times, "/debug/status"),
            proof: "401",
            ..row("path /debug/status", MANY, Tells::Nobody)
        },
        Row {
            acts: |stage, times| ask(stage, times, "/debug/loop"),
            proof: "401",
            ..row("path /debug/loop", MANY, Tells::Nobody)
        },
        Row {
            acts: |stage, times| ask(stage, times, "/metrics"),
            proof: "401",
            ..row("path /metrics", MANY, Tells::Nobody)
        },
    ]
}

// --- the HTTP API ----------------------------------------------------------------------------------------------------

fn call(stage: &mut Stage, times: usize, method: &str, path: &str, body: &Value) -> Inputs {
    (0..times).map(|_| stage.api(method, path, body)).collect()
}

fn resources() -> Vec<Row> {
    let api = |of, what, tells| Row {
        proof: "200",
        ..row(of, what, tells)
    };
    vec![
        Row {
            crowd: subscribers,
            acts: |stage, times| {
                let event = json!({"name": "saved", "channel": "private-room", "data": "{}"});
                call(stage, times, "POST", "/apps/joomla/events", &event)
            },
            ..api("resource events", "to many subscribers", Tells::Each)
        },
        Row {
            crowd: subscribers,
            acts: |stage, times| {
                let event = json!({"name": "saved", "channel": "private-room", "data": "{}"});
                let batch = json!({"batch": vec![event; 10]});
                call(stage, times, "POST", "/apps/joomla/batch_events", &batch)
            },
            ..api("resource batch_events", "to many subscribers", Tells::Each)
        },
        Row {
            crowd: |stage, crowd| {
                let ids = stage.clients(crowd, None);
                let all = ids.iter().enumerate();
                let all = all.map(|(n, id)| stage.subscribe(*id, &format!("room-{n}"))).collect();
                stage.play(all);
            },
            acts: |stage, times| call(stage, times, "GET", "/apps/joomla/channels", &json!({})),
            ..api("resource channels", "of which there are many", Tells::Each)
        },
        Row {
            crowd: members,
            acts: |stage, times| {
                call(
                    stage,
                    times,
                    "GET",
                    "/apps/joomla/channels/presence-room/users",
                    &json!({}),
                )
            },
            ..api("resource channels/{}/users", "of which there are many", Tells::Each)
        },
        Row {
            acts: |stage, times| call(stage, times, "GET", "/apps/joomla/channels/news", &json!({})),
            ..api("resource channels/{}", "with many subscribers", Tells::Nobody)
        },
        Row {
            acts: |stage, times| call(stage, times, "GET", "/apps/joomla/connections", &json!({})),
            ..api("resource connections", "of which there are many", Tells::Nobody)
        },
        Row {
            acts: |stage, times| call(stage, times, "GET", "/apps/joomla/status", &json!({})),
            ..api("resource status", "of an app with many connections", Tells::Nobody)
        },
        Row {
            crowd: recovering,
            acts: |stage, times| {
                wait_ahead(stage);
                call(stage, times, "POST", "/apps/joomla/nudge", &json!({}))
            },
            ..api("resource nudge", "while many wait for a row", Tells::Nobody)
        },
        Row {
            acts: |stage, times| {
                stage.log_out(USER);
                call(stage, times, "POST", "/apps/joomla/nudge", &json!({}))
            },
            ..api(
                "resource nudge",
                "behind the end of a session that many show",
                Tells::Each,
            )
        },
        Row {
            crowd: signed_in,
            acts: |stage, times| {
                let path = "/apps/joomla/users/42/terminate_connections";
                call(stage, times, "POST", path, &json!({}))
            },
            ..api(
                "resource users/{}/terminate_connections",
                "of which there are many",
                Tells::Each,
            )
        },
    ]
}

// --- the console -----------------------------------------------------------------------------------------------------

/// Consoles with one session.
fn consoles(stage: &mut Stage, crowd: usize) {
    let cookie = stage.log_in(USER, 1);
    for _ in 0..crowd {
        stage.upgraded("/", Some(&cookie));
    }
    stage.settle();
}

/// One more, by a client that may do everything.
fn admin(stage: &mut Stage) -> ConnectionId {
    let cookie = stage.log_in(USER, 1);
    let id = stage.upgraded("/", Some(&cookie));
    stage.play(vec![text(id, &format!("token {TOKEN}"))]);
    id
}

fn command(of: &'static str, acts: fn(&mut Stage, usize) -> Inputs, proof: &'static str) -> Row {
    Row {
        crowd: consoles,
        acts,
        proof,
        ..row(of, "with a session that many consoles show", Tells::Nobody)
    }
}

fn commands() -> Vec<Row> {
    fn give(stage: &mut Stage, times: usize, command: &str) -> Inputs {
        vec![text(admin(stage), command); times]
    }
    vec![
        command(
            "command test",
            |stage, times| give(stage, times, "test"),
            "This is a test!",
        ),
        command(
            "command version",
            |stage, times| give(stage, times, "version"),
            "Joomla 5",
        ),
        command(
            "command help",
            |stage, times| give(stage, times, "help"),
            "lists the commands",
        ),
        command("command time", |stage, times| give(stage, times, "time"), "Z"),
        command("command whoami", |stage, times| give(stage, times, "whoami"), "name42"),
        command("command ping", |stage, times| give(stage, times, "ping"), "pong"),
        command(
            "command stats",
            |stage, times| give(stage, times, "stats"),
            "messages_in",
        ),
        command("command lag", |stage, times| give(stage, times, "lag"), "p99_us"),
        command("command ticks", |stage, times| give(stage, times, "ticks"), ""),
        command("command blame", |stage, times| give(stage, times, "blame"), ""),
        Row {
            crowd: subscribers,
            acts: |stage, times| give(stage, times, "publish private-room saved {}"),
            proof: "Published to ",
            ..row("command publish", "to many subscribers", Tells::Each)
        },
        command(
            "command token",
            |stage, times| {
                let cookie = stage.log_in(USER, 1);
                let ids: Vec<_> = (0..times).map(|_| stage.upgraded("/", Some(&cookie))).collect();
                stage.wait();
                ids.iter().map(|id| text(*id, "token wrong")).collect()
            },
            "wrong token",
        ),
    ]
}
