//! A trace in words, so that a person can read what happened: a heading for each tick, and a line for each input, each
//! answer of the database and each action. Texts are as masked as the trace is, and cut.

use std::io::{self, Write};
use std::time::Duration;

use super::{End, Head, Line, Masked};
use crate::id::ConnectionId;
use crate::protocol::actions::{Action, Actions, Dialect, Message};
use crate::store::Answer;
use crate::time::Time;

/// Characters of a text that are shown.
const SHOWN: usize = 60;

/// Connections of a fan-out that are named.
const NAMED: usize = 5;

/// Lines of a tick that wait for its heading. A longer tick is told in parts. A trace of version 1 has no ends of
/// ticks.
const WAITING: usize = 10_000;

/// Tells a trace, line by line.
pub struct Story<'a> {
    out: &'a mut dyn Write,
    /// The lines of the tick so far. The heading comes first and is known last.
    tick: Vec<String>,
    /// The time of the latest line, where the trace has it.
    now: Option<Time>,
    /// Whether the latest lines stand outside of a tick.
    is_outside: bool,
}

impl<'a> Story<'a> {
    /// A story that is written to `out`.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self {
            out,
            tick: Vec::new(),
            now: None,
            is_outside: false,
        }
    }

    /// Tells a line, except the actions, which [`Story::actions`] tells.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn line(&mut self, line: &Line) -> io::Result<()> {
        match line {
            Line::Trace(_) | Line::Keys(_) | Line::Out(_) => {}
            Line::Config(_, embedded) => {
                self.now = None;
                self.outside()?;
                let which = if *embedded { ": the embedded defaults" } else { "" };
                self.say(format!("the configuration is in force{which}"))?;
            }
            Line::Site(now, _) => {
                self.now = Some(now.at);
                self.outside()?;
                self.say("the settings of the site are in force")?;
            }
            Line::Drain => self.event("the server shuts down: it closes its connections")?,
            Line::Due(now) => {
                self.now = Some(now.at);
                self.event("the service does the work that is due")?;
            }
            Line::In(now, id, masked) => {
                self.now = Some(now.at);
                let id = ConnectionId::from_raw(*id).map_or_else(|| "?".to_owned(), |id| id.to_string());
                self.event(format!("{id} {}", input(masked)))?;
            }
            Line::Answered(now, question, answer) => {
                self.now = Some(now.at);
                let answer = match answer {
                    Ok(answer) => result(answer),
                    Err(failure) => failure.to_string(),
                };
                self.event(format!(
                    "the database answers the statement {}: {answer}",
                    question.name()
                ))?;
            }
            Line::Posted(now, ticket, result) => {
                self.now = Some(now.at);
                let result = match result {
                    Ok(status) => format!("is answered with {status}"),
                    Err(why) => format!("fails: {}", shown(why)),
                };
                self.event(format!("post {ticket} {result}"))?;
            }
            Line::Diverged(real) => self.say(format!("  (without masking: {})", real.join(", ")))?,
            Line::Tick(number, began, us) => {
                self.is_outside = false;
                self.now = Some(*began);
                let took = duration(Duration::from_micros(*us));
                self.heading(&format!("tick {number} at {}, took {took}", clock(*began)))?;
            }
            Line::End(End::Server) => self.alone("the server ended")?,
            Line::End(End::Limit) => self.alone("the recording reached its limit")?,
        }
        Ok(())
    }

    /// Tells the actions that followed the latest line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn actions(&mut self, actions: &Actions) -> io::Result<()> {
        actions
            .list()
            .iter()
            .try_for_each(|action| self.say(format!("  {}", deed(action, actions))))
    }

    /// Tells the lines of a tick whose end is missing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(&mut self) -> io::Result<()> {
        match self.tick.is_empty() {
            true => Ok(()),
            false => self.heading("a tick whose end is missing"),
        }
    }

    /// The next lines stand outside of a tick.
    fn outside(&mut self) -> io::Result<()> {
        self.end()?;
        if !self.is_outside {
            self.is_outside = true;
            self.heading("outside of a tick")?;
        }
        Ok(())
    }

    /// Something that happens in a tick.
    fn event(&mut self, what: impl Into<String>) -> io::Result<()> {
        self.is_outside = false;
        self.say(what)
    }

    fn say(&mut self, what: impl Into<String>) -> io::Result<()> {
        if self.tick.len() == WAITING {
            self.heading("a part of a tick")?;
        }
        self.tick.push(escaped(&what.into()));
        match self.is_outside {
            true => self.lines(),
            false => Ok(()),
        }
    }

    /// The heading of the lines that wait for it, and these lines.
    fn heading(&mut self, what: &str) -> io::Result<()> {
        writeln!(self.out, "{what}")?;
        self.lines()
    }

    /// The lines that wait. All lines of a tick have the same time.
    fn lines(&mut self) -> io::Result<()> {
        let now = self.now.map_or_else(String::new, clock);
        self.tick
            .drain(..)
            .try_for_each(|line| writeln!(self.out, "{now:>14}  {line}"))
    }

    fn alone(&mut self, what: &str) -> io::Result<()> {
        self.end()?;
        writeln!(self.out, "{what}")
    }
}

