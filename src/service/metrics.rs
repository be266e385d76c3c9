//! `GET /metrics`: the state of the server for Prometheus, in its text format 0.0.4 or as OpenMetrics 1.0. Each scrape
//! writes the numbers of one [`Snapshot`] and keeps nothing. Rejected: the counters of the crate, which are shared
//! between threads; the server has plain numbers.
//!
//! The table in docs/operations.md says what each metric means; a test compares. Every family is written in each
//! answer, so that dashboards and rules can be checked against any server. No label has a name of a peer: no channel,
//! no address, no user. So the number of lines depends on the configuration alone.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, MetricEncoder, NoLabelSet,
    prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::accept;
use super::cluster_stats::Standing;
use super::snapshot::{AppNumbers, Snapshot};
use super::stats::TlsStats;
use crate::flight::{Durations, LONGEST, PHASES};

/// The format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The format that a request prefers by its `Accept` (RFC 9110 section 12.5.1). OpenMetrics must be named.
    pub fn of(headers: &HeaderMap) -> Self {
        let open = accept::weight(headers, |name, version| {
            name == "application/openmetrics-text" && matches!(version, None | Some("1.0.0"))
        });
        let plain = accept::weight(headers, |name, _| name == "text/plain");
        match open > 0.0 && open >= plain {
            true => Format::OpenMetrics,
            false => Format::Text,
        }
    }
}

/// The answer with these numbers.
pub fn response(snapshot: &Snapshot, format: Format) -> Response<Bytes> {
    let content_type = match format {
        Format::Text => prometheus_text::CONTENT_TYPE,
        Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
    };
    let mut response = Response::new(Bytes::from(encode(snapshot, format)));
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::VARY, "Accept"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The same as text.
pub fn encode(snapshot: &Snapshot, format: Format) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(snapshot.clone())));
    let mut out = String::new();
    let written = match format {
        Format::Text => prometheus_text::encode(&mut out, &registry),
        Format::OpenMetrics => text::encode(&mut out, &registry),
    };
    written.expect("a String takes all");
    out
}

/// The numbers of one scrape, for a registry that lives as long as the scrape.
#[derive(Debug)]
struct Scrape(Snapshot);

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (out, of) = (&mut Writer(encoder), &self.0);
        process(out, of)?;
        connections(out, of)?;
        traffic(out, of)?;
        channels(out, of)?;
        ticks(out, of)?;
        database(out, of)?;
        outbox(out, of)?;
        webhooks(out, of)?;
        cluster(out, of)
    }
}

fn process(out: &mut Writer<'_>, of: &Snapshot) -> fmt::Result {
    let commit = of.commit.as_deref().unwrap_or_default();
    let build = [("version", of.version.as_str()), ("commit", commit)];
    let name = "jsocketd_build";
    let info = out
        .0
        .encode_descriptor(name, "The program that runs", None, MetricType::Info);
    info?.encode_info(&build)?;
    let name = "jsocketd_start_time_seconds";
    out.gauge(
        name,
        "When the process started, since 1970",
        of.started_ms as f64 / 1000.0,
    )?;
    out.gauge(
        "jsocketd_draining",
        "1 while the server shuts down",
        u64::from(of.draining),
    )?;
    out.gauge("jsocketd_resident_memory_bytes", "Resident memory", of.resident_bytes)?;
    out.gauge("jsocketd_open_descriptors", "Open file descriptors", of.descriptors)?;
    out.gauge(
        "jsocketd_max_descriptors",
        "The limit of file descriptors",
        of.descriptor_limit,
    )
}

