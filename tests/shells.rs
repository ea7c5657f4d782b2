//! The functions of `shell-init` as somebody meets them in scripts of bash, zsh and fish, with the real rbw.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use libtest_mimic::{Arguments, Failed};
use support::bitwarden::{Item, rbw};
use support::launch::{CANARY, TOKENS, arguments, bin, den_vm, environ, place, prepend_to_path, ran, stand_in};
use support::peers;
use support::program::{Place, Ran};
use support::shells::{SHELLS, Shell};

type Outcome = Result<(), Failed>;
type Row = (&'static str, &'static [&'static str], fn(Shell) -> Outcome);

fn main() {
    let arguments = Arguments::from_args();
    let all: [Row; 10] = [
        ("each_helper_gives_its_secret_to_its_program", rbw::NEEDS, helpers),
        ("a_rotated_secret_is_the_next_one_fetched", rbw::NEEDS, rotated),
        ("what_rbw_cannot_give_runs_nothing", rbw::NEEDS, cannot),
        ("one_process_of_the_tree_has_it", rbw::NEEDS, one_process),
        ("arguments_reach_the_program_untouched", &[], untouched),
        ("codes_and_pipes_are_the_programs_own", &[], codes_and_pipes),
        ("options_and_aliases_do_not_disturb", &[], options),
        ("what_is_no_longer_declared_is_gone", &[], gone),
        ("a_shell_starts_without_it", &[], without),
        ("a_plan_tells_that_the_functions_are_older", &[], stale),
    ];
    let mut trials = Vec::new();
    for shell in SHELLS {
        for (name, needs, test) in all {
            let needs: Vec<&str> = needs.iter().copied().chain([shell.name()]).collect();
            trials.push(peers::trial(&format!("{}::{name}", shell.name()), &needs, move || test(shell)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Outcome {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?}, expected {expected:?}").into()) }
}

fn helpers(shell: Shell) -> Outcome {
    let (place, _account, _server) = den_vm("pinentry");
    let script = "gh pr list\nclaude\ncodex 'a b'\nwith-openai any x\nwith-amp any\nany\nenv";
    let ran = shell.run(&place, script)?.ended(0)?;
    let lines: Vec<&str> = ran.out.lines().collect();
    let expected = [
        "gh <pr> <list> c4nary-ghp-07|||",
        "claude |c4nary-ant-18||",
        "codex <a b> ||c4nary-sk-29|",
        "any <x> ||c4nary-sk-29|",
        "any |||c4nary-amp-3a",
        "any |||",
    ];
    same("each", lines.get(..6), Some(&expected[..]))?;
    same("the shell", lines[6..].iter().any(|line| line.contains("c4nary")), false)?;
    same("it is an environment", lines[6..].iter().any(|line| line.starts_with("HOME=")), true)
}

fn rotated(shell: Shell) -> Outcome {
    let (place, _account, _server) = den_vm("never");
    let script = "gh\nrbw remove github-token\necho new-value | rbw add github-token\ngh";
    let ran = shell.run(&place, script)?.ended(0)?;
    same("before and after", ran.out.as_str(), "gh c4nary-ghp-07|||\ngh new-value|||\n")
}

fn cannot(shell: Shell) -> Outcome {
    let (place, account, server) = den_vm("never");
    let calls = [
        ("gh", "gh", "github-token"),
        ("claude", "claude", "claude-oauth-token"),
        ("codex", "codex", "openai-api-key"),
        ("with-openai any", "any", "openai-api-key"),
        ("with-amp any", "any", "amp-api-key"),
    ];
    let refused = |says: &dyn Fn(&str, &str) -> String| -> Outcome {
        for (call, program, item) in calls {
            let ran = shell.run(&place, call)?.ended(125)?;
            same(call, ran.err, says(program, item))?;
            same("it ran", ran.out.as_str(), "")?;
        }
        Ok(())
    };
    account.lock();
    refused(&|program, _| format!("reconcile: {program} not started: the vault is locked (rbw unlock)\n"))?;
    account.stop_agent();
    refused(&|program, _| format!("reconcile: {program} not started: rbw's agent is not running (rbw unlock)\n"))?;
    account.unlock();
    for (id, item) in server.items() {
        server.remove(&id);
        server.put(Item::login(&format!("{}-old", item.name), "me", CANARY));
    }
    account.sync();
    for (call, program, item) in calls {
        let says = [
            format!("{program} not started: "),
            format!("no item is called \"{item}\" (did you mean \"{item}-old\"?)"),
        ];
        let ran = shell.run(&place, call)?.ended(125)?.says(&[&says[0], &says[1]])?.hides(&[CANARY])?;
        same("lines", (ran.err.lines().count(), ran.out.as_str()), (1, ""))?;
    }
    Ok(())
}

/// Notes its arguments and environment, and goes on.
const NOTES: &str =
    "#!/bin/sh\n{ printf '%s\\n' \"$@\"; tr '\\0' '\\n' < /proc/$$/environ; } >> \"$HOME/saw-${0##*/}\"\n";

fn one_process(shell: Shell) -> Outcome {
    let (place, _account, _server) = den_vm("never");
    for program in ["reconcile", "rbw"] {
        let real = match program {
            "rbw" => peers::find("rbw").ok_or("rbw")?,
            _ => env!("CARGO_BIN_EXE_reconcile").into(),
        };
        fs::remove_file(bin(&place).join(program)).ok();
        stand_in(&place, program, &format!("{NOTES}exec '{}' \"$@\"\n", real.display()));
    }
    for program in ["gh", "claude", "codex", "any"] {
        stand_in(&place, program, NOTES);
    }
    shell.run(&place, "gh; claude; codex; with-amp any\nany")?.ended(0)?.hides(&["c4nary"])?;
    let saw = |program: &str| fs::read_to_string(place.home.join(format!("saw-{program}"))).unwrap_or_default();
    for program in ["reconcile", "rbw"] {
        same(program, saw(program).contains("c4nary"), false)?;
    }
    // rbw's agent is asked without it.
    same("it was called", saw("reconcile").contains("HOME="), true)?;
    for (program, number) in [("gh", 0), ("claude", 1), ("codex", 2), ("any", 3)] {
        let (_, variable, value) = TOKENS[number];
        same(program, saw(program).matches("c4nary").count(), 1)?;
        same(program, saw(program).lines().filter(|line| *line == format!("{variable}={value}")).count(), 1)?;
    }
    Ok(())
}

fn untouched(shell: Shell) -> Outcome {
    let place = place();
    let hostile: [&[u8]; 14] = [
        b"",
        b"a b",
        b"'",
        b"\"",
        b"line\nbreak\n",
        b"--",
        b"--help",
        b"$(touch x)",
        b"`x`",
        b"*",
        b"\\",
        b"~",
        b"-c",
        b"\xff\xfe",
    ];
    let given = hostile.map(OsStr::from_bytes);
    for call in ["gh", "with-openai gh"] {
        shell.run_with(&place, &format!("{call} {}", shell.all()), &given)?.ended(7)?;
        same(call, arguments(&place), hostile.map(<[u8]>::to_vec).to_vec())?;
    }
    // As somebody writes them, with a file that a pattern could be taken for.
    fs::write(place.repository.join("there"), "")?;
    shell.run(&place, "gh 'a b' \"it's\" 't*re' '$(touch x)' -- --manifest /x '{a,b}' 'a;b' '>x'")?.ended(7)?;
    let expected = ["a b", "it's", "t*re", "$(touch x)", "--", "--manifest", "/x", "{a,b}", "a;b", ">x"];
    same("words", arguments(&place), expected.map(|word| word.as_bytes().to_vec()).to_vec())?;
    same("a file", place.repository.join("x").exists(), false)
}

fn codes_and_pipes(shell: Shell) -> Outcome {
    let place = place();
    let first = match shell {
        Shell::Bash => "${PIPESTATUS[0]}",
        _ => "$pipestatus[1]",
    };
    let status = shell.status();
    for (script, out) in [
        (format!("gh > out; echo {status}"), "7\n"),
        (format!("with-openai sh -c 'exit 3'; echo {status}"), "3\n"),
        (format!("with-openai sh -c 'kill -TERM $$'; echo {status}"), "143\n"),
        (format!("with-openai no-such-program; echo {status}"), "127\n"),
        (format!("with-openai; echo {status}"), "125\n"),
        ("echo piped | with-openai cat".to_owned(), "piped\n"),
        (format!("with-openai yes | head -n 1; echo {first}"), "y\n141\n"),
        ("with-openai sh -c 'echo out; echo err >&2' 2> /dev/null | cat".to_owned(), "out\n"),
    ] {
        same(&script, shell.run(&place, &script)?.out.as_str(), out)?;
    }
    if shell != Shell::Fish {
        // fish has no functions in the background.
        same("waited for", shell.run(&place, "gh > out & wait $!; echo $?")?.out.as_str(), "7\n")?;
    }
    Ok(())
}

/// What somebody may have set before the line of the README, and defined after it.
fn surroundings(shell: Shell) -> &'static [(&'static str, &'static str)] {
    match shell {
        Shell::Bash => &[
            ("set -eu", ""),
            ("set -euo pipefail; set -o noglob", ""),
            ("set -o posix", ""),
            ("shopt -s nullglob failglob extglob; set -o noclobber", ""),
            ("IFS=/-:", ""),
            ("shopt -s expand_aliases; alias gh='gh first' reconcile=false command=false exec=false", ""),
            ("function gh { false; }", "function reconcile { false; }"),
        ],
        Shell::Zsh => &[
            ("setopt err_exit no_unset err_return pipe_fail", ""),
            ("setopt no_glob no_clobber posix_builtins", ""),
            ("emulate sh", ""),
            ("emulate ksh; setopt sh_word_split ksh_arrays glob_subst", ""),
            ("setopt null_glob extended_glob ksh_glob csh_null_glob rc_expand_param", ""),
            ("setopt posix_aliases ignore_braces no_equals warn_create_global all_export", ""),
            ("alias gh='gh first' reconcile=false command=false exec=false", ""),
            ("alias -g -- --=false; alias -g exec=false", ""),
            ("IFS=/-:", ""),
            ("function gh { false }", "function reconcile { false }"),
        ],
        Shell::Fish => &[
            ("set -g IFS", ""),
            ("alias gh 'gh first'; abbr -a exec false", "alias reconcile false"),
            ("function gh; false; end", "function reconcile; false; end"),
        ],
    }
}

fn options(shell: Shell) -> Outcome {
    let place = place();
    // What is typed has its aliases; here it is only about those that reach into the functions.
    let init = shell.init().replace("(reconcile", "(\\reconcile");
    let script = place.repository.join("script");
    for (before, after) in surroundings(shell) {
        // Twice, as in a shell that reads its file again.
        fs::write(&script, format!("{before}\n{init}\n{init}\n{after}\ngh 'a b'\n"))?;
        let runs = ran(&place);
        let got = Ran::from(place.command(shell.name()).arg(&script).output()?).ended(7);
        same(before, got.map_err(|error| format!("{before}: {error:?}"))?.err.as_str(), "")?;
        same(before, ran(&place), runs + 1)?;
        // In fish an alias is a function, and the later one counts.
        let words = if before.contains("alias gh=") { &["first", "a b"][..] } else { &["a b"] };
        let expected: Vec<_> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        same(before, arguments(&place), expected)?;
        same(before, environ(&place).lines().any(|line| line == format!("GITHUB_TOKEN={CANARY}")), true)?;
    }
    Ok(())
}

fn gone(shell: Shell) -> Outcome {
    let place = place();
    let text = fs::read_to_string(place.manifest())?;
    let later = text.replace(", commands: [gh]", ", commands: [glab]").replace(", with_command: with-openai", "");
    fs::write(place.repository.join("later.yaml"), later)?;
    let is = |names: &[&str]| -> String {
        names.iter().map(|name| format!("{}; echo {name} {}\n", shell.is_function(name), shell.status())).collect()
    };
    let names = ["gh", "codex", "with-openai", "glab"];
    let script = format!("{}cp later.yaml secrets.manifest.yaml\n{}\n{}gh > out", is(&names), shell.init(), is(&names));
    let ran = shell.run(&place, &script)?.ended(7)?;
    let expected = "gh 0\ncodex 0\nwith-openai 0\nglab 1\ngh 1\ncodex 0\nwith-openai 1\nglab 0\n";
    same("functions", ran.out.as_str(), expected)?;
    same("gh is the program itself", environ(&place).contains(CANARY), false)?;
    // A function of an older shell starts nothing, and says what to do.
    let script = format!("cp later.yaml secrets.manifest.yaml\ngh; echo {}", shell.status());
    place.write_manifest(&text);
    let old = shell.run(&place, &script)?.says(&["gh not started: ", "evaluate `reconcile shell-init` again"])?;
    same("the old one", old.out.as_str(), "125\n")
}

fn without(shell: Shell) -> Outcome {
    let mut place = place();
    let strict = if shell == Shell::Fish { "" } else { "set -eu\n" };
    let starts = |place: &Place, says: &str| -> Outcome {
        let script = format!("{strict}{}\necho alive", shell.init());
        let ran = Ran::from(shell.command(place, &script, &[] as &[&str]).output()?).ended(0)?.says(&[says])?;
        same("the rest of the file", ran.out.as_str(), "alive\n")
    };
    place.edit_manifest("version: 1", "version: one");
    starts(&place, "reconcile: no shell functions: ")?;
    fs::remove_file(place.manifest())?;
    starts(&place, "reconcile: no shell functions: ")?;
    fs::remove_file(bin(&place).join("reconcile"))?;
    prepend_to_path(&mut place, OsStr::new("/usr/bin:/bin"));
    starts(&place, "reconcile")
}

fn stale(shell: Shell) -> Outcome {
    let place = place();
    fs::remove_file(bin(&place).join("gh"))?;
    stand_in(&place, "codex", "#!/bin/sh\n");
    let plan = "reconcile plan --json > plan\nreconcile doctor > doctor || true";
    let told = || -> Result<(String, String), Failed> {
        let read = |name: &str| fs::read_to_string(place.repository.join(name));
        Ok((read("plan")?, read("doctor")?))
    };
    shell.run(&place, plan)?.ended(0)?;
    let (planned, looked) = told()?;
    same("current", planned.contains("functions_stale"), false)?;
    same("not there", planned.contains("\"commands\":[\"db\",\"gh\"]"), true)?;
    same("of the doctor", looked.contains("1 of 3 on the PATH; not here: db, gh"), true)?;
    same("of the doctor", looked.contains("those of the manifest"), true)?;
    // Another command, and the functions are older.
    let script = format!("sed -i 's/commands: .db./commands: [db, psql]/' secrets.manifest.yaml\n{plan}");
    shell.run(&place, &script)?.ended(0)?;
    let (planned, looked) = told()?;
    same("stale", planned.contains("functions_stale") && planned.contains(&shell.init().replace('"', "\\\"")), true)?;
    let (_, rest) = looked.split_once("not those of the manifest").ok_or("a line of the doctor")?;
    same("its way out", rest.contains(shell.init()), true)?;
    // Where no functions are, and where they are of another manifest, a plan says nothing of it.
    fs::copy(place.manifest(), place.repository.join("other.yaml"))?;
    let other = format!("{}\nreconcile plan --manifest other.yaml --json > plan", shell.init());
    for script in ["reconcile plan --json > plan", &other] {
        Ran::from(shell.command(&place, script, &[] as &[&str]).output()?).ended(0)?;
        let planned = fs::read_to_string(place.repository.join("plan"))?;
        same(script, planned.contains("functions_stale") || planned.contains("commands_missing"), false)?;
    }
    Ok(())
}
