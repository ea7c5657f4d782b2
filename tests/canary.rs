//! A value that is easy to recognise is carried the whole way, by every command that could show it, under strace. It is
//! in no output, no file, no argument and no environment of any process, and the program writes it nowhere at all: not
//! as it is, and not in base64, hexadecimal, percent or JSON encoding. The host has it, and a program that `exec` became.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use libtest_mimic::{Arguments, Failed};
use support::den_vm::{self, Outcome, Scene, same};
use support::peers;
use support::program::Ran;

/// Different in every encoding, and in no word of ours.
const CANARY: &str = "cänary/\"+?&%<q7Zx>\\0451~";
/// Another, so that both the old and the new value of a change are looked for.
const CHANGED: &str = "cänary/\"+?&%<w9Yv>\\0452~";

fn main() {
    let needs: Vec<&str> = den_vm::needs().into_iter().chain(["strace"]).collect();
    let trials = vec![
        peers::trial("a_boot_secret_is_seen_nowhere_on_its_way", &needs, boot),
        peers::trial("a_run_time_secret_is_in_its_process_only", &needs, run_time),
        peers::trial("what_is_looked_for_is_found_where_it_is", &["strace"], the_search_finds),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// Every way in which `value` could be written down.
fn encodings(value: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = value.as_bytes();
    let hex = |upper: bool| -> String {
        bytes.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }).collect()
    };
    let percent = bytes.iter().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(*byte).to_string(),
        other => format!("%{other:02X}"),
    });
    let json = serde_json::to_string(value).expect("text is JSON");
    let mut ways = vec![
        ("as it is", bytes.to_vec()),
        ("as a part of it", bytes[bytes.len() - 12..].to_vec()),
        ("in hexadecimal", hex(false).into_bytes()),
        ("in hexadecimal", hex(true).into_bytes()),
        ("percent-encoded", percent.collect::<String>().into_bytes()),
        ("in JSON", json.trim_matches('"').as_bytes().to_vec()),
        ("escaped", value.escape_debug().to_string().into_bytes()),
    ];
    // In base64 it looks different at each distance from the last multiple of three; the ends depend on their neighbours.
    for distance in 0..3 {
        let padded = [&b"xx"[..distance], bytes].concat();
        for text in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            ways.push(("in base64", text.as_bytes()[4..text.len() - 4].to_vec()));
        }
    }
    ways
}

/// Fails when one of the canaries is in `bytes`, which are of `what`.
fn hidden(bytes: &[u8], what: &str) -> Outcome {
    for (way, needle) in encodings(CANARY).into_iter().chain(encodings(CHANGED)) {
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
            let line = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let around = bytes[line..at].iter().take(200).copied().collect::<Vec<_>>();
            return Err(format!("{what} has the value {way}, after {:?}", around.escape_ascii().to_string()).into());
        }
    }
    Ok(())
}

/// What strace recorded, with its escapes undone: with `-xx` all strings are in hexadecimal.
struct Trace {
    /// Of every thread: each call on a line, `number call(…)`.
    lines: Vec<(u32, Vec<u8>)>,
    /// The first process.
    first: u32,
    /// Its threads, itself among them.
    threads: BTreeSet<u32>,
}

impl Trace {
    fn read(path: &Path) -> Result<Self, Failed> {
        let text = std::fs::read_to_string(path)?;
        let mut lines = Vec::new();
        for line in text.lines() {
            let (process, call) =
                line.trim_start().split_once(char::is_whitespace).ok_or("a line without a process")?;
            lines.push((process.parse()?, unescaped(call.trim_start())));
        }
        let first = lines.first().ok_or("nothing was traced")?.0;
        let mut threads = BTreeSet::from([first]);
        // What began a thread, and did not end on its line.
        let mut begun = BTreeSet::new();
        for (thread, call) in &lines {
            let call = String::from_utf8_lossy(call);
            let is_thread = call.contains("CLONE_THREAD") || (call.contains("clone") && begun.remove(thread));
            if !is_thread || !threads.contains(thread) {
                continue;
            }
            match call.rsplit_once(" = ").and_then(|(_, new)| new.trim().parse().ok()) {
                Some(new) => threads.insert(new),
                None => begun.insert(*thread),
            };
        }
        Ok(Self { lines, first, threads })
    }

