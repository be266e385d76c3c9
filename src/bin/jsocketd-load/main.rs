//! jsocketd-load: a scripted load generator for WebSocket servers on this machine, itself one thread and one mio loop.
//! Each scenario has its file; `fleet` is the loop that they share; `settings` declares the settings and `report` the
//! figures. The generator uses no internals of the server, so it can measure any server.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod client;
mod compare;
mod console;
mod echo;
mod failure;
mod fanout;
mod fleet;
mod floor;
mod floor_fanout;
mod half_open;
mod identified;
mod idle;
mod polling;
mod presence;
mod process;
mod publish;
mod pusher;
mod report;
mod scenario;
mod settings;
mod target;
mod visitors;
mod watch;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::compare::Side;
use crate::console::Eagerness;
use crate::echo::{Span, Traffic};
use crate::failure::Failure;
use crate::fanout::Pace;
use crate::fleet::Fleet;
use crate::idle::Habit;
use crate::process::Process;
use crate::pusher::App;
use crate::report::Report;
use crate::scenario::Scenario;
use crate::target::Target;
use crate::watch::Watch;

/// Puts a WebSocket server on this machine under load and reports the cost.
///
/// Exit codes: 0 when all expectations are met (by default: nothing refused, lost or wrong), 1 when not or when the
/// server died or stalled, 2 when the run could not be made.
#[derive(Parser)]
#[command(name = "jsocketd-load", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Common {
    /// The server, e.g. ws://127.0.0.1:8080; a path in it beats the one that the scenario usually asks for
    #[arg(long, global = true)]
    url: Option<String>,
    /// The server's process, for its CPU and memory
    #[arg(long, global = true)]
    pid: Option<u32>,
    /// Widen the bounds of times and rates by this factor, for a machine that is slow or that others use too, and those
    /// of ratios by 1.25 at most. Counts and bytes are held as they are
    #[arg(long, global = true, value_name = "FACTOR", default_value_t = 1.0)]
    slack: f64,
    /// The other server of `compare`, or one of those of `fanout`, in their order
    #[arg(long, global = true, value_name = "URL")]
    against_url: Vec<String>,
    /// The other server's process
    #[arg(long, global = true, value_name = "PID")]
    against_pid: Vec<u32>,
    /// The app of the Pusher protocol that `fanout`, `publish`, `presence`, `identified` and `idle --subscribe` use
    #[arg(
        long,
        global = true,
        value_name = "ID:KEY:SECRET",
        default_value = "load:load-key:load-secret-0123456789"
    )]
    app: App,
    /// The users of `identified` and `idle --identified`: a line each, the header Cookie, a tab and the id of the
    /// Joomla user
    #[arg(long, global = true, value_name = "FILE")]
    visitors: Option<PathBuf>,
    /// The server's admin_token: `identified` and `polling` read the cost of the database from its console
    #[arg(long, global = true, value_name = "TOKEN", default_value = "load-admin-token")]
    admin_token: String,
    /// Expect a figure to be in bounds, e.g. max_p99_ms=5 (as in a file under `[expect]`); can be repeated
    #[arg(long, global = true, value_name = "NAME=NUMBER", value_parser = scenario::parse_expectation)]
    expect: Vec<(String, f64)>,
    /// Seconds in which the server must say something, or the run is over
    #[arg(long, global = true, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    patience: u64,
    /// Report as one line of JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Send messages and compare the replies: rate, latency, CPU per message
    Echo(settings::Echo),
    /// Hold connections that send nothing: memory per connection, CPU while idle
    Idle(settings::Idle),
    /// Connect all at once and send one console command each: no client refused, lost or answered wrongly
    Console(settings::Console),
    /// Echo without and with a crowd of half-finished handshakes
    HalfOpen(settings::HalfOpen),
    /// Echo on two servers in turns and set them in proportion
    Compare(settings::Compare),
    /// Publish to one channel that all subscribe to: every event received once and in order, latency, CPU per delivery
    Fanout(settings::Fanout),
    /// Post events to the HTTP API: rate, latency, CPU per publish
    Publish(settings::Publish),
    /// Join and leave presence channels: every member list is right
    Presence(settings::Presence),
    /// Connect as users who are logged in to a Joomla site: all identified, how fast, with how many SQL statements
    Identified(settings::Identified),
    /// Let the server look for rows that never come: CPU of that
    Polling(settings::Polling),
    /// Run the scenario in a TOML file
    Run {
        /// The file, e.g. scripts/scenarios/echo.toml
        file: PathBuf,
    },
    /// Be the server that others are compared with: upgrade, then write back all bytes
    Floor {
        /// Where to listen; port 0 lets the kernel choose
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// End after so many seconds
        #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
    },
    /// Be the server that a fan-out is compared with: upgrade, then send every posted event to every connection
    FloorFanout {
        /// Where to listen; port 0 lets the kernel choose
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// End after so many seconds
        #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("jsocketd-load: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let (scenario, mut expectations) = match cli.command {
        Command::Echo(echo) => (Scenario::Echo(echo), Default::default()),
        Command::Idle(idle) => (Scenario::Idle(idle), Default::default()),
        Command::Console(console) => (Scenario::Console(console), Default::default()),
        Command::HalfOpen(half_open) => (Scenario::HalfOpen(half_open), Default::default()),
        Command::Compare(compare) => (Scenario::Compare(compare), Default::default()),
        Command::Fanout(fanout) => (Scenario::Fanout(fanout), Default::default()),
        Command::Publish(publish) => (Scenario::Publish(publish), Default::default()),
        Command::Presence(presence) => (Scenario::Presence(presence), Default::default()),
        Command::Identified(identified) => (Scenario::Identified(identified), Default::default()),
        Command::Polling(polling) => (Scenario::Polling(polling), Default::default()),
        Command::Run { file } => scenario::read(&file)?,
        Command::Floor { listen, seconds } => return floor::run(listen, Duration::from_secs(seconds)),
        Command::FloorFanout { listen, seconds } => return floor_fanout::run(listen, Duration::from_secs(seconds)),
    };
    let common = cli.common;
    expectations.extend(common.expect.iter().cloned());
    scenario::check(&scenario, &mut expectations)?;
    let report = play(scenario, &common)?;
    match common.json {
        true => println!("{}", report.json()),
        false => print!("{}", report.text()),
    }
    report.judge(&expectations, common.slack.max(1.0))
}

