//! The steps of an apply as they go: a spinner on a terminal, a line at the end of each elsewhere, and what switches
//! print under its heading, or with the host before each line when several run at once.

use std::num::NonZeroUsize;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::terminal::{Terminal, print, say};
use crate::plan::{Plan, Step};
use crate::render::{json, outcome_line, step_label, step_text};
use crate::report::Event;

/// Shows the events of an apply.
pub struct Progress<'a> {
    steps: &'a [Step],
    terminal: &'a Terminal,
    json: bool,
    /// Of the longest step.
    width: usize,
    /// Of the longest name before a line, when several switches run at once.
    labels: Option<usize>,
    /// The steps that run.
    running: Vec<usize>,
    /// The step whose heading was printed last.
    headed: Option<usize>,
    spinner: Option<ProgressBar>,
}

impl<'a> Progress<'a> {
    /// Of a plan that is about to be carried out.
    pub fn new(plan: &'a Plan, parallelism: NonZeroUsize, terminal: &'a Terminal, json: bool) -> Self {
        let longest = |texts: &mut dyn Iterator<Item = String>| texts.map(|text| text.chars().count()).max();
        let width = longest(&mut plan.steps.iter().map(step_text)).unwrap_or_default();
        let mut switches = plan.steps.iter().filter(|step| matches!(step, Step::Switch(_))).map(step_label);
        let labels = plan.switches_at_once(parallelism).then(|| longest(&mut switches).unwrap_or_default());
        Self { steps: &plan.steps, terminal, json, width, labels, running: Vec::new(), headed: None, spinner: None }
    }

    /// Shows what happened.
    pub fn show(&mut self, event: &Event) {
        if self.json {
            let now = jiff::Timestamp::now().to_string();
            if let Some(line) = json::event(self.steps, event, &now) {
                // A reader that went away does not stop an apply half-way.
                let _ = print(&format!("{line}\n"));
            }
            return;
        }
        match event {
            Event::Started { step } => {
                self.running.push(*step);
                self.spin(None);
            }
            Event::Progress { done, total, .. } => self.spin(Some((*done, *total))),
            Event::TookTerminal { step } => self.head(*step),
            Event::Output { step, line } => self.output(*step, &line.printable()),
            Event::Ended { step, outcome } => {
                self.running.retain(|running| running != step);
                if let Some(step) = self.steps.get(*step) {
                    let line = outcome_line(step, outcome, self.width, self.terminal.style);
                    self.aside(|| drop(print(&format!("{line}\n"))));
                }
                self.spin(None);
            }
        }
    }

    /// The spinner beside what runs, if anything does.
    fn spin(&mut self, done: Option<(usize, usize)>) {
        let text = match self.running.as_slice() {
            _ if !self.terminal.animated => return,
            [] => return self.end_spinner(),
            [step] => self.steps.get(*step).map(step_text).unwrap_or_default(),
            [step, more @ ..] => {
                format!("{} and {} more", self.steps.get(*step).map(step_text).unwrap_or_default(), more.len())
            }
        };
        let spinner = self.spinner.get_or_insert_with(|| {
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(std::time::Duration::from_millis(120));
            spinner
        });
        spinner.set_message(match done {
            Some((done, total)) => format!("{text} ({done} of {total})"),
            None => text,
        });
    }

    fn output(&mut self, number: usize, line: &str) {
        match self.labels {
            Some(width) => {
                let label = self.steps.get(number).map(step_label).unwrap_or_default();
                self.aside(|| say(&format!("  {label:<width$} │ {line}")));
            }
            None => {
                self.head(number);
                say(&format!("  │ {line}"));
            }
        }
    }

    /// The heading above what a step's program prints, once.
    fn head(&mut self, number: usize) {
        self.end_spinner();
        if self.headed != Some(number)
            && let Some(step) = self.steps.get(number)
        {
            self.headed = Some(number);
            say(&format!("── {}", step_text(step)));
        }
    }

    /// Prints above the spinner.
    fn aside(&self, print: impl FnOnce()) {
        match &self.spinner {
            Some(spinner) => spinner.suspend(print),
            None => print(),
        }
    }

    fn end_spinner(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}
