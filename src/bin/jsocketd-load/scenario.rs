//! One scenario: read from a file or from flags, and checked before the first socket is opened.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::failure::Failure;
use crate::report::{Expectations, check_names};
use crate::settings::{Compare, Console, Echo, Fanout, HalfOpen, Identified, Idle, Polling, Presence, Publish};

/// More than any machine that this makes sense on.
const MAX_CONNECTIONS: usize = 1_000_000;
const MAX_SIZE: usize = 1 << 20;
const MAX_PIPELINE: usize = 1024;
const MAX_SECONDS: f64 = 3600.0;
/// Events of one round of a fan-out: they are all kept, to compare with.
const MAX_PUBLISHES: f64 = 100_000.0;
/// Ready-made frames and payloads of all connections together.
const MAX_PREPARED: usize = 1 << 30;

/// One of the scenarios.
#[derive(Clone, Debug, PartialEq)]
pub enum Scenario {
    Echo(Echo),
    Idle(Idle),
    Console(Console),
    HalfOpen(HalfOpen),
    Compare(Compare),
    Fanout(Fanout),
    Publish(Publish),
    Presence(Presence),
    Identified(Identified),
    Polling(Polling),
}

/// A scenario file: one table named after the scenario, and `[expect]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    echo: Option<Echo>,
    idle: Option<Idle>,
    console: Option<Console>,
    half_open: Option<HalfOpen>,
    compare: Option<Compare>,
    fanout: Option<Fanout>,
    publish: Option<Publish>,
    presence: Option<Presence>,
    identified: Option<Identified>,
    polling: Option<Polling>,
    #[serde(default)]
    expect: Expectations,
}

