//! The server's binary: reads the command line and the configuration, starts the command, and says on standard error why
//! it could not. Everything else is in the library.

mod check;
mod cli;
mod publish;
mod tables;

use std::error::Error;
use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use jsocketd::config::Sources;
use jsocketd::store::mysql::{deadline, silence_driver_panics};
use jsocketd::trace::{self, Replayed};
use jsocketd::{logging, serve};

use cli::{Cli, Command, Serve};

fn main() -> ExitCode {
    silence_driver_panics();
    let done = match Cli::parse().command() {
        Command::Serve(flags) => serve(flags),
        Command::Check(flags) => check::check(&sources(flags)),
        Command::Publish(flags) => publish::publish(flags),
        Command::Schema { flags, update: false } => tables::print(&sources(flags)),
        Command::Schema { flags, update: true } => tables::bring_up_to_date(&sources(flags)),
        Command::Replay { file } => replay(&file),
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

/// Each line of a complaint says whose it is.
fn complain(what: impl Display) {
    for line in what.to_string().lines() {
        eprintln!("jsocketd: {line}");
    }
}

fn sources(flags: cli::Sources) -> Sources {
    Sources {
        joomla: flags.joomla,
        ..Sources::of_process(flags.config, flags.listen)
    }
}

fn serve(flags: Serve) -> Result<(), Box<dyn Error>> {
    let sources = sources(flags.sources);
    let loaded = sources.load()?;
    logging::init(loaded.config.server.log_level);
    for warning in &loaded.warnings {
        log::warn!("{warning}");
    }
    let reload = sources.pinned(&loaded);
    Ok(serve::serve(loaded, &reload, flags.record)?)
}

/// The part of the child process in a look-up: see [`serve::lookup`].
fn resolve(server: u32, host: &str, port: u16) -> Result<(), Box<dyn Error>> {
    let answer = serve::lookup::answer(server, host, port)?;
    Ok(std::io::stdout().write_all(answer.as_bytes())?)
}

fn replay(file: &Path) -> Result<(), Box<dyn Error>> {
    match trace::replay(file)? {
        Replayed::Same { inputs, diverged: 0 } => println!("{inputs} inputs, the same actions"),
        Replayed::Same { inputs, diverged } => println!(
            "{inputs} inputs, the same actions; diverged lines, where masking had changed the story: {diverged}"
        ),
        Replayed::Different { line, recorded, now } => {
            return Err(format!("line {line}: other actions\nrecorded: {recorded:?}\nnow:      {now:?}").into());
        }
    }
    Ok(())
}
