//! The server's binary: reads the command line, starts the command, and writes on standard error why the command
//! failed. The server itself is in the library.

mod cli;
mod commands;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use jsocketd::config::Loaded;
use jsocketd::logging;
use jsocketd::server::process::{self, Launch};
use jsocketd::server::{Payloads, Recording};
use jsocketd::store::mysql::{deadline, silence_driver_panics};
use jsocketd::supervisor;

use cli::{Cli, Command, Serve};
use commands::{check, complain, doctor, listen, publish, replay, schema, setup, status, top};

fn main() -> ExitCode {
    silence_driver_panics();
    let done = match Cli::parse().command() {
        Command::Serve(flags) => serve(flags),
        Command::Check(flags) => return check::check(flags),
        Command::Setup(flags) => setup::setup(&flags),
        Command::Doctor(flags) => return doctor::doctor(flags),
        Command::Status(flags) => return status::status(&flags),
        Command::Listen(flags) => listen::listen(flags),
        Command::Top(flags) => return top::top(&flags),
        Command::Publish(flags) => publish::publish(flags),
        Command::Schema { flags, update: false } => schema::print(&flags.into()),
        Command::Schema { flags, update: true } => schema::update(&flags.into()),
        Command::Replay { file, story } => replay::replay(&file, story),
        Command::Deadline { server } => deadline::wait(server).map_err(Into::into),
        Command::Resolve { server, host, port } => resolve(server, &host, port),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

fn serve(flags: Serve) -> Result<(), Box<dyn Error>> {
    let sources = jsocketd::config::Sources::from(flags.sources);
    let loaded = sources.load()?;
    logging::init(loaded.config.server.log_level, flags.worker)?;
    match flags.worker {
        // The supervisor has written the rest.
        Some(_) => log::info!("starts: process {}", std::process::id()),
        None => begin_log(&loaded),
    }
    let reload = sources.pinned(&loaded);
    if loaded.config.server.workers > 1 && flags.worker.is_none() {
        return Ok(supervisor::run(loaded, &reload)?);
    }
    let payloads = match flags.record_plain {
        true => Payloads::Plain,
        false => Payloads::Masked,
    };
    let limit = flags.record_limit;
    let record = flags.record.map(|path| Recording { path, payloads, limit });
    let launch = Launch {
        record,
        slow_sql: flags.slow_sql.map(Duration::from_millis),
        worker: flags.worker,
    };
    Ok(process::serve(loaded, &reload, launch)?)
}

/// Writes what the log begins with.
fn begin_log(loaded: &Loaded) {
    log::info!("{}", first_line(loaded));
    if let Some(note) = &loaded.note {
        log::info!("{note}");
    }
    for warning in &loaded.warnings {
        log::warn!("{warning}");
    }
}

/// The first line of the log: what runs, with which configuration, and where it will listen. `listening on` on standard
/// output names the ports that the system chooses.
fn first_line(loaded: &Loaded) -> String {
    let (version, process) = (env!("CARGO_PKG_VERSION"), std::process::id());
    let commit = jsocketd::COMMIT.map_or_else(String::new, |commit| format!(" (commit {commit})"));
    let source = match &loaded.file {
        Some(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            format!("configuration {}", path.display())
        }
        None if loaded.config.embedded_defaults => "the embedded defaults".to_owned(),
        None => "no configuration file".to_owned(),
    };
    let server = &loaded.config.server;
    let admin = server.admin_listen.named().into_iter();
    let admin = admin.map(|address| format!("{address} for administrators"));
    let listeners: Vec<String> = server.listen.iter().map(ToString::to_string).chain(admin).collect();
    let listeners = listeners.join(", ");
    format!("jsocketd {version}{commit} starts: process {process}, {source}, listeners {listeners}")
}

/// The child process of a look-up: see [`process::lookup`].
fn resolve(server: u32, host: &str, port: u16) -> Result<(), Box<dyn Error>> {
    let answer = process::lookup::answer(server, host, port)?;
    Ok(std::io::stdout().write_all(answer.as_bytes())?)
}
