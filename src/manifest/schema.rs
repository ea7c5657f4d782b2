//! The JSON Schema of the manifest, in the shape that editors show best.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::{Map, Value};

use super::source::Source;

/// The schema's identifier; it carries the manifest's version.
const ID: &str = "https://reconcile.invalid/schema/v1/secrets.manifest.schema.json";

/// The JSON Schema of the manifest, draft 2020-12.
#[must_use]
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(ForEditors);
    let mut schema = settings.into_generator().into_root_schema_for::<Source>();
    schema.insert("$id".to_owned(), Value::from(ID));
    Value::from(schema)
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
            messages(object);
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

/// Better words than an editor's own.
fn messages(object: &mut Map<String, Value>) {
    let message = match object.get("pattern").and_then(Value::as_str) {
        Some(r"^0?[0-7]{3}$") => "a mode is a quoted octal text such as \"0400\"",
        Some(pattern) if pattern.starts_with("^(password|") => "a field is password, notes, username or custom:NAME",
        Some(_) => "letters, digits and _ . -, beginning with a letter, a digit or _",
        None => return,
    };
    object.insert("patternErrorMessage".to_owned(), Value::from(message));
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
