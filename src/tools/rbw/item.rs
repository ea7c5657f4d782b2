//! One value of an item, from its ciphertexts or as `rbw get --raw` prints it: a missing value is told from an empty one,
//! and custom fields by their exact name.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::Deserializer;

use crate::manifest::ItemField;
use crate::observation::Cause;
use crate::secret::SecretValue;
use crate::text::Untrusted;
use crate::tools::plaintext::Plaintext;

use super::agent::{self, Agent};
use super::database::Sealed;

/// What a default would be of an item that has neither a password nor is a note.
const NO_DEFAULT: &str = "password (it is neither a login nor a note: say which field is meant)";

/// Has the agent decrypt the value of a field. What it cannot tell of the value is in the inner result.
pub(super) async fn value_of(
    agent: &Arc<Agent>,
    sealed: &Sealed,
    field: &ItemField,
    item: &Untrusted,
) -> Result<Result<SecretValue, Cause>, agent::Fault> {
    if sealed.reprompt {
        // The agent would ask for the master password, and stand still meanwhile.
        return Ok(Err(Cause::ItemReprompt { item: item.clone() }));
    }
    let shown = match field {
        ItemField::Default if !sealed.has_default() => NO_DEFAULT,
        ItemField::Default | ItemField::Password => "password",
        ItemField::Username => "username",
        ItemField::Notes => "notes",
        ItemField::Custom(name) => name,
    };
    let ciphertext = match field {
        ItemField::Custom(name) => match custom_sealed(agent, sealed, name, item).await? {
            Ok(ciphertext) => ciphertext,
            Err(cause) => return Ok(Err(cause)),
        },
        field => sealed.sealed_field(field),
    };
    let Some(ciphertext) = ciphertext else {
        return Ok(Err(Cause::FieldMissing { item: item.clone(), field: Untrusted::new(shown) }));
    };
    // Bitwarden's clients leave an empty value as it is.
    if ciphertext.is_empty() {
        return Ok(Err(Cause::ItemEmpty { item: item.clone() }));
    }
    let decrypted = agent.decrypt(vec![sealed.ciphertext(ciphertext)]).await?.pop();
    Ok(match decrypted {
        Some(Ok(text)) if text.is_empty() => Err(Cause::ItemEmpty { item: item.clone() }),
        Some(Ok(text)) => Ok(SecretValue::new(text.as_bytes().to_vec())),
        Some(Err(_)) | None => Err(undecrypted(item.clone(), shown)),
    })
}

/// The ciphertext of the one custom field of this name.
async fn custom_sealed<'a>(
    agent: &Arc<Agent>,
    sealed: &'a Sealed,
    name: &str,
    item: &Untrusted,
) -> Result<Result<Option<&'a str>, Cause>, agent::Fault> {
    let with_name: Vec<_> = sealed.fields.iter().filter_map(|field| Some((field, field.name.as_deref()?))).collect();
    let names = agent.decrypt(with_name.iter().map(|(_, name)| sealed.ciphertext(name)).collect()).await?;
    let mut found = Vec::new();
    for ((field, _), decrypted) in with_name.iter().zip(names) {
        match decrypted {
            Ok(decrypted) if *decrypted == name => found.push(*field),
            Ok(_) => {}
            // It might be the one, or another of the same name.
            Err(_) => return Ok(Err(undecrypted(item.clone(), "fields"))),
        }
    }
    Ok(match found.as_slice() {
        [] => Err(Cause::FieldMissing { item: item.clone(), field: Untrusted::new(name) }),
        [field] => Ok(field.value.as_deref()),
        several => Err(several_fields(item, name, several.len())),
    })
}

fn undecrypted(item: Untrusted, what: &str) -> Cause {
    Cause::ItemUnreadable { item, detail: Untrusted::new(format!("rbw cannot decrypt its {what}")) }
}

fn several_fields(item: &Untrusted, name: &str, count: usize) -> Cause {
    let detail = Untrusted::new(format!("{count} of its fields are called \"{name}\"; rename them"));
    Cause::ItemUnreadable { item: item.clone(), detail }
}

/// What is printed of an item, without its history.
#[derive(Deserialize)]
pub(super) struct Printed {
    pub(super) id: String,
    name: String,
    /// `null` for a note.
    data: Option<Data>,
    #[serde(default)]
    fields: Vec<Field>,
    notes: Option<Plaintext>,
}

#[derive(Deserialize)]
struct Data {
    username: Option<Plaintext>,
    /// Logins alone have it, if only as `null`.
    #[serde(default, deserialize_with = "even_null")]
    password: Option<Option<Plaintext>>,
}

fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Plaintext>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct Field {
    name: Option<String>,
    value: Option<Plaintext>,
}

