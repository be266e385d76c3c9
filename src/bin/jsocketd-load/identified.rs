//! The identified scenario: users who are logged in to the Joomla site connect with their cookies. Each subscribes to
//! the channel that only this user may subscribe to. So a successful subscription shows that the server identified the
//! right user. A refused subscription counts as wrong: the server took the visitor for a guest or for another user.

use std::time::Duration;

use hdrhistogram::Histogram;
use jsocketd::time::Time;

use crate::client::Script;
use crate::failure::Failure;
use crate::fleet::{Fleet, histogram, random_mask};
use crate::idle::report_connecting;
use crate::process::Process;
use crate::pusher::{self, Frame};
use crate::report::Report;
use crate::visitors::Visitor;
use crate::watch::Watch;
use crate::wire;

/// The last answers may take so long after the last connection is open.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// All connections and their visitors.
struct Crowd {
    channels: Vec<String>,
    /// When the subscription succeeded or was refused.
    answered: Vec<Option<Time>>,
    count: usize,
    wrong: u64,
    first_wrong: Option<String>,
}

impl Script for Crowd {
    fn upgraded(&mut self, id: usize, out: &mut Vec<u8>) {
        let subscribe = pusher::subscribe(&self.channels[id]);
        wire::encode(wire::TEXT, subscribe.as_bytes(), random_mask(), out);
    }

    fn received(&mut self, id: usize, bytes: &[u8], _: &mut Vec<u8>, now: Time) {
        let frame = Frame::read(bytes);
        let succeeded = frame
            .as_ref()
            .is_some_and(|frame| frame.is_succeeded(&self.channels[id]));
        let refused = frame
            .as_ref()
            .is_some_and(|frame| frame.event == "pusher:subscription_error");
        let is_usual = frame.is_some_and(|frame| frame.socket_id().is_some() || frame.is_upkeep());
        let is_first = self.answered[id].is_none();
        if (succeeded || refused) && is_first {
            self.answered[id] = Some(now);
            self.count += 1;
        }
        if !(is_usual || succeeded && is_first) {
            self.wrong += 1;
            let text = String::from_utf8_lossy(bytes);
            self.first_wrong
                .get_or_insert_with(|| format!("connection {id}: {text}"));
        }
    }
}

/// Runs the scenario: all visitors, `burst` handshakes at a time.
pub fn run(
    visitors: &[Visitor],
    burst: usize,
    fleet: &mut Fleet,
    watch: &mut Watch,
    process: Option<&Process>,
) -> Result<Report, Failure> {
    let mut crowd = Crowd {
        channels: visitors.iter().map(Visitor::channel).collect(),
        answered: vec![None; visitors.len()],
        count: 0,
        wrong: 0,
        first_wrong: None,
    };
    let host = fleet.host();
    let sql = watch.sql()?;
    let cpu = process.map(Process::cpu_nanoseconds).transpose()?;
    let began = fleet.now();
    fleet.open(visitors.len(), burst, |id| visitors[id].greeting(&host), &mut crowd)?;
    let deadline = fleet.now() + ANSWER_LIMIT;
    while crowd.count < fleet.standing.upgraded && fleet.live() > 0 && fleet.now() < deadline {
        fleet.turn(deadline, &mut crowd)?;
        if fleet.check_patience("").is_err() {
            break;
        }
    }
    let seconds = fleet.now().since(began).as_secs_f64();
    let cpu = match (process, cpu) {
        (Some(process), Some(before)) => Some(process.cpu_nanoseconds()? - before),
        _ => None,
    };
    let sql_now = watch.sql()?;

    let mut report = Report::new(format!(
        "identified: {} visitors in bursts of {burst}, each subscribes to a channel of its own",
        visitors.len()
    ));
    report.set("connections", fleet.standing.opened as f64);
    report.set("seconds", seconds);
    report.set("refused", fleet.standing.refused as f64);
    report.set("lost", (fleet.standing.upgraded - crowd.count) as f64);
    report.set("wrong", crowd.wrong as f64);
    report.set("rate", crowd.count as f64 / seconds);
    report.note("the rate and the latencies are from connecting to the subscription's success".into());
    report.percentiles(
        &latency(&crowd, fleet),
        &[
            ("p50_ms", 50.0),
            ("p95_ms", 95.0),
            ("p99_ms", 99.0),
            ("slowest_ms", 100.0),
        ],
    );
    let statements = (sql_now.statements - sql.statements) as f64;
    report.set("statements", statements);
    report.set("visitors_per_statement", crowd.count as f64 / statements);
    report.set("overruns", (sql_now.overruns - sql.overruns) as f64);
    report.set("sql_worst_ms", sql_now.worst_us as f64 / 1000.0);
    report_connecting(&mut report, fleet);
    if let Some(nanoseconds) = cpu {
        report.set("cpu_seconds", nanoseconds as f64 / 1e9);
        report.set("cpu_ns_per_handshake", nanoseconds as f64 / crowd.count as f64);
    }
    if let Some(first) = crowd.first_wrong {
        report.note(format!("the first that was wrong: {first}"));
    }
    Ok(report)
}

/// Microseconds from `connect` to the answer, for every connection that is still open.
fn latency(crowd: &Crowd, fleet: &Fleet) -> Histogram<u64> {
    let mut latency = histogram();
    for (id, answered) in crowd.answered.iter().enumerate() {
        if let (Some(opened), Some(answered)) = (fleet.opened(id), answered) {
            let _ = latency.record(answered.since(opened).as_micros() as u64);
        }
    }
    latency
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUCCESS: &str =
        r#"{"event":"pusher_internal:subscription_succeeded","channel":"private-user-7","data":"{}"}"#;

    /// The number of answers and of wrong answers when user 7 receives these frames.
    fn receive(frames: &[&str]) -> (usize, u64) {
        let mut crowd = Crowd {
            channels: vec!["private-user-7".into()],
            answered: vec![None],
            count: 0,
            wrong: 0,
            first_wrong: None,
        };
        for frame in frames {
            crowd.received(0, frame.as_bytes(), &mut Vec::new(), Time(1));
        }
        (crowd.count, crowd.wrong)
    }

    #[test]
    fn one_success_on_the_own_channel_is_right() {
        let hello = r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\"}"}"#;
        let ping = r#"{"event":"pusher:ping","data":{}}"#;
        assert_eq!(receive(&[hello, ping, SUCCESS]), (1, 0));
    }

    #[test]
    fn a_refusal_a_second_success_and_a_success_for_another_user_are_wrong() {
        let refusal = r#"{"event":"pusher:subscription_error","channel":"private-user-7","data":{"status":403}}"#;
        assert_eq!(receive(&[refusal]), (1, 1));
        assert_eq!(receive(&[SUCCESS, refusal]), (1, 1));
        assert_eq!(receive(&[SUCCESS, SUCCESS]), (1, 1));
        assert_eq!(receive(&[&SUCCESS.replace("user-7", "user-8")]), (0, 1));
        assert_eq!(receive(&["?"]), (0, 1));
    }
}
