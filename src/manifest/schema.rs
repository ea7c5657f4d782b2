//! The JSON Schema of the manifest, in the shape that editors show best.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::{Map, Value, json};

use super::source::Source;

/// The schema's identifier; it carries the manifest's version.
const ID: &str = "https://reconcile.invalid/schema/v1/secrets.manifest.schema.json";

/// A name of one component, as [`crate::address`] takes it.
pub(super) const NAME: &str = "^[A-Za-z0-9_][A-Za-z0-9_.-]*$";
pub(super) const NAME_MESSAGE: &str = "letters, digits and _ . -, beginning with a letter, a digit or _";

/// The JSON Schema of the manifest, draft 2020-12.
#[must_use]
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(ForEditors);
    let mut schema = settings.into_generator().into_root_schema_for::<Source>();
    schema.insert("$id".to_owned(), Value::from(ID));
    let mut schema = Value::from(schema);
    name_definitions(&mut schema);
    schema
}

/// The keys of hosts and files.
pub(super) fn names() -> Value {
    json!({"pattern": NAME, "patternErrorMessage": NAME_MESSAGE})
}

/// The keys of secrets, as [`crate::secret::SecretName`] takes them.
pub(super) fn secret_names() -> Value {
    let component = "[A-Za-z0-9_][A-Za-z0-9_.@+=-]*";
    let message = "components of letters, digits and _ . @ + = -, with / between them, such as tailscale/auth-key";
    json!({"pattern": format!("^{component}(/{component})*$"), "patternErrorMessage": message})
}

/// What an editor offers for a new host.
pub(super) fn host_snippets() -> Value {
    let host = json!({"ssh": "${2:user@host}", "recipient": {"file": "${3:host-age-pubkey}"}});
    json!([{"label": "host over ssh", "description": "A machine that is reached over ssh.", "body": {"${1:name}": host}}])
}

/// What an editor offers for a new secret.
pub(super) fn secret_snippets() -> Value {
    let with = |delivery: Value| json!({"${1:name}": {"item": "${2:item}", "delivery": delivery}});
    let boot = with(json!({"sops": {"owner": "${3:root}"}}));
    let runtime = with(json!({"runtime": {"env": "${3:TOKEN}", "commands": ["${4:program}"]}}));
    json!([
        {"label": "boot secret", "description": "Through the sops file to a path on the host.", "body": boot},
        {"label": "runtime secret", "description": "Fetched from the vault into one process.", "body": runtime},
    ])
}

/// Definitions are called by what they are in the manifest, and have a title that hovering shows.
fn name_definitions(schema: &mut Value) {
    let of_types = "Source";
    if let Some(Value::Object(definitions)) = schema.get_mut("$defs") {
        for (name, mut definition) in std::mem::take(definitions) {
            let name = name.trim_end_matches(of_types).to_owned();
            if let Value::Object(definition) = &mut definition {
                definition.entry("title").or_insert_with(|| Value::from(title(&name)));
            }
            definitions.insert(name, definition);
        }
    }
    references(schema, &|reference| reference.trim_end_matches(of_types).to_owned());
}

/// `GitCredential` is a `git credential`.
fn title(name: &str) -> String {
    let mut title = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !title.is_empty() {
            title.push(' ');
        }
        title.extend(c.to_lowercase());
    }
    title
}

fn references(value: &mut Value, rename: &dyn Fn(&str) -> String) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(reference) if key == "$ref" => *reference = rename(reference),
                    value => references(value, rename),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| references(item, rename)),
        _ => {}
    }
}

/// What editors drop or show badly: null types and defaults, consts with docs, descriptions that are no Markdown.
#[derive(Debug, Clone)]
struct ForEditors;

impl Transform for ForEditors {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(object) = schema.as_object_mut() {
            without_null(object);
            consts_to_enum(object);
            if let Some(Value::String(text)) = object.get("description").cloned() {
                let text = text.replace('\n', " ");
                object.insert("description".to_owned(), Value::from(text.clone()));
                object.insert("markdownDescription".to_owned(), Value::from(text));
            }
            describe_variants(object);
        }
        transform_subschemas(self, schema);
    }
}

/// An option that is not given is left out; `null` means nothing here.
fn without_null(object: &mut Map<String, Value>) {
    if object.get("default") == Some(&Value::Null) {
        object.remove("default");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(mut variants)) = object.remove("anyOf") else { return };
    variants.retain(|variant| variant.get("type").is_none_or(|kind| kind != "null"));
    match variants.as_mut_slice() {
        [Value::Object(only)] => {
            let only = std::mem::take(only);
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
        _ => drop(object.insert("anyOf".to_owned(), Value::Array(variants))),
    }
}

/// `oneOf` of constants with descriptions becomes `enum` with one description each.
fn consts_to_enum(object: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = object.get("oneOf") else { return };
    let part = |key: &str| variants.iter().map(|variant| variant.get(key).cloned()).collect::<Option<Vec<Value>>>();
    let Some(values) = part("const") else { return };
    let descriptions = part("description");
    object.remove("oneOf");
    object.insert("type".to_owned(), Value::from("string"));
    object.insert("enum".to_owned(), Value::Array(values));
    if let Some(descriptions) = descriptions {
        object.insert("markdownEnumDescriptions".to_owned(), Value::Array(descriptions));
    }
}

/// An editor explains the variant that it sees, so each says what the whole is.
fn describe_variants(object: &mut Map<String, Value>) {
    let Some(about) = object.get("description").cloned() else { return };
    let Some(Value::Array(variants)) = object.get_mut("anyOf") else { return };
    for variant in variants.iter_mut().filter_map(Value::as_object_mut) {
        variant.entry("description").or_insert_with(|| about.clone());
        variant.entry("markdownDescription").or_insert_with(|| about.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_in_the_repository_is_the_one_of_this_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/secrets.manifest.schema.json");
        let there = std::fs::read_to_string(path).unwrap_or_default();
        let here = serde_json::to_string_pretty(&schema()).unwrap_or_default() + "\n";
        assert!(there == here, "stale: cargo run -- schema > schema/secrets.manifest.schema.json");
    }

    #[test]
    fn nothing_that_editors_stumble_over_is_in_it() {
        fn walk(value: &Value, path: &str) {
            match value {
                Value::Object(object) => {
                    assert_ne!(object.get("default"), Some(&Value::Null), "{path}");
                    assert!(!matches!(object.get("type"), Some(Value::Array(_))), "{path}");
                    assert!(!object.contains_key("oneOf"), "{path}");
                    object.iter().for_each(|(key, value)| walk(value, &format!("{path}/{key}")));
                }
                Value::Array(items) => items.iter().for_each(|value| walk(value, path)),
                _ => {}
            }
        }
        walk(&schema(), "");
    }
}
