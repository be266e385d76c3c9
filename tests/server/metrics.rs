//! `GET /metrics`: Prometheus reads it, the numbers move as docs/operations.md says, and the dashboard and the alerts
//! in `conf/` ask for nothing that is not there. `clients/python/test_metrics.py` reads OpenMetrics, `price/metrics.rs`
//! has the cost, `status.rs` who may read it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::pusher::{Settings, Site};
use crate::common::{Peer, Server, wait_until};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

const TOKEN: &str = "an-admin-token-of-this-test";

/// One scrape, and its format.
fn scrape(server: &Server, accept: &str) -> (String, String) {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n{accept}\r\n");
    let reply = Peer::connect(server).send(request).expect_status(200);
    let format = reply.header("content-type").expect("a type").to_owned();
    (format, reply.body)
}

/// The value of a sample, by its name and labels as they are written.
fn value(text: &str, sample: &str) -> f64 {
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    let found = found.unwrap_or_else(|| panic!("there is no {sample} in:\n{text}"));
    found.parse().expect("a number")
}

/// Runs promtool, which must be content and say nothing to improve.
fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool, of Debian's package prometheus");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = child.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "promtool {arguments:?}: {said}"
    );
}

fn read(path: &str) -> String {
    fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).expect("a file of the repository")
}

fn site() -> Site {
    let server = &format!("admin_token = \"{TOKEN}\"");
    Site::with(Settings {
        server,
        ..Settings::default()
    })
}

#[test]
fn numbers_move_and_promtool_finds_no_mistake() {
    let site = site();
    let server = &site.server;
    let (format, before) = scrape(server, "");
    assert_eq!(format, TEXT);
    let mut subscribers: Vec<_> = (0..3).map(|_| site.connect()).collect();
    for subscriber in &mut subscribers {
        subscriber.subscribe("news");
    }
    site.api().publish("news", "saved", "{}");
    for subscriber in &mut subscribers {
        subscriber.next();
    }
    let mut member = site.connect_recovering();
    member.ask_member("presence-room", r#"{"user_id":"7"}"#).next();
    member
        .say_subscribe(serde_json::json!({"channel": "news", "since": "t:1.1.1"}))
        .next();
    let mut echo = Peer::upgrade(server, "/echo");
    echo.binary(&[0; 70_000]).expect_close(1009);
    Peer::connect(server)
        .send(crate::common::peer::handshake("/nowhere"))
        .expect_status(404);
    Peer::upgrade(server, "/app/unknown?protocol=7").drain();
    let (_, after) = scrape(server, "");
    for (sample, grew) in [
        ("jsocketd_deliveries_total", 3.0),
        ("jsocketd_app_subscriptions{app=\"4711\"}", 5.0),
        ("jsocketd_app_channels{app=\"4711\"}", 2.0),
        ("jsocketd_app_members{app=\"4711\"}", 1.0),
        ("jsocketd_connections{kind=\"pusher\"}", 4.0),
        ("jsocketd_handshakes_total{result=\"accepted\"}", 5.0),
        ("jsocketd_recoveries_total{result=\"gap\"}", 1.0),
        ("jsocketd_limits_reached_total{limit=\"max_message_size\"}", 1.0),
        ("jsocketd_connections_ended_total{reason=\"violation\"}", 1.0),
        ("jsocketd_connections_ended_total{reason=\"server\"}", 1.0),
        ("jsocketd_connections_accepted_total", 9.0),
    ] {
        assert_eq!(value(&after, sample) - value(&before, sample), grew, "{sample}");
    }
    for refused in ["404", "4001"] {
        let sample = format!("jsocketd_handshakes_total{{result=\"{refused}\"}}");
        assert_eq!(value(&after, &sample), 1.0);
    }
    for sample in [
        "jsocketd_received_bytes_total",
        "jsocketd_sent_bytes_total",
        "jsocketd_tick_seconds_count",
    ] {
        assert!(value(&after, sample) > value(&before, sample), "{sample}");
    }
    // The whole of the ticks is the sum of their phases, and so is each histogram of its buckets.
    let phases = after
        .lines()
        .filter(|line| line.starts_with("jsocketd_tick_phase_seconds_sum{"));
    let phases: f64 = phases
        .map(|line| value(line, line.split(' ').next().expect("a name")))
        .sum();
    assert!(
        (phases - value(&after, "jsocketd_tick_seconds_sum")).abs() < 1e-6,
        "{after}"
    );
    let all = value(&after, "jsocketd_tick_seconds_bucket{le=\"+Inf\"}");
    assert_eq!(all, value(&after, "jsocketd_tick_seconds_count"));
    promtool(&["check", "metrics"], &after);
    // Names of peers are nobody's business here.
    for name in ["news", "room", "127.0.0.1"] {
        assert!(!after.contains(name), "{name} is in:\n{after}");
    }
}

#[test]
fn a_slow_consumer_is_seen_before_and_after() {
    let server = &format!("admin_token = \"{TOKEN}\"");
    let limits = "send_queue_bytes = 400000";
    let site = Site::with(Settings {
        server,
        limits,
        ..Settings::default()
    });
    let server = &site.server;
    let mut reader = site.connect();
    reader.subscribe("news");
    let now = |sample: &str| value(&scrape(server, "").1, sample);
    let mut largest = 0.0_f64;
    let dropped = "jsocketd_limits_reached_total{limit=\"send_queue_bytes\"}";
    let text = format!("\"{}\"", "x".repeat(9000));
    let mut api = site.api();
    while now(dropped) == 0.0 {
        for _ in 0..10 {
            api.publish("news", "saved", &text);
        }
        largest = largest.max(now("jsocketd_send_queue_largest_bytes"));
    }
    assert!(largest > 10_000.0, "{largest}");
    assert_eq!(now("jsocketd_connections_ended_total{reason=\"slow\"}"), 1.0);
    wait_until(
        "the queue is gone",
        || now("jsocketd_send_queue_bytes") == 0.0,
        String::new,
    );
}

#[test]
fn open_metrics_is_for_those_who_prefer_it() {
    let site = site();
    for (accept, format) in [
        ("", TEXT),
        ("Accept: */*\r\n", TEXT),
        ("Accept: application/openmetrics-text\r\n", OPEN_METRICS),
        ("Accept: application/openmetrics-text; version=0.0.1\r\n", TEXT),
        ("Accept: application/openmetrics-text;q=0, */*\r\n", TEXT),
        ("Accept: application/openmetrics-text;q=0.2, text/plain;q=0.3\r\n", TEXT),
        // Prometheus' own.
        (
            "Accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;\
             version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2\r\n",
            OPEN_METRICS,
        ),
    ] {
        let (given, text) = scrape(&site.server, accept);
        assert_eq!(given, format, "{accept}");
        assert_eq!(text.ends_with("# EOF\n"), format == OPEN_METRICS, "{accept}");
    }
}

/// The names in an expression.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("jsocketd_"))
}