    /// Fails when a process was given the canary, or the first one wrote it anywhere.
    fn hides_it(&self, what: &str) -> Outcome {
        let mut seen = BTreeMap::from([("programs", 0), ("writes", 0)]);
        for (process, call) in &self.lines {
            let starts = |name: &str| call.starts_with(name.as_bytes());
            if starts("execve") {
                *seen.entry("programs").or_default() += 1;
                hidden(call, &format!("{what}: a started program"))?;
            } else if self.threads.contains(process) {
                *seen.entry("writes").or_default() += 1;
                hidden(call, &format!("{what}: a write of the program's own"))?;
            }
        }
        let threads = self.threads.len();
        println!("{what}: {} programs started, {} writes, {threads} threads", seen["programs"], seen["writes"]);
        if seen["programs"] == 0 || seen["writes"] == 0 { Err("nothing was traced".into()) } else { Ok(()) }
    }
}

/// A line of strace's, its `\xNN` as the bytes that they stand for.
fn unescaped(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|digits| *first == b'\\' && digits[0] == b'x');
        let code = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(&digits[1..]).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    bytes
}

/// `program arguments` under strace: it and all that it starts. Everything that leaves a process is recorded.
fn traced(command: &Command, to: &Path) -> Command {
    let mut strace = Command::new(peers::find("strace").expect("it was there before"));
    let calls = "trace=execve,execveat,clone,clone3,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendmmsg,setxattr,symlink,\
        symlinkat,rename,renameat,renameat2,open,openat,mkdir,mkdirat,link,linkat";
    strace.args(["-f", "-v", "-xx", "-s", "1000000", "-e", calls, "-o"]).arg(to).arg(command.get_program());
    strace.args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        strace.env(name, value.unwrap_or_default());
    }
    strace.current_dir(command.get_current_dir().unwrap_or(Path::new("/"))).stdin(std::process::Stdio::null());
    strace
}

/// The den-vm system, with temporary files of its own.
struct Watched {
    scene: Scene,
    trace: tempfile::TempDir,
}

impl Watched {
    fn new() -> Result<Self, Failed> {
        let mut scene = Scene::new();
        let temporary = scene.place.home.join("tmp");
        std::fs::create_dir(&temporary)?;
        scene.place.variables.insert("TMPDIR".to_owned(), temporary.into());
        Ok(Self { scene, trace: tempfile::tempdir()? })
    }

    /// Runs `reconcile` with these words; what it printed, started and wrote, and the files afterwards, hide the value.
    fn run(&self, words: &str, code: i32) -> Result<Ran, Failed> {
        let ran = self.traced(words, code)?;
        hidden(ran.all().as_bytes(), &format!("what {words} printed"))?;
        self.trace()?.hides_it(words)?;
        self.files(words)?;
        Ok(ran)
    }

    fn traced(&self, words: &str, code: i32) -> Result<Ran, Failed> {
        let mut command = self.scene.place.reconcile();
        command.args(words.split_whitespace());
        Ran::from(traced(&command, &self.path()).output()?).ended(code)
    }

    fn path(&self) -> PathBuf {
        self.trace.path().join("trace")
    }

    fn trace(&self) -> Result<Trace, Failed> {
        Trace::read(&self.path())
    }

    /// The repository, the dataset, the state, the plan and what is temporary.
    fn files(&self, words: &str) -> Outcome {
        let files = self.scene.place.files();
        for (path, bytes) in &files {
            let what = format!("after {words}, {}", path.display());
            hidden(bytes, &what)?;
            hidden(path.as_os_str().as_encoded_bytes(), &what)?;
        }
        if files.is_empty() { Err("no files were looked at".into()) } else { Ok(()) }
    }
}