/// Reads the scenario and the expectations in `path`.
pub fn read(path: &Path) -> Result<(Scenario, Expectations), Failure> {
    let usage = |why: String| Failure::Usage(format!("{}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| usage(error.to_string()))?;
    parse(&text).map_err(usage)
}

fn parse(text: &str) -> Result<(Scenario, Expectations), String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let scenarios = [
        file.echo.map(Scenario::Echo),
        file.idle.map(Scenario::Idle),
        file.console.map(Scenario::Console),
        file.half_open.map(Scenario::HalfOpen),
        file.compare.map(Scenario::Compare),
        file.fanout.map(Scenario::Fanout),
        file.publish.map(Scenario::Publish),
        file.presence.map(Scenario::Presence),
        file.identified.map(Scenario::Identified),
        file.polling.map(Scenario::Polling),
    ];
    let mut scenarios = scenarios.into_iter().flatten();
    match (scenarios.next(), scenarios.next()) {
        (Some(scenario), None) => Ok((scenario, file.expect)),
        _ => Err(
            "exactly one of [echo], [idle], [console], [half-open], [compare], [fanout], [publish], [presence], \
             [identified], [polling] must be there"
                .into(),
        ),
    }
}

/// `max_p99_ms=5` → ("max_p99_ms", 5.0), for `--expect`.
pub fn parse_expectation(text: &str) -> Result<(String, f64), String> {
    let (name, limit) = text.split_once('=').ok_or("expected NAME=NUMBER")?;
    let limit = limit.parse().map_err(|_| format!("{limit} is not a number"))?;
    Ok((name.to_owned(), limit))
}

/// Checks everything that can be checked before a run, and adds the default expectations: nothing refused, lost or
/// wrong.
pub fn check(scenario: &Scenario, expectations: &mut Expectations) -> Result<(), Failure> {
    check_names(expectations)?;
    for name in ["max_refused", "max_lost", "max_wrong"] {
        expectations.entry(name.into()).or_insert(0.0);
    }
    if let Scenario::Idle(idle) = scenario
        && idle.subscribe
        && idle.identified
    {
        return Err(Failure::Usage("subscribe and identified cannot both be true".into()));
    }
    for (name, value, most) in scenario.bounds() {
        // Written so that NaN is out of bounds too.
        if !(value > 0.0 && value <= most) {
            return Err(Failure::Usage(format!(
                "{name} = {value}: it must be more than 0 and at most {most}"
            )));
        }
    }
    let bounds: BTreeMap<_, _> = scenario
        .bounds()
        .into_iter()
        .map(|(name, value, _)| (name, value))
        .collect();
    if let (Some(connections), Some(size)) = (bounds.get("connections"), bounds.get("size")) {
        let slots = 2.0 * (bounds.get("pipeline").unwrap_or(&1.0) + 1.0);
        if connections * slots * 2.0 * (size + 16.0) > MAX_PREPARED as f64 {
            return Err(Failure::Usage(
                "connections × pipeline × size is more than fits: over 1 GiB of frames would have to be prepared"
                    .into(),
            ));
        }
    }
    Ok(())
}

impl Scenario {
    /// Connections that are open at once.
    pub fn connections(&self) -> usize {
        match self {
            Scenario::Echo(echo) => echo.connections,
            Scenario::Idle(idle) => idle.connections,
            Scenario::Console(console) => console.connections,
            Scenario::HalfOpen(half_open) => half_open.connections + half_open.half_open,
            Scenario::Compare(compare) => compare.connections,
            Scenario::Fanout(fanout) => fanout.connections + 1,
            Scenario::Publish(publish) => publish.connections,
            Scenario::Presence(presence) => presence.channels * presence.members,
            Scenario::Identified(identified) => identified.connections,
            Scenario::Polling(_) => 1,
        }
    }

    /// Name, value and upper limit of each number.
    fn bounds(&self) -> Vec<(&'static str, f64, f64)> {
        let connections = |count: usize| ("connections", count as f64, MAX_CONNECTIONS as f64);
        let size = |bytes: usize| ("size", bytes as f64, MAX_SIZE as f64);
        let pipeline = |depth: usize| ("pipeline", depth as f64, MAX_PIPELINE as f64);
        let seconds = |seconds: f64| ("seconds", seconds, MAX_SECONDS);
        match self {
            Scenario::Echo(it) => {
                vec![
                    connections(it.connections),
                    size(it.size),
                    pipeline(it.pipeline),
                    seconds(it.seconds),
                ]
            }
            Scenario::Idle(it) => {
                let burst = ("burst", it.burst as f64, MAX_CONNECTIONS as f64);
                vec![connections(it.connections), burst, seconds(it.seconds)]
            }
            Scenario::Console(it) => vec![connections(it.connections)],
            Scenario::HalfOpen(it) => {
                let half_open = ("half_open", it.half_open as f64, MAX_CONNECTIONS as f64);
                vec![
                    half_open,
                    connections(it.connections),
                    size(it.size),
                    seconds(it.seconds),
                ]
            }
            Scenario::Compare(it) => vec![
                connections(it.connections),
                size(it.size),
                pipeline(it.pipeline),
                ("rounds", it.rounds as f64, 100.0),
                seconds(it.seconds),
            ],
            Scenario::Fanout(it) => {
                let mut bounds = vec![
                    ("connections", it.connections as f64, MAX_CONNECTIONS as f64),
                    ("size", it.size as f64, 10_240.0),
                    ("rounds", it.rounds as f64, 100.0),
                ];
                match it.burst {
                    0 => {
                        bounds.extend([("rate", it.rate, 1e6), seconds(it.seconds)]);
                        bounds.push(("rate × seconds", it.rate * it.seconds, MAX_PUBLISHES));
                    }
                    burst => bounds.push(("burst", burst as f64, MAX_PUBLISHES)),
                }
                bounds
            }
            Scenario::Publish(it) => vec![
                connections(it.connections),
                pipeline(it.pipeline),
                size(it.size),
                ("channels", it.channels as f64, 1000.0),
                seconds(it.seconds),
            ],
            Scenario::Presence(it) => vec![
                (
                    "channels × members",
                    (it.channels * it.members) as f64,
                    MAX_CONNECTIONS as f64,
                ),
                // A member list is kept as 64 bits.
                ("members", it.members as f64, 64.0),
                ("watchers", it.watchers as f64, it.members as f64 - 1.0),
                ("rate", it.rate, 1e6),
                seconds(it.seconds),
            ],
            Scenario::Identified(it) => {
                let burst = ("burst", it.burst as f64, MAX_CONNECTIONS as f64);
                vec![connections(it.connections), burst]
            }
            Scenario::Polling(it) => vec![seconds(it.seconds)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_is_different_from_the_defaults() {
        let (scenario, expectations) =
            parse("[echo]\npipeline = 16\nseconds = 0.5\n[expect]\nmin_rate = 100_000\nmax_p99_ms = 2.5\n").unwrap();
        let echo = Echo {
            pipeline: 16,
            seconds: 0.5,
            ..Echo::default()
        };
        assert_eq!(scenario, Scenario::Echo(echo));
        assert_eq!(expectations["min_rate"], 100_000.0);
        assert_eq!(expectations["max_p99_ms"], 2.5);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = parse("[half-open]\nhalf_open = 5\nconections = 5\n").unwrap_err();
        assert!(error.contains("line 3") && error.contains("conections"), "{error}");
    }

    #[test]
    fn a_file_holds_one_scenario() {
        assert!(parse("[expect]\nmax_lost = 0\n").is_err());
        assert!(parse("[echo]\n[idle]\n").is_err());
    }

    #[test]
    fn every_run_expects_that_nothing_is_lost_unless_it_says_otherwise() {
        let mut expectations = Expectations::from([("max_lost".into(), 5.0)]);
        check(&Scenario::Console(Console::default()), &mut expectations).unwrap();
        assert_eq!(expectations["max_lost"], 5.0);
        assert_eq!(expectations["max_refused"], 0.0);
        assert_eq!(expectations["max_wrong"], 0.0);
    }

    #[test]
    fn numbers_out_of_bounds_are_refused() {
        let usual = Echo::default();
        for echo in [
            Echo {
                connections: 0,
                ..usual.clone()
            },
            Echo {
                size: MAX_SIZE + 1,
                ..usual.clone()
            },
            Echo {
                seconds: f64::NAN,
                ..usual.clone()
            },
            Echo {
                seconds: f64::INFINITY,
                ..usual.clone()
            },
            Echo {
                connections: 1000,
                size: MAX_SIZE,
                ..usual.clone()
            },
        ] {
            let refused = check(&Scenario::Echo(echo.clone()), &mut Expectations::new());
            assert!(matches!(refused, Err(Failure::Usage(_))), "{echo:?}");
        }
        assert!(check(&Scenario::Echo(usual), &mut Expectations::new()).is_ok());
    }

    #[test]
    fn idle_connections_come_as_guests_or_as_visitors() {
        let idle = Idle {
            subscribe: true,
            identified: true,
            ..Idle::default()
        };
        let refused = check(&Scenario::Idle(idle), &mut Expectations::new());
        assert!(matches!(refused, Err(Failure::Usage(_))));
    }

    #[test]
    fn every_scenario_that_is_shipped_can_be_run() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/scenarios");
        let mut count = 0;
        let entries = fs::read_dir(&folder)
            .unwrap()
            .chain(fs::read_dir(folder.join("bench")).unwrap());
        for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            let (scenario, mut expectations) = read(&path).unwrap();
            check(&scenario, &mut expectations).unwrap();
            count += 1;
        }
        assert!(count > 0, "there are no scenarios");
    }
}