fn play(scenario: Scenario, common: &Common) -> Result<Report, Failure> {
    let target = required(&common.url, "--url").and_then(|url| Target::parse(url))?;
    let process = common.pid.map(Process::new).transpose()?;
    let process = process.as_ref();
    let patience = Duration::from_secs(common.patience);
    let fleet = |usual_path| Fleet::new(&target, usual_path, scenario.connections(), patience);
    let seconds = Duration::from_secs_f64;
    let visitors = |count| required(&common.visitors, "--visitors").and_then(|path| visitors::read(path, count));
    match &scenario {
        Scenario::Echo(it) => {
            let span = match it.messages {
                0 => Span::Time(seconds(it.seconds)),
                count => Span::Messages(count),
            };
            let traffic = Traffic {
                connections: it.connections,
                size: it.size,
                pipeline: it.pipeline,
                binary: it.binary,
                raw: it.raw,
            };
            echo::run(traffic, span, &mut fleet("/echo")?, process)
        }
        Scenario::Idle(it) => {
            let (habit, path) = match (it.subscribe, it.identified) {
                (_, true) => (Habit::Visit(visitors(it.connections)?), common.app.path()),
                (true, false) => (Habit::Subscribe, common.app.path()),
                (false, false) => (Habit::Mute, "/echo".into()),
            };
            idle::run(
                it.connections,
                it.burst,
                seconds(it.seconds),
                &habit,
                &mut fleet(&path)?,
                process,
            )
        }
        Scenario::Console(it) => {
            let burst = if it.burst == 0 { it.connections } else { it.burst };
            let eagerness = if it.early { Eagerness::Early } else { Eagerness::Polite };
            console::run(it.connections, burst, eagerness, &mut fleet("/")?, process)
        }
        Scenario::HalfOpen(it) => {
            let traffic = Traffic {
                connections: it.connections,
                size: it.size,
                pipeline: 1,
                binary: false,
                raw: false,
            };
            half_open::run(
                it.half_open,
                traffic,
                seconds(it.seconds),
                &mut fleet("/echo")?,
                process,
            )
        }
        Scenario::Fanout(it) => play_fanout(it, common, &target, process),
        Scenario::Publish(it) => {
            let plan = publish::Plan {
                connections: it.connections,
                pipeline: it.pipeline,
                size: it.size,
                channels: it.channels,
                span: seconds(it.seconds),
            };
            publish::run(&plan, &common.app, &mut fleet("/")?, process)
        }
        Scenario::Presence(it) => {
            let plan = presence::Plan {
                channels: it.channels,
                members: it.members,
                watchers: it.watchers,
                rate: it.rate,
                span: seconds(it.seconds),
            };
            presence::run(plan, &common.app, &mut fleet(&common.app.path())?, process)
        }
        Scenario::Identified(it) => {
            let visitors = visitors(it.connections)?;
            let mut watch = Watch::open(&target, &common.admin_token, patience)?;
            identified::run(
                &visitors,
                it.burst,
                &mut fleet(&common.app.path())?,
                &mut watch,
                process,
            )
        }
        Scenario::Polling(it) => {
            let process = process.ok_or_else(|| Failure::Usage("--pid is needed".into()))?;
            let mut watch = Watch::open(&target, &common.admin_token, patience)?;
            polling::run(
                seconds(it.seconds),
                &mut fleet(&common.app.path())?,
                &mut watch,
                process,
            )
        }
        Scenario::Compare(it) => {
            let against = common.against_url.first().cloned();
            let against = required(&against, "--against-url").and_then(|url| Target::parse(url))?;
            let server = Side {
                target: &target,
                process: &Process::new(*required(&common.pid, "--pid")?)?,
                raw: false,
            };
            let other = Side {
                target: &against,
                process: &Process::new(*required(&common.against_pid.first().copied(), "--against-pid")?)?,
                raw: it.against == "floor",
            };
            let traffic = Traffic {
                connections: it.connections,
                size: it.size,
                pipeline: it.pipeline,
                binary: false,
                raw: false,
            };
            compare::run(&server, &other, traffic, it.rounds, seconds(it.seconds), patience)
        }
    }
}

