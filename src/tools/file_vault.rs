//! The vault that is a YAML file: a map from item name to its value, or to a map of fields. It is the default of the
//! quickstart, and for CI.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use zeroize::{Zeroize, Zeroizing};

use crate::desired::{ItemIdentity, Revision};
use crate::manifest::ItemField;
use crate::observation::Cause;
use crate::secret::{Fingerprint, FingerprintKey, SecretName, SecretValue};
use crate::text::Untrusted;
use crate::tools::vault::{Entry, Listing, Revisions, field_of};

/// No such file is larger, in bytes.
const LIMIT: u64 = 64 << 20;

/// The file's items in memory.
pub struct FileVault {
    path: String,
    items: BTreeMap<String, Fields>,
    revisions: BTreeMap<String, Revisions>,
}

/// The fields of an item, wiped when dropped.
#[derive(Default)]
struct Fields {
    value: Option<SecretValue>,
    named: BTreeMap<String, SecretValue>,
}

impl Fields {
    fn get(&self, field: &ItemField) -> Option<&SecretValue> {
        match field {
            ItemField::Default => self.value.as_ref().or_else(|| self.named.get("password")),
            ItemField::Password => self.named.get("password").or(self.value.as_ref()),
            ItemField::Notes => self.named.get("notes"),
            ItemField::Username => self.named.get("username"),
            ItemField::Custom(name) => self.named.get(name),
        }
    }

    /// Every field by which it can be asked for.
    fn fields(&self) -> Vec<ItemField> {
        let fixed = [ItemField::Default, ItemField::Password, ItemField::Notes, ItemField::Username];
        fixed.into_iter().chain(self.named.keys().cloned().map(ItemField::Custom)).collect()
    }
}

impl FileVault {
    /// Reads the file. Revisions are keyed MACs of values, and made only with a key.
    ///
    /// # Errors
    /// When it cannot be read, or is no such map.
    pub fn open(path: &Path, key: Option<&FingerprintKey>) -> Result<Self, Cause> {
        let shown = Untrusted::new(path.to_string_lossy());
        let unreadable = |detail: String| Cause::FileUnreadable { path: shown.clone(), detail: Untrusted::new(detail) };
        let seen = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
        if !seen.is_file() || seen.len() > LIMIT {
            let why = "it is not a file of at most 64 MiB".to_owned();
            return Err(Cause::FileRefused { path: shown, why });
        }
        let bytes = std::fs::read(path).map(Zeroizing::new).map_err(|error| unreadable(error.to_string()))?;
        // What the parser says may quote the file, so only its place is told.
        let items: Items = serde_yaml::from_slice(&bytes).map_err(|error| {
            let at = error.location().map(|at| format!(" near line {}", at.line())).unwrap_or_default();
            let why = "it must map each item's name to its text, or to a map of fields; every name once";
            Cause::FileRefused { path: shown.clone(), why: format!("{why}{at}") }
        })?;
        let revisions = key.map(|key| revisions(key, &items.0)).unwrap_or_default();
        Ok(Self { path: path.to_string_lossy().into_owned(), items: items.0, revisions })
    }

    /// Lists the items.
    #[must_use]
    pub fn list(&self) -> Listing {
        let entry = |(name, fields): (&String, &Fields)| Entry {
            id: name.clone(),
            name: name.clone(),
            user: fields.named.get("username").and_then(text_of),
            folder: None,
            reprompt: false,
            revisions: self.revisions.get(name).cloned().unwrap_or_default(),
        };
        let entries = self.items.iter().map(entry).collect();
        Listing { kind: "file", account: self.path.clone(), synced: None, entries, unreadable: 0 }
    }

    /// Reads one value.
    ///
    /// # Errors
    /// When there is no such item or field.
    pub fn read(&self, item: &ItemIdentity) -> Result<SecretValue, Cause> {
        let name = item.id.as_is();
        let Some(fields) = self.items.get(name) else {
            return Err(Cause::ItemMissing { wanted: item.id.clone(), similar: Vec::new() });
        };
        match fields.get(&field_of(item.field.as_is())) {
            Some(value) => Ok(copy(value)),
            None => Err(Cause::FieldMissing { item: item.id.clone(), field: item.field.clone() }),
        }
    }
}

/// A user name is shown and matched: it is not kept as a secret.
fn text_of(value: &SecretValue) -> Option<String> {
    value.expose(|bytes| String::from_utf8(bytes.to_vec()).ok())
}

fn copy(value: &SecretValue) -> SecretValue {
    value.expose(|bytes| SecretValue::new(bytes.to_vec()))
}

