//! The piece of work to which the time of a tick is ascribed.

use std::fmt;

use crate::id::ConnectionId;

/// The longest name of a culprit in bytes; the rest of a longer one is cut off.
const LONGEST_NAME: usize = 200;

/// The kind of work that a culprit is. An administrator can act on each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// None was named.
    #[default]
    Other,
    /// The readiness that the kernel reported for many connections, and signals.
    Events,
    /// The input of one connection: messages, or a request or handshake, whose path is the name.
    Input,
    /// The input of many connections, none of which took long.
    Inputs,
    /// An event for many connections. The name is the channel.
    FanOut,
    /// Connections were written to, most of them not because of one piece of work.
    Writes,
    /// The deadlines of connections: pings, time-outs.
    Timers,
    /// The server shuts down and closes connections.
    Drain,
    /// One statement of the database. The name is the statement's.
    Statement,
    /// The work that followed from the answer of a statement, for so many connections. The name is the statement's.
    Answer,
    /// Many statements, none of which took long.
    Statements,
    /// Connecting to the database.
    Connect,
    /// The bytes of webhooks.
    Webhooks,
    /// Work that was due: batches, grace periods, sweeps of rights. The name says of what.
    Due,
    /// New connections.
    Accepts,
    /// The end of one connection: its subscriptions and memberships end too.
    Close,
    /// The end of many connections, none of which took long: their last words, and what they leave behind.
    Closes,
    /// Numbers for administrators: statistics, metrics, these records; or a sign of life for the service manager.
    Report,
    /// A TLS handshake of one connection.
    Tls,
    /// The configuration was read again.
    Reload,
    /// The site's configuration.php was read again.
    Site,
    /// The files of certificates were checked, and read again if they had changed.
    Certificates,
    /// Addresses of a host were looked up. The name is the host's.
    Names,
    /// Lines of the access log were written.
    AccessLog,
    /// The trace of `--record` was written.
    Trace,
    /// The process did not run, though it had work: the machine was busy, it swapped, or somebody stopped the process.
    Machine,
}

/// Every kind, with its name in JSON and the unit of its count.
pub(super) const KINDS: [(Kind, &str, &str); Kind::COUNT] = [
    (Kind::Other, "other", ""),
    (Kind::Events, "events", "events"),
    (Kind::Input, "input", "messages"),
    (Kind::Inputs, "inputs", "connections"),
    (Kind::FanOut, "fan-out", "recipients"),
    (Kind::Writes, "writes", "connections"),
    (Kind::Timers, "timers", "deadlines"),
    (Kind::Drain, "drain", "connections"),
    (Kind::Statement, "statement", "rows"),
    (Kind::Answer, "answer", "connections"),
    (Kind::Statements, "statements", "statements"),
    (Kind::Connect, "connect", ""),
    (Kind::Webhooks, "webhooks", "posts"),
    (Kind::Due, "due", ""),
    (Kind::Accepts, "accepts", "connections"),
    (Kind::Close, "close", ""),
    (Kind::Closes, "closes", "connections"),
    (Kind::Report, "report", ""),
    (Kind::Tls, "tls", ""),
    (Kind::Reload, "reload", ""),
    (Kind::Site, "site", ""),
    (Kind::Certificates, "certificates", ""),
    (Kind::Names, "names", ""),
    (Kind::AccessLog, "access-log", "lines"),
    (Kind::Trace, "trace", ""),
    (Kind::Machine, "machine", ""),
];

impl Kind {
    /// How many kinds there are.
    pub const COUNT: usize = Self::Machine as usize + 1;

    /// The names of all kinds.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|(_, name, _)| *name)
    }

    /// The name in JSON and in texts.
    pub fn name(self) -> &'static str {
        KINDS[self as usize].1
    }

    /// Whether the work waits for something outside of the process, so that it may last without using the processor.
    pub(super) fn may_wait(self) -> bool {
        matches!(
            self,
            Kind::Statement
                | Kind::Statements
                | Kind::Connect
                | Kind::Reload
                | Kind::Site
                | Kind::Certificates
                | Kind::Names
                | Kind::AccessLog
                | Kind::Trace
                | Kind::Machine
        )
    }
}

/// A piece of work, and how long it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Culprit {
    /// The kind of work.
    pub kind: Kind,
    /// The connection, as a raw id; 0: none.
    pub connection: u64,
    /// How many there were: see the unit of the kind.
    pub count: u32,
    /// Bytes of input, or of one copy of a fan-out.
    pub bytes: u32,
    /// How long it took, in microseconds.
    pub us: u32,
    /// How it ended, if that was not well; for instance `no answer`.
    pub outcome: &'static str,
    /// The name that the kind has; for a slow tick the address of the connection stands behind it.
    pub name: String,
}

impl Culprit {
    /// Begins anew, keeping the buffer.
    pub(super) fn clear(&mut self) {
        self.name.clear();
        (self.kind, self.connection, self.count) = (Kind::Other, 0, 0);
        (self.bytes, self.us, self.outcome) = (0, 0, "");
    }

    /// Becomes a copy of another one, keeping the buffer.
    pub(super) fn copy(&mut self, other: &Self) {
        self.clear();
        (self.kind, self.connection, self.count) = (other.kind, other.connection, other.count);
        (self.bytes, self.us, self.outcome) = (other.bytes, other.us, other.outcome);
        self.name.push_str(&other.name);
    }

    /// Says what it was.
    pub fn is(&mut self, kind: Kind, name: &str) {
        self.kind = kind;
        self.append(name);
    }

    /// Says what it was, and how many there were.
    pub fn are(&mut self, kind: Kind, many: usize) {
        (self.kind, self.count) = (kind, u32::try_from(many).unwrap_or(u32::MAX));
    }