impl Printed {
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// The value of a field. `complained`: rbw could not decrypt something, and a value that is then not there could not be decrypted.
    pub(super) fn value(self, field: &ItemField, complained: bool) -> Result<SecretValue, Cause> {
        let item = Untrusted::new(self.name);
        let (shown, value) = match field {
            ItemField::Default => match self.data {
                None => ("notes", self.notes),
                Some(Data { password: Some(password), .. }) => ("password", password),
                // The number of a card, or the public half of a key: nobody means these without saying so.
                Some(_) => (NO_DEFAULT, None),
            },
            ItemField::Password => ("password", self.data.and_then(|data| data.password).flatten()),
            ItemField::Username => ("username", self.data.and_then(|data| data.username)),
            ItemField::Notes => ("notes", self.notes),
            ItemField::Custom(name) => (name.as_str(), custom(self.fields, name, &item)?),
        };
        match value {
            Some(Plaintext(text)) if text.is_empty() => Err(Cause::ItemEmpty { item }),
            Some(Plaintext(text)) => Ok(SecretValue::new(text.as_bytes().to_vec())),
            None if complained => Err(undecrypted(item, shown)),
            None => Err(Cause::FieldMissing { item, field: Untrusted::new(shown) }),
        }
    }
}

fn custom(fields: Vec<Field>, name: &str, item: &Untrusted) -> Result<Option<Plaintext>, Cause> {
    let mut found = fields.into_iter().filter(|field| field.name.as_deref() == Some(name));
    match (found.next(), found.count()) {
        (field, 0) => Ok(field.and_then(|field| field.value)),
        (_, more) => Err(several_fields(item, name, more + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, field: &ItemField) -> Result<Vec<u8>, Cause> {
        let printed = Printed::read(text.as_bytes()).unwrap_or_else(|| panic!("not read: {text}"));
        printed.value(field, false).map(|value| value.expose(<[u8]>::to_vec))
    }

    const LOGIN: &str = r#"{"id":"1","folder":null,"name":"n","data":{"username":"m","password":"p\n","totp":null,"uris":[]},
        "fields":[{"name":"pin","value":"1234","type":"hidden"},{"name":"pin code","value":"no","type":"text"},
        {"name":"twice","value":"a","type":"text"},{"name":"twice","value":"b","type":"text"},
        {"name":"none","value":"","type":"text"}],"notes":"first\nsecond","history":[{"last_used_date":"","password":"old"}]}"#;

    #[test]
    fn each_field_is_the_one_that_was_named() {
        let custom = |name: &str| ItemField::Custom(name.to_owned());
        for (field, expected) in [
            (ItemField::Default, "p\n"),
            (ItemField::Password, "p\n"),
            (ItemField::Username, "m"),
            (ItemField::Notes, "first\nsecond"),
            (custom("pin"), "1234"),
        ] {
            assert_eq!(value(LOGIN, &field), Ok(expected.as_bytes().to_vec()), "{field:?}");
        }
        assert!(matches!(value(LOGIN, &custom("pi")), Err(Cause::FieldMissing { .. })));
        assert!(matches!(value(LOGIN, &custom("PIN")), Err(Cause::FieldMissing { .. })));
        assert!(matches!(value(LOGIN, &custom("twice")), Err(Cause::ItemUnreadable { .. })));
        assert!(matches!(value(LOGIN, &custom("none")), Err(Cause::ItemEmpty { .. })));
    }

    #[test]
    fn what_is_not_there_is_never_taken_for_a_value() {
        let login =
            r#"{"id":"1","name":"n","data":{"username":null,"password":null,"totp":null},"fields":[],"notes":null}"#;
        let empty = r#"{"id":"1","name":"n","data":{"username":"","password":""},"fields":[],"notes":""}"#;
        for field in [ItemField::Default, ItemField::Password, ItemField::Username, ItemField::Notes] {
            assert!(matches!(value(login, &field), Err(Cause::FieldMissing { .. })), "{field:?}");
            assert!(matches!(value(empty, &field), Err(Cause::ItemEmpty { .. })), "{field:?}");
        }
        let undecrypted =
            Printed::read(login.as_bytes()).map(|printed| printed.value(&ItemField::Password, true).map(drop));
        assert!(matches!(undecrypted, Some(Err(Cause::ItemUnreadable { .. }))));
    }

    #[test]
    fn the_default_of_a_note_is_its_text_and_others_have_none() {
        let note = r#"{"id":"1","name":"n","data":null,"fields":[],"notes":"text"}"#;
        let card = r#"{"id":"1","name":"n","data":{"number":"4111","code":"1"},"fields":[],"notes":"text"}"#;
        let key =
            r#"{"id":"1","name":"n","data":{"public_key":"ssh-ed25519 A","private_key":"x"},"fields":[],"notes":null}"#;
        assert_eq!(value(note, &ItemField::Default), Ok(b"text".to_vec()));
        for other in [card, key] {
            assert!(matches!(value(other, &ItemField::Default), Err(Cause::FieldMissing { .. })));
        }
    }
}
