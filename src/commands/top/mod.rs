//! `jsocketd top`: a live view of a running server in a terminal, over `/debug/status` and `/debug/loop`. `--once`
//! prints one screen, `--json` what it is made of.
//!
//! One thread, as in the server: while an answer is awaited the keys are read, so `q` leaves when the server hangs.
//! Only the look-up of a name and connecting block, the latter for a second an address.
//!
//! Rejected: ratatui 0.30. It would add 42 crates to the build, crossterm adds 9, and a screen that is the same as
//! the plain text of `--once` needs no widgets.

mod line;
mod rows;
mod screen;
mod terminal;
#[cfg(test)]
mod tests;
mod view;

use std::io;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use jsocketd::flight::Report;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::line::{Line, Look};
use self::screen::Screen;
use self::terminal::Terminal;
use self::view::{MOST_TICKS, View};
use super::admin::{Failure, NOT_ASKED, Target, load, print};
use super::complain;
use super::http::{Answer, Exchange};
use super::units::span;
use crate::cli::Top;

/// The pause between two questions, and between two drawings while nothing happens.
const SECOND: Duration = Duration::from_secs(1);

/// The longest wait for a key while an answer is awaited.
const MOMENT: Duration = Duration::from_millis(10);

/// The screen that `--once` prints where the size is not known: columns and rows.
const USUAL: (usize, usize) = (80, 24);

/// Shows the state of a server. Returns the exit code of the process: see `jsocketd top --help`.
pub fn top(flags: &Top) -> ExitCode {
    match run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(failure.why);
            failure.code.into()
        }
    }
}

fn run(flags: &Top) -> Result<(), Failure> {
    let is_live = !flags.once && !flags.json;
    if is_live && !Terminal::is_there() {
        let why = "standard output is no terminal: --once prints one screen as plain text, --json prints JSON";
        return Err(why.to_owned().into());
    }
    let target = Target::new(&flags.asked, &load(flags.asked.config.clone())?)?;
    let mut live = Live::new(target);
    // Nothing is drawn yet, so the reason why there is no answer can be printed with its remedy.
    let records = if flags.json { "/debug/loop" } else { &records_path(0) };
    let (status, records) = (live.target.ask("/debug/status")?, live.target.ask(records)?);
    if flags.json {
        let ((_, status), (_, records)) = (live.target.state(&status)?, live.target.read::<Report>(&records)?);
        return print(&format!("{{\"status\":{status},\"loop\":{records}}}\n"));
    }
    live.take(&status, &records)?;
    if flags.once {
        return print(&live.text());
    }
    live.run().map_err(|error| Failure {
        why: format!("the terminal: {error}"),
        code: NOT_ASKED,
    })
}

/// The path of the records after tick `since`.
fn records_path(since: u64) -> String {
    format!("/debug/loop?since={since}&limit={MOST_TICKS}")
}

/// The view while it is open.
struct Live {
    target: Target,
    view: View,
    screen: Screen,
    /// The questions that wait for their answers.
    round: Option<Round>,
    /// When the server is asked again.
    next: Instant,
    /// When the numbers came that are shown.
    answered: Instant,
    /// Why no numbers have come since then.
    problem: Option<String>,
    is_paused: bool,
}

/// Both questions, and their answers.
struct Round {
    questions: [Exchange; 2],
    answers: [Option<Answer>; 2],
}

impl Round {
    fn begin(target: &Target, since: u64) -> Result<Self, String> {
        Ok(Self {
            questions: [
                target.begin("/debug/status", SECOND)?,
                target.begin(&records_path(since), SECOND)?,
            ],
            answers: [None, None],
        })
    }

    /// Reads what has come; `None`: an answer is missing.
    fn answers(&mut self) -> Result<Option<(&Answer, &Answer)>, String> {
        for (question, answer) in self.questions.iter_mut().zip(&mut self.answers) {
            if answer.is_none() {
                *answer = question.wait(Duration::from_millis(1))?;
            }
        }
        match &self.answers {
            [Some(status), Some(records)] => Ok(Some((status, records))),
            _ => Ok(None),
        }
    }
}

impl Live {
    fn new(target: Target) -> Self {
        let screen = Screen {
            server: target.server.to_string(),
            ..Screen::default()
        };
        let now = Instant::now();
        Self {
            target,
            view: View::default(),
            screen,
            round: None,
            next: now + SECOND,
            answered: now,
            problem: None,
            is_paused: false,
        }
    }

