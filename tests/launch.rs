//! `exec` and `get` as their user meets them: with a vault that is a file, and with the real rbw.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{Pid, Signal};
use support::bitwarden::Item;
use support::bitwarden::rbw::{self, Answer};
use support::launch::{
    CANARY, OTHER, arguments, bin, environ, place, place_with, ran, rbw_manifest, stand_in, with_rbw,
};
use support::peers;
use support::program::{Place, Ran};
use support::shells::until;

type Outcome = Result<(), Failed>;

fn main() {
    let arguments = Arguments::from_args();
    let plain = |name: &str, test: fn() -> Outcome| Trial::test(name, test);
    let rbw = |name: &str, test: fn() -> Outcome| peers::trial(name, rbw::NEEDS, test);
    let trials = vec![
        plain("it_becomes_the_program", becomes),
        plain("a_signal_and_a_closed_pipe_are_the_programs_own", signals),
        plain("arguments_reach_it_untouched", untouched),
        plain("limits_and_standard_input_are_passed_on", passed_on),
        plain("it_has_its_secret_and_no_other", its_secret),
        plain("nothing_is_started_when_anything_is_wrong", wrong),
        plain("codes_are_those_of_env", codes),
        plain("a_file_instead_of_a_value", as_file),
        plain("get_prints_exactly_the_bytes", get),
        peers::trial("get_is_silent_on_a_terminal", &["script"], terminal),
        plain("a_manifest_that_lies_about_is_never_taken", trusted),
        rbw("the_value_is_in_one_process_only", one_process),
        rbw("what_rbw_cannot_give_starts_nothing", rbw_cannot),
        rbw("a_locked_vault_is_unlocked_as_the_manifest_says", unlock),
        rbw("a_plan_warns_of_what_cannot_be_had", warned),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Outcome {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?}, expected {expected:?}").into()) }
}

fn exec(place: &Place, arguments: &[&str]) -> Result<Ran, Failed> {
    Ok(place.reconcile().arg("exec").args(arguments).output()?.into())
}

fn becomes() -> Outcome {
    let place = place();
    let child = place.reconcile().args(["exec", "--command", "gh", "--"]).stdout(Stdio::piped()).spawn()?;
    let number = child.id();
    let ran = Ran::from(child.wait_with_output()?).ended(7)?;
    same("its number", ran.out.trim(), &number.to_string())?;
    exec(&place, &["github-token", "openai-api-key", "--", "sh", "-c", "exit 3"])?.ended(3)?;
    Ok(())
}

fn signals() -> Outcome {
    let place = place();
    let sleeping = |command: &mut Command| -> Result<Child, Failed> {
        let child = command.spawn()?;
        until(|| fs::read_to_string(format!("/proc/{}/comm", child.id())).is_ok_and(|name| name.trim() == "sleep"))?;
        Ok(child)
    };
    let mut child = sleeping(place.reconcile().args(["exec", "github-token", "--", "sleep", "60"]))?;
    // Not INT: whoever runs the tests in the background of a script has it ignored, and that is inherited.
    send(&child, Signal::TERM)?;
    same("ended", ended(&mut child)?.signal(), Some(15))?;
    // What is ignored stays ignored, as with env(1).
    let script = "trap '' INT; exec reconcile exec github-token -- sleep 60";
    let mut child = sleeping(place.command("sh").args(["-c", script]))?;
    send(&child, Signal::INT)?;
    send(&child, Signal::TERM)?;
    same("ended by the other", ended(&mut child)?.signal(), Some(15))?;
    // As at the left of a pipe whose right has seen enough.
    let mut child = place.reconcile().args(["exec", "github-token", "--", "yes"]).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("a pipe")?).read_line(&mut line)?;
    same("its output", line.as_str(), "y\n")?;
    same("nobody reads", ended(&mut child)?.signal(), Some(13))
}

