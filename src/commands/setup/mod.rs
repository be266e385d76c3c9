//! `jsocketd setup`: puts a site's configuration, the unit and the web server's lines in their places, and takes them
//! away again. It looks first and proposes (`addition`, `removal`), shows each change as a diff (`change`), and writes
//! after a yes. The web server's own test decides whether the changes stay.
//!
//! It restarts nothing and changes no permission of the site's files: it prints the commands that a person runs next.
//! What it has made stands in a record (`manifest`), by which `--remove` finds it.

mod accounts;
mod addition;
mod change;
mod edit;
mod manifest;
mod names;
mod removal;
mod settings;
mod site;
mod unit;
mod webserver;

use std::error::Error;
use std::io::{self, BufRead, IsTerminal, Write};
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use super::say;
use super::snippets::Proxy;
use crate::cli::Setup;
use change::{Change, apply, put_back};
use manifest::Records;
use names::{Instance, Names};

/// Sets a site up, or takes that away again.
///
/// # Errors
/// Something is in the way, or the web server refuses the changes: a sentence says what to do, and nothing has changed.
pub fn setup(flags: &Setup) -> Result<(), Box<dyn Error>> {
    let instance: Option<Instance> = flags.instance.as_deref().map(str::parse).transpose()?;
    let names = Names::of(instance);
    let mut records = Records::read(&names.record())?;
    let steps = match &flags.joomla {
        _ if flags.remove => removal::plan(&names, &records)?,
        Some(folder) => addition::plan(folder, flags, &names, &mut records)?,
        None => return Err("name the folder of the site with --joomla".into()),
    };
    steps.run(flags, &records)
}

/// What is to be done, and what to say then.
#[derive(Debug, Default)]
struct Steps {
    changes: Vec<Change>,
    /// The web server that tests the changes.
    tester: Option<Proxy>,
    /// The sentence for no change.
    nothing: &'static str,
    /// The command that checks the result: a program and its arguments; empty: none.
    check: Vec<String>,
    /// What a person does then, one line each.
    next: Vec<String>,
}

impl Steps {
    fn run(self, flags: &Setup, records: &Records) -> Result<(), Box<dyn Error>> {
        for change in &self.changes {
            print!("\n{change}");
        }
        say("");
        if self.changes.is_empty() {
            say(self.nothing);
        } else if flags.dry_run {
            say("Nothing was written (--dry-run).");
            return Ok(());
        } else {
            self.write(flags, records)?;
        }
        if !flags.dry_run {
            self.run_check();
        }
        if !self.next.is_empty() {
            say("\nNext:");
        }
        for line in self.next.iter().flat_map(|text| text.lines()) {
            say(format!("  {line}").trim_end());
        }
        Ok(())
    }

    fn write(&self, flags: &Setup, records: &Records) -> Result<(), Box<dyn Error>> {
        if !geteuid().is_root() {
            return Err("only root can write these files: use sudo, or --dry-run to see the changes only".into());
        }
        if !flags.yes && !agreed()? {
            return Err("nothing was written".into());
        }
        if records.exists() {
            records.sweep()?;
        }
        apply(&self.changes)?;
        if let Some(proxy) = self.tester {
            if let Err(message) = webserver::test(proxy) {
                let end = match put_back(&self.changes) {
                    Ok(()) => "so every file is again as it was before".to_owned(),
                    Err(why) => why,
                };
                return Err(format!(
                    "{proxy} refuses its configuration with these changes, {end}. It says:\n{message}"
                )
                .into());
            }
            say(&format!("{proxy} accepts its configuration."));
        }
        let number = self.changes.len();
        say(&format!("{number} change{} made.", if number == 1 { "" } else { "s" }));
        Ok(())
    }

    /// What is missing then is for the person: the package, perhaps the database's tables.
    fn run_check(&self) {
        let Some((program, arguments)) = self.check.split_first() else {
            return;
        };
        say(&format!("\n$ {}", self.check.join(" ")));
        let mut command = Command::new(program);
        // The unit has none of them.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("JSOCKETD_")) {
            command.env_remove(name);
        }
        if let Err(why) = command.args(arguments).stdin(Stdio::null()).status() {
            say(&format!("{program} cannot be run: {why}"));
        }
    }
}

/// Asks at the terminal.
fn agreed() -> Result<bool, Box<dyn Error>> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err("nothing was written: there is no terminal to ask at. Add --yes to write these changes".into());
    }
    print!("Write these changes? [y/N] ");
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes" | "YES"))
}

/// Prints a line of what was found, without characters that a terminal would obey.
fn found(name: &str, what: &str) {
    let what = what.replace(char::is_control, "?");
    say(format!("{name:<18} {what}").trim_end());
}
