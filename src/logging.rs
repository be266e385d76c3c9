//! Log lines: one sentence each, to standard error, in the form that people or systemd's journal read well. `RUST_LOG`,
//! else the configuration, decides which lines are written; [`RareLine`] and [`Quiet`] write a line that may come often
//! only once in a while. The code that logs decides which events get a line, and at which level.
//!
//! No line holds a payload, a cookie, a token or a secret. Lines of libraries may: at `trace` tungstenite writes whole
//! handshakes and messages. So libraries log only at `warn` and above, whatever `RUST_LOG` says.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use env_logger::fmt::Formatter;
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::time::Time;

/// `RUST_LOG` has a part that means nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{FILTER_VARIABLE}: {0}")]
pub struct BadFilter(String);

/// The first part of the path of each of our modules.
const PROGRAM: &str = "jsocketd";

/// The variable that decides which lines are written.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// Starts logging at `level`, once per process; [`set_level`] changes the level. `worker`: the number of this one of
/// several workers, which begins each of its lines.
///
/// # Errors
/// When `RUST_LOG` is set and has a part that means nothing.
pub fn init(level: LevelFilter, worker: Option<u32>) -> Result<(), BadFilter> {
    let mut builder = env_logger::Builder::new();
    match std::env::var_os(FILTER_VARIABLE) {
        Some(filter) if environment_decides() => {
            let filter = filter
                .to_str()
                .ok_or_else(|| BadFilter("the value is not UTF-8".into()))?;
            check_filter(filter)?;
            builder.parse_filters(filter);
        }
        // Everything passes the filter, and `set_level` decides: the level of `log` can be changed, a built filter
        // cannot.
        _ => drop(builder.filter_level(LevelFilter::Trace)),
    }
    let in_journal = stderr_is_journal();
    let worker = worker.map_or_else(String::new, |number| format!("worker {number}: "));
    builder.format(move |out, record| match in_journal {
        true => journal_line(out, &worker, record),
        false => terminal_line(out, &worker, record),
    });
    let logger = builder.build();
    log::set_max_level(logger.filter());
    // A second start is a bug, but no reason to end a server: the first logger stays.
    let first = log::set_boxed_logger(Box::new(Discreet(logger)));
    debug_assert!(first.is_ok(), "logging is started once");
    set_level(level);
    Ok(())
}

/// Checks each part of a filter: `LEVEL`, `MODULE` or `MODULE=LEVEL`, separated by commas, and behind one slash a text
/// that a line must contain. env_logger passes over a part that it cannot read, and takes every other word for a
/// module: a misspelt level would switch the log off.
fn check_filter(filter: &str) -> Result<(), BadFilter> {
    let (parts, text) = filter.split_once('/').unwrap_or((filter, ""));
    if text.contains('/') {
        return Err(BadFilter(format!("`{filter}` has more than one slash")));
    }
    for part in parts.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (module, level) = match part.split_once('=') {
            Some((module, level)) => (module, Some(level.trim())),
            None if is_level(part) => continue,
            None => (part, None),
        };
        if let Some(level) = level.filter(|level| !is_level(level)) {
            return Err(BadFilter(format!("`{level}` in `{part}` is not a level: {LEVELS}")));
        }
        // Another program's filter may name modules of libraries. Without a level that is more likely a misspelt word.
        let is_meant = is_module(module) || level.is_some() && !module.starts_with(PROGRAM);
        if !is_meant {
            return Err(BadFilter(format!(
                "`{module}` is neither a level ({LEVELS}) nor a module of {PROGRAM}, such as {PROGRAM}::hub"
            )));
        }
    }
    Ok(())
}

/// The levels of a filter.
const LEVELS: &str = "off, error, warn, info, debug or trace";

fn is_level(word: &str) -> bool {
    word.parse::<LevelFilter>().is_ok()
}

/// Whether a target of `RUST_LOG` is this program or a part of it. The rooms are those of `lib.rs`, and the commands.
fn is_module(target: &str) -> bool {
    let mut path = target.split("::");
    let is_room = |room: &str| {
        let mut lines = include_str!("lib.rs").lines();
        room == "commands" || lines.any(|line| line.strip_prefix("pub mod ") == Some(&format!("{room};")))
    };
    path.next() == Some(PROGRAM) && path.next().is_none_or(is_room)
}

/// Leaves out the lines of libraries below `warn`, and all lines of rustls: it warns of each alert that a peer sends,
/// so a peer could fill the log. What matters of TLS comes to us as an error.
struct Discreet<L>(L);

impl<L: Log> Log for Discreet<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_wanted = match crate_of(metadata.target()) {
            PROGRAM => true,
            "rustls" => false,
            _ => metadata.level() <= Level::Warn,
        };
        is_wanted && self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// The first part of a target's path.
