//! A sops file as a tree: its scalar leaves in document order, and its own block. Every event of the parser is looked
//! at once; nothing is decrypted.

use std::borrow::Cow;
use std::collections::HashSet;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::read::ReadError;
use super::value::PREFIX;
use super::yaml::{Type, type_of};
use crate::address::KeyPath;
use crate::text::Untrusted;

/// Deeper nesting is refused: no file of secrets needs it, and it bounds what a hostile file can cost.
const DEPTH: usize = 128;

/// What is below the top of a file.
pub(super) struct Tree<'a> {
    /// Every leaf in document order.
    pub leaves: Vec<RawLeaf<'a>>,
    /// The `sops` block of the first document.
    pub metadata: Option<Node<'a>>,
}

/// A leaf as it stands there.
pub(super) struct RawLeaf<'a> {
    /// Where it is; list elements have their index, documents after the first their number.
    pub path: KeyPath,
    /// What sops authenticates it with: the keys above it, each followed by `:`, without the indexes of lists.
    pub additional: String,
    /// Its content.
    pub content: Content<'a>,
    /// The line it stands on, counted from 1.
    pub line: usize,
}

/// What a leaf holds.
pub(super) enum Content<'a> {
    /// A scalar other than null, and what it is read as.
    Scalar(Cow<'a, str>, Type),
    /// `null`, `{}` or `[]`, which sops neither encrypts nor authenticates.
    Nothing(&'static str),
}

/// A value of the `sops` block.
pub(super) enum Node<'a> {
    /// Text; null is the empty text.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Node<'a>>),
    /// A mapping.
    Map(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// The value of `key`, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node<'a>> {
        let Self::Map(entries) = self else { return None };
        entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The text of `key`, unless it is empty.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Self::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// The elements of `key`; none when there is no such list.
    pub fn list(&self, key: &str) -> &[Node<'a>] {
        match self.get(key) {
            Some(Self::List(elements)) => elements,
            _ => &[],
        }
    }
}

/// Parses a whole file.
pub(super) fn parse(text: &str) -> Result<Tree<'_>, ReadError> {
    let tree = Tree { leaves: Vec::new(), metadata: None };
    let mut walk = Walk {
        parser: Parser::new_from_str(text),
        path: Vec::new(),
        additional: String::new(),
        documents: 0,
        tree,
        encrypted: false,
    };
    match walk.stream() {
        Ok(()) => Ok(walk.tree),
        // What was read so far tells a file that was cut off from one that never was YAML.
        Err(ReadError::Syntax { line, .. }) if walk.encrypted && line >= text.lines().count() => Err(ReadError::CutOff),
        Err(error) => Err(error),
    }
}

struct Walk<'a> {
    parser: Parser<'a, StrInput<'a>>,
    path: Vec<String>,
    additional: String,
    documents: usize,
    tree: Tree<'a>,
    /// Whether an encrypted value was seen.
    encrypted: bool,
}

