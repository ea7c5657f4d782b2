//! The users and groups of this machine: from its files, then from whatever else it takes them from.

use std::process::{Command, Stdio};

/// A user's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The user's own.
    pub uid: u32,
    /// That of the user's first group.
    pub gid: u32,
}

/// There is no such account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no {kind} {name} on this machine")]
pub struct NoSuchAccount {
    /// `user` or `group`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

/// The user called `name`.
///
/// # Errors
/// When there is none.
pub fn user(name: &str) -> Result<User, NoSuchAccount> {
    let missing = || NoSuchAccount { kind: "user", name: name.to_owned() };
    let line = found("passwd", name).ok_or_else(missing)?;
    let mut fields = line.split(':').skip(2).map(str::parse::<u32>);
    match (fields.next(), fields.next()) {
        (Some(Ok(uid)), Some(Ok(gid))) => Ok(User { uid, gid }),
        _ => Err(missing()),
    }
}

/// The number of the group called `name`.
///
/// # Errors
/// When there is none.
pub fn group(name: &str) -> Result<u32, NoSuchAccount> {
    let missing = || NoSuchAccount { kind: "group", name: name.to_owned() };
    let line = found("group", name).ok_or_else(missing)?;
    line.split(':').nth(2).and_then(|gid| gid.parse().ok()).ok_or_else(missing)
}

/// The line of `name` in a database of accounts.
fn found(database: &str, name: &str) -> Option<String> {
    let file = std::fs::read_to_string(format!("/etc/{database}")).unwrap_or_default();
    line_of(&file, name).or_else(|| line_of(&asked(database, name)?, name))
}

/// What the machine's name service says, where there is one to ask.
fn asked(database: &str, name: &str) -> Option<String> {
    let mut getent = Command::new("getent");
    getent.args([database, name]).stdin(Stdio::null()).stderr(Stdio::null());
    let output = getent.output().ok().filter(|output| output.status.success() && !name.starts_with('-'))?;
    String::from_utf8(output.stdout).ok()
}

fn line_of(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines();
    lines.find(|line| line.split_once(':').is_some_and(|(first, _)| first == name)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_there_and_nobody_of_a_made_up_name() {
        assert_eq!(user("root"), Ok(User { uid: 0, gid: 0 }));
        for name in ["no-such-user-here", "", "-h", "0"] {
            assert!(user(name).is_err() && group(name).is_err(), "{name}");
        }
    }
}
