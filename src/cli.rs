//! The command line as it is typed. `main` starts the command, `config` merges the flags with the other sources.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use jsocketd::config::{BadOrigin, HttpUrl, ListenEntry, Origin};

/// The real-time server for Joomla sites: one thread, one readiness loop, WebSockets.
#[derive(Debug, Parser)]
#[command(
    name = "jsocketd",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "`jsocketd` alone is `jsocketd serve`. Without a configuration file it listens on 127.0.0.1:8080.\n\
                  Every key can also come from the environment: JSOCKETD_LISTEN, JSOCKETD_LIMITS_PING_INTERVAL, …\n\
                  RUST_LOG=debug shows what every connection does."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

/// The command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server (what `jsocketd` alone does)
    Serve(Serve),
    /// Name every fault of the configuration, the site and its database, and print a summary
    #[command(after_help = "Exit codes: 0 there is no fault; 1 there is one.")]
    Check(Check),
    /// Put a site's configuration, the unit and the web server's lines in their places
    #[command(
        after_help = "It shows every change as a diff and asks before it writes. It restarts nothing: it prints the\n\
                      commands to run next. `jsocketd setup --remove` takes away what it has made.\n\n\
                      Exit codes: 0 everything is in its place, or was shown with --dry-run; 1 something is in the way, and\n\
                      nothing was written."
    )]
    Setup(Setup),
    /// Prove the whole chain of a site from the outside in, and name the line to mend
    #[command(
        after_help = "It loads the site's page as a browser does, connects to the socket that the page names, and watches a\n\
                      silent connection while it looks at the rest. On the server's machine, with --joomla or --config,\n\
                      it also looks at the database and follows an event on its way. It changes nothing but two rows in\n\
                      the outbox table, for a channel of its own.\n\n\
                      Exit codes: 0 there is no fault; 1 there is one; 2 it cannot run."
    )]
    Doctor(Doctor),
    /// Ask a running server for its state
    #[command(
        after_help = "It asks at the socket for administrators (admin_listen) of the configuration, or at --url with \
                            the admin_token of the configuration or of JSOCKETD_ADMIN_TOKEN. Without a configuration \
                            file it asks http://127.0.0.1:8080.\n\n\
                            Exit codes: 0 the state was printed, or the server is ready; 1 the server refuses, or is \
                            not ready; 2 the server cannot be asked."
    )]
    Status(Status),
    /// Print the events of channels as they come, each as one line of JSON
    #[command(
        after_help = "It connects again by itself when the connection is lost. It ends with 0 at Ctrl-C and when\n\
                            nobody reads its output any more, and with 1 when the server refuses it or a channel."
    )]
    Listen(Listen),
    /// Watch a running server: its load, where the loop's time goes, and the culprits of slow ticks
    #[command(
        after_help = "It asks where `jsocketd status` asks, once a second. Keys: q leaves, p pauses, the arrows or j and k\n\
                      scroll the ticks, s sorts them, ? shows the keys.\n\n\
                      Exit codes: 0 it was left, or the screen was printed; 1 the server refuses; 2 the server cannot be\n\
                      asked, or there is no terminal."
    )]
    Top(Top),
    /// Publish one event through the HTTP API of a running server, or through the outbox table
    Publish(Publish),
    /// Print the SQL of the outbox's tables, with the prefix of the site's tables
    Schema {
        #[command(flatten)]
        flags: Sources,
        /// Instead of that, make version 2 of tables of version 1 in the site's database, while the site goes on
        #[arg(long)]
        update: bool,
    },
    /// Run a recorded trace through the same core and tell whether it does the same
    Replay {
        /// The trace that `serve --record` wrote
        file: PathBuf,
        /// Print in words what happens in it: the ticks and how long they took, each input, answer and action
        #[arg(long)]
        story: bool,
    },
    /// The server starts this itself: it ends the connection on standard input when the timer on standard output fires
    #[command(name = jsocketd::store::mysql::deadline::COMMAND, hide = true)]
    Deadline {
        /// The id of the server's process
        server: u32,
    },
    /// Print the addresses of a host; the server starts this as a child process, since it may take long
    #[command(hide = true)]
    Resolve {
        /// The id of the server's process
        server: u32,
        /// The host's name
        host: String,
        /// The port, which stands in each address
        port: u16,
    },
}

