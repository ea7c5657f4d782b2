//! An apply that is killed at each of its writes, syncs, renames, links and removals in turn. Whenever it is: the sops
//! file is the old one or the whole new one, no value is in the clear but where it belongs, and the next apply gets to
//! where the killed one was going.

#[path = "support/peers.rs"]
mod peers;
#[path = "support/quickstart.rs"]
mod quickstart;

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use libtest_mimic::{Arguments, Failed, Trial};
use quickstart::{Quickstart, contains, files};
use reconcile::sops::{Identities, SopsFile, decrypt};

/// What changes something outside of the process. Those that a machine does not have are left out by strace (`?`).
const CALLS: &str = "?write,?writev,?pwrite64,?pwritev,?pwritev2,?sendfile,?copy_file_range,?fallocate,?truncate,\
    ?ftruncate,?fsync,?fdatasync,?sync_file_range,?rename,?renameat,?renameat2,?link,?linkat,?symlink,?symlinkat,\
    ?unlink,?unlinkat,?rmdir,?mkdir,?mkdirat,?chmod,?fchmod,?fchmodat,?fchown,?fchownat";

const BEFORE: &str = "\
tailscale-auth-key: tskey-killed-while-it-was-moved
uniclip-password: value-before-it-was-changed
nixos: {hashed-password: $y$j9T$killed$at-every-point}
github-token: ghp_killed_and_never_delivered
";
/// The value that changes.
const CHANGED: (&str, &str) = ("value-before-it-was-changed", "value-after-it-was-changed!");

/// Where an apply begins, and where it goes.
struct Scene {
    /// Whether there was an apply before: else there is no key, no dataset and no state.
    again: bool,
    /// Whether its receipt is at a shared path, where this machine goes on with what it has seen alone.
    shared: bool,
}

fn main() {
    let trial = |name: &str, scene: Scene| peers::trial(name, &["strace"], move || at_every_call(&scene));
    let trials: Vec<Trial> = vec![
        trial("a_change_killed_at_every_call", Scene { again: true, shared: false }),
        trial("a_first_apply_killed_at_every_call", Scene { again: false, shared: false }),
        trial("a_change_of_a_shared_receipt_killed_at_every_call", Scene { again: true, shared: true }),
        peers::trial("nothing_but_the_process_itself_changes_files", &["strace"], only_itself),
    ];
    let mut arguments = Arguments::from_args();
    // Each uses two threads of its own.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit();
}

/// One place in which an apply is killed, again and again: everything about it is restored each time.
struct Lane {
    site: Quickstart,
    directory: tempfile::TempDir,
    /// Of the sops file, before.
    old: Option<Vec<u8>>,
}

impl Lane {
    fn new(scene: &Scene) -> Result<Self, Failed> {
        let directory = tempfile::tempdir()?;
        let site = Quickstart::new(&directory.path().join("site"))?;
        site.set_vault(BEFORE)?;
        if scene.shared {
            let manifest = site.path("secrets.manifest.yaml");
            let text = std::fs::read_to_string(&manifest)?;
            std::fs::write(&manifest, text + "\nreceipt: {path: shared/receipt.json}\n")?;
        }
        if scene.again {
            site.run(&["apply", "--auto-approve"], 0)?;
        }
        site.set_vault(&BEFORE.replace(CHANGED.0, CHANGED.1))?;
        let old = scene.again.then(|| std::fs::read(site.path("run/dataset/secrets.yaml"))).transpose()?;
        let lane = Self { site, directory, old };
        lane.copy("site", "before")?;
        Ok(lane)
    }

    fn copy(&self, from: &str, to: &str) -> Result<(), Failed> {
        let at = |name: &str| self.directory.path().join(name);
        if at(to).exists() {
            std::fs::remove_dir_all(at(to))?;
        }
        let copied = Command::new("cp").arg("-a").args([at(from), at(to)]).status()?;
        if copied.success() { Ok(()) } else { Err("cp failed".into()) }
    }

    /// How many calls of each kind an apply makes from here, when it is let be.
    fn count(&self) -> Result<BTreeMap<String, usize>, Failed> {
        let trace = self.directory.path().join("trace");
        let (trace_text, traced) = (trace.display().to_string(), format!("trace={CALLS}"));
        let strace = ["strace", "-o", &trace_text, "-e", &traced];
        let ended = self.site.under(&strace, &["apply", "--auto-approve"]).output()?;
        if !ended.status.success() {
            return Err(String::from_utf8_lossy(&ended.stderr).into_owned().into());
        }
        let mut calls = BTreeMap::new();
        for (call, _) in std::fs::read_to_string(&trace)?.lines().filter_map(|line| line.split_once('(')) {
            *calls.entry(call.to_owned()).or_default() += 1;
        }
        Ok(calls)
    }

