//! The terminal while `top` has it: the second screen, without echo. The first screen comes back however `top` ends.

use std::io::{self, IsTerminal, Write, stdout};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::{Attribute, Color, Print, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap, EndSynchronizedUpdate,
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{event, execute, queue};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::line::{Line, Look};

/// The terminal, which is given back when this is dropped, and before a panic is printed.
pub struct Terminal {
    /// Whether the looks have colours: not where NO_COLOR is set (no-color.org).
    colours: bool,
}

impl Terminal {
    /// Whether standard output is a terminal that can be drawn on.
    pub fn is_there() -> bool {
        stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// Takes the terminal.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn open() -> io::Result<Self> {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            give_back();
            print(panic);
        }));
        // From here on it is given back.
        IS_TAKEN.store(true, Ordering::Relaxed);
        let terminal = Self {
            colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        enable_raw_mode()?;
        execute!(stdout(), EnterAlternateScreen, Hide, DisableLineWrap)?;
        Ok(terminal)
    }

    /// Its columns and rows.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn size() -> io::Result<(usize, usize)> {
        let (columns, rows) = size()?;
        Ok((columns.into(), rows.into()))
    }

    /// Waits for a key or a change of the size, and tells whether there is one. crossterm alone would read the end of a
    /// terminal that is gone for ever, so that is looked at before.
    ///
    /// # Errors
    /// Those of the operating system, or the terminal is gone.
    pub fn has_event(longest: Duration) -> io::Result<bool> {
        let out = stdout();
        let mut terminal = [PollFd::new(&out, PollFlags::IN)];
        let longest = Timespec::try_from(longest).map_err(io::Error::other)?;
        match poll(&mut terminal, Some(&longest)) {
            // A change of the size comes as a signal.
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if terminal[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
            return Err(io::Error::other("the terminal is gone"));
        }
        event::poll(Duration::ZERO)
    }

    /// Draws lines that fill the screen.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn draw(&self, lines: &[Line]) -> io::Result<()> {
        let mut bytes = Vec::new();
        queue!(bytes, BeginSynchronizedUpdate)?;
        for (row, line) in (0..).zip(lines) {
            queue!(bytes, MoveTo(0, row))?;
            for (look, text) in line.pieces() {
                let (attribute, colour) = style(*look);
                if let Some(attribute) = attribute {
                    queue!(bytes, SetAttribute(attribute))?;
                }
                if let Some(colour) = colour.filter(|_| self.colours) {
                    queue!(bytes, SetForegroundColor(colour))?;
                }
                queue!(bytes, Print(text), SetAttribute(Attribute::Reset))?;
            }
        }
        queue!(bytes, EndSynchronizedUpdate)?;
        let mut out = stdout().lock();
        out.write_all(&bytes)?;
        out.flush()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// Whether the terminal is taken. Giving it back twice would put the cursor over the text of a panic.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Gives the terminal back. What fails cannot be helped: the terminal may be gone.
fn give_back() {
    if !IS_TAKEN.swap(false, Ordering::Relaxed) {
        return;
    }
    // Cleared, since tmux leaves some of the second screen on the first one if the size has changed.
    let (clear, leave) = (Clear(ClearType::All), LeaveAlternateScreen);
    let _ = execute!(
        stdout(),
        SetAttribute(Attribute::Reset),
        EnableLineWrap,
        Show,
        clear,
        leave
    );
    let _ = disable_raw_mode();
}

/// Red and magenta are readable on dark and on light ground; yellow and blue are not.
fn style(look: Look) -> (Option<Attribute>, Option<Color>) {
    match look {
        Look::Plain => (None, None),
        Look::Strong => (Some(Attribute::Bold), None),
        Look::Reverse => (Some(Attribute::Reverse), None),
        Look::Warning => (Some(Attribute::Bold), Some(Color::DarkMagenta)),
        Look::Bad => (Some(Attribute::Bold), Some(Color::DarkRed)),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Set where the test runs itself in a terminal.
    const IN_TERMINAL: &str = "TEST_IN_TERMINAL";

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_is_printed() {
        if std::env::var_os(IN_TERMINAL).is_some() {
            let _terminal = Terminal::open().expect("a terminal");
            panic!("on purpose");
        }
        let (program, name) = (std::env::current_exe().expect("this test"), std::thread::current());
        let script = format!(
            "{IN_TERMINAL}=1 {} --exact {} --nocapture; stty -a",
            program.display(),
            name.name().expect("the test's name"),
        );
        let mut command = Command::new("script");
        command
            .args(["-q", "-e", "-c", &script, "/dev/null"])
            .stdin(Stdio::null());
        let output = command.output().expect("script runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let (before, after) = text.split_once("\u{1b}[?1049l").expect(&text);
        assert!(
            before.contains("\u{1b}[?1049h") && !before.contains("on purpose"),
            "{text:?}"
        );
        let [message, cursor] = [after.find("on purpose"), before.find("\u{1b}[?25h")];
        assert!(message.is_some() && cursor.is_some(), "{text:?}");
        let lacks = |word: &str| !after.contains(&format!("-{word}"));
        assert!(
            after.contains("icanon") && lacks("icanon") && lacks("echo "),
            "{text:?}"
        );
    }
}
