//! rbw's configuration as it is to be: the address of the account, the settings that were given, and all others as they
//! are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::manifest::{RbwConfig, Surroundings};
use crate::secret::SecretValue;

/// A setting of rbw, as `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RbwSetting {
    /// Its name.
    pub name: String,
    /// A number where rbw has one, else text.
    pub value: Value,
}

impl FromStr for RbwSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("a setting is NAME=VALUE")?;
        if !RbwConfig::SETTINGS.contains(&name) {
            return Err(format!("rbw knows no such setting; it knows {}", RbwConfig::SETTINGS.join(", ")));
        }
        let value = match (name, value.parse::<u64>()) {
            ("lock_timeout", Ok(0)) | ("lock_timeout" | "sync_interval", Err(_)) => {
                return Err(format!("{name} is a number of seconds"));
            }
            ("lock_timeout" | "sync_interval", Ok(seconds)) => Value::from(seconds),
            _ => Value::from(value),
        };
        Ok(Self { name: name.to_owned(), value })
    }
}

/// Why there is no new configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// The address is none.
    #[error("it holds no address of an account: one line with an @")]
    Address,
    /// What is there cannot be understood.
    #[error("it is not a JSON object, and rbw would not read it either; correct it, or move it away")]
    Broken,
}

/// A configuration, and whether it is another account's than the one before.
#[derive(Debug)]
pub struct Configuration {
    /// The file.
    pub bytes: Zeroizing<Vec<u8>>,
    /// An agent that runs still has the keys of the account before.
    pub other_account: bool,
}

/// What tells one account from another.
const ACCOUNT: [&str; 3] = ["email", "base_url", "identity_url"];

impl Configuration {
    /// Where rbw reads it; `None` when no home directory is known.
    #[must_use]
    pub fn path(surroundings: &Surroundings) -> Option<PathBuf> {
        super::database::configuration(surroundings)
    }

    /// That of the account with this address and these settings, over what is there.
    ///
    /// # Errors
    /// When the address is none, or what is there is not JSON.
    pub fn new(
        there: Option<&[u8]>,
        email: &SecretValue,
        settings: &BTreeMap<String, Value>,
    ) -> Result<Self, ConfigurationError> {
        let mut map = match there {
            None => Map::new(),
            Some(bytes) if bytes.trim_ascii().is_empty() => Map::new(),
            Some(bytes) => serde_json::from_slice(bytes).map_err(|_| ConfigurationError::Broken)?,
        };
        let before = account(&map);
        map.insert("email".to_owned(), email.expose(address)?);
        map.extend(settings.iter().map(|(name, value)| (name.clone(), value.clone())));
        let other_account = before.first().is_some_and(|email| !email.is_null()) && before != account(&map);
        // A map of JSON values always serializes.
        let mut bytes = Zeroizing::new(serde_json::to_vec_pretty(&map).unwrap_or_default());
        bytes.push(b'\n');
        Ok(Self { bytes, other_account })
    }
}

fn account(map: &Map<String, Value>) -> Vec<Value> {
    ACCOUNT.iter().map(|name| map.get(*name).cloned().unwrap_or_default()).collect()
}

/// One line with an `@`; an editor's line break at the end is none of it.
fn address(bytes: &[u8]) -> Result<Value, ConfigurationError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ConfigurationError::Address)?.trim();
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !"@\"<>(),:;\\[]{}".contains(c);
    let is_address = text
        .split_once('@')
        .is_some_and(|(name, domain)| ![name, domain].contains(&"") && name.chars().chain(domain.chars()).all(plain));
    if is_address { Ok(Value::from(text)) } else { Err(ConfigurationError::Address) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(there: Option<&str>, email: &str, settings: &[&str]) -> Result<(Value, bool), ConfigurationError> {
        let setting = |text: &&str| {
            let RbwSetting { name, value } = text.parse().unwrap_or_else(|error| panic!("{error}"));
            (name, value)
        };
        let settings = settings.iter().map(setting).collect();
        let email = SecretValue::new(email.as_bytes().to_vec());
        let made = Configuration::new(there.map(str::as_bytes), &email, &settings)?;
        Ok((serde_json::from_slice(&made.bytes).unwrap_or_default(), made.other_account))
    }

    #[test]
    fn what_is_given_is_set_and_the_rest_stays() {
        let first = serde_json::json!({"email": "m@example.org", "pinentry": "pinentry-curses", "lock_timeout": 900});
        let settings = ["pinentry=pinentry-curses", "lock_timeout=900"];
        assert_eq!(made(None, "m@example.org\n", &settings), Ok((first.clone(), false)));
        assert_eq!(made(Some(""), "m@example.org", &settings), Ok((first.clone(), false)));
        let there = r#"{"email":"m@example.org","pinentry":"x","lock_timeout":900,"unknown":{"a":[1]},"sso_id":null}"#;
        let (merged, other) = made(Some(there), "m@example.org", &["pinentry=y"]).unwrap_or_default();
        let kept = serde_json::json!({
            "email": "m@example.org", "pinentry": "y", "lock_timeout": 900, "unknown": {"a": [1]}, "sso_id": null
        });
        assert_eq!((merged, other), (kept, false));
    }

    #[test]
    fn another_account_is_told() {
        let there = Some(r#"{"email":"m@example.org","base_url":"https://v.example"}"#);
        for (there, email, settings, expected) in [
            (there, "m@example.org", &[][..], false),
            (there, "n@example.org", &[], true),
            (there, "m@example.org", &["base_url=https://w.example"], true),
            (Some("{}"), "m@example.org", &[], false),
            (Some(r#"{"email":null}"#), "m@example.org", &[], false),
        ] {
            assert_eq!(made(there, email, settings).map(|(_, other)| other), Ok(expected), "{there:?} {email}");
        }
    }

    #[test]
    fn what_is_no_address_or_no_configuration_is_refused() {
        for email in ["", "\n", "nobody", "a@b\nc@d", "a@b c", "a@b\0", "a@b@c", "@b", "{\"a\":\"m@example.org\"}"] {
            assert_eq!(made(None, email, &[]), Err(ConfigurationError::Address), "{email:?}");
        }
        for there in ["{", "[]", "null", "\"a\""] {
            assert_eq!(made(Some(there), "m@example.org", &[]), Err(ConfigurationError::Broken), "{there:?}");
        }
        for setting in ["pinentry", "pinentri=x", "email=a@b", "lock_timeout=soon", "lock_timeout=0", "sync_interval="]
        {
            assert!(setting.parse::<RbwSetting>().is_err(), "{setting}");
        }
    }
}