fn boot() -> Outcome {
    let watched = Watched::new()?;
    let scene = &watched.scene;
    scene.set("uniclip-password", CANARY);
    watched.run("validate", 0)?;
    watched.run("-v plan --out first.plan", 0)?;
    watched.run("show first.plan", 0)?;
    watched.run("-v apply first.plan", 0)?;
    arrived(scene, CANARY)?;
    scene.set("uniclip-password", CHANGED);
    watched.run("plan --json", 0)?;
    watched.run("apply --auto-approve --json", 0)?;
    arrived(scene, CHANGED)?;
    scene.set("uniclip-password", CANARY);
    for words in ["status", "status --json", "list --access", "list --access --json"] {
        watched.run(words, 0)?;
    }
    watched.run("-v apply --auto-approve", 0)?;
    // What takes the longest ways round: an edit that is told apart from a change, and a value that blocks.
    scene.sops(&["set", "secrets.yaml", "[\"tailscale\"][\"auth-key\"]", "\"other\""])?;
    watched.run("-v plan", 0)?;
    scene.set("nixos-hashed-password", "");
    watched.run("-v apply --auto-approve", 1)?;
    scene.set("nixos-hashed-password", CANARY);
    watched.run("-v apply --auto-approve", 0)?;
    for words in ["show", "list", "doctor", "-v plan --refresh-only"] {
        watched.run(words, 0)?;
    }
    watched.run("plan --detailed-exitcode", 0)?;
    Ok(())
}

fn arrived(scene: &Scene, value: &str) -> Outcome {
    same("on the host", scene.host.read("/run/secrets/uniclip/password"), Some(value.as_bytes().to_vec()))
}

fn run_time() -> Outcome {
    let watched = Watched::new()?;
    watched.scene.set("github-token", CANARY);
    watched.scene.set("uniclip-password", CHANGED);
    // As rbw itself, exec takes what the last sync brought.
    watched.run("plan", 0)?;
    let manifest = watched.scene.place.manifest();
    let manifest = manifest.display();
    // Printed nowhere: the program only says how long the value is.
    let program = watched.scene.place.repository.join("program");
    std::fs::write(&program, "#!/bin/sh\nprintf %s \"$GITHUB_TOKEN\" | wc -c\n")?;
    Command::new("chmod").arg("755").arg(&program).status()?;
    let words = format!("--manifest {manifest} exec github-token -- {}", program.display());
    let ran = watched.traced(&words, 0)?;
    same("what the program saw", ran.out.trim(), CANARY.len().to_string().as_str())?;
    watched.files("exec")?;
    let trace = watched.trace()?;
    let mut given = 0;
    for (process, call) in trace.lines.iter().filter(|(_, call)| call.starts_with(b"execve")) {
        let has_it = hidden(call, "it").is_err();
        // It became the program: the same process. What that starts inherits its environment, as with env(1).
        let is_program = call.windows(7).any(|window| window == b"program") || *process != trace.first && given > 0;
        if has_it && !is_program {
            return Err(format!("{} was given it", call.escape_ascii()).into());
        }
        given += usize::from(has_it && *process == trace.first);
    }
    same("programs that were given it", given, 1)?;
    watched.run("shell-init bash", 1)?;
    for shell in ["bash", "zsh", "fish"] {
        watched.run(&format!("--manifest {manifest} shell-init {shell}"), 0)?;
    }
    Ok(())
}

/// Whoever looks in the wrong way finds nothing: a program that does leak is caught at each place.
fn the_search_finds() -> Outcome {
    for (way, bytes) in encodings(CANARY) {
        if hidden(&[b"before\n", bytes.as_slice(), b" after"].concat(), "it").is_ok() {
            return Err(format!("it is not found {way}").into());
        }
    }
    let directory = tempfile::tempdir()?;
    let trace = directory.path().join("trace");
    for (script, what) in [
        ("printf %s \"$1\" >&2".to_owned(), "a write"),
        ("/bin/true \"$1\"".to_owned(), "an argument"),
        ("V=$1 /bin/true".to_owned(), "a variable"),
        (format!("echo x > '{}'/\"$(printf %s \"$1\" | base64 -w0 | tr / _)\"", directory.path().display()), "a name"),
    ] {
        let mut shell = Command::new("/bin/sh");
        // The outer shell has the value from standard input, so that its own start does not show it.
        shell.args(["-c", &format!("read -r it; set -- \"$it\"; {script}")]).env("PATH", "/usr/bin:/bin");
        let mut watched = traced(&shell, &trace);
        let input = directory.path().join("input");
        std::fs::write(&input, format!("{CANARY}\n"))?;
        watched.stdin(std::fs::File::open(&input)?).output()?;
        if Trace::read(&trace)?.hides_it(what).is_ok() {
            return Err(format!("{what} that shows it went unseen").into());
        }
    }
    Ok(())
}
