//! Whole processes, ours and the real sops, in turns within one run, so that what the machine does besides meets both:
//!
//! ```sh
//! cargo bench --bench side_by_side
//! ```
//! `sops encrypt` gets its values as a file in the clear; `reconcile apply` reads the vault (a file), plans, encrypts and
//! writes the sops file, the index and the receipt, each synced to the disk.

#[path = "../tests/support/peers.rs"]
#[allow(dead_code, reason = "of the peers, only where they are")]
mod peers;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reconcile::address::KeyPath;
use reconcile::secret::SecretValue;
use reconcile::sops::{Entry, Identities, Recipient, encrypt};

const ROUNDS: usize = 11;

fn main() {
    let Some(sops) = peers::find("sops") else {
        eprintln!("sops is not there: tests/peers/install");
        return;
    };
    let (identity, recipient) = Identities::generate();
    println!("median of {ROUNDS}, in turns; milliseconds");
    println!(
        "{:>8}  {:>12}  {:>15}  {:>7}  {:>15}",
        "values", "sops encrypt", "reconcile apply", "ratio", "encrypting alone"
    );
    for count in [8, 100, 1_000, 10_000] {
        let bench = Bench::new(count, &identity, &recipient);
        let (mut theirs, mut ours, mut alone) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            theirs.push(bench.sops(&sops));
            ours.push(bench.apply());
            alone.push(bench.encrypt());
        }
        let [theirs, ours, alone] = [theirs, ours, alone].map(median);
        println!("{count:>8}  {theirs:>12.1}  {ours:>15.1}  {:>6.1}×  {alone:>15.1}", theirs / ours);
    }
    let version = |program: &Path| {
        let times = (0..ROUNDS).map(|_| timed(Command::new(program).arg("--version")));
        median(times.collect())
    };
    let (theirs, ours) = (version(&sops), version(Path::new(env!("CARGO_BIN_EXE_reconcile"))));
    println!("\n--version: sops {theirs:.1}, reconcile {ours:.1}");
}

/// In milliseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1_000.0
}

/// How long the process takes, which must succeed.
fn timed(command: &mut Command) -> Duration {
    let began = Instant::now();
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).output().expect("it runs");
    let took = began.elapsed();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{command:?}: {said}");
    took
}

/// The same values for both.
struct Bench {
    directory: tempfile::TempDir,
    recipient: Recipient,
    values: Vec<(KeyPath, SecretValue)>,
}

impl Bench {
    fn new(count: usize, identity: &str, recipient: &Recipient) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut manifest, mut vault, mut plain) = (head(recipient), String::new(), String::new());
        let mut values = Vec::new();
        for number in 0..count {
            let (key, value) = (format!("key-{number}"), format!("value-{number:034}"));
            let _ = writeln!(manifest, "  {key}: {{item: {key}, delivery: {{sops: {{}}}}}}");
            let _ = writeln!(vault, "{key}: {value}");
            let _ = writeln!(plain, "{key}: {value}");
            values.push((KeyPath::new([key]), SecretValue::new(value.into_bytes())));
        }
        let key = ("key.txt", identity.to_owned());
        for (name, text) in [("secrets.manifest.yaml", manifest), ("vault.yaml", vault), ("plain.yaml", plain), key] {
            std::fs::write(directory.path().join(name), text).expect("a file");
        }
        Self { directory, recipient: recipient.clone(), values }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn sops(&self, program: &Path) -> Duration {
        let mut command = Command::new(program);
        command.args(["--disable-version-check", "encrypt", "--age", self.recipient.as_str(), "--output"]);
        timed(command.arg(self.path("out.yaml")).arg(self.path("plain.yaml")))
    }

    /// Everything from nothing: no dataset and no state.
    fn apply(&self) -> Duration {
        for made in ["dataset", "state"] {
            let _ = std::fs::remove_dir_all(self.path(made));
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_reconcile"));
        command.args(["apply", "--auto-approve", "--no-switch"]).current_dir(self.directory.path());
        command.env("HOME", self.directory.path()).env("XDG_STATE_HOME", self.path("state"));
        timed(&mut command)
    }

    fn encrypt(&self) -> Duration {
        let began = Instant::now();
        let entries: Vec<_> = self.values.iter().map(|(key, value)| Entry { key: key.clone(), value }).collect();
        let mut random = |bytes: &mut [u8]| getrandom::fill(bytes).expect("random bytes");
        let to = std::slice::from_ref(&self.recipient);
        encrypt(&entries, to, "2026-01-01T00:00:00Z", &mut random).expect("a file");
        began.elapsed()
    }
}

/// A manifest up to its secrets.
fn head(recipient: &Recipient) -> String {
    format!(
        "version: 1\nname: bench\nvault: {{file: {{path: vault.yaml}}}}\ndataset: {{path: dataset}}\nhosts:\n  here:\n    \
         local: {{}}\n    age_key_file: key.txt\n    recipient: {}\n    switch: {{command: [\"true\"]}}\nsecrets:\n",
        recipient.as_str()
    )
}
