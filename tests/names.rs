//! The names of commands, variables and hosts: whatever a manifest may have is harmless where shells evaluate it, and
//! what would not be is refused.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use reconcile::launch::{self, Functions, STAMP};
use reconcile::manifest;
use serde_json::json;
use support::peers;
use support::program::Place;
use support::shells::{SHELLS, Shell};

type Outcome = Result<(), Failed>;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = vec![Trial::test("names_that_could_do_something_are_refused", refused)];
    for shell in SHELLS {
        let trial = |name: &str, test: fn(Shell) -> Outcome| {
            peers::trial(&format!("{}::{name}", shell.name()), &[shell.name()], move || test(shell))
        };
        trials.push(trial("what_it_has_itself_is_refused", own));
        trials.push(trial("what_is_accepted_is_harmless", harmless));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// A manifest with this run-time delivery.
fn with_runtime(runtime: &serde_json::Value) -> String {
    let vault = json!({"rbw": {"unlock": "never"}});
    let secrets = json!({"a": {"item": "a", "delivery": {"runtime": runtime}}});
    json!({"version": 1, "name": "t", "vault": vault, "dataset": {"path": "out"}, "hosts": {}, "secrets": secrets})
        .to_string()
}

fn is_accepted(runtime: &serde_json::Value) -> bool {
    manifest::parse("manifest", &with_runtime(runtime)).is_ok()
}

fn is_command(name: &str) -> bool {
    is_accepted(&json!({"env": "A", "commands": [name]}))
}

fn refused() -> Outcome {
    let fine = json!({"env": "A", "commands": ["gh"], "git_credential": {"hosts": ["a.example"], "username": "x"}});
    if !is_accepted(&fine) {
        return Err("what is fine is refused".into());
    }
    let hostile = "' \" ; & | < > ( ) { } $ ` \\ * ? [ ] # ~ = % ! ^ , : @ / - . + \u{a0} é \u{202e} \u{200b}";
    let whole =
        ["", "a b", "a\nb", "\n", "a\tb", "a\0b", "a\u{1b}[2Jb", "..", "./gh", "/bin/gh", "-gh", "gh;x", "$(x)", "`x`"];
    let made = hostile.split(' ').flat_map(|mark| [mark.to_owned(), format!("{mark}a"), format!("a{mark}b")]);
    let harmless = ["a-b", "a.b", "a+b"];
    let names: Vec<String> = made.filter(|name| !harmless.contains(&name.as_str())).collect();
    let names = names.iter().map(String::as_str).chain(whole);
    for name in names {
        for (what, runtime) in [
            ("a command", json!({"env": "A", "commands": [name]})),
            ("a command of a map", json!({"commands": {name: "A"}})),
            ("a with_command", json!({"env": "A", "with_command": name})),
            ("a variable", json!({"env": name})),
            ("a variable of a map", json!({"commands": {"gh": name}})),
        ] {
            if is_accepted(&runtime) {
                return Err(format!("{what}: {name:?} is accepted").into());
            }
        }
    }
    for name in [
        "a.b",
        "a-b",
        "a+b",
        "1A",
        "PATH",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "DYLD_INSERT_LIBRARIES",
        "BASH_ENV",
        "ENV",
        "IFS",
    ] {
        if is_accepted(&json!({"env": name})) {
            return Err(format!("the variable {name} is accepted").into());
        }
    }
    for host in
        ["", "*", "*.example", "https://a.example", "a.example/b", "a b", "a\nhost=b", "user@a.example", "a.example\r"]
    {
        if is_accepted(&json!({"git_credential": {"hosts": [host], "username": "x"}})) {
            return Err(format!("the host {host:?} is accepted").into());
        }
    }
    for user in ["", "x\npassword=y", "x\0", "x\r"] {
        if is_accepted(&json!({"git_credential": {"hosts": ["a.example"], "username": user}})) {
            return Err(format!("the user {user:?} is accepted").into());
        }
    }
    // And by the program, with its place.
    let place = Place::new(&with_runtime(&json!({"env": "LD_PRELOAD", "commands": ["eval"], "with_command": "$(x)"})));
    place.run("validate").ended(1)?.says(&["LD_PRELOAD", "eval", "$(x)", "secrets.manifest.yaml:1:"])?;
    Ok(())
}

/// The builtins and words of the shell as it is installed here.
fn own(shell: Shell) -> Outcome {
    let list = match shell {
        Shell::Bash => "compgen -bk",
        Shell::Zsh => "print -l ${(k)builtins} ${(k)reswords}",
        Shell::Fish => "builtin -n",
    };
    let output = shell.command(&Place::new(""), list, &[] as &[&str]).output()?;
    let names = String::from_utf8(output.stdout)?;
    if names.lines().count() < 40 {
        return Err(format!("these are not all: {names}").into());
    }
    match names.lines().find(|name| is_command(name)) {
        None => Ok(()),
        Some(name) => Err(format!("{name} of {} is accepted as a command", shell.name()).into()),
    }
}

/// What a manifest may say: plain commands, some that run others, and where it is.
#[derive(Debug, Clone)]
struct Declared {
    commands: BTreeSet<String>,
    with: Option<String>,
    path: String,
}

/// Names that a shell could take for something else, as far as they are accepted.
const WORDS: [&str; 24] = [
    "1",
    "01",
    "2",
    "1e5",
    "0x10",
    "a.b",
    "a-b",
    "a+b",
    "a--",
    "a++",
    "A",
    "PATH",
    "HOME",
    "IFS",
    "R",
    "in",
    "ls",
    "cat",
    "man",
    "git",
    "make",
    "x_",
    "e",
    "not-a-builtin",
];

fn declared() -> impl Strategy<Value = Declared> {
    let name = || {
        let any = prop_oneof![3 => "[A-Za-z0-9_][A-Za-z0-9_.+-]{0,7}", 2 => proptest::sample::select(&WORDS[..]).prop_map(str::to_owned)];
        any.prop_filter("accepted", |name| is_command(name))
    };
    let path = proptest::collection::vec(proptest::sample::select(PATHS), 0..8)
        .prop_map(|parts| format!("/{}", parts.concat()));
    (proptest::collection::btree_set(name(), 0..4), proptest::option::of(name()), path).prop_map(
        |(commands, with, path)| {
            let with = with.filter(|with| !commands.contains(with));
            Declared { commands, with, path }
        },
    )
}

const PATHS: &[&str] = &[
    "a",
    "'",
    "\"",
    "\\",
    "$(touch hit)",
    "`touch hit`",
    ";touch hit;",
    "\n",
    " ",
    "*",
    "~",
    "!!",
    "$HOME",
    "é",
    "{a,b}",
    "(",
    ")",
    "#",
    "%s",
    "|",
];

impl Declared {
    fn manifest(&self) -> String {
        let commands: Vec<&String> = self.commands.iter().collect();
        let mut runtime = json!({"env": "A", "commands": commands});
        if let Some(with) = &self.with {
            runtime["with_command"] = json!(with);
        }
        with_runtime(&runtime)
    }

    /// The functions, each with the option that it gives.
    fn functions(&self) -> impl Iterator<Item = (&String, &'static str)> {
        let commands = self.commands.iter().map(|name| (name, "--command"));
        commands.chain(self.with.iter().map(|name| (name, "--with-command")))
    }
}

/// All of these, one after the other, in one shell.
fn harmless(shell: Shell) -> Outcome {
    let config = Config { cases: 8, failure_persistence: None, max_shrink_iters: 60, ..Config::default() };
    let strategy = proptest::collection::vec(declared(), 1..16);
    let run = |all: Vec<Declared>| evaluated(shell, &all).map_err(|error| TestCaseError::fail(format!("{error:?}")));
    TestRunner::new(config).run(&strategy, run).map_err(|error| error.to_string().into())
}

fn evaluated(shell: Shell, all: &[Declared]) -> Outcome {
    let place = Place::new("");
    let of = match shell {
        Shell::Bash => launch::Shell::Bash,
        Shell::Zsh => launch::Shell::Zsh,
        Shell::Fish => launch::Shell::Fish,
    };
    let mut script = before(shell);
    for (number, declared) in all.iter().enumerate() {
        let checked = manifest::parse("manifest", &declared.manifest()).map_err(|error| format!("{error:?}"))?;
        fs::write(
            place.home.join(format!("text-{number}")),
            Functions::of(&checked.manifest).text(of, &declared.path),
        )?;
        script += &evaluate(shell, number);
        for (name, _) in declared.functions() {
            script += &format!("{name} 'a b' '$(touch hit)'\n");
        }
    }
    // Nothing but this is on the PATH: it notes how it was called.
    let bin = place.home.join("bin");
    fs::create_dir(&bin)?;
    let notes = "#!/bin/sh\nprintf '%s\\0' \"$@\" =end= >> \"$CALLS\"\n";
    fs::write(bin.join("reconcile"), notes)?;
    fs::set_permissions(bin.join("reconcile"), fs::Permissions::from_mode(0o755))?;
    fs::write(place.home.join("script"), &script)?;
    let program = peers::find(shell.name()).ok_or("a shell")?;
    let mut command = Command::new(program);
    command.env_clear().env("HOME", &place.home).env("PATH", &bin).env("CALLS", place.home.join("calls"));
    command.env("LANG", "C.UTF-8").current_dir(&place.repository).arg(place.home.join("script"));
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() || !said.is_empty() {
        return Err(format!("{}: {said}", output.status).into());
    }
    compare(&place.home, all, &String::from_utf8(output.stdout)?)?;
    let touched: Vec<_> = fs::read_dir(&place.repository)?.flatten().map(|entry| entry.file_name()).collect();
    if touched == ["secrets.manifest.yaml"] { Ok(()) } else { Err(format!("there is {touched:?}").into()) }
}

/// What is looked at: the names of functions, then the names of variables, aliases, traps and some values.
fn looks(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => "compgen -A function; echo /; compgen -v; alias; trap; echo \"$PATH $HOME $IFS $-\"; echo //\n",
        Shell::Zsh => {
            "print -l ${(ok)functions}; echo /; print -l ${(ok)parameters}; alias; trap; echo \"$PATH $HOME $IFS $-\"; echo //\n"
        }
        Shell::Fish => "string split , -- (functions -a -n); echo /; set -n; echo \"$PATH $HOME $IFS\"; echo //\n",
    }
}

