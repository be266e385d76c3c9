//! jsocketd-load: a scripted load generator for WebSocket servers on this machine, itself one thread and one mio loop.
//! Each scenario has its file; `fleet` is the loop they share; `settings` says what can be asked for and `report` what is
//! answered. It knows nothing of the server's inside, so that any server can be measured with it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod client;
mod compare;
mod console;
mod echo;
mod failure;
mod fleet;
mod floor;
mod half_open;
mod idle;
mod process;
mod report;
mod settings;
mod target;
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
use crate::fleet::Fleet;
use crate::process::Process;
use crate::report::Report;
use crate::settings::Scenario;
use crate::target::Target;

/// Puts a WebSocket server on this machine under load and says what that cost.
///
/// Exit codes: 0 when everything expected was met (unless told otherwise: nothing refused, lost or wrong), 1 when not or
/// when the server died or stalled, 2 when the run could not be made.
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
    /// The other server of `compare`
    #[arg(long, global = true, value_name = "URL")]
    against_url: Option<String>,
    /// The other server's process
    #[arg(long, global = true, value_name = "PID")]
    against_pid: Option<u32>,
    /// Expect a figure to be in bounds, e.g. max_p99_ms=5 (as in a file under `[expect]`); can be repeated
    #[arg(long, global = true, value_name = "NAME=NUMBER", value_parser = settings::parse_expectation)]
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
    /// Send messages and compare what comes back: rate, latency, CPU per message
    Echo(settings::Echo),
    /// Hold connections that say nothing: memory per connection, CPU while idle
    Idle(settings::Idle),
    /// Connect all at once and send one console command each: nobody refused, lost or misinformed
    Console(settings::Console),
    /// Echo without and with a crowd of half-finished handshakes
    HalfOpen(settings::HalfOpen),
    /// Echo on two servers in turns and set them in proportion
    Compare(settings::Compare),
    /// Run the scenario in a TOML file
    Run {
        /// The file, e.g. scripts/scenarios/echo.toml
        file: PathBuf,
    },
    /// Be the server that others are compared with: upgrade, then write back whatever is read
    Floor {
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
        Command::Run { file } => settings::read(&file)?,
        Command::Floor { listen, seconds } => return floor::run(listen, Duration::from_secs(seconds)),
    };
    let common = cli.common;
    expectations.extend(common.expect.iter().cloned());
    settings::check(&scenario, &mut expectations)?;
    let report = play(scenario, &common)?;
    match common.json {
        true => println!("{}", report.json()),
        false => print!("{}", report.text()),
    }
    report.judge(&expectations)
}

fn play(scenario: Scenario, common: &Common) -> Result<Report, Failure> {
    let target = required(&common.url, "--url").and_then(|url| Target::parse(url))?;
    let process = common.pid.map(Process::new).transpose()?;
    let process = process.as_ref();
    let patience = Duration::from_secs(common.patience);
    let fleet = |usual_path| Fleet::new(&target, usual_path, scenario.connections(), patience);
    let seconds = Duration::from_secs_f64;
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
        Scenario::Idle(it) => idle::run(
            it.connections,
            it.burst,
            seconds(it.seconds),
            &mut fleet("/echo")?,
            process,
        ),
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
        Scenario::Compare(it) => {
            let against = required(&common.against_url, "--against-url").and_then(|url| Target::parse(url))?;
            let server = Side {
                target: &target,
                process: &Process::new(*required(&common.pid, "--pid")?)?,
                raw: false,
            };
            let other = Side {
                target: &against,
                process: &Process::new(*required(&common.against_pid, "--against-pid")?)?,
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

fn required<'a, T>(value: &'a Option<T>, flag: &str) -> Result<&'a T, Failure> {
    value
        .as_ref()
        .ok_or_else(|| Failure::Usage(format!("{flag} is needed")))
}
