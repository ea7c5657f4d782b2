//! One item as `bw list items` prints it: a missing value is told from an empty one, and custom fields by their exact name.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::desired::Revision;
use crate::manifest::ItemField;
use crate::observation::Cause;
use crate::secret::SecretValue;
use crate::text::Untrusted;
use crate::tools::plaintext::Plaintext;
use crate::tools::vault::Revisions;

/// The numbers of kinds of items whose value is known without naming a field.
const LOGIN: u8 = 1;
const NOTE: u8 = 2;

/// What versions before 2026 print in place of a text that they cannot decrypt; later ones print nothing.
const UNDECRYPTED: &str = "[error: cannot decrypt]";

/// What is kept of what is printed: nothing of its history, one-time codes, addresses or attachments.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Printed {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) folder_id: Option<String>,
    #[serde(rename = "type")]
    kind: u8,
    reprompt: Option<u8>,
    revision_date: Option<String>,
    deleted_date: Option<String>,
    login: Option<Login>,
    fields: Option<Vec<Field>>,
    notes: Option<Plaintext>,
}

#[derive(Deserialize)]
struct Login {
    username: Option<Plaintext>,
    password: Option<Plaintext>,
}

#[derive(Deserialize)]
struct Field {
    name: Option<String>,
    value: Option<Plaintext>,
}

impl Printed {
    /// A user name is shown and matched.
    pub(super) fn user(&self) -> Option<String> {
        Some(self.login.as_ref()?.username.as_ref()?.0.to_string())
    }

    pub(super) fn reprompts(&self) -> bool {
        self.reprompt.is_some_and(|reprompt| reprompt != 0)
    }

    pub(super) fn is_in_trash(&self) -> bool {
        self.deleted_date.is_some()
    }

    /// When the item was saved last, seconds since 1970.
    pub(super) fn changed_at(&self) -> Option<i64> {
        self.revision_date.as_ref()?.parse().ok().map(jiff::Timestamp::as_second)
    }

    /// One token for all fields: bw says when an item was saved, and not what of it.
    pub(super) fn revisions(&self) -> Revisions {
        let Some(date) = &self.revision_date else { return Revisions::default() };
        let token = Revision(format!("bw1:{date}"));
        let fields = [ItemField::Default, ItemField::Password, ItemField::Notes, ItemField::Username];
        let fields: BTreeMap<_, _> = fields.into_iter().map(|field| (field, token.clone())).collect();
        Revisions { fields, custom: Some(token) }
    }

    /// The value of a field.
    pub(super) fn value(&self, field: &ItemField) -> Result<SecretValue, Cause> {
        let item = || Untrusted::new(self.name.clone());
        let password = || self.login.as_ref().and_then(|login| login.password.as_ref());
        let (shown, value) = match (field, self.kind) {
            (ItemField::Default, NOTE) | (ItemField::Notes, _) => ("notes", self.notes.as_ref()),
            (ItemField::Default, LOGIN) | (ItemField::Password, _) => ("password", password()),
            // The number of a card, or the public half of a key: nobody means these without saying so.
            (ItemField::Default, _) => ("password (it is neither a login nor a note: say which field is meant)", None),
            (ItemField::Username, _) => ("username", self.login.as_ref().and_then(|login| login.username.as_ref())),
            (ItemField::Custom(name), _) => (name.as_str(), self.custom(name)?),
        };
        match value {
            Some(Plaintext(text)) if text.is_empty() => Err(Cause::ItemEmpty { item: item() }),
            Some(Plaintext(text)) if text.as_str() == UNDECRYPTED => {
                let detail = Untrusted::new(format!("bw cannot decrypt its {shown}"));
                Err(Cause::ItemUnreadable { item: item(), detail })
            }
            Some(Plaintext(text)) => Ok(SecretValue::new(text.as_bytes().to_vec())),
            None => Err(Cause::FieldMissing { item: item(), field: Untrusted::new(shown) }),
        }
    }

