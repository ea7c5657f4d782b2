//! How a new file is brought into effect on a host, and which hosts one command takes.

use std::collections::BTreeMap;

use crate::address::HostName;
use crate::manifest::Place;

/// How a new file is brought into effect on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switch {
    /// A command on this machine, run in the manifest's directory: an argv with placeholders.
    Command(Vec<String>),
    /// `nixos-rebuild switch`.
    NixosRebuild(NixosRebuild),
    /// Our own activation: generations beside a symlink, switched atomically.
    Activate {
        /// The symlink, such as `/run/secrets` (for `local: {}`, relative to the manifest).
        symlink_path: Place,
    },
}

/// `nixos-rebuild switch` of a flake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NixosRebuild {
    /// The flake reference, such as `.#vm`.
    pub flake: String,
    /// Inputs as they are now: name → reference, or `dataset`.
    pub inputs: BTreeMap<String, String>,
    /// The function of the flake that takes the inputs, in a wrapper flake; without it they are overridden.
    pub wrap: Option<String>,
    /// `--target-host`.
    pub target_host: Option<Place>,
    /// `--build-host`.
    pub build_host: Option<Place>,
    /// Further options.
    pub options: Vec<String>,
}

impl NixosRebuild {
    /// The flake, and which of its systems.
    #[must_use]
    pub fn flake_and_attribute(&self) -> (&str, Option<&str>) {
        self.flake.split_once('#').map_or((&self.flake, None), |(flake, attribute)| (flake, Some(attribute)))
    }

    /// Whether a flake may have an input of this name.
    #[must_use]
    pub fn is_input(name: &str) -> bool {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
    }

    /// Whether it is the path of an attribute, such as `lib.mkOutputs`.
    #[must_use]
    pub fn is_attribute(text: &str) -> bool {
        text.split('.').all(Self::is_input)
    }
}

/// What is replaced in the words of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholder {
    /// `{host}`: the one host that it switches.
    Host,
    /// `{hosts}`: all that it switches, with commas between them: colmena's `--on {hosts}`.
    Hosts,
    /// `{each_host}`: its word stands once for each: deploy-rs's `--targets .#{each_host}`.
    EachHost,
    /// `{dataset}`: the dataset directory.
    Dataset,
    /// `{sops_file}`: the path of the sops file.
    SopsFile,
}

impl Placeholder {
    /// Every one, with the word that stands between the braces.
    pub const ALL: [(&'static str, Self); 5] = [
        ("host", Self::Host),
        ("hosts", Self::Hosts),
        ("each_host", Self::EachHost),
        ("dataset", Self::Dataset),
        ("sops_file", Self::SopsFile),
    ];

    /// The first one in `text`: what stands before it, itself, and what comes after.
    fn first_in(text: &str) -> Option<(&str, Self, &str)> {
        text.match_indices('{').find_map(|(at, _)| {
            let (name, after) = text[at + 1..].split_once('}')?;
            let (_, placeholder) = Self::ALL.into_iter().find(|(known, _)| *known == name)?;
            Some((&text[..at], placeholder, after))
        })
    }

    fn all_in(text: &str) -> impl Iterator<Item = Self> {
        let mut rest = text;
        std::iter::from_fn(move || {
            let (_, placeholder, after) = Self::first_in(rest)?;
            rest = after;
            Some(placeholder)
        })
    }

    /// Whether a word of `argv` has it.
    #[must_use]
    pub fn is_in(self, argv: &[String]) -> bool {
        argv.iter().any(|word| Self::all_in(word).any(|placeholder| placeholder == self))
    }
}

impl Switch {
    /// Whether one command takes several hosts at once.
    #[must_use]
    pub fn takes_several(&self) -> bool {
        let Self::Command(argv) = self else { return false };
        Placeholder::Hosts.is_in(argv) || Placeholder::EachHost.is_in(argv)
    }
}

/// The words of a command for `hosts`. `path` is asked for the dataset directory and the sops file; without an answer
/// the placeholder stays.
#[must_use]
pub fn filled_in(argv: &[String], hosts: &[&HostName], path: &dyn Fn(Placeholder) -> Option<String>) -> Vec<String> {
    let all: Vec<&str> = hosts.iter().map(|host| host.as_str()).collect();
    let mut words = Vec::new();
    for word in argv {
        let each = Placeholder::all_in(word).any(|placeholder| placeholder == Placeholder::EachHost);
        let repeated = if each { all.as_slice() } else { all.get(..1).unwrap_or_default() };
        words.extend(repeated.iter().map(|host| one_word(word, host, &all, path)));
    }
    words
}

fn one_word(word: &str, host: &str, all: &[&str], path: &dyn Fn(Placeholder) -> Option<String>) -> String {
    let (mut out, mut rest) = (String::new(), word);
    while let Some((before, placeholder, after)) = Placeholder::first_in(rest) {
        out.push_str(before);
        match placeholder {
            Placeholder::Host | Placeholder::EachHost => out.push_str(host),
            Placeholder::Hosts => out.push_str(&all.join(",")),
            Placeholder::Dataset | Placeholder::SopsFile => match path(placeholder) {
                Some(path) => out.push_str(&path),
                None => out.push_str(&rest[before.len()..rest.len() - after.len()]),
            },
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(argv: &[&str], hosts: &[&str]) -> Vec<String> {
        let argv: Vec<String> = argv.iter().map(ToString::to_string).collect();
        let hosts: Vec<HostName> = hosts.iter().filter_map(|host| host.parse().ok()).collect();
        let path = |placeholder| (placeholder == Placeholder::Dataset).then(|| "/data/{host}".to_owned());
        filled_in(&argv, &hosts.iter().collect::<Vec<_>>(), &path)
    }

    #[test]
    fn a_command_names_its_hosts() {
        assert_eq!(filled(&["vm.sh", "{host}:{dataset}/{host}"], &["vm"]), ["vm.sh", "vm:/data/{host}/vm"]);
        assert_eq!(filled(&["colmena", "--on", "{hosts}"], &["a", "b"]), ["colmena", "--on", "a,b"]);
        assert_eq!(
            filled(&["deploy", "--targets", ".#{each_host}"], &["a", "b"]),
            ["deploy", "--targets", ".#a", ".#b"]
        );
        assert_eq!(filled(&["x", "{sops_file}", "{y}", "{"], &["a"]), ["x", "{sops_file}", "{y}", "{"]);
    }

    #[test]
    fn a_command_that_names_all_its_hosts_takes_several() {
        let command = |word: &str| Switch::Command(vec!["deploy".to_owned(), word.to_owned()]);
        for several in ["{hosts}", "--on={hosts}", ".#{each_host}", "{x}{hosts}"] {
            assert!(command(several).takes_several(), "{several}");
        }
        for one in ["{host}", "hosts", "{ hosts }"] {
            assert!(!command(one).takes_several(), "{one}");
        }
    }
}