fn send(child: &Child, signal: Signal) -> Outcome {
    let pid = Pid::from_raw(i32::try_from(child.id())?).ok_or("a pid")?;
    Ok(rustix::process::kill_process(pid, signal)?)
}

/// How it ended; one that does not is killed.
fn ended(child: &mut Child) -> Result<ExitStatus, Failed> {
    let mut status = None;
    let waited = until(|| {
        status = child.try_wait().ok().flatten();
        status.is_some()
    });
    match status {
        Some(status) => Ok(status),
        None => {
            child.kill()?;
            child.wait()?;
            waited.and(Err("it did not end".into()))
        }
    }
}

fn untouched() -> Outcome {
    let place = place();
    let hostile: [&[u8]; 12] =
        [b"", b"a b", b"'", b"\"", b"line\nbreak\n", b"--", b"--help", b"$(touch x)", b"`x`", b"*", b"\\", b"\xff\xfe"];
    let given = hostile.map(OsStr::from_bytes);
    for call in [&["--command", "gh", "--"][..], &["github-token", "--", "gh"]] {
        let output = place.reconcile().arg("exec").args(call).args(given).output()?;
        Ran::from(output).ended(7)?;
        same("arguments", arguments(&place), hostile.map(<[u8]>::to_vec).to_vec())?;
    }
    Ok(())
}

fn passed_on() -> Outcome {
    let place = place();
    let script = "ulimit -Sc 8; ulimit -Sc; ulimit -Hc; exec reconcile exec github-token -- \
        sh -c 'ulimit -Sc; ulimit -Hc; cat; echo \"$MINE\"'";
    let mut command = place.command("sh");
    let mut child =
        command.args(["-c", script]).env("MINE", "mine").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().ok_or("a pipe")?.write_all(b"piped\n")?;
    let ran = Ran::from(child.wait_with_output()?).ended(0)?;
    let lines: Vec<&str> = ran.out.lines().collect();
    same("the limits", &lines[..2], &lines[2..4])?;
    same("the rest", &lines[4..], &["piped", "mine"])
}

fn its_secret() -> Outcome {
    let place = place();
    exec(&place, &["--command", "gh", "--"])?.ended(7)?;
    let environ = environ(&place);
    same("its variable", environ.lines().any(|line| line == format!("GITHUB_TOKEN={CANARY}")), true)?;
    same("another secret", environ.contains(OTHER), false)?;
    exec(&place, &["--with-command", "with-openai", "--", "sh", "-c", "echo $OPENAI_API_KEY$GITHUB_TOKEN"])?
        .ended(0)?
        .says(&[OTHER])?
        .hides(&[CANARY])?;
    Ok(())
}

fn wrong() -> Outcome {
    let place = place();
    for (call, says) in [
        (
            &["db/prod", "--", "gh"][..],
            "gh not started: secret.db/prod: no item is called \"db/prod\" (did you mean \"db/prod-readonly\"?)",
        ),
        (&["empty", "--", "gh"], "gh not started: secret.empty: the item \"empty\" is empty there"),
        (&["github-token", "db/prod", "--", "gh"], "no item is called \"db/prod\""),
        (
            &["no-such", "--", "gh"],
            "gh not started: the manifest declares no secret no-such (reconcile list --manifest /",
        ),
        (&["--command", "glab", "--"], "glab not started: no secret of the manifest has glab among its `commands`"),
        (&["--with-command", "with-amp", "--", "gh"], "among its `with_command`"),
        (&["github-token", "--"], "nothing to run"),
        (&["github-token", "--as-file", "empty=X", "--", "gh"], "secret.empty is not among those that are given"),
        (&["--as-file", "A B", "github-token", "--", "gh"], "the name of a variable"),
        (&["--nonsense", "--", "gh"], "unexpected argument"),
        (&["--", "gh"], "required"),
    ] {
        exec(&place, call)?.ended(125)?.says(&[says])?.hides(&[CANARY])?;
    }
    place.edit_manifest("version: 1", "version: 1\nvresion: 1");
    let broken = exec(&place, &["--command", "gh", "--"])?.ended(125)?.says(&["gh not started: ", "vresion"])?;
    same("lines", broken.err.lines().count(), 1)?;
    fs::remove_file(place.manifest())?;
    exec(&place, &["--command", "gh", "--"])?.ended(125)?.says(&["No such file"])?;
    same("runs", ran(&place), 0)
}

