//! Shell functions for the commands of a manifest: names only. What a command is given is looked up when it is called.
//!
//! What is printed is evaluated by somebody's shell at each start. Names are plain by the manifest's own rule, the one
//! text that is not is quoted, and what an earlier evaluation had defined is taken away first.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::digest::Digest;
use crate::manifest::Manifest;

/// A shell that functions can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// The variable that tells, wherever functions were evaluated, which.
pub const STAMP: &str = "RECONCILE_SHELL_INIT";

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }

    /// The line that evaluates the functions.
    #[must_use]
    pub fn line(self) -> String {
        match self {
            Self::Bash | Self::Zsh => format!("eval \"$(reconcile shell-init {})\"", self.name()),
            Self::Fish => "reconcile shell-init fish | source".to_owned(),
        }
    }
}

/// The commands that a manifest declares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Functions<'m> {
    commands: BTreeSet<&'m str>,
    withs: BTreeSet<&'m str>,
}

impl<'m> Functions<'m> {
    /// Those of a manifest.
    #[must_use]
    pub fn of(manifest: &'m Manifest) -> Self {
        let runtime = || manifest.secrets.values().filter_map(|secret| secret.runtime.as_ref());
        Self {
            commands: runtime().flat_map(|runtime| runtime.commands.keys().map(String::as_str)).collect(),
            withs: runtime().filter_map(|runtime| runtime.with_command.as_deref()).collect(),
        }
    }

    /// The names of the programs that are to be found on the PATH.
    pub fn programs(&self) -> impl Iterator<Item = &'m str> {
        self.commands.iter().copied()
    }

    /// What the shell evaluates. `manifest` is the manifest that the functions will read.
    #[must_use]
    pub fn text(&self, shell: Shell, manifest: &str) -> String {
        let text = self.definitions(shell, manifest);
        let stamp = quoted(shell, &self.stamp(shell, manifest));
        match shell {
            Shell::Bash | Shell::Zsh => text + &format!("export {STAMP}={stamp}\n"),
            Shell::Fish => text + &format!("set -gx {STAMP} {stamp};\n"),
        }
    }

    /// What [`STAMP`] holds where these functions were evaluated.
    fn stamp(&self, shell: Shell, manifest: &str) -> String {
        let digest = Digest::of(self.definitions(shell, manifest).as_bytes());
        format!("{}:{}:{manifest}", shell.name(), digest.short())
    }

    /// Which shell evaluated functions of this manifest, and whether they are these. `None` when they are of another
    /// manifest, or of none.
    #[must_use]
    pub fn evaluated(&self, stamp: &str, is_this: impl FnOnce(&str) -> bool) -> Option<(Shell, bool)> {
        let (name, rest) = stamp.split_once(':')?;
        let (_, manifest) = rest.split_once(':')?;
        let shell = [Shell::Bash, Shell::Zsh, Shell::Fish].into_iter().find(|shell| shell.name() == name)?;
        is_this(manifest).then(|| (shell, self.stamp(shell, manifest) == stamp))
    }

    fn definitions(&self, shell: Shell, manifest: &str) -> String {
        match shell {
            Shell::Bash | Shell::Zsh => self.posix(shell, manifest),
            Shell::Fish => self.fish(manifest),
        }
    }

    /// Each name, the option of `exec` that takes it, in order.
    fn each(&self) -> impl Iterator<Item = (&'m str, &'static str)> {
        let commands = self.commands.iter().map(|name| (*name, "--command"));
        commands.chain(self.withs.iter().map(|name| (*name, "--with-command")))
    }

    fn posix(&self, shell: Shell, manifest: &str) -> String {
        let mut out = String::new();
        out += "if typeset -f __reconcile_forget > /dev/null 2>&1; then __reconcile_forget; fi\n";
        out += "function __reconcile_forget {\n";
        for (name, _) in self.each() {
            let _ = writeln!(out, "  {}unset -f {name} 2> /dev/null || :", unless_posix(shell, name));
        }
        for with in &self.withs {
            let _ = match shell {
                Shell::Zsh => writeln!(out, "  typeset -f compdef > /dev/null 2>&1 && compdef -d {with} || :"),
                _ => writeln!(out, "  complete -r {with} 2> /dev/null || :"),
            };
        }
        out += "  :\n}\n";
        // A quoted word is no alias.
        let manifest = quoted(shell, manifest);
        for (name, option) in self.each() {
            let quoted = if shell == Shell::Zsh { format!("'{name}'") } else { name.to_owned() };
            let call = format!("\\command 'reconcile' '--manifest' {manifest} 'exec' '{option}' '{name}' '--' \"$@\"");
            let _ = writeln!(out, "{}function {quoted} {{ {call}; }}", unless_posix(shell, name));
        }
        for with in &self.withs {
            out += &match shell {
                Shell::Zsh => {
                    format!("if typeset -f compdef > /dev/null 2>&1; then compdef _precommand {with}; fi\n")
                }
                _ => completes_commands(with),
            };
        }
        out
    }

    fn fish(&self, manifest: &str) -> String {
        let mut out = String::new();
        out += "if functions -q __reconcile_forget; __reconcile_forget; end;\n";
        out += "function __reconcile_forget;\n";
        for (name, _) in self.each() {
            let _ = writeln!(out, "  functions -q {name}; and functions -e {name};");
        }
        for with in &self.withs {
            let _ = writeln!(out, "  complete -e -c {with};");
        }
        out += "  true;\nend;\n";
        let manifest = quoted(Shell::Fish, manifest);
        for (name, option) in self.each() {
            let call = format!("command reconcile --manifest {manifest} exec {option} '{name}' -- $argv");
            let _ = writeln!(out, "function {name}; {call}; end;");
        }
        for with in &self.withs {
            let _ = writeln!(out, "complete -c {with} -x -a '(__fish_complete_subcommand)';");
        }
        out
    }
}

/// One word, whatever is in it.
fn quoted(shell: Shell, text: &str) -> String {
    match shell {
        Shell::Bash | Shell::Zsh => format!("'{}'", text.replace('\'', r"'\''")),
        Shell::Fish => format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'")),
    }
}

/// bash in its POSIX mode, as `sh`, ends at a function whose name is no identifier: there it goes without.
fn unless_posix(shell: Shell, name: &str) -> &'static str {
    let is_identifier = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|first: char| first.is_ascii_digit());
    if shell == Shell::Bash && !is_identifier { "[[ -o posix ]] || " } else { "" }
}

/// A command that runs another completes as that one does, where bash-completion is there, else names of commands.
fn completes_commands(with: &str) -> String {
    let mut out = String::new();
    for (word, function) in [("if", "_comp_command"), ("elif", "_command")] {
        out += &format!("{word} typeset -f {function} > /dev/null 2>&1; then complete -F {function} {with}; ");
    }
    out + &format!("else complete -c -o default {with}; fi 2> /dev/null || :\n")
}
