//! Holds the manifest's tree against the schema, so that every key that is unknown or missing and every value of the
//! wrong kind is found in one run, each with its place.

use serde_json::{Map, Value};

use super::finding::{Finding, printable};
use super::schema::schema;
use super::tree::{Content, Entry, Node};

pub(super) fn check(root: &Node, findings: &mut Vec<Finding>) {
    let schema = schema();
    let definitions = schema.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
    Shape { definitions, findings }.value(&schema, root, "the manifest");
}

struct Shape<'f> {
    definitions: Map<String, Value>,
    findings: &'f mut Vec<Finding>,
}

impl Shape<'_> {
    fn value(&mut self, schema: &Value, node: &Node, what: &str) {
        let mut schema = schema.clone();
        while let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/")) {
            match self.definitions.get(name) {
                Some(definition) => schema = definition.clone(),
                None => return,
            }
        }
        if let Some(Value::Array(variants)) = schema.get("anyOf") {
            let resolved = |variant: &Value| {
                let name = variant.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/"));
                name.and_then(|name| self.definitions.get(name)).unwrap_or(variant).clone()
            };
            let variants: Vec<Value> = variants.iter().map(resolved).collect();
            match variants.iter().find(|variant| is_of(type_of(variant), node)) {
                Some(variant) => self.value(variant, node, what),
                None => self.wrong_kind(variants.iter().map(type_of).collect(), node, what),
            }
            return;
        }
        let kind = type_of(&schema);
        if !kind.is_empty() && !is_of(kind, node) {
            self.wrong_kind(vec![kind], node, what);
            return;
        }
        match &node.content {
            Content::Map(entries) => self.map(&schema, node, entries, what),
            Content::List(items) => {
                if let Some(schema) = schema.get("items") {
                    items.iter().for_each(|item| self.value(schema, item, what));
                }
            }
            Content::Scalar { text, .. } => self.scalar(&schema, node, text, what),
        }
    }

    fn map(&mut self, schema: &Value, node: &Node, entries: &[Entry], what: &str) {
        let empty = Map::new();
        let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        for entry in entries {
            let rest = schema.get("additionalProperties");
            match (known.get(&entry.key), rest) {
                (Some(schema), _) => self.value(schema, &entry.value, &format!("`{}`", entry.key)),
                (None, Some(Value::Bool(false))) => self.unknown_key(known, entry, what),
                (None, Some(Value::Bool(true)) | None) => {}
                (None, Some(schema)) => self.value(schema, &entry.value, &format!("`{}`", printable(&entry.key))),
            }
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for key in required.filter_map(Value::as_str).filter(|key| entries.iter().all(|entry| entry.key != **key)) {
            let finding = Finding::error("missing-key", format!("{what} has no `{key}`"), heading(node));
            let about = known.get(key).and_then(|schema| schema.get("description")).and_then(Value::as_str);
            self.findings.push(
                finding.help(about.map_or_else(|| format!("add `{key}:`"), |about| format!("add `{key}:`. {about}"))),
            );
        }
        let given = entries.iter().filter(|entry| known.contains_key(&entry.key)).count() as u64;
        let choices = || known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let limit = |name: &str| schema.get(name).and_then(Value::as_u64);
        if limit("minProperties").is_some_and(|least| given < least) && entries.is_empty() {
            let finding = Finding::error("empty", format!("{what} says nothing"), heading(node));
            self.findings.push(finding.help(format!("give one of: {}", choices())));
        }
        if let Some(second) = entries.get(1).filter(|_| limit("maxProperties").is_some_and(|most| given > most)) {
            let finding =
                Finding::error("several", format!("{what} says more than one thing"), second.key_span.clone());
            self.findings.push(finding.help(format!("give one of: {}", choices())));
        }
    }

    fn unknown_key(&mut self, known: &Map<String, Value>, entry: &Entry, what: &str) {
        let message = format!("{what} has no key \"{}\"", printable(&entry.key));
        let finding = Finding::error("unknown-key", message, entry.key_span.clone());
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        let help = match suggestion(&entry.key, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", names.join(", ")),
        };
        self.findings.push(finding.help(help));
    }

    fn scalar(&mut self, schema: &Value, node: &Node, text: &str, what: &str) {
        if let Some(Value::Array(allowed)) = schema.get("enum") {
            let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
            if !allowed.contains(&text) {
                let message = format!("{what} cannot be \"{}\"", printable(text));
                let help = match suggestion(text, &allowed) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("it is one of: {}", allowed.join(", ")),
                };
                self.findings.push(Finding::error("value", message, node.span.clone()).help(help));
            }
        }
    }

    fn wrong_kind(&mut self, wanted: Vec<&str>, node: &Node, what: &str) {
        let words: Vec<&str> = wanted.iter().map(|kind| in_words(kind)).collect();
        let message = format!("{what} is {}, and must be {}", node.kind(), words.join(" or "));
        let finding = Finding::error("type", message, node.span.clone());
        let is_text_unquoted =
            wanted.contains(&"string") && matches!(node.content, Content::Scalar { plain: true, .. });
        self.findings.push(match &node.content {
            Content::Scalar { text, .. } if is_text_unquoted && !text.is_empty() && node.kind() != "nothing" => {
                finding.help(format!("quote it: \"{}\"", printable(text)))
            }
            _ if wanted == ["object"] && node.kind() == "nothing" => {
                finding.help("write {} where there is nothing to say")
            }
            _ => finding,
        });
    }
}

fn type_of(schema: &Value) -> &str {
    schema.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn is_of(kind: &str, node: &Node) -> bool {
    match (kind, &node.content) {
        ("object", Content::Map(_)) | ("array", Content::List(_)) => true,
        ("string", Content::Scalar { .. }) => node.kind() == "text",
        ("integer" | "number", Content::Scalar { .. }) => node.kind() == "a number",
        ("boolean", Content::Scalar { .. }) => node.kind() == "a boolean",
        _ => false,
    }
}

fn in_words(kind: &str) -> &str {
    match kind {
        "object" => "a map",
        "array" => "a list",
        "string" => "text",
        "integer" | "number" => "a number",
        "boolean" => "true or false",
        other => other,
    }
}

/// Where something that is not there would be: a map as a whole is too much to underline.
fn heading(node: &Node) -> std::ops::Range<usize> {
    match &node.content {
        Content::Map(entries) if !entries.is_empty() => {
            entries.first().map_or(node.span.clone(), |entry| entry.key_span.clone())
        }
        _ => node.span.clone(),
    }
}

/// The nearest of what there is.
pub(super) fn suggestion<'a>(word: &str, options: &[&'a str]) -> Option<&'a str> {
    let near = similar::get_close_matches(word, options, 1, 0.6);
    near.first().copied()
}