fn codes() -> Outcome {
    let place = place();
    stand_in(&place, "interpreted", "#!/no/such/interpreter\n");
    fs::write(bin(&place).join("data"), "")?;
    for (program, code) in
        [("no-such-program", 127), ("/no/such", 127), ("interpreted", 127), ("data", 126), ("/", 126)]
    {
        exec(&place, &["github-token", "--", program])?.ended(code)?.says(&[&format!("{program} not started: ")])?;
    }
    // Nobody is asked for a password for nothing.
    exec(&place, &["empty", "--", "no-such-program"])?.ended(127)?;
    Ok(())
}

fn as_file() -> Outcome {
    let place = place_with("secrets:\n  key: {item: lines, delivery: {runtime: {env: KEY}}}\n");
    let script = "echo $KEY; cat \"$KEY\"; cat \"$KEY\"; sh -c 'cat \"$KEY\"'; (echo x > \"$KEY\") 2>/dev/null || echo kept; stat -Lc %a $KEY";
    let ran = exec(&place, &["key", "--as-file", "KEY", "--", "sh", "-c", script])?.ended(0)?;
    let (path, rest) = ran.out.split_once('\n').ok_or("a line")?;
    same("what is read", rest, "a\nb\na\nb\na\nb\nkept\n400\n")?;
    same("no name", path.starts_with("/proc/self/fd/"), true)
}

fn get() -> Outcome {
    let place = place_with(
        "secrets:\n  key: {item: lines, delivery: {runtime: {env: KEY}}}\n  gone: {item: gone, delivery: {runtime: {env: GONE}}}\n",
    );
    same("the bytes", place.run("get key").ended(0)?.out.as_str(), "a\nb\n")?;
    same("nothing", place.run("get gone").ended(1)?.says(&["no item is called"])?.out.as_str(), "")?;
    place.run("get other").ended(1)?.says(&["declares no secret other"])?;
    Ok(())
}

fn terminal() -> Outcome {
    let place = place();
    let on_terminal = |command: &str| -> Result<Ran, Failed> {
        let script = peers::find("script").ok_or("script")?;
        Ok(place.command(script).args(["-qec", command, "/dev/null"]).output()?.into())
    };
    on_terminal("reconcile get github-token")?
        .ended(1)?
        .says(&["not shown on a terminal", "--show"])?
        .hides(&[CANARY])?;
    on_terminal("reconcile get --show github-token")?.ended(0)?.says(&[CANARY])?;
    Ok(())
}

fn trusted() -> Outcome {
    let mut place = place();
    let absolute = place.variables.remove("RECONCILE_MANIFEST").ok_or("a manifest")?;
    // The directory holds one, and that is the point.
    let call = ["--command", "gh", "--"];
    exec(&place, &call)?.ended(125)?.says(&[".config/reconcile/secrets.manifest.yaml"])?;
    same("git", place.run("git-credential get").ended(1)?.out.as_str(), "")?;
    place.variables.insert("RECONCILE_MANIFEST".to_owned(), "secrets.manifest.yaml".into());
    exec(&place, &call)?.ended(125)?.says(&["absolute path"])?;
    place.variables.remove("RECONCILE_MANIFEST");
    let own = place.home.join(".config/reconcile");
    fs::create_dir_all(&own)?;
    symlink(&absolute, own.join("secrets.manifest.yaml"))?;
    exec(&place, &call)?.ended(7)?;
    for open in [Path::new(&absolute), &place.repository] {
        let before = fs::metadata(open)?.permissions();
        fs::set_permissions(open, fs::Permissions::from_mode(0o777))?;
        exec(&place, &call)?.ended(125)?.says(&["could have been written by another user"])?;
        fs::set_permissions(open, before)?;
    }
    exec(&place, &call)?.ended(7)?;
    same("runs", ran(&place), 2)
}

