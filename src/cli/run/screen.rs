//! The lines in a command's output, as a terminal would show them.
//!
//! A bar is drawn over itself: after a carriage return, or a sequence that moves the cursor. These end a line here as
//! a line feed does. A backspace takes the last character away, and the line was seen as it stood; colours and the
//! like are left out.

use vte::{Params, Parser, Perform};

/// The longest line that is kept; of longer ones the beginning.
const MOST_BYTES: usize = 4096;

/// Cuts output into lines, however it comes in pieces.
#[derive(Default)]
pub(super) struct Screen {
    parser: Parser,
    line: Line,
}

/// The line that is being written.
#[derive(Default)]
struct Line {
    text: String,
    /// Lines that are whole since they were last taken.
    whole: Vec<Seen>,
    /// The last of them is the open line as it stood before a backspace. Of these only the newest is kept: a line
    /// may be changed with every byte.
    is_last_open: bool,
    /// It was seen as it stands, or what stood there before.
    is_erasing: bool,
}

/// What was seen on the screen.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Seen {
    /// A line that is not blank.
    Line(String),
    /// What is told to terminals that show progress themselves (OSC 9;4).
    Percentage(u8),
}

impl Screen {
    /// Takes in output, and gives what became whole by it.
    pub(super) fn take_in(&mut self, bytes: &[u8]) -> Vec<Seen> {
        self.parser.advance(&mut self.line, bytes);
        self.line.is_last_open = false;
        std::mem::take(&mut self.line.whole)
    }

    /// The line that is not at its end yet: a bar waits there for its next drawing.
    pub(super) fn open_line(&self) -> Option<Seen> {
        self.line.seen()
    }
}

impl Line {
    fn end(&mut self) {
        self.whole.extend(self.seen());
        self.text.clear();
        self.is_last_open = false;
        self.is_erasing = false;
    }

    fn erase(&mut self) {
        if !self.is_erasing
            && let Some(seen) = self.seen()
        {
            if self.is_last_open {
                self.whole.pop();
            }
            self.whole.push(seen);
            self.is_last_open = true;
        }
        self.is_erasing = true;
        self.text.pop();
    }

    fn seen(&self) -> Option<Seen> {
        let text = self.text.trim();
        (!text.is_empty()).then(|| Seen::Line(text.to_owned()))
    }
}

impl Perform for Line {
    fn print(&mut self, letter: char) {
        if self.text.len() < MOST_BYTES && !letter.is_control() {
            self.text.push(letter);
            self.is_erasing = false;
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            // Line feed, vertical tab, form feed, carriage return.
            b'\n' | 0x0b | 0x0c | b'\r' => self.end(),
            0x08 => self.erase(),
            b'\t' => self.print(' '),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, _: &Params, _: &[u8], _: bool, action: char) {
        // Moves of the cursor; the rest are colours, modes and erasing.
        if matches!(action, 'A' | 'B' | 'D'..='H' | 'd' | 'f' | 'u') {
            self.end();
        }
    }

    fn esc_dispatch(&mut self, _: &[u8], _: bool, byte: u8) {
        // The cursor back to where it was saved, the next line, a line up.
        if matches!(byte, b'8' | b'E' | b'M') {
            self.end();
        }
    }

    fn osc_dispatch(&mut self, parameters: &[&[u8]], _: bool) {
        if let [b"9", b"4", b"1", percentage, ..] = parameters {
            let percentage = str::from_utf8(percentage)
                .ok()
                .and_then(|text| text.parse().ok());
            self.whole.extend(percentage.map(Seen::Percentage));
            self.is_last_open = false;
        }
    }
}