fn connections(out: &mut Writer<'_>, of: &Snapshot) -> fmt::Result {
    let kinds = [
        ("http", of.connections.http),
        ("console", of.connections.console),
        ("echo", of.connections.echo),
        ("pusher", of.connections.pusher),
        ("closing", of.connections.closing),
    ];
    let kinds = kinds.map(|(kind, many)| ([("kind", kind)], many));
    out.gauges("jsocketd_connections", "Open connections", kinds)?;
    out.gauge(
        "jsocketd_max_connections",
        "The limit of connections",
        of.connections.max,
    )?;
    let (name, accepts) = ("jsocketd_connections_accepted", of.traffic.accepts);
    out.counter(name, "Connections that were accepted", accepts)?;
    let name = "jsocketd_connections_ended";
    let reasons = of.ends.reasons.iter();
    let reasons = reasons.map(|(reason, many)| ([("reason", reason.as_ref())], *many));
    out.counters(name, "Connections that ended by themselves or were closed", reasons)?;
    let limits = of.ends.limits.iter();
    let limits = limits.map(|(limit, many)| ([("limit", limit.as_ref())], *many));
    out.counters("jsocketd_limits_reached", "How often a limit was reached", limits)?;
    let refused = of.handshakes.refused.iter();
    let refused: Vec<(String, u64)> = refused.map(|(code, many)| (code.to_string(), *many)).collect();
    let refused = refused.iter().map(|(code, many)| (code.as_str(), *many));
    let results = std::iter::once(("accepted", of.handshakes.accepted)).chain(refused);
    let results = results.map(|(result, many)| ([("result", result)], many));
    out.counters("jsocketd_handshakes", "Handshakes of WebSockets", results)?;
    tls(out, &of.tls)?;
    let queues = &of.send_queues;
    out.gauge(
        "jsocketd_send_queue_bytes",
        "What waits in all send queues",
        queues.bytes,
    )?;
    let name = "jsocketd_send_queue_largest_bytes";
    out.gauge(name, "What waits in the largest send queue", queues.largest)?;
    let name = "jsocketd_send_queue_waiting";
    out.gauge(name, "Connections whose send queue is not empty", queues.waiting)?;
    let name = "jsocketd_send_queue_slow";
    out.gauge(name, "Connections above a quarter of send_queue_bytes", queues.slow)
}

fn tls(out: &mut Writer<'_>, of: &TlsStats) -> fmt::Result {
    let kinds = [("full", of.full), ("resumed", of.resumed)];
    let kinds = kinds.map(|(kind, many)| ([("kind", kind)], many));
    let name = "jsocketd_tls_handshakes";
    out.counters(name, "TLS handshakes of clients that became complete", kinds)?;
    let reasons = of.failures.iter();
    let reasons = reasons.map(|(reason, many)| ([("reason", reason.as_ref())], *many));
    let name = "jsocketd_tls_failures";
    out.counters(name, "Connections of clients whose TLS failed", reasons)?;
    let name = "jsocketd_tls_certificate_expires_seconds";
    let help = "When the first certificate expires, since 1970; 0: no listener speaks TLS";
    out.gauge(name, help, of.expires)
}

fn traffic(out: &mut Writer<'_>, of: &Snapshot) -> fmt::Result {
    let traffic = &of.traffic;
    out.counter(
        "jsocketd_requests",
        "HTTP requests without handshakes",
        traffic.requests,
    )?;
    out.counter("jsocketd_messages_received", "Messages received", traffic.messages_in)?;
    let name = "jsocketd_messages_sent";
    out.counter(name, "Messages sent, counted for each recipient", traffic.messages_out)?;
    out.counter("jsocketd_received_bytes", "Bytes received", traffic.bytes_in)?;
    let name = "jsocketd_sent_bytes";
    out.counter(name, "Bytes of messages, events and answers sent", traffic.bytes_out)?;
    let name = "jsocketd_deliveries";
    out.counter(name, "Events sent, counted for each recipient", traffic.deliveries)?;
    let results = [("recovered", traffic.recovered), ("gap", traffic.gaps)];
    let results = results.map(|(result, many)| ([("result", result)], many));
    out.counters("jsocketd_recoveries", "Recoveries of clients that were away", results)
}

fn channels(out: &mut Writer<'_>, of: &Snapshot) -> fmt::Result {
    type Number = fn(&AppNumbers) -> usize;
    let numbers: [(&str, &str, Number); 6] = [
        ("jsocketd_app_connections", "Connections of an app", |app| {
            app.load.connections
        }),
        ("jsocketd_app_channels", "Channels with subscribers", |app| {
            app.load.channels
        }),
        ("jsocketd_app_subscriptions", "Subscriptions", |app| {
            app.load.subscriptions
        }),
        ("jsocketd_app_members", "Members of presence channels", |app| {
            app.load.members
        }),
        ("jsocketd_app_users", "Users who are signed in", |app| app.load.users),
        (
            "jsocketd_app_subscription_bytes",
            "Estimated memory of subscriptions",
            |app| app.load.subscription_bytes,
        ),
    ];
    for (name, help, number) in numbers {
        let apps = of.apps.iter().map(|app| ([("app", app.id.as_str())], number(app)));
        out.gauges(name, help, apps)?;
    }
    let site = of.site.as_ref();
    let name = "jsocketd_site_sessions";
    out.gauges(
        name,
        "Sessions of connected visitors",
        site.map(|site| ([], site.sessions)),
    )?;
    out.gauges(
        "jsocketd_site_users",
        "Users among them",
        site.map(|site| ([], site.users)),
    )
}