fn tokens() -> [Item; 3] {
    [
        Item::login("github-token", "me", CANARY),
        Item::login("openai-api-key", "me", OTHER),
        Item::login("db/prod-readonly", "me", "near"),
    ]
}

fn one_process() -> Outcome {
    // A value of its own: other tests run at the same time.
    let value = "c4nary-of-one-process-9ab1";
    let (place, _account, _server) = with_rbw(&rbw_manifest("never"), [Item::login("github-token", "me", value)]);
    // Each call of rbw notes its arguments and environment.
    let real = peers::find("rbw").ok_or("rbw")?;
    let shim = "#!/bin/sh\n{ printf '%s\\n' \"$@\"; cat /proc/$$/environ /proc/$PPID/environ; } >> \"$HOME/rbw-saw\"\nexec REAL \"$@\"\n";
    stand_in(&place, "rbw", &shim.replace("REAL", &real.display().to_string()));
    // A shell that runs it from a function, with tracing on; the program waits until everything was looked at.
    stand_in(&place, "gh", "#!/bin/sh\necho started\nread -r line\nexit 7\n");
    let script =
        "set -x; eval \"$(reconcile shell-init bash)\"; gh pr list; echo \"code $?\"; set; history; declare -p";
    let mut command = place.command("bash");
    command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut out = BufReader::new(child.stdout.take().ok_or("a pipe")?);
    let mut line = String::new();
    out.read_line(&mut line)?;
    same("it runs", line.as_str(), "started\n")?;
    let mut holders = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let there = |file: &str| fs::read(entry.path().join(file)).is_ok_and(|bytes| contains(&bytes, value));
        same("a command line", there("cmdline"), false)?;
        if there("environ") {
            holders.push(fs::read_to_string(entry.path().join("comm"))?);
        }
    }
    same("who has it", holders, vec!["gh\n".to_owned()])?;
    child.stdin.take().ok_or("a pipe")?.write_all(b"\n")?;
    let mut rest = String::new();
    out.read_to_string(&mut rest)?;
    let mut traced = String::new();
    child.stderr.take().ok_or("a pipe")?.read_to_string(&mut traced)?;
    child.wait()?;
    same("the code", rest.lines().next(), Some("code 7"))?;
    same("the trace is one", traced.contains("--command"), true)?;
    // Its agent is asked; where its command line was, it neither had the value nor was told it.
    let saw = fs::read(place.home.join("rbw-saw")).unwrap_or_default();
    for (what, text) in [("variables", rest.as_bytes()), ("trace", traced.as_bytes()), ("rbw", saw.as_slice())] {
        same(what, contains(text, value), false)?;
    }
    let kept = place.files();
    let there = kept.iter().find(|(path, bytes)| contains(bytes, value) && !path.ends_with("vault.yaml"));
    same("a file", there.map(|(path, _)| path.clone()), None)
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn rbw_cannot() -> Outcome {
    let (place, account, server) = with_rbw(&rbw_manifest("never"), tokens());
    let gh = || exec(&place, &["--command", "gh", "--"]);
    let refused = |ran: Ran, says: &[&str]| -> Outcome {
        let ran = ran.ended(125)?.says(says)?.hides(&[CANARY])?;
        same("lines", ran.err.lines().count(), 1)
    };
    gh()?.ended(7)?;
    refused(exec(&place, &["db/prod", "--", "gh"])?, &["did you mean \"db/prod-readonly\"?"])?;
    account.lock();
    refused(gh()?, &["gh not started: the vault is locked (rbw unlock)"])?;
    account.unlock();
    gh()?.ended(7)?;
    account.stop_agent();
    refused(gh()?, &["gh not started: rbw's agent is not running (rbw unlock)"])?;
    account.unlock();
    let (id, _) = server.items().into_iter().find(|(_, item)| item.name == "github-token").ok_or("the item")?;
    server.edit(&id, |item| *item = Item::login("github-token", "me", "rotated"));
    account.sync();
    gh()?.ended(7)?;
    same("rotated", environ(&place).lines().any(|line| line == "GITHUB_TOKEN=rotated"), true)?;
    server.put(Item::login("github-token", "", "twin"));
    account.sync();
    refused(gh()?, &["secret.github-token: 2 items are called \"github-token\""])?;
    for (id, item) in server.items() {
        if item.name == "github-token" {
            server.remove(&id);
        }
    }
    server.put(Item::login("github-token-old", "me", "near"));
    account.sync();
    refused(gh()?, &["no item is called \"github-token\" (did you mean \"github-token-old\"?)"])?;
    account.stop_agent();
    stand_in(&place, "rbw", "#!/bin/sh\nexit 1\n");
    refused(gh()?, &["gh not started: "])?;
    same("runs", ran(&place), 3)
}

