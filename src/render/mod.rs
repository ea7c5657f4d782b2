//! Plan and report as text or JSON, without values. Pure: what it needs to know of a terminal is passed in.

mod access;
mod hosts;
pub mod json;
mod plan;
mod report;
mod status;
mod steps;
mod words;

pub use access::access_text;
pub use plan::{Context, ago, cost_text, drift_text, plan_text};
pub use report::{end_of_apply, outcome_line};
pub use status::status_text;
pub use steps::{step_label, step_text};
pub use words::blocker;

use anstyle::{AnsiColor, Style as Ansi};

/// How text is laid out.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Whether colours are used.
    pub colour: bool,
    /// Columns there are.
    pub width: usize,
    /// Whether long lists are written out.
    pub verbose: bool,
}

/// What a piece of text is, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Create,
    Update,
    Destroy,
    Switch,
    Bold,
    Faint,
}

impl Style {
    fn paint(self, tone: Tone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let style = match tone {
            Tone::Create => AnsiColor::Green.on_default(),
            Tone::Update => AnsiColor::Yellow.on_default(),
            Tone::Destroy => AnsiColor::Red.on_default(),
            Tone::Switch => AnsiColor::Cyan.on_default(),
            Tone::Bold => Ansi::new().bold(),
            Tone::Faint => Ansi::new().dimmed(),
        };
        format!("{style}{text}{style:#}")
    }
}

/// `error:`, as it begins a line.
#[must_use]
pub fn error_label(style: Style) -> String {
    style.paint(Tone::Destroy, "error:")
}

/// `warning:`, as it begins a line.
#[must_use]
pub fn warning_label(style: Style) -> String {
    style.paint(Tone::Update, "warning:")
}

#[cfg(test)]
mod tests;
