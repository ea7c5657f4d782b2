//! Holds the manifest's tree against the schema, so that every key that is unknown or missing and every value of the
//! wrong kind is found in one run, each with its place. What can be used in spite of that is handed on, so that it is
//! checked in the same run, too.

use std::ops::Range;
use std::sync::LazyLock;

use serde_json::{Map, Value};
use serde_yaml::{Mapping, Value as Yaml};

use super::finding::{Finding, printable};
use super::schema::schema;
use super::tree::{BOOLEAN, Content, Entry, NOTHING, NUMBER, Node, TEXT};

static SCHEMA: LazyLock<Value> = LazyLock::new(schema);

/// Finds what is wrong with the shape and returns what is usable: a value of a wrong kind is left out, unless it is clear
/// what was meant.
pub(super) fn check(root: &Node, findings: &mut Vec<Finding>) -> Yaml {
    let start = match &root.content {
        Content::Map(entries) => entries.first().map_or(root.span.clone(), |entry| entry.key_span.clone()),
        _ => root.span.clone(),
    };
    Shape { findings }.value(&SCHEMA, root, &start, "the manifest").unwrap_or(Yaml::Mapping(Mapping::new()))
}

struct Shape<'f> {
    findings: &'f mut Vec<Finding>,
}

/// The schema itself, or the definition that it refers to.
fn resolved(schema: &'static Value) -> &'static Value {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix("#/$defs/"));
    name.and_then(|name| SCHEMA.get("$defs")?.get(name)).unwrap_or(schema)
}

