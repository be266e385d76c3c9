//! The server's binary: reads the command line and the configuration, starts the command, and says on standard error why
//! it could not. Everything else is in the library.

mod cli;
mod publish;

use std::error::Error;
use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use jsocketd::app::trace::{self, Replayed};
use jsocketd::config::{Secrets, Sources};
use jsocketd::{logging, serve};
use rustix::process::{Resource, getrlimit};

use cli::{Cli, Command, Serve};

fn main() -> ExitCode {
    let done = match Cli::parse().command() {
        Command::Serve(flags) => serve(flags),
        Command::Check(flags) => check(&sources(flags)),
        Command::Publish(flags) => publish::publish(flags),
        Command::Replay { file } => replay(&file),
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

/// Prints what is in force. All of standard output is TOML, so that it can be kept as a file.
fn check(sources: &Sources) -> Result<(), Box<dyn Error>> {
    let loaded = sources.load()?;
    let limit = getrlimit(Resource::Nofile);
    let room = loaded.config.connections_for(limit.maximum.unwrap_or(u64::MAX));
    let shown = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |number| number.to_string());
    let source = match &loaded.file {
        Some(path) => format!("configuration file: {}", path.display()),
        None if loaded.config.embedded_defaults => "no configuration file: embedded defaults".to_owned(),
        None => "no configuration file".to_owned(),
    };
    let report = format!(
        "# {source}\n\n{}\n# descriptors: soft limit {}, hard limit {}; the server raises the soft one, so max_connections \
         comes to {room}\n",
        loaded.config.to_toml(Secrets::Masked),
        shown(limit.current),
        shown(limit.maximum),
    );
    // Whoever closed the pipe (`| head`) has read enough.
    let _ = std::io::stdout().write_all(report.as_bytes());

    for warning in &loaded.warnings {
        complain(format_args!("warning: {warning}"));
    }
    let wanted = loaded.config.server.max_connections;
    if wanted > room {
        complain(format_args!(
            "warning: max_connections is {wanted}, but the descriptor limit allows only {room}"
        ));
    }
    Ok(())
}