/// The flags of `serve`.
#[derive(Args, Debug)]
pub struct Serve {
    #[command(flatten)]
    pub sources: Sources,
    /// Write a trace of all inputs, to be studied with `jsocketd replay`. If FILE exists, FILE.1 is written, or FILE.2
    /// and so on
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// The most bytes of the trace. When it is that long, the recording stops and the server goes on
    #[arg(long, value_name = "BYTES", requires = "record", default_value_t = 1 << 30,
          value_parser = clap::value_parser!(u64).range(65536..))]
    pub record_limit: u64,
    /// Keep messages and the data of events in the trace; secrets stay masked
    #[arg(long, requires = "record")]
    pub record_plain: bool,
    /// Delay every statement of the database on purpose, to see the effect of a slow one: 1 to 60000 milliseconds.
    /// Without a site, a statement named slow runs once a second
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub slow_sql: Option<u64>,
    /// The supervisor starts its workers so: the worker's number
    #[arg(long, hide = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub worker: Option<u32>,
}

/// The flags of `setup`.
#[derive(Args, Debug)]
pub struct Setup {
    /// The folder of the Joomla site, where its configuration.php is
    #[arg(long, value_name = "DIR", required_unless_present = "remove")]
    pub joomla: Option<PathBuf>,
    /// The site's address, https://HOST, where neither $live_site nor the web server names it
    #[arg(long, value_parser = address, conflicts_with = "remove")]
    pub url: Option<Origin>,
    /// The web server in front of the site: nginx, apache, or one whose lines are printed: caddy, haproxy
    #[arg(long, value_name = "NAME", value_parser = ["nginx", "apache", "caddy", "haproxy"], conflicts_with = "remove")]
    pub web_server: Option<String>,
    /// A name for one of several sites on this machine: /etc/jsocketd/NAME.toml, jsocketd@NAME.service and its own port
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,
    /// Write without a question
    #[arg(long)]
    pub yes: bool,
    /// Show the changes and write nothing
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Take away what an earlier `setup` has made
    #[arg(long)]
    pub remove: bool,
}

/// The address of a site, with or without a path.
fn address(text: &str) -> Result<Origin, BadOrigin> {
    let origin = Origin::of_address(text)?;
    match origin.scheme.as_str() {
        "http" | "https" => Ok(origin),
        _ => Err("an address starts with http:// or https://"),
    }
}

/// The flags of `doctor`.
#[derive(Args, Debug)]
pub struct Doctor {
    /// The public address of a page of the site, https://www.example.org/; without it $live_site of the site's
    /// configuration.php
    pub url: Option<String>,
    /// Print one list as JSON
    #[arg(long)]
    pub json: bool,
    /// The folder of the Joomla site, where its configuration.php is
    #[arg(long, value_name = "DIR")]
    pub joomla: Option<PathBuf>,
    /// Read this file instead of JSOCKETD_CONFIG or /etc/jsocketd/jsocketd.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The socket, wss://HOST/ws, where no page names it
    #[arg(long, value_name = "URL", requires = "key")]
    pub socket: Option<String>,
    /// The key of the app, with --socket
    #[arg(long, requires = "socket")]
    pub key: Option<String>,
    /// The longest time for which a silent connection is watched; 0: not at all
    #[arg(long, value_name = "SECONDS", default_value_t = 65, value_parser = clap::value_parser!(u64).range(..=3600))]
    pub idle: u64,
    /// Trust the roots in this PEM file too; may be repeated
    #[arg(long, value_name = "FILE")]
    pub ca: Vec<PathBuf>,
}

/// The flags of `publish`. It takes its address and credentials from the configuration of the server.
#[derive(Args, Debug)]
pub struct Publish {
    /// The channel
    pub channel: String,
    /// The name of the event
    pub event: String,
    /// The event's data, sent as a string just as it is; `-` reads standard input
    #[arg(allow_negative_numbers = true)]
    pub data: String,
    /// Read this file instead of JSOCKETD_CONFIG or /etc/jsocketd/jsocketd.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The app, if the configuration has several
    #[arg(long, value_name = "ID")]
    pub app: Option<String>,
    /// The server, http://HOST:PORT or https://HOST, with what precedes /apps/ in its paths; without this flag the
    /// first TCP address that the configuration listens on
    #[arg(long)]
    pub url: Option<HttpUrl>,
    /// Trust the authorities in this PEM file too, with an https:// --url; may be repeated
    #[arg(long, value_name = "FILE", requires = "url")]
    pub ca: Vec<PathBuf>,
    /// The one connection that does not get the event
    #[arg(long, value_name = "ID")]
    pub socket_id: Option<String>,
    /// Write a row into the outbox table of the site's database instead
    #[arg(long, conflicts_with_all = ["app", "url"])]
    pub outbox: bool,
    /// The folder of the Joomla site, with --outbox
    #[arg(long, value_name = "DIR", requires = "outbox")]
    pub joomla: Option<PathBuf>,
}