    /// Appends to the name, as far as there is room.
    pub fn append(&mut self, text: &str) {
        let room = LONGEST_NAME.saturating_sub(self.name.len()).min(text.len());
        let end = (0..=room).rev().find(|end| text.is_char_boundary(*end));
        self.name.push_str(&text[..end.unwrap_or(0)]);
    }

    /// What is blamed, without its time: the same text for the same thing.
    pub fn thing(&self) -> String {
        let id = ConnectionId::from_raw(self.connection).map(|id| id.to_string());
        let id = id.as_deref().unwrap_or_default();
        let (kind, name) = (self.kind.name(), self.name.as_str());
        let spaced = |text: &str| match text {
            "" => String::new(),
            text => format!(" {text}"),
        };
        match self.kind {
            // Requests of one path may come by many connections.
            Kind::Input if self.count == 0 => name.to_owned(),
            Kind::Input => format!("{id} messages{}", spaced(name)),
            Kind::Inputs => "input of many connections".to_owned(),
            Kind::FanOut => format!("fan-out to {name}"),
            Kind::Writes => "writes to connections".to_owned(),
            Kind::Timers => "deadlines of connections".to_owned(),
            Kind::Drain => "the drain".to_owned(),
            Kind::Statement => format!("statement {name}"),
            Kind::Answer => format!("work after statement {name}"),
            Kind::Statements => "many statements".to_owned(),
            Kind::Connect => "connecting to the database".to_owned(),
            Kind::Webhooks => format!("webhooks{}", spaced(name)),
            Kind::Due => format!("what was due of the {name}"),
            Kind::Accepts => "new connections".to_owned(),
            Kind::Close => format!("end of {id}{}", spaced(name)),
            Kind::Closes => "ends of connections".to_owned(),
            Kind::Report if name.is_empty() => "a report for the administrator".to_owned(),
            Kind::Report => format!("a report to {name}"),
            Kind::Tls => format!("TLS handshake of {id}"),
            Kind::Certificates => "reading certificates".to_owned(),
            Kind::Reload => "reading the configuration again".to_owned(),
            Kind::Site => "reading configuration.php again".to_owned(),
            Kind::Names => format!("looking up {name}"),
            Kind::AccessLog => "writing the access log".to_owned(),
            Kind::Trace => "writing the trace".to_owned(),
            Kind::Machine => "the process did not run: busy machine, swap, a full log pipe, or stopped".to_owned(),
            Kind::Other | Kind::Events => kind.to_owned(),
        }
    }
}

/// `statement sessions 500 ms (100 rows, no answer)`
impl fmt::Display for Culprit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Kind::Input, 0, Some(id)) = (self.kind, self.count, ConnectionId::from_raw(self.connection)) {
            write!(f, "{id} ")?;
        }
        write!(f, "{} {}", self.thing(), Span(self.us))?;
        let unit = KINDS[self.kind as usize].2;
        let counted = (self.count > 0 && !unit.is_empty()).then(|| match self.count {
            1 => format!("1 {}", unit.strip_suffix('s').unwrap_or(unit)),
            many => format!("{many} {unit}"),
        });
        let bytes = (self.bytes > 0).then(|| format!("{} bytes", self.bytes));
        let outcome = (!self.outcome.is_empty()).then(|| self.outcome.to_owned());
        let facts: Vec<String> = [counted, bytes, outcome].into_iter().flatten().collect();
        match facts.as_slice() {
            [] => Ok(()),
            facts => write!(f, " ({})", facts.join(", ")),
        }
    }
}

/// Microseconds, shown as milliseconds: whole ones from ten on, else with one digit more.
pub(super) struct Ms(pub(super) u32);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..10_000 => write!(f, "{:.1}", f64::from(self.0) / 1000.0),
            us => write!(f, "{}", us / 1000 + u32::from(us % 1000 >= 500)),
        }
    }
}

/// Microseconds with their unit: `0 µs`, `999 µs`, `1.0 ms`, `12 ms`.
pub(super) struct Span(pub(super) u32);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..1000 => write!(f, "{} µs", self.0),
            us => write!(f, "{} ms", Ms(us)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_kinds_is_complete_and_in_order() {
        for (n, (kind, name, _)) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, n, "{name}");
        }
        assert_eq!(Kind::Machine as usize + 1, KINDS.len());
    }

    #[test]
    fn a_culprit_reads_as_a_sentence() {
        let culprit = Culprit {
            kind: Kind::Statement,
            count: 0,
            us: 500_400,
            outcome: "no answer",
            name: "sessions".to_owned(),
            ..Culprit::default()
        };
        assert_eq!(culprit.to_string(), "statement sessions 500 ms (no answer)");
        let culprit = Culprit {
            kind: Kind::FanOut,
            count: 10_000,
            bytes: 120,
            us: 9_960,
            name: "news".to_owned(),
            ..Culprit::default()
        };
        assert_eq!(
            culprit.to_string(),
            "fan-out to news 10.0 ms (10000 recipients, 120 bytes)"
        );
        let culprit = Culprit {
            kind: Kind::Input,
            connection: ConnectionId::new(3, 1).raw(),
            count: 1,
            bytes: 7,
            us: 40,
            ..Culprit::default()
        };
        let id = ConnectionId::new(3, 1);
        assert_eq!(culprit.to_string(), format!("{id} messages 40 µs (1 message, 7 bytes)"));
    }

    #[test]
    fn a_name_is_cut_at_a_character() {
        let mut culprit = Culprit::default();
        culprit.append(&"ü".repeat(150));
        culprit.append("x");
        assert_eq!(culprit.name.len(), LONGEST_NAME);
        culprit.append("y");
        assert_eq!(culprit.name.len(), LONGEST_NAME);
    }
}