fn ticks(out: &mut Writer<'_>, of: &Snapshot) -> fmt::Result {
    let totals = &of.totals;
    let whole = [([], &totals.tick)];
    out.histograms("jsocketd_tick_seconds", "Ticks of the loop, without their waits", whole)?;
    let phases = PHASES.iter().zip(&totals.phases);
    let phases = phases.map(|((_, phase), times)| ([("phase", *phase)], times));
    out.histograms("jsocketd_tick_phase_seconds", "Phases of ticks that had work", phases)?;
    let name = "jsocketd_tick_late_seconds";
    out.histograms(name, "How much later than its timer a tick woke", [([], &totals.late)])?;
    out.counter("jsocketd_slow_ticks", "Ticks of [loop] slow_ms or longer", totals.slow)
}

fn database(out: &mut Writer<'_>, of: &Snapshot) -> fmt::Result {
    let sql = of.database.as_ref();
    let is_up = sql.map(|sql| ([], u64::from(sql.available)));
    out.gauges("jsocketd_database_up", "Whether the database can be asked", is_up)?;
    let pause = sql.map(|sql| ([], sql.retry_ms as f64 / 1000.0));
    let name = "jsocketd_database_retry_seconds";
    out.gauges(name, "How long the breaker stays open", pause)?;
    let time = sql.map(|sql| ([], sql.total_us as f64 / 1e6));
    out.counters("jsocketd_database_seconds", "The loop's time that SQL had", time)?;
    let overruns = sql.map(|sql| ([], sql.overruns));
    let name = "jsocketd_database_overruns";
    out.counters(name, "Ticks whose statements took longer than budget_ms", overruns)?;
    let times = of.statements.iter();
    let times = times.map(|one| ([("statement", one.name.as_ref())], &one.times));
    out.histograms("jsocketd_statement_seconds", "Statements by name", times)?;
    let errors = of.statements.iter();
    let errors = errors.map(|one| ([("statement", one.name.as_ref())], one.errors));
    out.counters(
        "jsocketd_statement_errors",
        "Statements without a usable answer",
        errors,
    )
}

fn outbox(out: &mut Writer<'_>, of: &Snapshot) -> fmt::Result {
    let is_up = of.outbox.as_ref().map(|outbox| ([], u64::from(outbox.available)));
    out.gauges(
        "jsocketd_outbox_up",
        "Whether rows of the outbox table are delivered",
        is_up,
    )?;
    let counters = of.outbox.as_ref().map(|outbox| outbox.counters);
    let name = "jsocketd_outbox_unstamped";
    let waits = counters.map(|counters| ([], u64::from(counters.unstamped)));
    out.gauges(name, "1 while rows wait for their number", waits)?;
    let behind = counters.map(|counters| ([], counters.behind));
    out.gauges(
        "jsocketd_outbox_lag_rows",
        "Rows with a number that wait for their delivery",
        behind,
    )?;
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let late = counters.map(|counters| ([], seconds(counters.late_ms)));
    out.gauges("jsocketd_outbox_lag_seconds", "The delay in reading the table", late)?;
    let locked = counters.map(|counters| ([], seconds(counters.locked_ms)));
    let name = "jsocketd_outbox_locked_seconds";
    out.gauges(name, "How long another process has held the counter", locked)?;
    let rows = counters.map(|counters| ([], counters.history_rows));
    out.gauges("jsocketd_outbox_history_rows", "Rows in memory for recovery", rows)?;
    let bytes = counters.map(|counters| ([], counters.history_bytes));
    out.gauges("jsocketd_outbox_history_bytes", "The bytes of these rows", bytes)?;
    let totals = counters.map_or_else(Vec::new, |counters| {
        let totals = [
            ("passed_on", counters.rows),
            ("skipped", counters.bad),
            ("stamped", counters.stamped),
            ("deleted", counters.deleted),
        ];
        totals.map(|(what, many)| ([("what", what)], many)).into()
    });
    out.counters(
        "jsocketd_outbox_rows",
        "What happened to rows of the outbox table",
        totals,
    )?;
    let epochs = counters.map(|counters| ([], counters.epochs));
    out.counters("jsocketd_outbox_epochs", "New epochs, the first one included", epochs)
}

fn webhooks(out: &mut Writer<'_>, of: &Snapshot) -> fmt::Result {
    let counts = &of.webhooks;
    let name = "jsocketd_webhook_events_waiting";
    out.gauge(name, "Events that wait for a target", counts.waiting)?;
    let results = [("delivered", counts.delivered), ("failed", counts.failed)];
    let results = results.map(|(result, many)| ([("result", result)], many));
    out.counters("jsocketd_webhook_posts", "Posts to targets", results)?;
    let name = "jsocketd_webhook_events_dropped";
    out.counter(name, "Events that are never sent", counts.dropped)
}

