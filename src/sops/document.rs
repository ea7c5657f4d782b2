//! A sops file as text: its leaves in their order, and sops's own block. No key is needed, and nothing is decided.

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::address::KeyPath;

/// Why bytes are no sops file that can be managed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not text.
    #[error("it is not UTF-8")]
    NotText,
    /// A merge was not finished.
    #[error("it has conflict markers of a merge (line {0})")]
    Conflict(usize),
    /// Not YAML.
    #[error("it is not YAML, or cut off (line {0})")]
    Yaml(usize),
    /// Not one YAML map.
    #[error("it is not one YAML map")]
    NotAMap,
    /// A key is there twice.
    #[error("a key is there twice (line {0})")]
    Twice(usize),
    /// Anchors, aliases or tags, which sops does not write.
    #[error("it has anchors, aliases or merges (line {0})")]
    Alias(usize),
    /// No metadata of sops.
    #[error("it has no metadata of sops: it is not encrypted, of another tool, or cut off")]
    NoMetadata,
    /// A part of the metadata is missing or malformed.
    #[error("its sops metadata has no usable `{0}`")]
    Metadata(&'static str),
    /// An encrypted value is malformed.
    #[error("an encrypted value is malformed (line {0})")]
    Value(usize),
}

/// A scalar of the file.
#[derive(Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) plain: bool,
    pub(super) line: usize,
}

#[derive(Debug)]
pub(super) enum Node {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// A leaf: where it is, which additional data it is encrypted with, and its text.
#[derive(Debug)]
pub(super) struct RawLeaf {
    pub(super) path: KeyPath,
    pub(super) place: String,
    pub(super) scalar: Scalar,
}

/// The whole file.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) leaves: Vec<RawLeaf>,
    pub(super) sops: Vec<(String, Node)>,
}

impl Document {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        let text = std::str::from_utf8(bytes).map_err(|_| ReadError::NotText)?;
        if let Some(line) = conflict(text) {
            return Err(ReadError::Conflict(line));
        }
        let Node::Map(top) = parse(text)? else { return Err(ReadError::NotAMap) };
        let (mut leaves, mut sops) = (Vec::new(), None);
        for (name, node) in top {
            if name == "sops" {
                sops = Some(node);
            } else {
                let place = format!("{name}:");
                walk(node, &mut vec![name], place, &mut leaves);
            }
        }
        match sops {
            Some(Node::Map(sops)) => Ok(Self { leaves, sops }),
            _ => Err(ReadError::NoMetadata),
        }
    }
}

fn conflict(text: &str) -> Option<usize> {
    let is_marker =
        |line: &str| ["<<<<<<< ", ">>>>>>> ", "||||||| "].iter().any(|m| line.starts_with(m)) || line == "=======";
    text.lines().position(is_marker).map(|line| line + 1)
}

fn walk(node: Node, path: &mut Vec<String>, place: String, leaves: &mut Vec<RawLeaf>) {
    match node {
        // null is neither encrypted nor part of the MAC
        Node::Scalar(Scalar { text, plain: true, .. }) if matches!(text.as_str(), "" | "~" | "null") => {}
        Node::Scalar(scalar) => leaves.push(RawLeaf { path: KeyPath::new(path.iter()), place, scalar }),
        Node::Map(map) => {
            for (name, node) in map {
                let place = format!("{place}{name}:");
                path.push(name);
                walk(node, path, place, leaves);
                path.pop();
            }
        }
        // an index adds nothing to the additional data
        Node::List(items) => {
            for (number, node) in items.into_iter().enumerate() {
                path.push(number.to_string());
                walk(node, path, place.clone(), leaves);
                path.pop();
            }
        }
    }
}

enum Open {
    List(Vec<Node>),
    Map { map: Vec<(String, Node)>, seen: std::collections::HashSet<String>, key: Option<String> },
}

fn parse(text: &str) -> Result<Node, ReadError> {
    let mut open: Vec<Open> = Vec::new();
    let mut documents = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| ReadError::Yaml(error.marker().line()))?;
        let line = span.start.line();
        let done = match event {
            Event::Alias(_) => return Err(ReadError::Alias(line)),
            Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _)
                if anchor != 0 =>
            {
                return Err(ReadError::Alias(line));
            }
            Event::Scalar(text, style, _, _) => {
                let plain = matches!(style, ScalarStyle::Plain);
                Some(Node::Scalar(Scalar { text: text.into_owned(), plain, line }))
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::Map { map: Vec::new(), seen: std::collections::HashSet::new(), key: None });
                None
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(items)) => Some(Node::List(items)),
                Some(Open::Map { map, .. }) => Some(Node::Map(map)),
                None => return Err(ReadError::Yaml(line)),
            },
            _ => None,
        };
        let Some(node) = done else { continue };
        match open.last_mut() {
            None => documents.push(node),
            Some(Open::List(items)) => items.push(node),
            Some(Open::Map { map, seen, key }) => match key.take() {
                Some(name) => map.push((name, node)),
                None => {
                    let Node::Scalar(Scalar { text, plain, .. }) = node else { return Err(ReadError::NotAMap) };
                    if plain && text == "<<" {
                        return Err(ReadError::Alias(line));
                    }
                    if !seen.insert(text.clone()) {
                        return Err(ReadError::Twice(line));
                    }
                    *key = Some(text);
                }
            },
        }
    }
    // Of several documents, each carries the same metadata: such a file is somebody else's, and read by its first.
    documents.into_iter().next().ok_or(ReadError::NotAMap)
}