    fn custom(&self, name: &str) -> Result<Option<&Plaintext>, Cause> {
        let mut named = self.fields.iter().flatten().filter(|field| field.name.as_deref() == Some(name));
        match (named.next(), named.count()) {
            (field, 0) => Ok(field.and_then(|field| field.value.as_ref())),
            (_, more) => {
                let detail = Untrusted::new(format!("{} of its fields are called \"{name}\"; rename them", more + 1));
                Err(Cause::ItemUnreadable { item: Untrusted::new(self.name.clone()), detail })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> Printed {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn value(text: &str, field: &ItemField) -> Result<Vec<u8>, Cause> {
        printed(text).value(field).map(|value| value.expose(<[u8]>::to_vec))
    }

    const LOGIN: &str = r#"{"object":"item","id":"1","organizationId":"o","folderId":null,"type":1,"reprompt":0,
        "name":"n","notes":"first\nsecond","favorite":false,"passwordHistory":[{"lastUsedDate":"","password":"old"}],
        "fields":[{"name":"pin","value":"1234","type":1,"linkedId":null},{"name":"twice","value":"a","type":0},
        {"name":"twice","value":"b","type":0},{"name":"none","value":"","type":0},{"name":"linked","value":null,"type":3}],
        "login":{"uris":[],"username":"m","password":"p\n","totp":null},
        "revisionDate":"2026-11-25T20:30:00.500Z","deletedDate":null}"#;

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
        for missing in ["pi", "PIN", "linked"] {
            assert!(matches!(value(LOGIN, &custom(missing)), Err(Cause::FieldMissing { .. })), "{missing}");
        }
        assert!(matches!(value(LOGIN, &custom("twice")), Err(Cause::ItemUnreadable { .. })));
        assert!(matches!(value(LOGIN, &custom("none")), Err(Cause::ItemEmpty { .. })));
    }

    #[test]
    fn what_is_not_there_is_never_taken_for_a_value() {
        let nothing = r#"{"id":"1","name":"n","type":1,"login":{"username":null,"password":null},"notes":null}"#;
        let empty = r#"{"id":"1","name":"n","type":1,"login":{"username":"","password":""},"notes":""}"#;
        for field in [ItemField::Default, ItemField::Password, ItemField::Username, ItemField::Notes] {
            assert!(matches!(value(nothing, &field), Err(Cause::FieldMissing { .. })), "{field:?}");
            assert!(matches!(value(empty, &field), Err(Cause::ItemEmpty { .. })), "{field:?}");
        }
        let note = r#"{"id":"1","name":"n","type":2,"secureNote":{"type":0},"notes":"text"}"#;
        let broken = r#"{"id":"1","name":"n","type":1,"login":{"password":"[error: cannot decrypt]"}}"#;
        assert!(matches!(value(broken, &ItemField::Default), Err(Cause::ItemUnreadable { .. })));
        let card = r#"{"id":"1","name":"n","type":3,"card":{"number":"4111"},"notes":"text"}"#;
        assert_eq!(value(note, &ItemField::Default), Ok(b"text".to_vec()));
        assert!(matches!(value(card, &ItemField::Default), Err(Cause::FieldMissing { .. })));
    }

    #[test]
    fn the_date_of_the_last_save_is_its_version() {
        let item = printed(LOGIN);
        let revisions = item.revisions();
        assert_eq!(revisions.of(&ItemField::Default), Some(&Revision("bw1:2026-11-25T20:30:00.500Z".to_owned())));
        assert_eq!(revisions.of(&ItemField::Custom("pin".to_owned())), revisions.of(&ItemField::Default));
        assert_eq!(item.changed_at(), Some(1_795_638_600));
        let undated = printed(r#"{"id":"1","name":"n","type":1}"#);
        assert_eq!((undated.revisions(), undated.changed_at()), (Revisions::default(), None));
    }
}
