//! The command line as its user meets it, on the quickstart: what is wrong is said in a line and changes nothing, and what
//! a terminal, a pipe or a script expects of it holds. Needs no other program; two disks of its own need root.

#[path = "support/peers.rs"]
mod peers;
#[path = "support/quickstart.rs"]
mod quickstart;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed};
use quickstart::{Quickstart, files};

type Outcome = Result<(), Failed>;

fn main() {
    let trial = |name: &str, needs: &[&str], test: fn() -> Outcome| peers::trial(name, needs, test);
    let trials = vec![
        trial("wrong_usage_ends_with_1", &[], wrong_usage),
        trial("without_a_terminal_nothing_is_approved", &[], no_terminal),
        trial("a_vault_that_changes_while_it_is_asked_is_not_applied", &["script"], moved_while_asked),
        trial("two_applies_at_once_are_one_after_the_other", &[], two_at_once),
        trial("a_target_brings_its_file_along_and_nothing_else", &[], target),
        trial("refresh_only_shows_what_moved", &[], refresh_only),
        trial("a_saved_plan_is_carried_out_once", &[], saved_once),
        trial("a_newer_manifest_receipt_or_plan_is_refused", &[], newer),
        trial("a_link_in_the_place_of_a_file_is_not_followed", &[], links),
        trial("escape_sequences_of_item_names_are_shown_not_obeyed", &[], escapes),
        trial("a_closed_pipe_is_no_error", &[], closed_pipe),
        trial("every_line_of_json_is_json_of_a_version", &[], json),
        trial("completions_and_manual_pages_are_there", &[], completions),
        trial("a_read_only_dataset_is_told_and_left", &["root"], read_only),
        trial("a_full_disk_is_told_and_left", &["root"], full),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// The quickstart in a directory that is removed in the end.
struct Site {
    quickstart: Quickstart,
    _directory: tempfile::TempDir,
}

impl Site {
    fn new() -> Result<Self, Failed> {
        let directory = tempfile::tempdir()?;
        Ok(Self { quickstart: Quickstart::new(&directory.path().join("site"))?, _directory: directory })
    }

    fn applied() -> Result<Self, Failed> {
        let site = Self::new()?;
        site.run("apply --auto-approve", 0)?;
        Ok(site)
    }

    /// What it printed on both streams.
    fn run(&self, words: &str, code: i32) -> Result<String, Failed> {
        let words: Vec<&str> = words.split_whitespace().collect();
        let output = self.quickstart.run(&words, code)?;
        Ok(text(&output.stdout) + &text(&output.stderr))
    }

    fn path(&self, below: &str) -> PathBuf {
        self.quickstart.path(below)
    }

    fn edit(&self, file: &str, from: &str, to: &str) -> Outcome {
        let text = std::fs::read_to_string(self.path(file))?;
        if text.matches(from).count() != 1 {
            return Err(format!("{from} is not once in {file}").into());
        }
        Ok(std::fs::write(self.path(file), text.replace(from, to))?)
    }

    /// Every file but the lock, which names its last holder.
    fn files(&self) -> Result<BTreeMap<PathBuf, Vec<u8>>, Failed> {
        let mut files = files(self.quickstart.at())?;
        files.retain(|path, _| !path.ends_with("lock"));
        Ok(files)
    }

    /// Ends with 1, says all of `words`, and leaves every file as it was.
    fn refused(&self, command: &str, words: &[&str]) -> Outcome {
        let before = self.files()?;
        let said = self.run(command, 1)?;
        says(&said, words)?;
        if self.files()? == before { Ok(()) } else { Err(format!("files changed:\n{said}").into()) }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn says(said: &str, words: &[&str]) -> Outcome {
    match words.iter().find(|word| !said.contains(**word)) {
        None => Ok(()),
        Some(word) => Err(format!("{word:?} is not in:\n{said}").into()),
    }
}

fn hides(said: &str, words: &[&str]) -> Outcome {
    match words.iter().find(|word| said.contains(**word)) {
        None => Ok(()),
        Some(word) => Err(format!("{word:?} is in:\n{said}").into()),
    }
}

fn wrong_usage() -> Outcome {
    let site = Site::new()?;
    for (command, words) in [
        ("frobnicate", ["unrecognized subcommand", "--help"]),
        ("plan --target nonsense", ["nonsense", "secret.NAME"]),
        ("plan --target secret.nope", ["secret.nope: nothing of that name is declared", "reconcile list"]),
        ("plan --out x --refresh-only", ["--out", "--refresh-only"]),
        ("apply --accept-recipient nobody", ["no such host", "reconcile list"]),
        ("apply no-such.plan", ["no-such.plan", "reconcile plan --out"]),
    ] {
        site.refused(command, &words).map_err(|error| format!("{command}: {error:?}"))?;
    }
    // A manifest that is not there: where it was looked for, and what to do.
    std::fs::remove_file(site.path("secrets.manifest.yaml"))?;
    site.refused("plan", &["secrets.manifest.yaml"])
}

fn no_terminal() -> Outcome {
    let site = Site::applied()?;
    site.edit("vault.yaml", "uniclip-password: ", "uniclip-password: another-")?;
    site.refused("apply", &["no terminal", "--auto-approve"])
}

/// At a terminal of its own; whoever is asked takes a while.
fn moved_while_asked() -> Outcome {
    let site = Site::applied()?;
    let typed = site.path("typescript");
    let ask = |meanwhile: &str| -> Result<String, Failed> {
        let script = format!(
            "( until grep -q 'Enter a value' '{0}'; do sleep 0.05; done; {meanwhile}; echo yes ) |
             script -qefc \"$RECONCILE apply --no-color --manifest '{1}'\" '{0}'; rm '{0}'",
            typed.display(),
            site.path("secrets.manifest.yaml").display(),
        );
        std::fs::write(&typed, "")?;
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script]).env_clear().envs(site.quickstart.variables());
        let output = command.env("RECONCILE", env!("CARGO_BIN_EXE_reconcile")).output()?;
        Ok(text(&output.stdout) + &text(&output.stderr))
    };
    site.edit("vault.yaml", "uniclip-password: ", "uniclip-password: another-")?;
    let before = std::fs::read(site.path("run/dataset/secrets.yaml"))?;
    let change = format!("sed -i 's/another-/yet-another-/' '{}'", site.path("vault.yaml").display());
    says(&ask(&change)?, &["Something moved while you were asked", "Nothing was done"])?;
    if std::fs::read(site.path("run/dataset/secrets.yaml"))? != before {
        return Err("it was applied".into());
    }
    says(&ask("true")?, &["Apply complete!"])?;
    let installed = std::fs::read_to_string(site.path("run/secrets/uniclip/password"))?;
    says(&installed, &["yet-another-"])
}

/// An apply that was stopped while it holds the lock.
fn stopped(site: &Site) -> Result<Child, Failed> {
    let lock = files(site.quickstart.at())?.into_keys().find(|path| path.ends_with("lock")).ok_or("no lock")?;
    for turn in 0..20 {
        site.edit("vault.yaml", "uniclip-password: ", &format!("uniclip-password: {turn}-"))?;
        let mut child = site.quickstart.command(&["apply", "--auto-approve"]).output_later()?;
        let holder = format!("\"id\":{},", child.id());
        let until = Instant::now() + Duration::from_secs(20);
        while child.try_wait()?.is_none() && Instant::now() < until {
            if std::fs::read(&lock).is_ok_and(|bytes| text(&bytes).contains(&holder)) {
                let signalled = Command::new("kill").args(["-STOP", &child.id().to_string()]).status()?;
                std::thread::sleep(Duration::from_millis(20));
                if signalled.success() && child.try_wait()?.is_none() {
                    return Ok(child);
                }
                break;
            }
        }
        child.wait()?;
    }
    Err("each apply had ended before it was stopped".into())
}

fn two_at_once() -> Outcome {
    let site = Site::applied()?;
    let first = stopped(&site)?;
    let number = first.id().to_string();
    // One that does not wait, and several that do.
    let said = site.run("apply --auto-approve", 1)?;
    says(&said, &["another run", "apply", &number, "--lock-timeout"])?;
    let waiting: Vec<Child> = (0..4)
        .map(|_| site.quickstart.command(&["apply", "--auto-approve", "--lock-timeout", "60s"]).output_later())
        .collect::<Result<_, _>>()?;
    // Longer than a wait is kept silent.
    std::thread::sleep(Duration::from_secs(1));
    Command::new("kill").args(["-CONT", &number]).status()?;
    let mut said = Vec::new();
    for child in [first].into_iter().chain(waiting) {
        let ended = child.wait_with_output()?;
        said.push(text(&ended.stdout) + &text(&ended.stderr));
        if ended.status.code() != Some(0) {
            return Err(format!("{}\n{}", ended.status, said.join("\n----\n")).into());
        }
    }
    says(&said[0], &["Apply complete!", "1 changed"])?;
    said[1..].iter().try_for_each(|said| says(said, &["waiting for another run", &number, "No changes."]))
}

/// A child with its output kept.
trait OutputLater {
    fn output_later(&mut self) -> std::io::Result<Child>;
}

impl OutputLater for Command {
    fn output_later(&mut self) -> std::io::Result<Child> {
        self.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }
}

fn target() -> Outcome {
    let site = Site::applied()?;
    site.edit("vault.yaml", "uniclip-password: ", "uniclip-password: another-")?;
    site.edit("vault.yaml", "tailscale-auth-key: ", "tailscale-auth-key: another-")?;
    let said = site.run("plan --target secret.uniclip/password", 0)?;
    says(&said, &["secret.tailscale/auth-key comes along", "host.here comes along", "--target is in effect"])?;
    site.run("apply --auto-approve --target secret.uniclip/password", 0)?;
    site.run("plan --detailed-exitcode", 0)?;
    // What no file of the target has is left out.
    std::fs::remove_file(site.path("run/dataset/here-age-pubkey"))?;
    std::fs::write(site.path("other"), "")?;
    says(&site.run("plan --target file.here-age-pubkey", 0)?, &["1 to add, 0 to change", "here-age-pubkey"])
}

fn refresh_only() -> Outcome {
    let site = Site::applied()?;
    says(&site.run("plan --refresh-only --detailed-exitcode", 0)?, &["Nothing moved outside of reconcile"])?;
    // A change in the vault is no drift.
    site.edit("vault.yaml", "uniclip-password: ", "uniclip-password: another-")?;
    says(&site.run("plan --refresh-only --detailed-exitcode", 0)?, &["Nothing moved outside of reconcile"])?;
    std::fs::remove_file(site.path("run/secrets"))?;
    std::fs::remove_file(site.path("run/dataset/secrets.yaml"))?;
    let said = site.run("plan --refresh-only --detailed-exitcode", 2)?;
    says(&said, &["secret.tailscale/auth-key: it was removed outside of reconcile", "only a look"])?;
    hides(&said, &["Steps:", "will perform"])?;
    site.run("apply --auto-approve", 0)?;
    site.run("plan --detailed-exitcode", 0).map(drop)
}

fn saved_once() -> Outcome {
    let site = Site::new()?;
    let plan = site.path("saved.plan").display().to_string();
    site.run(&format!("plan --out {plan}"), 0)?;
    site.run(&format!("apply {plan}"), 0)?;
    site.refused(&format!("apply {plan}"), &["reconcile plan --out"])
}

fn newer() -> Outcome {
    let site = Site::applied()?;
    let plan = site.path("saved.plan");
    site.edit("vault.yaml", "uniclip-password: ", "uniclip-password: another-")?;
    site.run(&format!("plan --out {}", plan.display()), 0)?;
    let saved = std::fs::read_to_string(&plan)?;
    let other = saved.replacen("reconcile-plan-1", "reconcile-plan-99", 1);
    if other == saved {
        return Err(format!("no format in {}", &saved[..saved.len().min(80)]).into());
    }
    std::fs::write(&plan, other)?;
    site.refused(&format!("apply {}", plan.display()), &["another version", "reconcile plan --out"])?;
    let receipt = files(site.quickstart.at())?.into_keys().find(|path| path.ends_with("receipt.json"));
    let receipt = receipt.ok_or("no receipt")?;
    let good = std::fs::read_to_string(&receipt)?;
    std::fs::write(&receipt, good.replacen("\"version\": 1", "\"version\": 99", 1))?;
    for command in ["plan", "apply --auto-approve"] {
        site.refused(command, &["newer reconcile (version 99)"])?;
    }
    std::fs::write(&receipt, "{\"version\": 1, \"lin")?;
    site.refused("apply --auto-approve", &["receipt.json"])?;
    std::fs::write(&receipt, good)?;
    site.edit("secrets.manifest.yaml", "version: 1", "version: 99")?;
    for command in ["plan", "apply --auto-approve", "validate"] {
        site.refused(command, &["version 99", "newer reconcile"])?;
    }
    Ok(())
}

fn links() -> Outcome {
    let site = Site::applied()?;
    site.edit("vault.yaml", "uniclip-password: ", "uniclip-password: another-")?;
    let (file, elsewhere) = (site.path("run/dataset/secrets.yaml"), site.path("elsewhere"));
    std::fs::rename(&file, &elsewhere)?;
    std::os::unix::fs::symlink(&elsewhere, &file)?;
    for command in ["plan", "apply --auto-approve"] {
        site.refused(command, &["secrets.yaml", "symlink"])?;
    }
    if file.symlink_metadata()?.is_symlink() { Ok(()) } else { Err("the link was replaced".into()) }
}

fn escapes() -> Outcome {
    let site = Site::applied()?;
    site.edit("vault.yaml", "uniclip-password: ", "\"uniclip-password\\e[31m\\e]0;title\\a\\u202e\": ")?;
    let said = site.run("plan", 1)?;
    says(&said, &["secret.uniclip/password", "uniclip-password\\u{1b}[31m"])?;
    hides(&said, &["\u{1b}", "\u{7}", "\u{202e}"])?;
    site.refused("apply --auto-approve", &["uniclip-password\\u{1b}[31m"])
}

fn closed_pipe() -> Outcome {
    let site = Site::new()?;
    for command in [&["plan"][..], &["list"], &["schema"], &["plan", "--json"], &["man"]] {
        let mut child = site.quickstart.command(command).output_later()?;
        drop(child.stdout.take());
        let Output { stderr, .. } = child.wait_with_output()?;
        hides(&text(&stderr), &["panicked", "Broken pipe", "error"])?;
    }
    Ok(())
}

fn json() -> Outcome {
    let site = Site::new()?;
    for (command, code) in [("plan --json", 0), ("apply --auto-approve --json", 0), ("plan --json", 0)] {
        let words: Vec<&str> = command.split(' ').collect();
        let output = site.quickstart.run(&words, code)?;
        let lines: Vec<serde_json::Value> =
            text(&output.stdout).lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let first = lines.first().ok_or("nothing was printed")?;
        if first["type"] != "version" || first.get("ui").is_none() && first.get("format").is_none() {
            return Err(format!("the first line of {command} is no version: {first}").into());
        }
    }
    for command in ["list --json", "show --json"] {
        let words: Vec<&str> = command.split(' ').collect();
        serde_json::from_slice::<serde_json::Value>(&site.quickstart.run(&words, 0)?.stdout)?;
    }
    Ok(())
}

fn completions() -> Outcome {
    let site = Site::new()?;
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        says(&site.run(&format!("completions {shell}"), 0)?, &["reconcile", "git-credential"])?;
    }
    says(&site.run("man", 0)?, &[".TH", "apply"])?;
    serde_json::from_str::<serde_json::Value>(&site.run("schema", 0)?)?;
    Ok(())
}

/// Runs `script` in mounts of its own, with the program as `$0` and the quickstart as its directory.
fn mounted(site: &Site, script: &str) -> Result<String, Failed> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-euc", script, env!("CARGO_BIN_EXE_reconcile")]);
    command.env_clear().envs(site.quickstart.variables()).current_dir(site.path("."));
    let output = command.stdin(Stdio::null()).output()?;
    let said = text(&output.stdout) + &text(&output.stderr);
    if output.status.success() { Ok(said) } else { Err(format!("{}\n{said}", output.status).into()) }
}