fn revisions(key: &FingerprintKey, items: &BTreeMap<String, Fields>) -> BTreeMap<String, Revisions> {
    // A name that no secret of a manifest has: a revision is never taken for a fingerprint.
    let Ok(name) = "file-vault@revision".parse::<SecretName>() else { return BTreeMap::new() };
    let of = |fields: &Fields| {
        let with_value = |field: ItemField| {
            let value = fields.get(&field)?;
            let revision = format!("file1:{}", Fingerprint::of(key, &name, value));
            Some((field, Revision(revision)))
        };
        Revisions { fields: fields.fields().into_iter().filter_map(with_value).collect(), custom: None }
    };
    items.iter().map(|(item, fields)| (item.clone(), of(fields))).collect()
}

/// The map of items, each name once.
struct Items(BTreeMap<String, Fields>);

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Items;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map of items")
            }
            fn visit_unit<E>(self) -> Result<Items, E> {
                Ok(Items(BTreeMap::new()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Items, A::Error> {
                let mut items = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    let fields = map.next_value::<Fields>()?;
                    if items.insert(name, fields).is_some() {
                        return Err(serde::de::Error::custom("twice"));
                    }
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_any(Map)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Fields;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text, or a map of fields")
            }
            fn visit_str<E>(self, text: &str) -> Result<Fields, E> {
                Ok(Fields { value: Some(SecretValue::new(text.as_bytes().to_vec())), named: BTreeMap::new() })
            }
            fn visit_string<E>(self, mut text: String) -> Result<Fields, E> {
                let fields = Fields { value: Some(SecretValue::new(text.as_bytes().to_vec())), named: BTreeMap::new() };
                text.zeroize();
                Ok(fields)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some(name) = map.next_key::<String>()? {
                    let text = Zeroizing::new(map.next_value::<String>()?);
                    let value = SecretValue::new(text.as_bytes().to_vec());
                    if fields.named.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("twice"));
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::ItemRef;

    fn vault(text: &str) -> Result<FileVault, Cause> {
        let file = tempfile::NamedTempFile::new().unwrap_or_else(|error| panic!("{error}"));
        assert!(std::fs::write(file.path(), text).is_ok());
        FileVault::open(file.path(), Some(&FingerprintKey::new(&mut [1; 32])))
    }

    fn find(vault: &FileVault, name: &str, field: ItemField) -> Result<ItemIdentity, Cause> {
        let wanted = ItemRef { id: None, name: Some(name.to_owned()), user: None, folder: None, field };
        vault.list().find(&wanted).map(|item| item.identity)
    }

    #[test]
    fn values_and_fields_are_found_exactly() -> Result<(), Cause> {
        let vault = vault("db/prod-readonly: ro\nlogin: {username: m, password: p, pin: '1234'}\n")?;
        for (name, field, expected) in [
            ("db/prod-readonly", ItemField::Default, &b"ro"[..]),
            ("login", ItemField::Default, b"p"),
            ("login", ItemField::Username, b"m"),
            ("login", ItemField::Custom("pin".to_owned()), b"1234"),
        ] {
            let value = vault.read(&find(&vault, name, field)?)?;
            assert!(value.expose(|bytes| bytes == expected), "{name}");
        }
        let near = find(&vault, "db/prod", ItemField::Default);
        assert!(matches!(&near, Err(Cause::ItemMissing { similar, .. }) if similar.len() == 1), "{near:?}");
        let missing = vault.read(&find(&vault, "login", ItemField::Notes)?);
        assert!(matches!(missing, Err(Cause::FieldMissing { .. })));
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_told_without_a_value() {
        for text in ["a: canary\na: canary\n", "- canary\n", "a: {b: [canary]}\n", "a: 5\n", "canary"] {
            let Err(cause) = vault(text) else { panic!("{text} is taken") };
            assert!(!format!("{cause} {cause:?}").contains("canary"), "{cause}");
        }
    }

    #[test]
    fn a_revision_changes_with_its_value_alone() -> Result<(), Cause> {
        let revision = |text: &str| -> Result<_, Cause> {
            let wanted =
                ItemRef { id: None, name: Some("a".to_owned()), user: None, folder: None, field: ItemField::Default };
            Ok(vault(text)?.list().find(&wanted)?.revision)
        };
        assert!(revision("a: x\n")?.is_some());
        assert_eq!(revision("a: x\nb: y\n")?, revision("a: x\nb: z\n")?);
        assert_ne!(revision("a: x\n")?, revision("a: y\n")?);
        Ok(())
    }
}