impl<'a> Walk<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), ReadError> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(syntax(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn stream(&mut self) -> Result<(), ReadError> {
        loop {
            let (event, span) = self.next()?;
            let line = span.start.line();
            match event {
                Event::StreamEnd => return Ok(()),
                Event::DocumentStart(_) => {
                    self.documents += 1;
                    self.path.clear();
                    if self.documents > 1 {
                        self.path.push(format!("(document {})", self.documents));
                    }
                }
                Event::MappingStart(..) => self.map(0, self.documents)?,
                // An empty document.
                Event::Scalar(text, ScalarStyle::Plain, ..) if type_of(&text) == Type::Null => {}
                Event::Scalar(..) | Event::SequenceStart(..) => return Err(ReadError::NotAMapping { line }),
                Event::Alias(_) => return Err(ReadError::Alias { line }),
                _ => {}
            }
        }
    }

    /// Reads a mapping to its end. `top` is the number of the document whose root it is, else 0.
    fn map(&mut self, depth: usize, top: usize) -> Result<(), ReadError> {
        let mut seen = HashSet::new();
        loop {
            let (event, span) = self.next()?;
            let line = span.start.line();
            let name = match key(event, line)? {
                Some(name) => name,
                None if seen.is_empty() && top == 0 => {
                    self.leaf(Content::Nothing("{}"), line);
                    return Ok(());
                }
                None => return Ok(()),
            };
            self.path.push(name.to_string());
            if seen.contains(&name) {
                return Err(ReadError::DuplicateKey { key: self.shown(), line });
            }
            if top > 0 && name == "sops" {
                let node = self.metadata(line)?;
                if top == 1 {
                    self.tree.metadata = Some(node);
                }
            } else {
                let outer = self.additional.len();
                self.additional.push_str(&name);
                self.additional.push(':');
                self.value(depth + 1)?;
                self.additional.truncate(outer);
            }
            seen.insert(name);
            self.path.pop();
        }
    }

    fn list(&mut self, depth: usize, line: usize) -> Result<(), ReadError> {
        for index in 0.. {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                if index == 0 {
                    self.leaf(Content::Nothing("[]"), line);
                }
                break;
            }
            self.path.push(index.to_string());
            self.started(event, &span, depth + 1)?;
            self.path.pop();
        }
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<(), ReadError> {
        let (event, span) = self.next()?;
        self.started(event, &span, depth)
    }

    fn started(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<(), ReadError> {
        let line = span.start.line();
        if depth > DEPTH {
            return Err(ReadError::TooDeep { line });
        }
        match event {
            Event::MappingStart(..) => self.map(depth, 0),
            Event::SequenceStart(..) => self.list(depth, line),
            Event::Alias(_) => Err(ReadError::Alias { line }),
            Event::Scalar(text, style, _, tag) => {
                // A tag such as `!!str` or the quotes make it text, whatever it looks like.
                let plain = style == ScalarStyle::Plain && tag.is_none_or(|tag| tag.suffix != "str");
                let kind = if plain { type_of(&text) } else { Type::Str };
                self.encrypted |= text.starts_with(PREFIX);
                self.leaf(
                    if kind == Type::Null { Content::Nothing("null") } else { Content::Scalar(text, kind) },
                    line,
                );
                Ok(())
            }
            _ => Err(ReadError::Syntax {
                line,
                column: span.start.col() + 1,
                problem: Untrusted::new("a value is missing"),
            }),
        }
    }

    fn leaf(&mut self, content: Content<'a>, line: usize) {
        let path = KeyPath::new(self.path.iter().cloned());
        self.tree.leaves.push(RawLeaf { path, additional: self.additional.clone(), content, line });
    }

    fn shown(&self) -> Untrusted {
        Untrusted::new(self.path.join("/"))
    }

    fn metadata(&mut self, line: usize) -> Result<Node<'a>, ReadError> {
        let (event, _) = self.next()?;
        if !matches!(event, Event::MappingStart(..)) {
            return Err(ReadError::MetadataNotAMapping { line });
        }
        self.node(event, line, 0)
    }

    fn node(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<Node<'a>, ReadError> {
        if depth > DEPTH {
            return Err(ReadError::TooDeep { line });
        }
        match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) if type_of(&text) == Type::Null => {
                Ok(Node::Text(Cow::Borrowed("")))
            }
            Event::Scalar(text, ..) => Ok(Node::Text(text)),
            Event::SequenceStart(..) => {
                let mut elements = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        return Ok(Node::List(elements));
                    }
                    elements.push(self.node(event, span.start.line(), depth + 1)?);
                }
            }
            Event::MappingStart(..) => {
                let mut entries: Vec<(Cow<'a, str>, Node<'a>)> = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    let line = span.start.line();
                    let Some(name) = key(event, line)? else { return Ok(Node::Map(entries)) };
                    if entries.iter().any(|(other, _)| *other == name) {
                        return Err(ReadError::DuplicateKey { key: Untrusted::new(format!("sops/{name}")), line });
                    }
                    let (event, span) = self.next()?;
                    let value = self.node(event, span.start.line(), depth + 1)?;
                    entries.push((name, value));
                }
            }
            _ => Err(ReadError::Alias { line }),
        }
    }
}

/// The key that `event` is, or `None` at the end of the mapping.
fn key(event: Event<'_>, line: usize) -> Result<Option<Cow<'_, str>>, ReadError> {
    match event {
        Event::MappingEnd => Ok(None),
        Event::Scalar(text, style, _, tag) => {
            let plain = style == ScalarStyle::Plain && tag.is_none_or(|tag| tag.suffix != "str");
            match if plain { type_of(&text) } else { Type::Str } {
                Type::Str | Type::Merge => Ok(Some(text)),
                _ => Err(ReadError::KeyNotText { key: Untrusted::new(text), line }),
            }
        }
        _ => Err(ReadError::KeyNotText { key: Untrusted::new("a list or mapping"), line }),
    }
}

fn syntax(error: &ScanError) -> ReadError {
    let at = error.marker();
    ReadError::Syntax { line: at.line(), column: at.col() + 1, problem: Untrusted::new(error.info()) }
}