fn crate_of(target: &str) -> &str {
    target.split_once("::").map_or(target, |(name, _)| name)
}

/// Whether a target is a module of this crate.
fn is_ours(target: &str) -> bool {
    crate_of(target) == PROGRAM
}

/// Changes the level of our own code now. Libraries stay at `warn` or below. Does nothing when `RUST_LOG` is set.
pub fn set_level(level: LevelFilter) {
    if !environment_decides() {
        log::set_max_level(level);
    }
}

fn environment_decides() -> bool {
    std::env::var_os(FILTER_VARIABLE).is_some_and(|filter| !filter.is_empty())
}

/// Whether standard error goes to the journal, found out as systemd.exec(5) says: processes whose output was redirected
/// inherit the variable too.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// `<6>sentence`: the journal has its own clock and reads the priority (sd-daemon(3)).
fn journal_line(out: &mut impl Write, worker: &str, record: &Record<'_>) -> io::Result<()> {
    let priority = match record.level() {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    writeln!(out, "<{priority}>{worker}{}{}", Origin(record), Sentence(record.args()))
}

fn terminal_line(out: &mut Formatter, worker: &str, record: &Record<'_>) -> io::Result<()> {
    let (time, style) = (out.timestamp_millis(), out.default_level_style(record.level()));
    let (level, origin, sentence) = (record.level(), Origin(record), Sentence(record.args()));
    writeln!(out, "{time} {style}{level:<5}{style:#} {worker}{origin}{sentence}")
}

/// The module of a record, for developers (debug, trace) and for lines that are not ours.
struct Origin<'a>(&'a Record<'a>);

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.0.target();
        match is_ours(target) && self.0.level() <= Level::Info {
            true => Ok(()),
            false => write!(f, "{target}: "),
        }
    }
}

/// A message on one line. Control characters are escaped: a message may quote a peer, who could forge lines.
struct Sentence<'a>(&'a fmt::Arguments<'a>);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::write(&mut Escaping(f), *self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            match part.chars().next_back() {
                Some(last) if last.is_control() => {
                    self.0.write_str(&part[..part.len() - last.len_utf8()])?;
                    write!(self.0, "{}", last.escape_default())?;
                }
                _ => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// The causes of log lines that a peer can repeat. Each kind has its own second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client was refused because `max_connections` are open.
    Full,
    /// Accepting failed, most likely for want of descriptors.
    Accept,
    /// An address made too many connections, at once or in a second.
    Address,
    /// A connection exceeded a rate: messages, requests or subscriptions.
    MessageRate,
    /// A message, head or body was larger than its limit.
    TooLarge,
    /// A slow consumer was dropped.
    SlowConsumer,
    /// A peer that is not trusted came to a listener that expects the PROXY protocol.
    Stranger,
    /// A trusted proxy sent no good header of the PROXY protocol.
    BadHeader,
    /// A peer showed wrong tokens.
    Token,
    /// A webhook's target failed, or answers again.
    Webhook,
    /// A webhook event was given up.
    WebhookDropped,
    /// The database refused a statement, or a row was malformed.
    Database,
    /// A row of the outbox table could not be published.
    BadRow,
}

/// A line that may come often: it is written once in a while, with a count of those that were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RareLine {
    last: Option<Time>,
    left_out: u64,
}

