//! How a new file is brought into effect.

use super::super::finding::printable;
use super::super::shape::suggestion;
use super::super::source::{NixosRebuildSource, SwitchSource};
use super::super::switch::{NixosRebuild, Placeholder, Switch};
use super::hosts::destination;
use super::{At, Checker};

pub(super) fn check(check: &mut Checker<'_>, at: &[&str], source: SwitchSource, is_local: bool) -> Option<Switch> {
    let below = |key| [at, &[key]].concat();
    if let Some(argv) = source.command {
        return Some(command(check, &below("command"), argv));
    }
    if let Some(rebuild) = source.nixos_rebuild {
        return nixos_rebuild(check, &below("nixos_rebuild"), rebuild);
    }
    let symlink_path = source.activate?.symlink_path?;
    let at = [at, &["activate", "symlink_path"]].concat();
    Some(Switch::Activate { symlink_path: check.host_path(&at, &symlink_path, is_local, "/run/secrets") })
}

fn command(check: &mut Checker<'_>, at: &[&str], argv: Vec<String>) -> Switch {
    if argv.first().is_none_or(String::is_empty) {
        check.error(At::Value, at, "command", "a command has a program", "such as [bash, switch.sh]");
    }
    for (number, argument) in argv.iter().enumerate() {
        placeholders(check, &[at, &[&number.to_string()]].concat(), argument);
    }
    let switch = Switch::Command(argv);
    if let Switch::Command(argv) = &switch
        && switch.takes_several()
        && Placeholder::Host.is_in(argv)
    {
        let message = "a command for all its hosts has no {host} of its own";
        check.error(At::Value, at, "placeholder", message, "write {host} alone for one command for each host");
    }
    switch
}

/// What is no placeholder, and close to one, is mistyped.
fn placeholders(check: &mut Checker<'_>, at: &[&str], argument: &str) {
    if argument.contains('\0') {
        check.error(At::Value, at, "control", "an argument cannot hold NUL", "remove it");
    }
    let known = Placeholder::ALL.map(|(name, _)| name);
    for word in argument.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(word, _)| word) {
        if let Some(near) = suggestion(word, &known).filter(|_| !known.contains(&word)) {
            let message = format!("{{{}}} is not replaced by anything", printable(word));
            check.error(At::Value, at, "placeholder", message, &format!("did you mean {{{near}}}?"));
        }
    }
}

fn nixos_rebuild(check: &mut Checker<'_>, at: &[&str], source: NixosRebuildSource) -> Option<Switch> {
    let below = |key| [at, &[key]].concat();
    if let Some(flake) = &source.flake {
        option_value(check, &below("flake"), flake, "flake", "this is no flake reference", "such as .#vm");
    }
    let inputs = source.inputs.unwrap_or_default();
    for (name, value) in &inputs {
        let at = [at, &["inputs", name]].concat();
        // An input of an input can be overridden, and not be handed to a function.
        let is_input = match source.wrap {
            None => name.split('/').all(NixosRebuild::is_input),
            Some(_) => NixosRebuild::is_input(name),
        };
        if !is_input {
            let message = format!("\"{}\" is no input of a flake", printable(name));
            check.error(At::Key, &at, "flake", message, "use the input's name, such as generated");
        }
        let help = "give a flake reference, a path, or `dataset`";
        option_value(check, &at, value, "flake", "an input cannot be overridden with this", help);
    }
    let mut host = |key: &'static str, text: Option<String>| {
        text.and_then(|text| destination(check, &below(key), &text, "write [user@]host"))
    };
    let target_host = host("target_host", source.target_host);
    let build_host = host("build_host", source.build_host);
    if let Some(wrap) = source.wrap.as_ref().filter(|wrap| !NixosRebuild::is_attribute(wrap)) {
        let message = format!("\"{}\" is no attribute of a flake", printable(wrap));
        check.error(At::Value, &below("wrap"), "flake", message, "such as lib.mkOutputs");
    }
    let options = source.options.unwrap_or_default();
    for (number, option) in options.iter().enumerate() {
        check.no_control(&[at, &["options", &number.to_string()]].concat(), option);
    }
    let (flake, wrap) = (source.flake?, source.wrap);
    Some(Switch::NixosRebuild(NixosRebuild { flake, inputs, wrap, target_host, build_host, options }))
}

/// What follows an option of a program must not be taken for another one.
fn option_value(check: &mut Checker<'_>, at: &[&str], text: &str, code: &'static str, message: &str, help: &str) {
    if text.is_empty() || text.starts_with('-') {
        check.error(At::Value, at, code, message, help);
    }
    check.no_control(at, text);
}