fn play_fanout(
    it: &settings::Fanout,
    common: &Common,
    target: &Target,
    process: Option<&Process>,
) -> Result<Report, Failure> {
    if it.against.len() != common.against_url.len() || it.against.len() < common.against_pid.len() {
        return Err(Failure::Usage(format!(
            "{} other servers need as many of --against-url",
            it.against.len()
        )));
    }
    let targets = common.against_url.iter().map(|url| Target::parse(url));
    let targets: Vec<_> = targets.collect::<Result<_, _>>()?;
    let processes = common.against_pid.iter().map(|pid| Process::new(*pid));
    let processes: Vec<_> = processes.collect::<Result<_, _>>()?;
    let server = fanout::Side {
        name: "server",
        target,
        process,
        bare: false,
    };
    let others = it
        .against
        .iter()
        .zip(&targets)
        .enumerate()
        .map(|(n, (name, target))| fanout::Side {
            name,
            target,
            process: processes.get(n),
            bare: matches!(name.as_str(), "floor-fanout" | "node-ws"),
        });
    let sides: Vec<_> = std::iter::once(server).chain(others).collect();
    let plan = fanout::Plan {
        connections: it.connections,
        size: it.size,
        pace: match it.burst {
            0 => Pace::Rate(it.rate, Duration::from_secs_f64(it.seconds)),
            burst => Pace::Burst(burst),
        },
        rounds: it.rounds,
    };
    fanout::run(&sides, &plan, &common.app, Duration::from_secs(common.patience))
}

fn required<'a, T>(value: &'a Option<T>, flag: &str) -> Result<&'a T, Failure> {
    value
        .as_ref()
        .ok_or_else(|| Failure::Usage(format!("{flag} is needed")))
}