/// What a connection did.
fn input(masked: &Masked) -> String {
    match masked {
        Masked::Opened(caller) => {
            let from = caller
                .address
                .map_or_else(String::new, |address| format!(" from {address}"));
            let admin = if caller.admin {
                " at the listener for administrators"
            } else {
                ""
            };
            let surplus = if caller.surplus { "; the server is full" } else { "" };
            format!("connects{from}{admin}{surplus}")
        }
        Masked::Request(_, head) => format!("requests {}", asked(head)),
        Masked::Handshake(_, head) => format!("asks for a WebSocket: {}", asked(head)),
        Masked::Text(text) => format!("sends {}", text_of(text)),
        Masked::Binary(len) => format!("sends {}", binary(*len)),
        Masked::Flushed => "has got everything that waited for it".to_owned(),
        Masked::ProcessStats(_) => "gets the figures of the process".to_owned(),
        Masked::Closed => "is gone".to_owned(),
    }
}

fn asked(head: &Head) -> String {
    let body = match head.body.len() {
        0 => String::new(),
        len => format!(" with {}", bytes(len)),
    };
    format!("{} {}{body}", head.method, shown(&head.target))
}

/// What the service decided.
fn deed(action: &Action, actions: &Actions) -> String {
    match action {
        Action::Respond(to, response) => {
            format!(
                "{to} is answered {} with {}",
                response.status().as_u16(),
                bytes(response.body().len())
            )
        }
        Action::Accept(to, Dialect::Plain) => format!("{to} becomes a WebSocket"),
        Action::Accept(to, _) => format!("{to} becomes a WebSocket of the Pusher protocol"),
        Action::Send(to, Message::Text(text)) => format!("{to} is sent {}", text_of(text)),
        Action::Send(to, Message::Binary(bytes)) => format!("{to} is sent {}", binary(bytes.len())),
        Action::Fanout(range, text) => {
            let to = actions.recipients(range.clone());
            let names: Vec<String> = to.iter().take(NAMED).map(ToString::to_string).collect();
            let (names, more) = (names.join(", "), to.len().saturating_sub(NAMED));
            match (to.len(), more) {
                (1, _) => format!("{names} is sent {}", text_of(text)),
                (_, 0) => format!("{names} are sent {}", text_of(text)),
                _ => format!("{names} and {more} more are sent {}", text_of(text)),
            }
        }
        Action::Close(to, code, reason) => format!("{to} is closed with {code}: {reason}"),
        Action::Hurry(to) => format!("{to} gets less time, because it will be refused"),
        Action::Gather(to) => format!("{to} waits for the figures of the process"),
        Action::ShowLoop(to, _) => format!("{to} asks for the records of the loop"),
        Action::WhenFlushed(to) => format!("{to} gets more when nothing waits for it any more"),
        Action::Charge(to) => format!("{to} is charged for its request"),
        Action::Hold(to) => format!("{to} is not read for now"),
        Action::Release(to) => format!("{to} is read again"),
        Action::Post(post) => format!(
            "post {} goes to {} with {}",
            post.ticket,
            shown(&post.url),
            bytes(post.body.len())
        ),
    }
}

/// An answer of the database in a few words.
fn result(answer: &Answer) -> String {
    match answer {
        Answer::Sessions(rows) => counted(rows.len(), "session"),
        Answer::Users(rows) => counted(rows.len(), "user"),
        Answer::Groups(rows) => counted(rows.len(), "group"),
        Answer::Levels(rows) => counted(rows.len(), "level"),
        Answer::Assets(rows) => counted(rows.len(), "asset"),
        Answer::Items(rows) => counted(rows.len(), "item"),
        Answer::Rows(rows) => counted(rows.len(), "row"),
        Answer::State(rows) => counted(rows.len(), "row"),
        Answer::Categories(rows) => counted(rows.len(), "step"),
        Answer::Extensions(_) => "the extensions".to_owned(),
        Answer::Looked(_) | Answer::Checked(_) | Answer::Claimed(_) | Answer::Old(_) => {
            "the state of the table".to_owned()
        }
        Answer::Added(id) => format!("the row {id}"),
        Answer::Done => "done".to_owned(),
    }
}

fn text_of(text: &str) -> String {
    format!("a text of {}: {}", bytes(text.len()), shown(text))
}

fn binary(len: usize) -> String {
    format!("a binary message of {}", bytes(len))
}

fn bytes(len: usize) -> String {
    counted(len, "byte")
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        many => format!("{many} {what}s"),
    }
}

/// The beginning of a text.
fn shown(text: &str) -> String {
    let start: String = text.chars().take(SHOWN).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    format!("{start}{more}")
}

/// A line without control characters: a text of a peer could make a terminal act on them.
fn escaped(line: &str) -> String {
    line.chars().fold(String::with_capacity(line.len()), |mut all, c| {
        match c {
            '"' | '\'' | '\\' => all.push(c),
            other => all.extend(other.escape_debug()),
        }
        all
    })
}

/// Seconds since the server started.
fn clock(time: Time) -> String {
    format!("{}.{:06} s", time.0 / 1_000_000, time.0 % 1_000_000)
}

fn duration(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_without_ends_of_ticks_is_told_in_parts() {
        let mut out = Vec::new();
        let mut story = Story::new(&mut out);
        let lines = 2 * WAITING + 5;
        for _ in 0..lines {
            story.line(&Line::Drain).expect("a Vec takes all");
            assert!(story.tick.len() <= WAITING);
        }
        story.end().expect("a Vec takes all");
        let text = String::from_utf8(out).expect("UTF-8");
        assert_eq!(text.matches("the server shuts down").count(), lines);
        let headings: Vec<&str> = text.lines().filter(|line| !line.starts_with(' ')).collect();
        assert_eq!(
            headings,
            ["a part of a tick", "a part of a tick", "a tick whose end is missing"]
        );
    }
}
