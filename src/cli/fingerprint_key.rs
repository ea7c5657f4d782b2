//! `reconcile fingerprint-key`: what makes the item of the vault that holds the key of fingerprints, and who is told to
//! run it. It is never made behind anybody's back: two operators who each make one have none in common.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use zeroize::Zeroizing;

use crate::cli::arguments::Global;
use crate::cli::error::Error;
use crate::cli::project::Project;
use crate::cli::session::throwaway_key;
use crate::cli::terminal::unbuffered;
use crate::manifest::{ItemField, ItemRef, Manifest, Surroundings, Vault};
use crate::observation::Cause;
use crate::secret::SecretValue;
use crate::state::Directory;

pub fn run(global: &Global) -> Result<ExitCode, Error> {
    let project = Project::open(global)?;
    let manifest = project.manifest();
    let Some(item) = &manifest.fingerprint_key else {
        let what = "the manifest names no item for the fingerprint key";
        return Err(Error::new(what, "add to it: fingerprint_key: {item: reconcile-key}"));
    };
    let how = how_to_make(manifest, item, &project.surroundings);
    if std::io::stdout().is_terminal() {
        return Err(Error::new("a key is not shown on a terminal", how));
    }
    // With the key that this machine used so far, what it recorded stays comparable.
    let kept = Directory::of(manifest, &project.surroundings, &project.dataset)?.fingerprint_key()?;
    let key = kept.map_or_else(throwaway_key, Ok)?.to_text();
    let text = item_text(&manifest.vault, item, &key);
    unbuffered()?.write_all(&text).map_err(|error| Error::plain(format!("standard output: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the item of the key itself is at fault, rather than that the vault could not be asked for it.
pub fn is_fault(cause: &Cause) -> bool {
    cause.is_of_the_item() || matches!(cause, Cause::NoFingerprintKey { .. })
}

/// That there is no key, and how one is made.
pub fn keyless(manifest: &Manifest, surroundings: &Surroundings, cause: &Cause) -> Error {
    let what = format!("fingerprint_key: {cause}; without it no value can be compared, and nothing was done");
    let next = match (cause, &manifest.fingerprint_key) {
        (Cause::ItemMissing { .. }, Some(item)) if item.id.is_none() => how_to_make(manifest, item, surroundings),
        (Cause::ItemAmbiguous { .. } | Cause::ItemReprompt { .. }, _) => cause.next().unwrap_or_default(),
        (_, Some(item)) if is_fault(cause) => {
            let how = how_to_make(manifest, item, surroundings);
            format!("correct `fingerprint_key:` in the manifest, or remove that item and make one: {how}")
        }
        _ => cause.next().unwrap_or_else(|| "reconcile plan".to_owned()),
    };
    Error::new(what, next)
}

/// The command that makes the item, with the key in a pipe and nowhere else.
fn how_to_make(manifest: &Manifest, item: &ItemRef, surroundings: &Surroundings) -> String {
    const PRINT: &str = "reconcile fingerprint-key";
    let name = quoted(item.name.as_deref().or(item.id.as_deref()).unwrap_or_default());
    let folder = item.folder.as_deref().map(quoted);
    match (&manifest.vault, &item.field) {
        (Vault::Rbw { .. }, ItemField::Default | ItemField::Password | ItemField::Notes) => {
            let folder = folder.map(|folder| format!("--folder {folder} ")).unwrap_or_default();
            let user = item.user.as_deref().map(|user| format!(" {}", quoted(user))).unwrap_or_default();
            format!("{PRINT} | rbw add {folder}{name}{user}")
        }
        (Vault::Rbw { .. }, field) | (Vault::Bw, field @ ItemField::Username) => {
            let field = quoted(&crate::tools::vault::field_text(field));
            format!("put what `{PRINT} | cat` prints into the field {field} of an item {name}")
        }
        (Vault::Bw, _) => {
            let then = folder.map(|folder| format!(", then move it into the folder {folder}")).unwrap_or_default();
            // It prints what it made.
            format!("{PRINT} | bw encode | bw create item > /dev/null{then}")
        }
        (Vault::File { path }, _) => {
            let path =
                path.path(surroundings).map_or_else(|_| path.as_written().to_owned(), |p| p.display().to_string());
            format!("{PRINT} >> {}", quoted(&path))
        }
    }
}

/// A word as a shell reads it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./@:+,=".contains(c);
    let is_plain = !text.is_empty() && text.chars().all(plain) && !text.starts_with('-');
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// What the vault's program reads: rbw the password and below it the notes, bw an item, a file one more entry.
fn item_text(vault: &Vault, item: &ItemRef, key: &SecretValue) -> Zeroizing<Vec<u8>> {
    let json = |text: &str| serde_json::Value::from(text).to_string();
    let name = json(item.name.as_deref().unwrap_or_default());
    let user = item.user.as_deref().map_or_else(|| "null".to_owned(), json);
    let (before, after) = match (vault, &item.field) {
        (Vault::Rbw { .. }, ItemField::Notes) => ("\n".to_owned(), "\n".to_owned()),
        (Vault::Rbw { .. }, _) => (String::new(), "\n".to_owned()),
        (Vault::Bw, ItemField::Notes) => (
            format!(r#"{{"type":2,"secureNote":{{"type":0}},"name":{name},"fields":[],"reprompt":0,"notes":""#),
            "\"}\n".to_owned(),
        ),
        (Vault::Bw, ItemField::Custom(field)) => (
            format!(
                r#"{{"type":1,"name":{name},"notes":null,"reprompt":0,"login":{{"username":{user}}},"fields":[{{"type":1,"name":{},"value":""#,
                json(field)
            ),
            "\"}]}\n".to_owned(),
        ),
        (Vault::Bw, _) => (
            format!(
                r#"{{"type":1,"name":{name},"notes":null,"reprompt":0,"fields":[],"login":{{"username":{user},"password":""#
            ),
            "\"}}\n".to_owned(),
        ),
        (Vault::File { .. }, ItemField::Default | ItemField::Password) if item.user.is_none() => {
            // On a line of its own, whatever the last one ends with.
            (format!("\n{name}: "), "\n".to_owned())
        }
        (Vault::File { .. }, field) => {
            let field = match field {
                ItemField::Default | ItemField::Password => "password".to_owned(),
                ItemField::Notes => "notes".to_owned(),
                ItemField::Username => "username".to_owned(),
                ItemField::Custom(name) => name.clone(),
            };
            let user = item.user.as_ref().map(|_| format!("username: {user}, ")).unwrap_or_default();
            (format!("\n{name}: {{{user}{}: ", json(&field)), "}\n".to_owned())
        }
    };
    key.expose(|key| {
        let mut text = Zeroizing::new(Vec::with_capacity(before.len() + key.len() + after.len()));
        text.extend_from_slice(before.as_bytes());
        text.extend_from_slice(key);
        text.extend_from_slice(after.as_bytes());
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::FingerprintKey;

    /// The command for an item of a vault, and what it pipes.
    fn made(vault: &str, item: &str) -> (String, String) {
        let text = format!(
            "version: 1\nname: t\nvault: {{{vault}}}\ndataset: {{path: /d}}\nfingerprint_key: {{item: {item}}}\n"
        );
        let checked = crate::manifest::parse("t", &text).unwrap_or_else(|error| panic!("{error}"));
        let item = checked.manifest.fingerprint_key.as_ref().unwrap_or_else(|| panic!("it is declared"));
        let command = how_to_make(&checked.manifest, item, &Surroundings::default());
        let text = item_text(&checked.manifest.vault, item, &FingerprintKey::new(&mut [7; 32]).to_text());
        (command, String::from_utf8_lossy(&text).into_owned())
    }

    fn key() -> String {
        FingerprintKey::new(&mut [7; 32]).to_text().expose(|key| String::from_utf8_lossy(key).into_owned())
    }

    #[test]
    fn rbw_is_given_the_password_or_the_notes_below_it() {
        let (command, text) = made("rbw: {}", "{name: the team's key, user: us, folder: work}");
        assert_eq!(command, r"reconcile fingerprint-key | rbw add --folder work 'the team'\''s key' us");
        assert_eq!(text, format!("{}\n", key()));
        let (command, text) = made("rbw: {}", "{name: k, field: notes}");
        assert_eq!((command.as_str(), text), ("reconcile fingerprint-key | rbw add k", format!("\n{}\n", key())));
        assert!(made("rbw: {}", "{name: k, field: custom:f}").0.contains("into the field custom:f of an item k"));
    }

    #[test]
    fn bw_is_given_an_item_that_holds_the_key_where_it_is_looked_for() {
        for (item, place) in [
            ("k\"ey", "/login/password"),
            ("{name: k, user: us, folder: work}", "/login/password"),
            ("{name: k, field: notes}", "/notes"),
            ("{name: k, field: 'custom:f'}", "/fields/0/value"),
        ] {
            let (command, text) = made("bw: {}", item);
            assert!(
                command.starts_with("reconcile fingerprint-key | bw encode | bw create item > /dev/null"),
                "{command}"
            );
            let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            assert_eq!(json.pointer(place).and_then(serde_json::Value::as_str), Some(key().as_str()), "{text}");
        }
    }

    #[test]
    fn a_file_is_given_one_more_entry() {
        for (item, expected) in [
            ("our key", serde_json::json!({"our key": key()})),
            ("{name: k, user: us}", serde_json::json!({"k": {"username": "us", "password": key()}})),
            ("{name: k, field: 'custom:a b'}", serde_json::json!({"k": {"a b": key()}})),
        ] {
            let (command, text) = made("file: {path: /v/our vault.yaml}", item);
            assert_eq!(command, "reconcile fingerprint-key >> '/v/our vault.yaml'");
            assert_eq!(serde_yaml::from_str::<serde_json::Value>(&text).ok(), Some(expected), "{text}");
        }
    }
}