impl Shape<'_> {
    /// `heading` is where something that is missing in the value is pointed at: its key.
    fn value(&mut self, schema: &'static Value, node: &Node, heading: &Range<usize>, what: &str) -> Option<Yaml> {
        let schema = resolved(schema);
        if let Some(Value::Array(variants)) = schema.get("anyOf") {
            let variants: Vec<&'static Value> = variants.iter().map(resolved).collect();
            return match variants.iter().find(|variant| is_of(type_of(variant), node)) {
                Some(variant) => self.value(variant, node, heading, what),
                None => self.wrong_kind(&variants, node, what),
            };
        }
        let kind = type_of(schema);
        if !kind.is_empty() && !is_of(kind, node) {
            return self.wrong_kind(&[schema], node, what);
        }
        match &node.content {
            Content::Map(entries) => Some(Yaml::Mapping(self.map(schema, entries, heading, what))),
            Content::List(items) => {
                let Some(schema) = schema.get("items") else { return untyped(node) };
                let read: Vec<_> = items.iter().map(|item| self.value(schema, item, &item.span, what)).collect();
                // If one were left out, those after it would have another number.
                read.into_iter().collect::<Option<Vec<Yaml>>>().map(Yaml::Sequence)
            }
            Content::Scalar { text, .. } => self.scalar(schema, node, text, what),
            Content::Unusable => None,
        }
    }

    fn map(&mut self, schema: &'static Value, entries: &[Entry], heading: &Range<usize>, what: &str) -> Mapping {
        let known = properties(schema);
        let rest = schema.get("additionalProperties");
        let mut usable = Mapping::new();
        for entry in entries {
            let inner = format!("`{}`", printable(&entry.key));
            let value = match (known.and_then(|known| known.get(&entry.key)), rest) {
                (Some(schema), _) => self.value(schema, &entry.value, &entry.key_span, &inner),
                (None, Some(Value::Bool(false))) => {
                    self.unknown_key(known, entry, what);
                    None
                }
                (None, Some(Value::Bool(true)) | None) => untyped(&entry.value),
                (None, Some(schema)) => self.value(schema, &entry.value, &entry.key_span, &inner),
            };
            usable.extend(value.map(|value| (Yaml::String(entry.key.clone()), value)));
        }
        // What a merge would have brought is not missing.
        if entries.iter().all(|entry| entry.key != super::tree::MERGE) {
            self.count(schema, entries, heading, what);
        }
        usable
    }

    /// Whether there are too few or too many keys.
    fn count(&mut self, schema: &'static Value, entries: &[Entry], heading: &Range<usize>, what: &str) {
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for key in required.filter_map(Value::as_str).filter(|key| entries.iter().all(|entry| entry.key != **key)) {
            let finding = Finding::error("missing-key", format!("{what} has no `{key}`"), heading.clone());
            let known = properties(schema).and_then(|known| known.get(key));
            let about = known.and_then(|known| known.get("description")).and_then(Value::as_str);
            let about = about.map(|about| format!(". {about}")).unwrap_or_default();
            self.findings.push(finding.help(format!("add `{key}:`{about}")));
        }
        let Some(known) = properties(schema) else { return };
        let given: Vec<&Entry> = entries.iter().filter(|entry| known.contains_key(&entry.key)).collect();
        let choices = || known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let limit = |name: &str| schema.get(name).and_then(Value::as_u64).and_then(|limit| usize::try_from(limit).ok());
        // A key that is mistyped was found before, and says what was meant.
        if limit("minProperties").is_some_and(|least| entries.len() < least) {
            let finding = Finding::error("empty", format!("{what} says nothing"), heading.clone());
            self.findings.push(finding.help(format!("give one of: {}", choices())));
        }
        if let (Some(most), [first, second, ..]) = (limit("maxProperties"), given.as_slice())
            && given.len() > most
        {
            let finding =
                Finding::error("several", format!("{what} says more than one thing"), second.key_span.clone())
                    .with_other("the first", first.key_span.clone());
            self.findings.push(finding.help(format!("give one of: {}", choices())));
        }
    }

    fn unknown_key(&mut self, known: Option<&Map<String, Value>>, entry: &Entry, what: &str) {
        if entry.key == super::tree::MERGE {
            return;
        }
        let message = format!("{what} has no key \"{}\"", printable(&entry.key));
        let finding = Finding::error("unknown-key", message, entry.key_span.clone());
        let names: Vec<&str> = known.into_iter().flat_map(Map::keys).map(String::as_str).collect();
        let near = || match suggestion(&entry.key, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => "it takes no keys: write {}".to_owned(),
            None => format!("there are: {}", names.join(", ")),
        };
        let help = known.and_then(|known| delivery_of(&entry.key, known)).unwrap_or_else(near);
        self.findings.push(finding.help(help));
    }

    fn scalar(&mut self, schema: &Value, node: &Node, text: &str, what: &str) -> Option<Yaml> {
        if let Some(Value::Array(allowed)) = schema.get("enum") {
            let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
            if !allowed.contains(&text) {
                let message = format!("{what} cannot be \"{}\"", printable(text));
                let help = match suggestion(text, &allowed) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("it is one of: {}", allowed.join(", ")),
                };
                self.findings.push(Finding::error("value", message, node.span.clone()).help(help));
                return None;
            }
        }
        if type_of(schema) != "integer" {
            return untyped(node);
        }
        let limit = |name: &str| schema.get(name).and_then(Value::as_i64);
        let (least, most) = (limit("minimum").unwrap_or(i64::MIN), limit("maximum").unwrap_or(i64::MAX));
        match text.parse::<i64>().ok().filter(|number| (least..=most).contains(number)) {
            Some(number) => Some(Yaml::from(number)),
            None => {
                let message = format!("{what} cannot be {}", printable(text));
                let help = format!("it is a whole number from {least} to {most}");
                self.findings.push(Finding::error("value", message, node.span.clone()).help(help));
                None
            }
        }
    }

    /// Says so, and returns what was probably meant.
    fn wrong_kind(&mut self, wanted: &[&'static Value], node: &Node, what: &str) -> Option<Yaml> {
        let kinds: Vec<&str> = wanted.iter().map(|schema| type_of(schema)).collect();
        // What has no kind has its finding already.
        let kind = node.kind()?;
        let words: Vec<&str> = kinds.iter().map(|kind| in_words(kind)).collect();
        let message = format!("{what} is {kind}, and must be {}", words.join(" or "));
        let finding = Finding::error("type", message, node.span.clone());
        let (help, meant) = match &node.content {
            Content::Scalar { .. } if kind == NOTHING && kinds == ["object"] => {
                let help = "write {} where there is nothing to say";
                (Some(help.to_owned()), Some(Yaml::Mapping(Mapping::new())))
            }
            Content::Scalar { .. } if kind == NOTHING => (Some("give a value, or remove the key".to_owned()), None),
            Content::Scalar { text, .. } if kinds.contains(&"string") => {
                (Some(format!("quote it: \"{}\"", printable(text))), Some(Yaml::String(text.clone())))
            }
            Content::Scalar { text, .. } if kinds.contains(&"array") => {
                let list = Yaml::Sequence(vec![Yaml::String(text.clone())]);
                (Some(format!("write a list: [{}]", printable(text))), Some(list))
            }
            _ => (None, None),
        };
        self.findings.push(match help {
            Some(help) => finding.help(help),
            None => finding,
        });
        meant
    }
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

fn type_of(schema: &Value) -> &str {
    schema.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn is_of(kind: &str, node: &Node) -> bool {
    match (kind, &node.content) {
        ("object", Content::Map(_)) | ("array", Content::List(_)) => true,
        ("string", Content::Scalar { .. }) => node.kind() == Some(TEXT),
        ("integer" | "number", Content::Scalar { .. }) => node.kind() == Some(NUMBER),
        ("boolean", Content::Scalar { .. }) => node.kind() == Some(BOOLEAN),
        _ => false,
    }
}

fn in_words(kind: &str) -> &str {
    match kind {
        "object" => "a map",
        "array" => "a list",
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        other => other,
    }
}

/// A value as YAML reads it, where the schema says nothing more.
fn untyped(node: &Node) -> Option<Yaml> {
    Some(match &node.content {
        Content::Map(entries) => {
            let pair = |entry: &Entry| Some((Yaml::String(entry.key.clone()), untyped(&entry.value)?));
            Yaml::Mapping(entries.iter().filter_map(pair).collect())
        }
        Content::List(items) => Yaml::Sequence(items.iter().filter_map(untyped).collect()),
        Content::Scalar { text, plain: true } => {
            serde_yaml::from_str(text).unwrap_or_else(|_| Yaml::String(text.clone()))
        }
        Content::Scalar { text, plain: false } => Yaml::String(text.clone()),
        Content::Unusable => return None,
    })
}

/// Where a key belongs that was given to a secret or to the wrong one of its deliveries.
fn delivery_of(key: &str, given_to: &Map<String, Value>) -> Option<String> {
    let keys = |name: &str| SCHEMA.get("$defs")?.get(name).and_then(properties);
    let is = |name: &str| keys(name).is_some_and(|keys| std::ptr::eq(keys, given_to));
    if !["Secret", "Sops", "Runtime"].into_iter().any(is) {
        return None;
    }
    let [sops, runtime] = ["Sops", "Runtime"].map(|name| keys(name).is_some_and(|keys| keys.contains_key(key)));
    let (delivery, why) = match (sops, runtime) {
        (true, _) => ("sops", "what is needed at boot goes through sops"),
        (_, true) => ("runtime", "what is not needed at boot is fetched at run time"),
        _ => return None,
    };
    Some(format!("it belongs into `delivery: {{{delivery}: …}}`: {why}"))
}

/// The nearest of what there is.
pub(super) fn suggestion<'a>(word: &str, options: &[&'a str]) -> Option<&'a str> {
    // One letter of two is much, and still the likeliest mistake.
    let similarity = if word.chars().count() <= 3 { 0.5 } else { 0.6 };
    let near = similar::get_close_matches(word, options, 1, similarity);
    near.first().copied()
}
