//! The manifest's text as a tree in which every key and value knows where it stands. What YAML would let pass and a
//! reader would not expect is found here: keys given twice, anchors, aliases, merges, tags, several documents.

use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::finding::Finding;

/// A value and where it stands, in bytes.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// A scalar; `plain` when it is not quoted, so that YAML may read it as something else than text.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// What stands there was refused, and has its finding.
    Unusable,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) value: Node,
}

impl Node {
    /// The value at `path`, with the span of its key; list elements are numbers.
    pub(super) fn at(&self, path: &[&str]) -> Option<(&Node, Range<usize>)> {
        let mut node = self;
        let mut key_span = self.span.clone();
        for part in path {
            match &node.content {
                Content::Map(entries) => {
                    let entry = entries.iter().find(|entry| entry.key == *part)?;
                    (node, key_span) = (&entry.value, entry.key_span.clone());
                }
                Content::List(items) => {
                    node = items.get(part.parse::<usize>().ok()?)?;
                    key_span = node.span.clone();
                }
                Content::Scalar { .. } | Content::Unusable => return None,
            }
        }
        Some((node, key_span))
    }

    /// What YAML reads it as, in words.
    pub(super) fn kind(&self) -> Option<&'static str> {
        match &self.content {
            Content::Map(_) => Some("a map"),
            Content::List(_) => Some("a list"),
            Content::Scalar { plain: false, .. } => Some(TEXT),
            Content::Scalar { text, plain: true } => Some(plain_kind(text)),
            Content::Unusable => None,
        }
    }
}

/// Kinds of scalars, as messages call them.
pub(super) const TEXT: &str = "text";
pub(super) const NUMBER: &str = "a number";
pub(super) const BOOLEAN: &str = "a boolean";
pub(super) const NOTHING: &str = "nothing";

/// The key of a merge.
pub(super) const MERGE: &str = "<<";

/// No manifest nests deeper than this; a text that does is no manifest, and would cost a reader its stack.
const DEEPEST: usize = 32;

fn plain_kind(text: &str) -> &'static str {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => NOTHING,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => BOOLEAN,
        _ if is_number(text) => NUMBER,
        _ => TEXT,
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let radix = |prefix: &str, digit: fn(char) -> bool| {
        digits.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(digit))
    };
    let decimal = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && digits.parse::<f64>().is_ok();
    decimal
        || radix("0x", |c| c.is_ascii_hexdigit())
        || radix("0o", |c| c.is_digit(8))
        || matches!(digits, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN")
}

/// Reads the text; `None` when it is no YAML, or empty.
pub(super) fn read(text: &str, findings: &mut Vec<Finding>) -> Option<Node> {
    let mut reader = Reader { offsets: Offsets::new(text), findings, documents: 0, open: Vec::new(), root: None };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => {
                let span = reader.offsets.range(span.start.index(), span.end.index());
                let end = span.end;
                reader.take(event, span);
                if reader.open.len() > DEEPEST {
                    reader.refuse("depth", "this nests deeper than a manifest does", end..end);
                    return None;
                }
            }
            Err(error) => {
                let at = reader.offsets.range(error.marker().index(), error.marker().index() + 1);
                let finding = Finding::error("yaml", format!("this is no YAML: {}", error.info()), at);
                reader.findings.push(finding);
                return None;
            }
        }
    }
    reader.root
}

/// Byte offsets of characters: the scanner counts the latter.
struct Offsets<'t> {
    text: &'t str,
    /// Of each character, if there is any that is longer than a byte.
    table: Option<Vec<usize>>,
}

impl<'t> Offsets<'t> {
    fn new(text: &'t str) -> Self {
        let table = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).collect());
        Self { text, table }
    }

    fn byte(&self, character: usize) -> usize {
        match &self.table {
            Some(table) => table.get(character).copied().unwrap_or(self.text.len()),
            None => character.min(self.text.len()),
        }
    }

    fn range(&self, start: usize, end: usize) -> Range<usize> {
        let start = self.byte(start);
        start..self.byte(end).max(start)
    }
}

struct Reader<'t, 'f> {
    offsets: Offsets<'t>,
    findings: &'f mut Vec<Finding>,
    documents: usize,
    open: Vec<Open>,
    root: Option<Node>,
}

enum Open {
    List {
        start: usize,
        items: Vec<Node>,
    },
    Map {
        start: usize,
        entries: Vec<Entry>,
        seen: HashMap<String, Range<usize>>,
        key: Option<Option<(String, Range<usize>)>>,
    },
}

