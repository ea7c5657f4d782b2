//! Paths and destinations of the manifest: text with `~` and `$VAR`, resolved against surroundings that are passed in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A path or destination as the manifest writes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Place(String);

/// What paths are resolved against. It is read once, outside, and passed in.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The manifest's directory: relative paths begin there.
    pub directory: PathBuf,
    /// The home directory, for `~`.
    pub home: Option<PathBuf>,
    /// The environment, for `$VAR` and `${VAR}`.
    pub variables: BTreeMap<String, String>,
}

/// A variable or home directory that is not known here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
#[error("${variable} is not set, and {text} needs it")]
pub struct UnsetVariable {
    /// Its name.
    pub variable: String,
    /// The text that needs it.
    pub text: String,
}

impl Place {
    /// Takes the text as it stands in the manifest.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as it stands in the manifest.
    #[must_use]
    pub fn as_written(&self) -> &str {
        &self.0
    }

    /// The text with `$VAR` and `${VAR}` replaced; `$$` is a dollar sign.
    ///
    /// # Errors
    /// When a variable is not set or empty.
    pub fn text(&self, surroundings: &Surroundings) -> Result<String, UnsetVariable> {
        let mut out = String::new();
        let mut rest = self.0.as_str();
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let (name, after) = variable(rest);
            match name {
                "" => out.push('$'),
                name => match surroundings.variables.get(name) {
                    Some(value) if !value.is_empty() => out.push_str(value),
                    _ => return Err(UnsetVariable { variable: name.to_owned(), text: self.0.clone() }),
                },
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// The text as an absolute path: `~` is the home directory, and relative paths begin at the manifest.
    ///
    /// # Errors
    /// When a variable or the home directory is not known.
    pub fn path(&self, surroundings: &Surroundings) -> Result<PathBuf, UnsetVariable> {
        let text = self.text(surroundings)?;
        let home = || {
            surroundings.home.clone().ok_or_else(|| UnsetVariable { variable: "HOME".to_owned(), text: self.0.clone() })
        };
        match text.strip_prefix('~') {
            Some("") => home(),
            Some(rest) if rest.starts_with('/') => Ok(home()?.join(rest.trim_start_matches('/'))),
            _ => Ok(clean(&surroundings.directory.join(text))),
        }
    }
}

/// Splits what follows a `$` into the variable's name (empty for `$$` and a lone `$`) and what comes after it.
fn variable(text: &str) -> (&str, &str) {
    if let Some(rest) = text.strip_prefix('$') {
        return ("", rest);
    }
    if let Some((name, after)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        return (name, after);
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    text.split_at(end)
}

/// The text with every variable replaced by an `x`; nothing when what follows a `$` or stands in `${}` names none.
pub(super) fn stand_ins(text: &str) -> Option<String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        let (name, behind) = variable(after);
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.is_empty();
        out.push_str(before);
        match after.strip_prefix('$') {
            Some(_) => out.push('$'),
            None if is_name => out.push('x'),
            None => return None,
        }
        rest = behind;
    }
    Some(out + rest)
}

/// Whether the text is `[user@]host` and nothing that ssh would take for more, its variables being replaced.
#[must_use]
pub fn is_destination(text: &str) -> bool {
    let is_plain = |part: &str, also: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c) || also.contains(c);
        !part.is_empty() && !part.starts_with('-') && part.chars().all(good)
    };
    match text.rsplit_once('@') {
        Some((user, host)) => is_plain(user, "") && is_plain(host, ":[]%"),
        None => is_plain(text, ":[]%"),
    }
}

/// Drops `.` components; `..` is left to the file system, which knows about links.
fn clean(path: &Path) -> PathBuf {
    path.components().filter(|c| !matches!(c, std::path::Component::CurDir)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings() -> Surroundings {
        Surroundings {
            directory: "/repo/manifests".into(),
            home: Some("/home/m".into()),
            variables: [("VM", "10.0.0.2"), ("EMPTY", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        }
    }

    #[test]
    fn paths_resolve_against_their_surroundings() {
        for (text, path) in [
            ("~", "/home/m"),
            ("~/.local/x", "/home/m/.local/x"),
            ("./dataset", "/repo/manifests/dataset"),
            ("/abs", "/abs"),
            ("/srv/$VM/x", "/srv/10.0.0.2/x"),
            ("/a$$b", "/a$b"),
        ] {
            assert_eq!(Place::new(text).path(&surroundings()), Ok(path.into()), "{text}");
        }
        assert_eq!(Place::new("m@${VM}").text(&surroundings()), Ok("m@10.0.0.2".to_owned()));
    }

    #[test]
    fn variables_are_told_from_what_names_none() {
        assert_eq!(stand_ins("m@${VM_1}.$DOMAIN"), Some("m@x.x".to_owned()));
        assert_eq!(stand_ins("/a$$b"), Some("/a$b".to_owned()));
        for text in ["${", "${}", "${A-b}", "$", "$ x", "a$/b"] {
            assert_eq!(stand_ins(text), None, "{text}");
        }
    }

    #[test]
    fn a_destination_is_a_user_and_a_host() {
        for good in ["vm", "m@vm", "m@10.0.0.2", "m@fe80::1%eth0", "root@nixos-vm.example"] {
            assert!(is_destination(good), "{good}");
        }
        for bad in ["", "-oProxyCommand=x", "m@-x", "m@vm x", "m@vm;x", "@vm", "m@", "$VM", "m@a@b c", "ssh://vm/x"] {
            assert!(!is_destination(bad), "{bad}");
        }
    }

    #[test]
    fn an_unset_or_empty_variable_is_named() {
        for text in ["m@$EMPTY", "m@${NOPE}"] {
            assert!(Place::new(text).text(&surroundings()).is_err(), "{text}");
        }
        let homeless = Surroundings::default();
        assert_eq!(Place::new("~/x").path(&homeless).map_err(|e| e.variable), Err("HOME".to_owned()));
    }
}