    /// Kills an apply before call number `number` of this kind is carried out, or lets it end when it makes fewer.
    fn kill_at(&self, (call, number): &Point) -> Result<bool, Failed> {
        let trace = self.directory.path().join("trace");
        let (trace_text, traced) = (trace.display().to_string(), format!("trace={call}"));
        // strace counts each kind of call for itself.
        let inject = format!("inject={call}:signal=KILL:when={number}");
        let strace = ["strace", "-o", &trace_text, "-e", &traced, "-e", &inject];
        let ended = self.site.under(&strace, &["apply", "--auto-approve"]).stdout(Stdio::null()).output()?;
        if ended.status.success() {
            return Ok(false);
        }
        let record = std::fs::read_to_string(&trace)?;
        let calls = record.lines().filter(|line| line.starts_with(&format!("{call}("))).count();
        let killed = record.lines().last() == Some("+++ killed by SIGKILL +++");
        if killed && ended.status.signal() == Some(9) && calls == *number {
            return Ok(true);
        }
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        Err(format!("strace: {}: {said}\n{record}", ended.status).into())
    }

    /// One round: everything as before, killed, looked at, and applied again. Whether it was killed at all.
    fn at(&self, point: &Point) -> Result<bool, String> {
        let round = || -> Result<bool, Failed> {
            self.copy("before", "site")?;
            let killed = self.kill_at(point)?;
            self.check_after_kill()?;
            self.check_recovers()?;
            Ok(killed)
        };
        round().map_err(|error| format!("killed at {} number {}: {}", point.0, point.1, said(&error)))
    }

    /// What must hold at whatever moment an apply was killed.
    fn check_after_kill(&self) -> Result<(), Failed> {
        let now = std::fs::read(self.site.path("run/dataset/secrets.yaml")).ok();
        if now != self.old {
            self.check_is_new(&now.ok_or("the sops file is gone")?)?;
        }
        self.check_no_plaintext()
    }

    /// Whether this sops file is whole, and holds what the vault holds now.
    fn check_is_new(&self, bytes: &[u8]) -> Result<(), Failed> {
        SopsFile::read(bytes)?;
        let identities = Identities::read(&std::fs::read(self.site.path("run/key.txt"))?)?;
        let mut found = BTreeMap::new();
        for (key, value) in decrypt(bytes, &identities)? {
            found.insert(key.components().join("/"), value.expose(|bytes| String::from_utf8_lossy(bytes).into_owned()));
        }
        let expected = delivered().map(|(name, value)| (name.to_owned(), value.to_owned()));
        if found == BTreeMap::from(expected) { Ok(()) } else { Err(format!("in the file: {found:?}").into()) }
    }

    fn check_no_plaintext(&self) -> Result<(), Failed> {
        let (vault, secrets) = (self.site.path("vault.yaml"), self.site.path("run"));
        for (path, bytes) in files(self.site.at())? {
            // The vault is a file here, and the generations are where values belong.
            let delivered = path.strip_prefix(&secrets).is_ok_and(|below| below.starts_with("secrets.d"));
            if path == vault || delivered {
                continue;
            }
            for value in BEFORE.lines().filter_map(|line| line.split_once(": ")).map(|(_, value)| value) {
                let value = value.trim_start_matches("{hashed-password: ").trim_end_matches('}');
                if contains(&bytes, value.as_bytes()) || contains(&bytes, CHANGED.1.as_bytes()) {
                    return Err(format!("{} holds a value in the clear", path.display()).into());
                }
            }
            if contains(&bytes, b"AGE-SECRET-KEY-") {
                let mode = std::fs::metadata(&path)?.permissions().mode() & 0o777;
                if path.parent() != Some(&secrets) || mode != 0o600 {
                    return Err(format!("{} holds the private key, mode {mode:o}", path.display()).into());
                }
            }
        }
        Ok(())
    }