fn cluster(out: &mut Writer<'_>, of: &Snapshot) -> fmt::Result {
    let cluster = of.cluster.as_ref();
    let is_up = cluster.map(|cluster| ([], u64::from(cluster.standing == Standing::Together)));
    let help = "Whether the process and the others see the same";
    out.gauges("jsocketd_cluster_up", help, is_up)?;
    let isolated = cluster.map(|cluster| ([], cluster.isolated_ms as f64 / 1000.0));
    let help = "How long the process has been isolated; 0: it is not";
    out.gauges("jsocketd_cluster_isolated_seconds", help, isolated)?;
    let isolations = cluster.map(|cluster| ([], cluster.isolations));
    let help = "How often the process was isolated";
    out.counters("jsocketd_cluster_isolations", help, isolations)?;
    let processes = cluster.map(|cluster| ([], cluster.processes));
    out.gauges("jsocketd_cluster_processes", "Processes, this one included", processes)?;
    let leads = cluster.map(|cluster| ([], u64::from(cluster.leads)));
    let help = "Whether this process sends the webhooks";
    out.gauges("jsocketd_cluster_leader", help, leads)?;
    let lag = cluster.map(|cluster| ([], cluster.lag_us as f64 / 1e6));
    let help = "The age of the oldest batch that was not read back";
    out.gauges("jsocketd_cluster_lag_seconds", help, lag)?;
    let entries = cluster.map(|cluster| ([], cluster.waiting_entries));
    let help = "Entries that wait to be written to the log";
    out.gauges("jsocketd_cluster_waiting_entries", help, entries)?;
    let bytes = cluster.map(|cluster| ([], cluster.waiting_bytes));
    out.gauges(
        "jsocketd_cluster_waiting_bytes",
        "The bytes of events among them",
        bytes,
    )?;
    let log = cluster.map(|cluster| ([], cluster.log_bytes));
    out.gauges("jsocketd_cluster_log_bytes", "The bytes of the log", log)?;
    let batches = cluster.map_or_else(Vec::new, |cluster| {
        let batches = [("written", cluster.batches_written), ("read", cluster.batches_read)];
        batches.map(|(what, many)| ([("what", what)], many)).into()
    });
    out.counters("jsocketd_cluster_batches", "Batches of the log", batches)?;
    let dropped = cluster.map(|cluster| ([], cluster.hooks_dropped));
    let help = "Webhook events that could not be kept for the next leader";
    out.counters("jsocketd_cluster_hooks_dropped", help, dropped)
}

/// Writes families: their names and help, then their samples. `_total` is appended to the names of counters.
struct Writer<'a>(DescriptorEncoder<'a>);

/// One label and its value, or no label at all.
type Labels<'l, const N: usize> = [(&'static str, &'l str); N];

impl Writer<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        self.gauges(name, help, [([], value)])
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, [([], value)])
    }

    fn gauges<'l, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, V)>,
    ) -> fmt::Result {
        self.family(MetricType::Gauge, name, help, samples, |out, value| {
            out.encode_gauge(&value)
        })
    }

    fn counters<'l, const N: usize, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, V)>,
    ) -> fmt::Result {
        self.family(MetricType::Counter, name, help, samples, |out, value| {
            out.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    /// A bucket of [`Durations`] ends at twice the one before. Of two, one is written: nobody needs more for an alert,
    /// and each bucket is a series.
    fn histograms<'d, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'d, N>, &'d Durations)>,
    ) -> fmt::Result {
        self.family(MetricType::Histogram, name, help, samples, |out, times| {
            let bound = |pair: usize| f64::from(128_u32 << (2 * pair)) / 1e6;
            let pairs = times.buckets[..LONGEST].chunks(2).enumerate();
            let mut buckets: Vec<(f64, u64)> = pairs.map(|(n, pair)| (bound(n), pair.iter().sum())).collect();
            buckets.push((f64::INFINITY, times.buckets[LONGEST]));
            out.encode_histogram::<NoLabelSet>(times.sum_us as f64 / 1e6, times.count(), &buckets, None)
        })
    }

    fn family<'l, const N: usize, V>(
        &mut self,
        kind: MetricType,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, V)>,
        write: impl Fn(&mut MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result
    where
        Labels<'l, N>: EncodeLabelSet,
    {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            write(&mut family.encode_family(&labels)?, value)?;
        }
        Ok(())
    }
}