fn read_only() -> Outcome {
    let site = Site::applied()?;
    site.edit("vault.yaml", "uniclip-password: ", "uniclip-password: another-")?;
    let before = site.files()?;
    let said = mounted(
        &site,
        "mount --bind run/dataset run/dataset; mount -o remount,ro,bind run/dataset
         \"$0\" apply --auto-approve && exit 9; [ $? = 1 ]",
    )?;
    says(&said, &["run/dataset", "ead-only file system"])?;
    let same = |path: &PathBuf| before.get(path) == site.files().unwrap_or_default().get(path);
    for file in ["run/dataset/secrets.yaml", "run/dataset/reconcile.json"] {
        if !same(&site.path(file)) {
            return Err(format!("{file} changed").into());
        }
    }
    site.run("apply --auto-approve", 0)?;
    site.run("plan --detailed-exitcode", 0).map(drop)
}

fn full() -> Outcome {
    let site = Site::applied()?;
    let long = format!("uniclip-password: {}", "long-".repeat(40_000));
    site.edit("vault.yaml", "uniclip-password: ", &long)?;
    let said = mounted(
        &site,
        "cp -a run/dataset kept; mount -t tmpfs -o size=64k full run/dataset; cp -a kept/. run/dataset/
         \"$0\" apply --auto-approve && exit 9; [ $? = 1 ]
         for file in secrets.yaml reconcile.json here-age-pubkey; do cmp kept/$file run/dataset/$file; done
         [ \"$(ls -A kept)\" = \"$(ls -A run/dataset)\" ]",
    )?;
    says(&said, &["run/dataset", "No space left on device"])?;
    site.run("apply --auto-approve", 0)?;
    site.run("plan --detailed-exitcode", 0).map(drop)
}
