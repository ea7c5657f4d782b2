//! The functions of `shell-init` as somebody meets them at the prompt of bash, zsh and fish, in a real terminal.

mod support;

use std::fs;

use libtest_mimic::{Arguments, Failed};
use support::bitwarden::rbw;
use support::launch::{TOKENS, den_vm, place, stand_in};
use support::peers;
use support::shells::{Prompt, SHELLS, Shell, until};

type Outcome = Result<(), Failed>;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for shell in SHELLS {
        let trial = |name: &str, needs: &[&'static str], test: fn(Shell) -> Outcome| {
            let needs: Vec<&str> = needs.iter().copied().chain(["tmux", shell.name()]).collect();
            peers::trial(&format!("{}::{name}", shell.name()), &needs, move || test(shell))
        };
        trials.push(trial("no_trace_history_or_variable_has_it", rbw::NEEDS, no_trace));
        trials.push(trial("the_terminal_is_the_programs_own", &[], terminal));
        trials.push(trial("completions_are_those_of_the_program", &[], completions));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Outcome {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?}, expected {expected:?}").into()) }
}

fn no_trace(shell: Shell) -> Outcome {
    let (mut place, _account, _server) = den_vm("never");
    place.variables.insert("XDG_DATA_HOME".to_owned(), place.home.join(".local/share").into());
    stand_in(&place, "gh", "#!/bin/sh\necho \"$# ${#GITHUB_TOKEN}\" > \"$HOME/told\"\n");
    let (history, lines, trace) = match shell {
        Shell::Bash => (".bash_history", "", "set -x"),
        Shell::Zsh => (".history", "HISTFILE=~/.history HISTSIZE=100 SAVEHIST=100", "set -x"),
        Shell::Fish => (".local/share/fish/fish_history", "", "set -g fish_trace 1"),
    };
    let prompt = Prompt::start(&place, shell, &format!("{lines}\n{}\n", shell.init()))?;
    prompt.line(trace)?;
    prompt.line("gh pr list 2> $HOME/trace")?;
    same("given", prompt.read("told")?.as_str(), "2 13\n")?;
    same("the screen", prompt.screen()?.contains("c4nary"), false)?;
    prompt.line("set > $HOME/variables; history > $HOME/remembered; echo > $HOME/listed")?;
    prompt.read("listed")?;
    prompt.line("exit")?;
    let history = place.home.join(history);
    until(|| fs::read_to_string(&history).is_ok_and(|text| text.contains("gh pr list")))?;
    let remembered = fs::read_to_string(place.home.join("remembered"))?;
    same("remembered", remembered.contains("gh pr list"), true)?;
    same("variables", fs::read_to_string(place.home.join("variables"))?.contains("HOME"), true)?;
    for (path, bytes) in place.files() {
        same(&path.display().to_string(), String::from_utf8_lossy(&bytes).contains(TOKENS[0].2), false)?;
    }
    Ok(())
}

fn terminal(shell: Shell) -> Outcome {
    let place = place();
    stand_in(&place, "codex", "#!/bin/sh\necho $$ > \"$HOME/pid\"\nexec sleep 100\n");
    let reads = "echo up > \"$HOME/reads\" && read -r line && echo \"$line\" > \"$HOME/told\"";
    stand_in(&place, "gh", &format!("#!/bin/sh\ntest -t 0 && test -t 1 && {reads}\n"));
    let prompt = Prompt::start(&place, shell, &format!("{}\n", shell.init()))?;
    let started = || -> Result<String, Failed> { Ok(prompt.read("pid")?.trim().to_owned()) };
    prompt.line("gh")?;
    prompt.read("reads")?;
    prompt.line("typed by somebody")?;
    same("what was typed", prompt.read("told")?.as_str(), "typed by somebody\n")?;
    same("its end", prompt.code()?.as_str(), "0")?;
    prompt.line("codex")?;
    let pid = started()?;
    prompt.key("C-c")?;
    prompt.gone(&pid)?;
    same("interrupted", prompt.code()?.as_str(), "130")?;
    prompt.line("with-openai codex")?;
    let pid = started()?;
    prompt.key("C-z")?;
    prompt.reaches(&pid, 'T')?;
    prompt.line("jobs > $HOME/jobs")?;
    let stopped = if shell == Shell::Zsh { "suspended" } else { "stopped" };
    same("a job", prompt.read("jobs")?.to_lowercase().contains(stopped), true)?;
    prompt.line("fg")?;
    prompt.reaches(&pid, 'S')?;
    prompt.key("C-z")?;
    prompt.reaches(&pid, 'T')?;
    prompt.line("bg")?;
    prompt.reaches(&pid, 'S')?;
    prompt.line("fg")?;
    // Only what is in the foreground gets it.
    let in_front = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    until(|| {
        let stat = in_front();
        let fields: Vec<&str> = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
        fields.len() > 5 && fields[2] == fields[5]
    })?;
    prompt.key("C-c")?;
    prompt.gone(&pid)
}

fn completions(shell: Shell) -> Outcome {
    let place = place();
    let own = match shell {
        Shell::Bash => "complete -W 'pr-list issue' gh",
        Shell::Zsh => "autoload -Uz compinit && compinit -u -D\n_gh() { compadd pr-list issue }\ncompdef _gh gh",
        // It brings some for gh, which ask the program itself.
        Shell::Fish => "",
    };
    let answers = "echo complete -c gh -f -a pr-list";
    let gh = format!("#!/bin/sh\n[ \"$1\" = completion ] && {answers} || echo \"$@\" > \"$HOME/told\"\n");
    stand_in(&place, "gh", &gh);
    stand_in(&place, "zz-unlike-any-other", "#!/bin/sh\necho zz > \"$HOME/told\"\n");
    let prompt = Prompt::start(&place, shell, &format!("{own}\n{}\n", shell.init()))?;
    let completed = |typed: &str, told: &str| -> Outcome {
        prompt.typed(typed)?;
        prompt.key("Tab")?;
        prompt.key("Enter")?;
        same(typed, prompt.read("told")?.trim_end(), told)
    };
    completed("gh pr-l", "pr-list")?;
    completed("with-openai zz-unl", "zz")?;
    if shell != Shell::Bash {
        completed("with-openai gh pr-l", "pr-list")?;
    }
    Ok(())
}
