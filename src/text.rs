//! Text that came from outside: item names, host output, other people's files. It is carried as it is and
//! becomes printable in one way only, with control and bidirectional characters escaped.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// Text from outside. It has no `Display`: [`Untrusted::printable`] is the way to show it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Untrusted(String);

/// Longer text is cut when it is shown: no host may flood a terminal.
const SHOWN: usize = 300;

impl Untrusted {
    /// Takes text from outside.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as it came: to be compared or looked up, never to be printed.
    #[must_use]
    pub fn as_is(&self) -> &str {
        &self.0
    }

    /// The text with control and bidirectional characters escaped and cut to 300 characters.
    #[must_use]
    pub fn printable(&self) -> String {
        let mut out = String::new();
        for (n, c) in self.0.chars().enumerate() {
            if n == SHOWN {
                out.push('…');
                break;
            }
            push(c, &mut out);
        }
        out
    }

    /// A text of many lines, such as a saved plan's: each line as [`Self::printable`] has it, and whole.
    #[must_use]
    pub fn printable_lines(&self) -> String {
        let mut out = String::with_capacity(self.0.len());
        for c in self.0.chars() {
            if c == '\n' { out.push(c) } else { push(c, &mut out) }
        }
        out
    }
}

fn push(c: char, out: &mut String) {
    if c.is_control() || is_invisible(c) {
        let _ = write!(out, "{}", c.escape_unicode());
    } else {
        out.push(c);
    }
}

/// Whether a character turns the direction of what stands around it, so that a reader sees another text.
#[must_use]
pub fn turns(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.printable())
    }
}

/// Bidirectional controls, zero-width and other format characters that change what a reader sees.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_or_turns_the_text_is_escaped() {
        let text = Untrusted::new("a\u{1b}[2Jb\u{202e}c\n\u{9b}d\u{200b}");
        assert_eq!(text.printable(), "a\\u{1b}[2Jb\\u{202e}c\\u{a}\\u{9b}d\\u{200b}");
    }

    #[test]
    fn lines_stay_lines_and_whole() {
        let text = Untrusted::new(format!("a\u{1b}[2J\n{}\r\n", "é".repeat(1000)));
        assert_eq!(text.printable_lines(), format!("a\\u{{1b}}[2J\n{}\\u{{d}}\n", "é".repeat(1000)));
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(Untrusted::new("é".repeat(1000)).printable().chars().count(), SHOWN + 1);
    }
}
