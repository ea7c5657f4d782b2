//! The terminal: what it can show, printing on it, and questions.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;

use crate::cli::arguments::Global;
use crate::cli::error::Error;
use crate::render::{self, Style};

/// What standard output and input are.
#[derive(Debug, Clone)]
pub struct Terminal {
    /// How text is laid out on standard output.
    pub style: Style,
    /// Whether somebody can be asked.
    pub interactive: bool,
    /// Whether progress can be redrawn on standard error.
    pub animated: bool,
    /// How text is laid out on standard error.
    pub complaints: Style,
}

impl Terminal {
    /// Looks at the standard streams, `NO_COLOR`, `TERM` and the options.
    #[must_use]
    pub fn of(global: &Global) -> Self {
        let out = std::io::stdout().is_terminal();
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let err = std::io::stderr().is_terminal();
        let colourful = !global.no_color && !set("NO_COLOR") && !dumb;
        let width = rustix::termios::tcgetwinsize(std::io::stdout()).map(|size| usize::from(size.ws_col));
        let width = width.ok().filter(|width| out && *width >= 40).unwrap_or(160);
        let style = Style { colour: out && colourful, width, verbose: global.verbose > 0 };
        Self {
            style,
            interactive: std::io::stdin().is_terminal() && err && !global.no_input,
            animated: err && !dumb,
            complaints: Style { colour: err && colourful, ..style },
        }
    }

    /// A line on standard error that says what went wrong, with what to do about it below.
    pub fn error(&self, what: &str, next: Option<&str>) {
        say(&format!("{} {what}", render::error_label(self.complaints)));
        if let Some(next) = next {
            say(&format!("  → {next}"));
        }
    }

    /// A line on standard error about something that is taken, and probably not meant.
    pub fn warning(&self, what: &str) {
        say(&format!("{} {what}", render::warning_label(self.complaints)));
    }

    /// Asks, and takes only `yes`.
    ///
    /// # Errors
    /// When there is nobody to be asked.
    pub fn confirm(&self, question: &str, otherwise: &str) -> Result<bool, Error> {
        if !self.interactive {
            return Err(Error::new("there is no terminal to ask on", otherwise));
        }
        let mut err = std::io::stderr();
        let shown =
            write!(err, "\n{question}\n  Only 'yes' will be accepted.\n\n  Enter a value: ").and_then(|()| err.flush());
        shown.map_err(Error::plain)?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(Error::plain)?;
        say("");
        Ok(answer.trim() == "yes")
    }
}

/// Prints on standard output; a reader that went away ends the program quietly, as it does `cat`.
///
/// # Errors
/// When standard output cannot take it.
pub fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Error::Said),
        Err(error) => Err(Error::plain(format!("standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Standard output without a buffer of ours, in which a value would be left behind.
///
/// # Errors
/// When it is closed.
pub fn unbuffered() -> Result<File, Error> {
    let out = std::io::stdout().as_fd().try_clone_to_owned();
    out.map(File::from).map_err(|error| Error::plain(format!("standard output: {error}")))
}

/// Prints a line on standard error.
pub fn say(line: &str) {
    // Nobody is left to be told of a closed standard error.
    let _ = writeln!(std::io::stderr(), "{line}");
}