    /// One screen as plain text.
    fn text(&mut self) -> String {
        let (columns, rows) = match Terminal::is_there() {
            true => Terminal::size().unwrap_or(USUAL),
            false => USUAL,
        };
        let lines = self.screen.lines(&self.view, columns, rows);
        let text: String = lines
            .iter()
            .map(|line| line.text().trim_end().to_owned() + "\n")
            .collect();
        text.trim_end().to_owned() + "\n"
    }

    /// Draws, asks and reads keys until somebody leaves.
    fn run(mut self) -> io::Result<()> {
        // SIGHUP may be meant for the server: the terminal is still there then.
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let terminal = Terminal::open()?;
        while signals.pending().next().is_none() {
            let (columns, rows) = Terminal::size()?;
            self.screen.footer = Some(self.footer());
            terminal.draw(&self.screen.lines(&self.view, columns, rows))?;
            if self.wait()?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Waits until there is something new to draw, a second at most. A change of the size is one of these things.
    fn wait(&mut self) -> io::Result<ControlFlow<()>> {
        let end = Instant::now() + SECOND;
        while Instant::now() < end {
            let until = if self.is_paused { end } else { end.min(self.next) };
            let wait = match self.round {
                Some(_) => MOMENT,
                // A signal is noticed after a quarter of a second.
                None => until.saturating_duration_since(Instant::now()).min(SECOND / 4),
            };
            if Terminal::has_event(wait)? {
                return Ok(match event::read()? {
                    Event::Key(key) if key.kind != KeyEventKind::Release => self.press(key),
                    _ => ControlFlow::Continue(()),
                });
            }
            match self.ask() {
                Ok(false) => {}
                Ok(true) => break,
                Err(why) => {
                    self.round = None;
                    self.problem = Some(why);
                    break;
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Asks when it is time, and takes the answers that have come. Returns whether there are new numbers.
    fn ask(&mut self) -> Result<bool, String> {
        let Some(mut round) = self.round.take() else {
            let now = Instant::now();
            if !self.is_paused && now >= self.next {
                self.next = now + SECOND;
                self.round = Some(Round::begin(&self.target, self.view.since())?);
            }
            return Ok(false);
        };
        if let Some((status, records)) = round.answers()? {
            self.take(status, records).map_err(|failure| failure.why)?;
            return Ok(true);
        }
        self.round = Some(round);
        Ok(false)
    }

    fn take(&mut self, status: &Answer, records: &Answer) -> Result<(), Failure> {
        let (snapshot, _) = self.target.state(status)?;
        let (report, _) = self.target.read(records)?;
        self.view.update(snapshot, report);
        self.answered = Instant::now();
        self.problem = None;
        Ok(())
    }

    /// Handles a key. `Break`: the key ends the program.
    fn press(&mut self, key: KeyEvent) -> ControlFlow<()> {
        let screen = &mut self.screen;
        let page = screen.page.max(1);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return ControlFlow::Break(()),
            KeyCode::Char('q') | KeyCode::Esc => return ControlFlow::Break(()),
            KeyCode::Char('p') => {
                self.is_paused = !self.is_paused;
                (self.round, self.answered) = (None, Instant::now());
            }
            KeyCode::Char('s') => (screen.order, screen.scroll) = (screen.order.next(), 0),
            KeyCode::Char('?') => screen.help = !screen.help,
            KeyCode::Char('k') | KeyCode::Up => screen.scroll = screen.scroll.saturating_sub(1),
            KeyCode::Char('j') | KeyCode::Down => screen.scroll += 1,
            KeyCode::PageUp => screen.scroll = screen.scroll.saturating_sub(page),
            KeyCode::PageDown => screen.scroll += page,
            KeyCode::Home => screen.scroll = 0,
            // Drawing sets the end.
            KeyCode::End => screen.scroll = usize::MAX - page,
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// The last line: what is wrong, and the keys.
    fn footer(&self) -> Line {
        let silent = self.answered.elapsed();
        let line = match &self.problem {
            _ if self.is_paused => Line::of(Look::Strong, "PAUSED  "),
            Some(why) => Line::of(Look::Bad, format!("! NO ANSWER FOR {}: ", span(silent)))
                .and(Look::Plain, format!("{why}. It is asked again.  ")),
            None if silent > 3 * SECOND => {
                let text = format!("! NO ANSWER FOR {}, waiting  ", span(silent));
                Line::of(Look::Bad, text)
            }
            None => Line::default(),
        };
        line.and(Look::Plain, "q leave  p pause  s sort  arrows scroll  ? keys")
    }
}