impl Reader<'_, '_> {
    fn take(&mut self, event: Event<'_>, span: Range<usize>) {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents == 2 {
                    self.refuse("documents", "a manifest is one YAML document", span);
                }
            }
            Event::Alias(_) => {
                self.refuse("anchor", "aliases are not supported: write the value out", span.clone());
                self.place(Node { span, content: Content::Unusable });
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.check_decorations(anchor, tag.is_some(), &span);
                let plain = matches!(style, ScalarStyle::Plain) && tag.is_none();
                self.place(Node { span, content: Content::Scalar { text: text.into_owned(), plain } });
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_decorations(anchor, tag.is_some(), &span);
                self.open.push(Open::List { start: span.start, items: Vec::new() });
            }
            Event::MappingStart(anchor, tag) => {
                self.check_decorations(anchor, tag.is_some(), &span);
                let seen = HashMap::new();
                self.open.push(Open::Map { start: span.start, entries: Vec::new(), seen, key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { start, items }) => {
                    self.place(Node { span: start..span.end.max(start), content: Content::List(items) });
                }
                Some(Open::Map { start, entries, .. }) => {
                    self.place(Node { span: start..span.end.max(start), content: Content::Map(entries) });
                }
                None => {}
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
    }

    fn refuse(&mut self, code: &'static str, message: &str, span: Range<usize>) {
        self.findings.push(Finding::error(code, message, span));
    }

    fn check_decorations(&mut self, anchor: usize, tagged: bool, span: &Range<usize>) {
        if anchor != 0 {
            self.refuse("anchor", "anchors are not supported: write the value out where it is used", span.clone());
        }
        if tagged {
            self.refuse("tag", "tags such as !!str are not supported: quote the text instead", span.clone());
        }
    }

    /// A finished value is an element, a key, the value of the key before it, or the whole.
    fn place(&mut self, node: Node) {
        match self.open.last_mut() {
            None if self.documents <= 1 => self.root = Some(node),
            None => {}
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, seen, key, .. }) => match key.take() {
                Some(Some((name, key_span))) => {
                    let value = match name == MERGE {
                        true => Node { content: Content::Unusable, ..node },
                        false => node,
                    };
                    entries.push(Entry { key: name, key_span, value });
                }
                Some(None) => {}
                None => {
                    let Content::Scalar { text, .. } = node.content else {
                        *key = Some(None);
                        self.findings.push(Finding::error("text-key", "a key is text", node.span));
                        return;
                    };
                    if text == MERGE {
                        let message = "merges are not supported: write the keys out";
                        self.findings.push(Finding::error("merge", message, node.span.clone()));
                        *key = Some(Some((text, node.span)));
                        return;
                    }
                    match seen.get(&text) {
                        Some(first) => {
                            let message = format!("\"{}\" is given twice", super::finding::printable(&text));
                            let twice = Finding::error("duplicate", message, node.span);
                            self.findings
                                .push(twice.with_other("first here", first.clone()).help("keep one of the two"));
                            *key = Some(None);
                        }
                        None => {
                            seen.insert(text.clone(), node.span.clone());
                            *key = Some(Some((text, node.span)));
                        }
                    }
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<&'static str> {
        let mut findings = Vec::new();
        read(text, &mut findings);
        findings.iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn what_a_reader_would_not_expect_is_found() {
        assert_eq!(codes("a: 1\nb: [x]\n"), [] as [&str; 0]);
        assert_eq!(codes("a: 1\na: 2\n"), ["duplicate"]);
        assert_eq!(codes("a: &x 1\nb: *x\n"), ["anchor", "anchor"]);
        assert_eq!(codes("b: {<<: {c: 1}}\n"), ["merge"]);
        assert_eq!(codes("a: !!str 1\n"), ["tag"]);
        assert_eq!(codes("a: 1\n---\nb: 2\n"), ["documents"]);
        assert_eq!(codes("a: [\n"), ["yaml"]);
        assert_eq!(codes("? [a]\n: 1\n"), ["text-key"]);
        assert_eq!(codes(&"[".repeat(40)), ["depth"]);
        assert_eq!(codes(&"- ".repeat(100_000)), ["depth"]);
    }

    #[test]
    fn spans_count_bytes() {
        let text = "ä: {ö: x}\n";
        let mut findings = Vec::new();
        let root = read(text, &mut findings).unwrap_or_else(|| panic!("{findings:?}"));
        let (node, key) = root.at(&["ä", "ö"]).unwrap_or_else(|| panic!("not there"));
        assert_eq!((&text[node.span.clone()], &text[key]), ("x", "ö"));
    }
}