impl RareLine {
    /// Whether the line may be written at `now`, when `pause` must be between two of them (`Duration::MAX`: it is
    /// written once). Then how many were left out, to be added with [`More`]. Otherwise this one is counted as left
    /// out.
    pub fn allow(&mut self, pause: Duration, now: Time) -> Option<u64> {
        if self.last.is_some_and(|last| now.since(last) < pause) {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

/// At most one line a second of each kind.
#[derive(Clone, Debug, Default)]
pub struct Quiet {
    lines: [RareLine; Kind::BadRow as usize + 1],
}

impl Quiet {
    /// Without any line yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a line of this kind may be written at `now`: see [`RareLine::allow`].
    pub fn allow(&mut self, kind: Kind, now: Time) -> Option<u64> {
        self.lines[kind as usize].allow(Duration::from_secs(1), now)
    }
}

/// The end of a line, with the count of those that were left out: ` (and 412 more)`, or nothing.
#[derive(Clone, Copy, Debug)]
pub struct More(pub u64);

impl fmt::Display for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " (and {count} more)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(level: Level, target: &str, message: &str) -> String {
        let mut line = Vec::new();
        let args = format_args!("{message}");
        journal_line(
            &mut line,
            "",
            &Record::builder().level(level).target(target).args(args).build(),
        )
        .expect("a Vec takes all");
        String::from_utf8(line).expect("UTF-8")
    }

    #[test]
    fn the_journal_gets_a_priority_and_one_line() {
        assert_eq!(journal(Level::Error, "jsocketd::server", "a bug"), "<3>a bug\n");
        assert_eq!(journal(Level::Warn, "jsocketd", "full"), "<4>full\n");
        assert_eq!(journal(Level::Info, "jsocketd::server", "ready"), "<6>ready\n");
        assert_eq!(
            journal(Level::Debug, "jsocketd::net", "read"),
            "<7>jsocketd::net: read\n"
        );
        assert_eq!(journal(Level::Warn, "jsocketd_other", "x"), "<4>jsocketd_other: x\n");
    }

    #[test]
    fn lines_of_libraries_below_warn_are_omitted_with_every_filter() {
        let logger = env_logger::Builder::new().parse_filters("trace").build();
        let discreet = Discreet(logger);
        let is_written = |level, target| {
            let metadata = Metadata::builder().level(level).target(target).build();
            discreet.enabled(&metadata)
        };
        for target in ["jsocketd", "jsocketd::net::wire"] {
            assert!(is_written(Level::Trace, target), "{target}");
        }
        for target in [
            "tungstenite::protocol",
            "mio::poll",
            "mysql::conn",
            "rustls_other",
            "jsocketd_other",
            "",
        ] {
            assert!(
                is_written(Level::Warn, target) && is_written(Level::Error, target),
                "{target}"
            );
            for level in [Level::Info, Level::Debug, Level::Trace] {
                assert!(!is_written(level, target), "{target} {level}");
            }
        }
        assert!(!is_written(Level::Error, "rustls") && !is_written(Level::Warn, "rustls::common_state"));
    }

    #[test]
    fn a_filter_with_a_part_that_means_nothing_is_refused_with_that_part() {
        for good in [
            "debug",
            "TRACE",
            "off",
            "jsocketd",
            "jsocketd=debug,mio=trace",
            " info , jsocketd::hub=debug,",
            "jsocketd::server::act=trace",
            "jsocketd::commands::check",
            "debug/#12",
        ] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        for (bad, word) in [
            ("debgu", "`debgu`"),
            ("info,verbose", "`verbose`"),
            ("jsocketd=debgu", "`debgu`"),
            ("jsocketd=", "`` in `jsocketd=`"),
            ("jsocketd=debug=info", "`debug=info`"),
            ("jsocketdd=debug", "`jsocketdd`"),
            ("jsocketd::hubb=debug", "`jsocketd::hubb`"),
            ("mio", "`mio`"),
            ("debug/a/b", "`debug/a/b`"),
        ] {
            let why = check_filter(bad).expect_err(bad).to_string();
            assert!(why.starts_with("RUST_LOG: ") && why.contains(word), "{bad}: {why}");
        }
    }

    #[test]
    fn a_message_of_a_peer_cannot_forge_a_line() {
        assert_eq!(
            journal(Level::Info, "jsocketd", "a\r\n<3>b\u{1b}[0m\u{85}ü"),
            "<6>a\\r\\n<3>b\\u{1b}[0m\\u{85}ü\n"
        );
    }

    #[test]
    fn a_kind_of_line_is_written_once_a_second_and_the_rest_is_counted() {
        let mut quiet = Quiet::new();
        let at = |ms: u64| Time(ms * 1000);
        assert_eq!(quiet.allow(Kind::Full, at(0)), Some(0));
        assert_eq!(quiet.allow(Kind::Full, at(0)), None);
        assert_eq!(quiet.allow(Kind::Full, at(999)), None);
        assert_eq!(
            quiet.allow(Kind::Token, at(999)),
            Some(0),
            "another kind has its own second"
        );
        assert_eq!(quiet.allow(Kind::Full, at(1000)), Some(2));
        assert_eq!(quiet.allow(Kind::Full, at(2000)), Some(0));
        assert_eq!(
            quiet.allow(Kind::Full, at(1500)),
            None,
            "an earlier time is no later second"
        );
    }

    #[test]
    fn a_rare_line_can_be_written_once_for_ever() {
        let mut line = RareLine::default();
        assert_eq!(line.allow(Duration::MAX, Time(0)), Some(0));
        assert_eq!(line.allow(Duration::MAX, Time::NEVER), None);
        assert_eq!(line.allow(Duration::ZERO, Time::NEVER), Some(1));
    }

    #[test]
    fn the_count_of_omitted_lines_is_added_unless_it_is_zero() {
        assert_eq!(format!("full{}", More(0)), "full");
        assert_eq!(format!("full{}", More(412)), "full (and 412 more)");
    }
}
