//! Writes the manual pages and the completions for bash, zsh and fish into a folder, from `src/cli.rs`, by which the
//! server reads its command line. It is an example so that its crates are not linked into the server.
//!
//! ```sh
//! cargo run --example manual -- FOLDER
//! ```

#[path = "../src/cli.rs"]
#[expect(dead_code, reason = "main.rs runs the commands")]
mod cli;

use std::fs::{self, File};
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// The files that the commands use, and what for.
const FILES: &[(&str, &str)] = &[
    (
        "/etc/jsocketd/jsocketd.toml",
        "The configuration, if neither --config nor JSOCKETD_CONFIG names another file. Its comments describe every key.",
    ),
    ("/run/jsocketd/admin.sock", "The socket for administrators."),
];

/// What the server does at a signal.
const SIGNALS: &[(&str, &str)] = &[
    (
        "SIGTERM, SIGINT",
        "The server closes its connections, spread over drain_seconds, and ends. The second one ends it at once.",
    ),
    (
        "SIGHUP",
        "The server opens its access log again, reads its configuration again, and puts it in force if it is valid.",
    ),
    ("SIGUSR1", "The server writes its records of slow ticks to the log."),
];

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1);
    let folder = folder.ok_or_else(|| io::Error::other("usage: manual FOLDER"))?;
    let folder = Path::new(&folder);
    fs::create_dir_all(folder)?;
    let mut command = without_hidden(<cli::Cli as CommandFactory>::command().disable_help_subcommand(true));
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command, "jsocketd", folder)?;
    }
    command.build();
    let version = format!("jsocketd {}", env!("CARGO_PKG_VERSION"));
    write_page(folder, &command, &version)?;
    for part in command.get_subcommands() {
        write_page(folder, part, &version)?;
    }
    Ok(())
}

/// The command without the commands that the server starts itself.
fn without_hidden(command: Command) -> Command {
    let mut shown = Command::new("jsocketd");
    shown = shown.about(command.get_about().cloned().unwrap_or_default());
    shown = shown.after_help(command.get_after_help().cloned().unwrap_or_default());
    shown = shown
        .version(env!("CARGO_PKG_VERSION"))
        .args_conflicts_with_subcommands(true);
    shown = shown.disable_help_subcommand(true).args(command.get_arguments());
    shown.subcommands(command.get_subcommands().filter(|part| !part.is_hide_set()))
}

/// Writes the page of one command, with the files and signals on the main one.
fn write_page(folder: &Path, command: &Command, version: &str) -> io::Result<()> {
    let page = Man::new(command.clone()).source(version).manual("jsocketd");
    let mut file = File::create(folder.join(page.get_filename()))?;
    page.render_title(&mut file)?;
    page.render_name_section(&mut file)?;
    page.render_synopsis_section(&mut file)?;
    page.render_description_section(&mut file)?;
    page.render_options_section(&mut file)?;
    let is_main = command.has_subcommands();
    if is_main {
        page.render_subcommands_section(&mut file)?;
    }
    let mut rest = Roff::default();
    if let Some(notes) = command.get_after_help() {
        rest.control("SH", ["NOTES"]);
        for line in notes.to_string().lines() {
            match line.trim() {
                "" => rest.control("PP", []),
                line => rest.text([roman(line)]),
            };
        }
    }
    if is_main {
        for (title, rows) in [("SIGNALS", SIGNALS), ("FILES", FILES)] {
            rest.control("SH", [title]);
            for (name, meaning) in rows {
                rest.control("TP", []);
                rest.text([bold(*name)]);
                rest.text([roman(*meaning)]);
            }
        }
    }
    rest.to_writer(&mut file)
}