/// The expressions of the dashboard.
fn dashboard() -> Vec<String> {
    let file: Value = serde_json::from_str(&read("conf/grafana.json")).expect("JSON");
    let panels = file["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().expect("targets"));
    targets
        .map(|target| target["expr"].as_str().expect("an expression").to_owned())
        .collect()
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_what_is_there() {
    let site = site();
    let (_, text) = scrape(&site.server, "");
    let mut known = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a name and its type");
        match kind {
            "histogram" => known.extend(["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}"))),
            _ => {
                known.insert(name.to_owned());
            }
        }
    }
    let expressions = dashboard();
    assert!(
        expressions.len() > 20,
        "only {} expressions were found",
        expressions.len()
    );
    let alerts = read("conf/alerts.yml");
    for (file, text) in [("alerts.yml", &alerts), ("grafana.json", &expressions.join("\n"))] {
        let unknown: BTreeSet<&str> = names(text).filter(|name| !known.contains(*name)).collect();
        assert!(unknown.is_empty(), "conf/{file} names {unknown:?}");
        assert!(names(text).count() > 10, "conf/{file} names few");
        // The values of labels that they compare with.
        for part in text.split(['{', ',']).filter(|part| !part.contains("instance")) {
            let Some((label, value)) = part.split_once("=\"").or(part.split_once("=~\"")) else {
                continue;
            };
            for value in value
                .split('"')
                .next()
                .expect("a value")
                .split('|')
                .filter(|value| *value != "jsocketd")
            {
                let written = format!("{label}=\"{value}\"");
                assert!(
                    scrape(&site.server, "").1.contains(&written),
                    "conf/{file}: no sample has {written}"
                );
            }
        }
    }
    promtool(
        &[
            "check",
            "rules",
            &format!("{}/conf/alerts.yml", env!("CARGO_MANIFEST_DIR")),
        ],
        "",
    );
    // promtool checks expressions of rules only, so those of the dashboard become rules.
    let rules = expressions.iter().enumerate().map(|(n, expression)| {
        let expression = expression.replace("$__rate_interval", "5m");
        format!("{{\"record\": \"a:b{n}\", \"expr\": {}}}", Value::from(expression))
    });
    let rules = rules.collect::<Vec<_>>().join(",");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rules.yml");
    fs::write(
        &path,
        format!("{{\"groups\": [{{\"name\": \"a\", \"rules\": [{rules}]}}]}}"),
    )
    .expect("written");
    promtool(&["check", "rules", path.to_str().expect("UTF-8")], "");
}
