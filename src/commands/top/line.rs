//! Lines of styled text, as wide as the screen. The same lines are printed plain (`top --once`) and drawn
//! (`super::terminal`).
//!
//! All text may come from outside, so a line shows printable ASCII and the few symbols of this view. Each of them is
//! one column wide, and none of them moves the cursor.

use std::fmt::Display;

/// The symbols beside printable ASCII.
const SYMBOLS: &str = "µ…│─▁▂▃▄▅▆▇█↑↓";

/// How a piece of text looks. Each look is told by words or shape too: a terminal may have no colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// As the terminal has it.
    #[default]
    Plain,
    /// Headings.
    Strong,
    /// Bars.
    Reverse,
    /// Slow, or near a limit.
    Warning,
    /// Out of order.
    Bad,
}

/// A line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pieces: Vec<(Look, String)>,
}

impl Line {
    /// A line of one piece.
    pub fn of(look: Look, text: impl Display) -> Self {
        Self::default().and(look, text)
    }

    /// The line with another piece at its end.
    pub fn and(mut self, look: Look, text: impl Display) -> Self {
        self.pieces.push((look, text.to_string().chars().map(shown).collect()));
        self
    }

    /// The line at exactly this width: padded, or cut with `…` at its end.
    pub fn fit(mut self, columns: usize) -> Self {
        let width = self.width();
        if width <= columns {
            let look = self
                .pieces
                .last()
                .map(|(look, _)| *look)
                .filter(|look| *look == Look::Reverse);
            return self.and(look.unwrap_or_default(), " ".repeat(columns - width));
        }
        let mut room = columns.saturating_sub(1);
        for (_, text) in &mut self.pieces {
            *text = text.chars().take(room).collect();
            room -= text.chars().count();
        }
        if let Some((_, text)) = self.pieces.last_mut().filter(|_| columns > 0) {
            text.push('…');
        }
        self
    }

    /// Its width in columns.
    pub fn width(&self) -> usize {
        self.pieces.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// Its pieces.
    pub fn pieces(&self) -> &[(Look, String)] {
        &self.pieces
    }

    /// Its text.
    pub fn text(&self) -> String {
        self.pieces.iter().map(|(_, text)| text.as_str()).collect()
    }
}

/// The character that stands for this one.
fn shown(c: char) -> char {
    match c {
        ' '..='~' => c,
        c if SYMBOLS.contains(c) => c,
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_width_of_the_screen() {
        let line = Line::of(Look::Strong, "12345").and(Look::Plain, "67");
        for (columns, text) in [
            (9, "1234567  "),
            (7, "1234567"),
            (6, "12345…"),
            (3, "12…"),
            (1, "…"),
            (0, ""),
        ] {
            assert_eq!(line.clone().fit(columns).text(), text);
        }
        assert_eq!(Line::default().fit(2).text(), "  ");
        let bar = Line::of(Look::Reverse, "1").fit(2);
        assert!(bar.pieces().iter().all(|(look, _)| *look == Look::Reverse), "{bar:?}");
    }

    #[test]
    fn no_text_from_outside_moves_the_cursor() {
        let line = Line::of(Look::Plain, "a\u{1b}[2J\r\n\tb\u{202e}\u{200b}漢 12 µs…");
        assert_eq!(line.text(), "a?[2J???b??? 12 µs…");
    }
}
