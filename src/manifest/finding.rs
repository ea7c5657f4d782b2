//! What is wrong with a manifest, each finding with its place and the way out; and all of them as one error.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

use crate::text::Untrusted;

use super::Manifest;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The manifest is not taken.
    Error,
    /// It is taken, and probably not what was meant.
    Warning,
}

/// Something found in a manifest.
#[derive(Debug, Clone)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A short name of the rule, such as `unknown-host`.
    pub code: &'static str,
    /// What is wrong, printable.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
    /// Where, in bytes of the text.
    pub span: Range<usize>,
    /// Another place that belongs to it, with what it is.
    pub other: Option<(String, Range<usize>)>,
    place: Option<Arc<Placed>>,
}

/// The text in which a finding stands.
struct Placed {
    source: NamedSource<Arc<String>>,
    line: usize,
    column: usize,
    name: String,
}

impl fmt::Debug for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.name, self.line, self.column)
    }
}

impl Finding {
    pub(super) fn error(code: &'static str, message: impl Into<String>, span: Range<usize>) -> Self {
        // Much of a message is text of the manifest.
        let message = printable(&message.into());
        Self { severity: Severity::Error, code, message, help: None, span, other: None, place: None }
    }

    pub(super) fn warning(code: &'static str, message: impl Into<String>, span: Range<usize>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message, span) }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(printable(&help.into()));
        self
    }

    pub(super) fn with_other(mut self, label: &str, span: Range<usize>) -> Self {
        self.other = Some((printable(label), span));
        self
    }

    /// Line and column, both from 1; columns count characters.
    #[must_use]
    pub fn position(&self) -> (usize, usize) {
        self.place.as_ref().map_or((1, 1), |place| (place.line, place.column))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{}:{}:{}: ", printable(&place.name), place.line, place.column)?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// One finding as miette draws it.
#[derive(Debug)]
struct Drawn(Finding);

impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Drawn {}

impl Diagnostic for Drawn {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.0.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.place.as_ref().map(|place| &place.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let first = LabeledSpan::new_primary_with_span(None, self.0.span.clone());
        let other =
            self.0.other.as_ref().map(|(label, span)| LabeledSpan::new_with_span(Some(label.clone()), span.clone()));
        Some(Box::new(std::iter::once(first).chain(other)))
    }
}

/// A manifest that is not taken, with everything that is wrong with it.
#[derive(Debug)]
pub struct ManifestError {
    name: String,
    drawn: Vec<Drawn>,
}

/// A manifest that is taken.
#[derive(Debug)]
pub struct Checked {
    /// The manifest.
    pub manifest: Manifest,
    /// What is probably not meant so.
    pub warnings: Vec<Finding>,
}

impl ManifestError {
    /// Findings of a text, in its order.
    pub(super) fn new(name: &str, findings: Vec<Finding>) -> Self {
        Self { name: name.to_owned(), drawn: findings.into_iter().map(Drawn).collect() }
    }

    /// Everything that was found, warnings too, in the order of the text.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.drawn.iter().map(|drawn| &drawn.0)
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.findings().filter(|finding| finding.severity == Severity::Error).count();
        let name = printable(&self.name);
        match errors {
            1 => write!(f, "{name} is not valid: there is 1 mistake in it"),
            count => write!(f, "{name} is not valid: there are {count} mistakes in it"),
        }
    }
}

impl std::error::Error for ManifestError {}

impl Diagnostic for ManifestError {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.drawn.iter().map(|drawn| drawn as &dyn Diagnostic)))
    }
}

/// Tells the findings where in which text they stand, and sorts them by it.
pub(super) fn place(name: &str, text: &str, findings: &mut [Finding]) {
    findings.sort_by_key(|finding| (finding.span.start, finding.span.end));
    let shown = Arc::new(shown(text));
    let lines: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    for finding in findings {
        let line = lines.partition_point(|start| *start <= finding.span.start);
        let start = lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column = text.get(start..finding.span.start).unwrap_or_default().chars().count() + 1;
        let source = NamedSource::new(printable(name), Arc::clone(&shown)).with_language("yaml");
        finding.place = Some(Arc::new(Placed { source, line, column, name: name.to_owned() }));
    }
}

/// The text without what would move the cursor or turn the text, and without private keys that somebody put there. It
/// keeps its length in bytes, so that spans fit.
fn shown(text: &str) -> String {
    let harmless = |c: char| {
        let keeps = c == '\n' || c == '\t' || Untrusted::new(c.to_string()).printable() == c.to_string();
        if keeps { c.to_string() } else { "?".repeat(c.len_utf8()) }
    };
    let is_plain = |byte: u8| byte == b'\n' || byte == b'\t' || (b' '..=b'~').contains(&byte);
    let text: String = match text.bytes().all(is_plain) {
        true => text.to_owned(),
        false => text.chars().map(harmless).collect(),
    };
    without_private_keys(text)
}

/// Private keys of age and of ssh, hidden behind stars.
fn without_private_keys(mut text: String) -> String {
    // Both have the same length in bytes.
    let upper = text.to_ascii_uppercase();
    for start in ["AGE-SECRET-KEY-", "PRIVATE KEY-----"] {
        for (at, _) in upper.match_indices(start) {
            let begin = at + start.len();
            let rest = &upper[begin..];
            let length = match start.ends_with("KEY-") {
                true => rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len()),
                false => rest.find("-----END").unwrap_or(rest.len()),
            };
            let hidden: String =
                text[begin..begin + length].chars().map(|c| if c.is_ascii_graphic() { '*' } else { c }).collect();
            text.replace_range(begin..begin + length, &hidden);
        }
    }
    text
}

/// Text from the manifest for a message.
pub(super) fn printable(text: &str) -> String {
    Untrusted::new(text).printable()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_has_the_length_of_the_text_and_no_private_key() {
        let text = "a: AGE-SECRET-KEY-1QQQQ # ä\u{202e}\u{1b}\nb: |\n  -----BEGIN OPENSSH PRIVATE KEY-----\n  b3Blb\n  -----END \
                    OPENSSH PRIVATE KEY-----\nc: age-secret-key-1pppp\n";
        let shown = shown(text);
        assert_eq!(shown.len(), text.len());
        for hidden in ["QQQQ", "pppp", "b3Blb", "\u{202e}", "\u{1b}"] {
            assert!(!shown.contains(hidden), "{shown}");
        }
        assert!(shown.contains("# ä") && shown.contains("b: |"), "{shown}");
    }

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = "a: 1\nä: ö x\n";
        let end = text.len();
        let mut findings =
            [("first", 0..1), ("second", 12..13), ("end", end..end)].map(|(code, span)| Finding::error(code, "", span));
        place("t", text, &mut findings);
        assert_eq!(findings.map(|finding| finding.position()), [(1, 1), (2, 6), (3, 1)]);
    }
}