    /// What the next apply must bring about.
    fn check_recovers(&self) -> Result<(), Failed> {
        self.site.run(&["apply", "--auto-approve"], 0)?;
        self.site.run(&["plan", "--detailed-exitcode"], 0)?;
        self.check_is_new(&std::fs::read(self.site.path("run/dataset/secrets.yaml"))?)?;
        for (name, value) in delivered() {
            let there = std::fs::read_to_string(self.site.path("run/secrets").join(name))?;
            if there != value {
                return Err(format!("run/secrets/{name} is {there}").into());
            }
        }
        self.check_no_plaintext()?;
        match files(self.site.at())?.keys().find(|path| is_temporary(path)) {
            None => Ok(()),
            Some(left) => Err(format!("{} was left", left.display()).into()),
        }
    }
}

/// What is delivered once the change is through.
fn delivered() -> [(&'static str, &'static str); 3] {
    [
        ("tailscale/auth-key", "tskey-killed-while-it-was-moved"),
        ("uniclip/password", CHANGED.1),
        ("user/hashed-password", "$y$j9T$killed$at-every-point"),
    ]
}

fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(".reconcile-"))
}

/// A kind of call, and the how-manieth of it.
type Point = (String, usize);

fn at_every_call(scene: &Scene) -> Result<(), Failed> {
    let first = Lane::new(scene)?;
    let counted = first.count()?;
    let points = counted.iter().flat_map(|(call, count)| (1..=*count).map(|number| (call.clone(), number)));
    let (points, killed) = (Mutex::new(points.collect::<VecDeque<Point>>()), Mutex::new(BTreeMap::new()));
    let lane = |lane: Lane| -> Result<(), String> {
        loop {
            let Some(point) = points.lock().ok().and_then(|mut points| points.pop_front()) else { return Ok(()) };
            if !lane.at(&point)? {
                continue;
            }
            let (call, number) = point;
            // Not every run makes the same number of them: on, until one ends.
            if counted.get(&call) <= Some(&number)
                && let Ok(mut points) = points.lock()
            {
                points.push_back((call.clone(), number + 1));
            }
            *killed.lock().map_err(|_| "the other lane panicked")?.entry(call).or_default() += 1;
        }
    };
    let second = Lane::new(scene)?;
    std::thread::scope(|scope| {
        let lanes = [first, second].map(|its| scope.spawn(|| lane(its)));
        lanes.into_iter().try_for_each(|lane| lane.join().map_err(|_| "a lane panicked".to_owned())?)
    })?;
    let killed: BTreeMap<String, usize> = killed.into_inner().map_err(|_| "a lane panicked")?;
    let total: usize = killed.values().sum();
    let each: Vec<String> = killed.iter().map(|(call, points)| format!("{points} {call}")).collect();
    let begins = if scene.again { "a change" } else { "a first apply" };
    println!("{begins}: killed at {total} points ({})", each.join(", "));
    for call in ["write", "fsync", "rename"] {
        if !killed.keys().any(|there| there.starts_with(call)) {
            return Err(format!("never killed at a call of {call}").into());
        }
    }
    Ok(())
}

fn said(error: &Failed) -> String {
    error.message().unwrap_or("failed").to_owned()
}

/// The calls above are those of the process itself. What it starts changes nothing that it could be killed in.
fn only_itself() -> Result<(), Failed> {
    let lane = Lane::new(&Scene { again: true, shared: false })?;
    let trace: PathBuf = lane.directory.path().join("trace");
    let (trace_text, traced) = (trace.display().to_string(), format!("trace={CALLS},?execve"));
    let outer = ["strace", "-f", "-y", "-o", &trace_text, "-e", &traced];
    let ended = lane.site.under(&outer, &["apply", "--auto-approve"]).output()?;
    if !ended.status.success() {
        return Err(String::from_utf8_lossy(&ended.stderr).into_owned().into());
    }
    let record = std::fs::read_to_string(&trace)?;
    let itself = record.split_whitespace().next().ok_or("nothing was traced")?;
    let inside = lane.site.at().display().to_string();
    let mut others = 0;
    for line in record.lines() {
        let Some((process, call)) = line.trim_start().split_once(char::is_whitespace) else { continue };
        others += usize::from(process != itself);
        let call = call.trim_start();
        // What is written is no place: a path may go through a pipe.
        let written = call.starts_with("write") || call.starts_with("pwrite");
        let place = if written { call.split_once('>').map_or(call, |(place, _)| place) } else { call };
        let changes = !call.starts_with("execve") && place.contains(&inside);
        if changes && process != itself {
            return Err(format!("another process changed something: {line}").into());
        }
    }
    // Else nothing was seen of them.
    if others == 0 { Err("no other process was traced".into()) } else { Ok(()) }
}