/// The flags of `listen`. It takes its address and credentials from the configuration of the server.
#[derive(Args, Debug)]
pub struct Listen {
    /// The channels; private- and presence- ones are signed with the app's secret
    #[arg(value_name = "CHANNEL", required = true)]
    pub channels: Vec<String>,
    /// Read this file instead of JSOCKETD_CONFIG or /etc/jsocketd/jsocketd.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The app, if the configuration has several
    #[arg(long, value_name = "ID")]
    pub app: Option<String>,
    /// The server, http://HOST:PORT or https://HOST, with what precedes /app/ in its paths; without this flag the
    /// first TCP address that the configuration listens on
    #[arg(long)]
    pub url: Option<HttpUrl>,
    /// Trust the authorities in this PEM file too, with an https:// --url; may be repeated
    #[arg(long, value_name = "FILE", requires = "url")]
    pub ca: Vec<PathBuf>,
}

/// The flags of `check`.
#[derive(Args, Debug)]
pub struct Check {
    #[command(flatten)]
    pub sources: Sources,
    /// Print also the configuration in force, as TOML, and all that was found, as comments
    #[arg(long)]
    pub all: bool,
    /// Print all of it as one object of JSON, and nothing else
    #[arg(long, conflicts_with = "all")]
    pub json: bool,
    /// Count warnings as faults
    #[arg(long)]
    pub strict: bool,
}

/// The flags of `status`.
#[derive(Args, Debug)]
pub struct Status {
    /// Print the server's JSON
    #[arg(long)]
    pub json: bool,
    /// Only say whether new clients may come, on one line and by the exit code
    #[arg(long, conflicts_with = "json")]
    pub ready: bool,
    #[command(flatten)]
    pub asked: Asked,
}

/// The flags of `top`.
#[derive(Args, Debug)]
pub struct Top {
    /// Print one screen as plain text and end
    #[arg(long)]
    pub once: bool,
    /// Print the server's JSON of /debug/status and /debug/loop in one object and end
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub asked: Asked,
}

/// The flags that say which server is asked for its state.
#[derive(Args, Debug)]
pub struct Asked {
    /// The server, http://HOST:PORT or https://HOST, with what precedes /debug/ in its paths
    #[arg(long)]
    pub url: Option<HttpUrl>,
    /// Trust the authorities in this PEM file too, with an https:// --url; may be repeated
    #[arg(long, value_name = "FILE", requires = "url")]
    pub ca: Vec<PathBuf>,
    /// Ask this one of several workers, from 1 on
    #[arg(long, value_name = "N", conflicts_with = "url")]
    pub worker: Option<u32>,
    /// Read this file instead of JSOCKETD_CONFIG or /etc/jsocketd/jsocketd.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The flags that are sources of the configuration.
#[derive(Args, Debug)]
pub struct Sources {
    /// Read this file instead of JSOCKETD_CONFIG or /etc/jsocketd/jsocketd.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Listen here instead of where the configuration says; may be repeated.
    /// 127.0.0.1:8080, [::1]:8080, unix:/PATH; port 0 lets the system choose.
    /// Options stand behind the address: "127.0.0.1:8080 proxy_protocol"
    #[arg(long, value_name = "ADDR", verbatim_doc_comment)]
    pub listen: Vec<ListenEntry>,
    /// The folder of the Joomla site, where its configuration.php is
    #[arg(long, value_name = "DIR")]
    pub joomla: Option<PathBuf>,
}

impl From<Sources> for jsocketd::config::Sources {
    fn from(flags: Sources) -> Self {
        Self::of_process(flags.config, flags.listen, flags.joomla)
    }
}

impl Cli {
    /// The command that was typed; none is `serve`.
    pub fn command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as CommandFactory>::command().debug_assert();
    }
}