fn unlock() -> Outcome {
    let (place, account, _server) = with_rbw(&rbw_manifest("pinentry"), tokens());
    let gh = || exec(&place, &["--command", "gh", "--"]);
    gh()?.ended(7)?;
    account.lock();
    let before = account.prompts();
    // Neither standard input nor output is a terminal here.
    gh()?.ended(7)?;
    same("asked once", account.prompts(), before + 1)?;
    account.lock();
    account.answer(Answer::Cancel);
    gh()?.ended(125)?.says(&["the vault is locked (rbw unlock)"])?;
    same("asked once more", account.prompts(), before + 2)?;
    exec(&place, &["--no-input", "--command", "gh", "--"])?.ended(125)?.says(&["the vault is locked"])?;
    place.edit_manifest("unlock: pinentry", "unlock: terminal");
    gh()?.ended(125)?.says(&["the vault is locked"])?;
    same("not asked", account.prompts(), before + 2)?;
    if let Some(script) = peers::find("script") {
        account.answer(Answer::Password);
        let mut command: Command = place.command(script);
        let on_terminal = command.args(["-qec", "reconcile exec --command gh --", "/dev/null"]).output()?;
        Ran::from(on_terminal).ended(7)?;
        same("asked on a terminal", account.prompts(), before + 3)?;
    }
    Ok(())
}

/// Nothing is blocked by it, and nothing is decrypted for it.
fn warned() -> Outcome {
    let items = [
        Item::login("github-token", "me", CANARY),
        Item::login("github-token", "", "twin"),
        Item::login("openai-api-key-old", "me", OTHER),
        Item::login("db/prod", "me", "fine"),
        // Whether it is empty would have to be decrypted, which no plan does.
        Item::login("empty", "me", ""),
    ];
    let (place, account, _server) = with_rbw(&rbw_manifest("never"), items);
    let says = [
        "secret.github-token, wanted at run time: 2 items are called \"github-token\"",
        "secret.openai-api-key, wanted at run time: no item is called \"openai-api-key\" (did you mean \"openai-api-key-old\"?)",
    ];
    let hides = ["secret.db/prod", "secret.empty", CANARY, OTHER];
    place.run("apply --auto-approve").ended(0)?.hides(&hides)?;
    let plan = || place.run("plan --detailed-exitcode");
    plan().ended(0)?.says(&says)?.says(&["No changes."])?.hides(&hides)?;
    exec(&place, &["empty", "--", "gh"])?.ended(125)?.says(&["the item \"empty\" is empty there"])?;
    account.lock();
    plan().hides(&["wanted at run time"]).map(drop)
}
