//! Delivery at run time: what shells, git and processes will be given must be harmless by its name alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::secret::SecretName;

use super::super::finding::printable;
use super::super::model::{GitCredential, RuntimeDelivery, Secret};
use super::super::source::{Commands, GitCredentialSource, RuntimeSource};
use super::{At, Checker, words};

pub(super) fn delivery(check: &mut Checker<'_>, at: &[&str], source: RuntimeSource) -> RuntimeDelivery {
    let below = |key| [at, &[key]].concat();
    let is_given = source.env.is_some() || source.commands.is_some() || source.git_credential.is_some();
    if !is_given && source.with_command.is_none() {
        let message = "nothing is given this secret: only `reconcile get` could read it";
        check.warning(at, "unused", message, "add `env: NAME`, and `commands: [PROGRAM]` for a shell function");
    }
    if let Some(env) = &source.env {
        variable(check, &below("env"), At::Value, env);
    }
    let mut commands = BTreeMap::new();
    match source.commands {
        None => {}
        Some(Commands::List(list)) => {
            if source.env.is_none() && !list.is_empty() {
                let help = "add `env: NAME`, or write `commands: {gh: GITHUB_TOKEN}`";
                check.error(At::Key, &below("commands"), "variable", "no variable is named for these commands", help);
            }
            for (number, name) in list.iter().enumerate() {
                command(check, &[at, &["commands", &number.to_string()]].concat(), At::Value, name);
                commands.insert(name.clone(), source.env.clone().unwrap_or_default());
            }
        }
        Some(Commands::Map(map)) => {
            for (name, env) in map {
                let at = [at, &["commands", &name]].concat();
                command(check, &at, At::Key, &name);
                variable(check, &at, At::Value, &env);
                commands.insert(name, env);
            }
        }
    }
    if let Some(with) = &source.with_command {
        command(check, &below("with_command"), At::Value, with);
        if source.env.is_none() {
            let message = "no variable is named for this command";
            check.error(At::Key, &below("with_command"), "variable", message, "add `env: NAME`");
        }
    }
    let git_credential = source.git_credential.and_then(|git| git_credential(check, &below("git_credential"), git));
    RuntimeDelivery { env: source.env, commands, with_command: source.with_command, git_credential }
}

fn variable(check: &mut Checker<'_>, path: &[&str], at: At, name: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(plain) {
        let message = format!("\"{}\" is no name of a variable", printable(name));
        check.error(at, path, "variable", message, "use letters, digits and _, and do not begin with a digit");
    } else if words::is_dangerous_variable(name) {
        let message = format!("{name} changes what programs run or trust: a secret does not belong there");
        check.error(at, path, "variable", message, "use the variable that the program reads its token from");
    }
}

fn command(check: &mut Checker<'_>, path: &[&str], at: At, name: &str) {
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || "_.+-".contains(c));
    if !first || !rest {
        let message = format!("\"{}\" is no plain name of a command", printable(name));
        check.error(at, path, "command", message, "use letters, digits and _ . + -, without a path");
    } else if words::is_reserved_command(name) {
        let message = format!("{name} is a word of the shell, or of what secrets come through");
        check.error(at, path, "command", message, "name the program that needs the secret");
    }
}

fn git_credential(check: &mut Checker<'_>, at: &[&str], source: GitCredentialSource) -> Option<GitCredential> {
    let hosts = source.hosts.unwrap_or_default();
    let at_hosts = [at, &["hosts"]].concat();
    if hosts.is_empty() {
        check.error(At::Value, &at_hosts, "git-host", "no host is named", "such as [github.com]");
    }
    for (number, host) in hosts.iter().enumerate() {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
        if host.is_empty() || host.starts_with(['.', '-', ':']) || !host.chars().all(plain) {
            let number = number.to_string();
            let at = [&at_hosts[..], &[&number]].concat();
            let help = "exact names only, such as github.com or git.example:8443";
            check.error(At::Value, &at, "git-host", format!("\"{}\" is no host", printable(host)), help);
        }
    }
    let username = source.username?;
    if username.is_empty() || username.chars().any(char::is_control) {
        let at = [at, &["username"]].concat();
        check.error(At::Value, &at, "git-username", "git needs a user name in one line", "such as x-access-token");
    }
    let allow_http = source.allow_http.unwrap_or_default();
    Some(GitCredential { hosts: hosts.into_iter().collect(), username, allow_http })
}

/// One command gets each variable from one secret; one host has one credential; one name is one command.
pub(super) fn apart(check: &mut Checker<'_>, secrets: &BTreeMap<SecretName, Secret>) {
    let mut variables: BTreeMap<(&str, &str), &SecretName> = BTreeMap::new();
    let mut credentials: BTreeMap<&str, &SecretName> = BTreeMap::new();
    let commands: BTreeSet<&str> = secrets
        .values()
        .filter_map(|secret| secret.runtime.as_ref())
        .flat_map(|r| r.commands.keys())
        .map(String::as_str)
        .collect();
    let mut withs: BTreeMap<&str, &SecretName> = BTreeMap::new();
    for (name, runtime) in secrets.iter().filter_map(|(name, secret)| Some((name, secret.runtime.as_ref()?))) {
        let at = ["secrets", name.as_str(), "delivery", "runtime"];
        for (command, variable) in &runtime.commands {
            if let Some(other) = variables.insert((command, variable), name) {
                let message = format!("{command} gets {variable} from {name} and from {other}");
                let there = ["secrets", other.as_str()];
                let at = [&at[..], &["commands"]].concat();
                check.error_with_other(&at, "variable", message, "let one secret give it", ("the other", &there));
            }
        }
        for host in runtime.git_credential.iter().flat_map(|git| &git.hosts) {
            if let Some(other) = credentials.insert(host, name) {
                let message = format!("{name} and {other} are both the credential of {host}");
                let there = ["secrets", other.as_str()];
                let at = [&at[..], &["git_credential"]].concat();
                check.error_with_other(&at, "git-host", message, "let one secret give it", ("the other", &there));
            }
        }
        let Some(with) = &runtime.with_command else { continue };
        let other = withs.insert(with, name);
        if other.is_some() || commands.contains(with.as_str()) {
            let at = [&at[..], &["with_command"]].concat();
            check.error(At::Value, &at, "command", format!("{with} is another command already"), "use another name");
        }
    }
}