fn before(shell: Shell) -> String {
    // Once for what looking itself leaves behind; and there is one variable of ours.
    let look = looks(shell);
    match shell {
        Shell::Fish => format!("set -gx {STAMP} ''\nbegin; {look}; end > /dev/null\n{look}"),
        _ => format!("export {STAMP}=''\n{{ {look} }} > /dev/null\n{look}"),
    }
}

fn evaluate(shell: Shell, number: usize) -> String {
    let text = format!("text-{number}");
    let line = match shell {
        Shell::Fish => format!("source $HOME/{text}\n"),
        _ => format!("eval \"$(<\"$HOME/{text}\")\"\n"),
    };
    format!("{line}{}", looks(shell))
}

/// After each evaluation there are its functions and no others, nothing else has changed, and each call reached the
/// program as it was made.
fn compare(home: &Path, all: &[Declared], looked: &str) -> Outcome {
    let mut looked = looked.split("//\n").map(|part| part.split_once("/\n").unwrap_or((part, "")));
    let (functions_before, rest_before) = looked.next().ok_or("a first look")?;
    let before: BTreeSet<&str> = functions_before.lines().collect();
    let calls = fs::read_to_string(home.join("calls")).unwrap_or_default();
    let mut calls = calls.split("=end=\0").filter(|call| !call.is_empty());
    for declared in all {
        let (functions, rest) = looked.next().ok_or("a look after each")?;
        let now: BTreeSet<&str> = functions.lines().collect();
        let mut expected: BTreeSet<&str> = declared.functions().map(|(name, _)| name.as_str()).collect();
        expected.insert("__reconcile_forget");
        let added: BTreeSet<&str> = now.difference(&before).copied().collect();
        if !expected.is_subset(&now) || !added.is_subset(&expected) {
            return Err(format!("functions {added:?}, expected {expected:?}").into());
        }
        if rest != rest_before {
            return Err(format!("{rest}\n---- was\n{rest_before}").into());
        }
        for (name, option) in declared.functions() {
            let expected = ["--manifest", &declared.path, "exec", option, name, "--", "a b", "$(touch hit)"];
            let expected: String = expected.iter().flat_map(|word| [word, "\0"]).collect();
            let call = calls.next().ok_or("a call of each")?;
            if call != expected {
                return Err(format!("called with {call:?}, expected {expected:?}").into());
            }
        }
    }
    if calls.next().is_some() { Err("there are more calls".into()) } else { Ok(()) }
}
