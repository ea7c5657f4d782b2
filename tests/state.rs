//! What is kept between runs, under what a test in one process cannot show: other processes, a process that is killed,
//! a full disk, a file system that is read-only.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use reconcile::address::FileName;
use reconcile::digest::Digest;
use reconcile::manifest::{self, Surroundings};
use reconcile::receipt::Receipt;
use reconcile::state::{Dataset, Directory, FileError, StateError};
use support::peers;

type Outcome = Result<(), Failed>;

/// Set in the processes that this one starts: what to do, in which directory.
const ROLE: &str = "RECONCILE_TEST_ROLE";

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        let at = PathBuf::from(std::env::args().nth(1).expect("a directory"));
        match role.as_str() {
            "hold" => hold(&at),
            "write" => write_forever(&at),
            "full" => print_outcome(full(&at)),
            "read-only" => print_outcome(read_only(&at)),
            "hardened" => print_outcome(hardened()),
            other => panic!("{other}"),
        }
        return;
    }
    let arguments = Arguments::from_args();
    let trial = |name: &str, needs: &[&str], test: fn() -> Outcome| -> Trial { peers::trial(name, needs, test) };
    let trials = vec![
        trial("another_process_is_named_and_waited_for", &[], others_lock),
        trial("the_lock_of_a_killed_process_is_free", &[], killed_lock),
        trial("one_dataset_is_locked_for_every_state", &[], dataset_lock),
        trial("a_killed_writer_leaves_a_whole_file", &[], killed_writer),
        trial("a_file_that_changed_is_not_replaced", &[], changed),
        trial("a_linked_file_is_not_followed", &[], linked),
        trial("the_receipt_is_where_the_manifest_says", &[], placed),
        trial("a_hardened_process_leaves_no_core_file", &[], in_hardened),
        trial("a_full_disk_leaves_what_was_there", &["root"], || {
            in_namespace("full", "mount -t tmpfs -o size=256k t \"$1\"")
        }),
        trial("a_read_only_file_system_says_so", &["root"], || {
            in_namespace(
                "read-only",
                "mkdir \"$1/dataset\" && echo old > \"$1/dataset/secrets.yaml\" && mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\"",
            )
        }),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn directory(at: &Path, dataset: &Path, receipt: &str) -> Result<Directory, Failed> {
    let text =
        format!("version: 1\nname: t\nvault: {{rbw: {{}}}}\n{receipt}dataset: {{path: {}}}\n", dataset.display());
    let manifest = manifest::parse("t", &text).map_err(|error| format!("{error:?}"))?.manifest;
    let variables = [("XDG_STATE_HOME".to_owned(), at.join("state").display().to_string())].into();
    let surroundings = Surroundings { variables, directory: at.to_path_buf(), ..Surroundings::default() };
    Ok(Directory::of(&manifest, &surroundings, dataset)?)
}

fn file() -> FileName {
    "secrets.yaml".parse().expect("a name")
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Outcome {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?}, expected {expected:?}").into()) }
}

fn names(directory: &Path) -> Result<Vec<String>, Failed> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// This program in a role; it has said that it began.
fn started(role: &str, at: &Path) -> Result<Child, Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command.arg(at).env(ROLE, role).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("a pipe")?).read_line(&mut line)?;
    same("it began", line.trim(), "begun")?;
    Ok(child)
}

fn begun() {
    println!("begun");
    let _ = std::io::stdout().flush();
}

/// Holds the lock until its standard input ends.
fn hold(at: &Path) {
    let state = directory(at, &at.join("dataset"), "").unwrap_or_else(|error| panic!("{error:?}"));
    let lock = state.lock(&at.join("dataset"), "apply", Duration::ZERO, &mut |_| {}).expect("the lock");
    begun();
    let _ = std::io::stdin().read_line(&mut String::new());
    drop(lock);
}

fn others_lock() -> Outcome {
    let at = tempfile::tempdir()?;
    std::fs::create_dir(at.path().join("dataset"))?;
    let dataset = at.path().join("dataset");
    let mut other = started("hold", at.path())?;
    let state = directory(at.path(), &dataset, "")?;
    let mut told = Vec::new();
    let refused = state.lock(&dataset, "plan", Duration::from_millis(100), &mut |holder| told.push(holder.clone()));
    let Err(StateError::Locked { holder: Some(holder), .. }) = &refused else {
        return Err(format!("{refused:?}").into());
    };
    same("who", (holder.id, holder.operation.as_str()), (other.id(), "apply"))?;
    same("a short wait is silent", told.len(), 0)?;
    let text = refused.map(drop).map_err(|error| error.to_string()).err().unwrap_or_default();
    for part in ["apply by ", &other.id().to_string(), "--lock-timeout"] {
        same(&format!("{part} in {text}"), text.contains(part), true)?;
    }
    let stdin = other.stdin.take();
    let freed = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        drop(stdin);
    });
    let lock = state.lock(&dataset, "plan", Duration::from_secs(20), &mut |holder| told.push(holder.clone()));
    same("taken", lock.is_ok(), true)?;
    same("told once of a long wait", told.len(), 1)?;
    freed.join().map_err(|_| "it panicked")?;
    other.wait()?;
    Ok(())
}

fn killed_lock() -> Outcome {
    let at = tempfile::tempdir()?;
    let dataset = at.path().join("dataset");
    std::fs::create_dir(&dataset)?;
    let mut other = started("hold", at.path())?;
    other.kill()?;
    other.wait()?;
    directory(at.path(), &dataset, "")?.lock(&dataset, "plan", Duration::ZERO, &mut |_| {})?;
    Ok(())
}

fn dataset_lock() -> Outcome {
    let (here, elsewhere) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let dataset = here.path().join("dataset");
    std::fs::create_dir(&dataset)?;
    let first = directory(here.path(), &dataset, "")?.lock(&dataset, "apply", Duration::ZERO, &mut |_| {})?;
    let second = directory(elsewhere.path(), &dataset, "")?;
    let refused = second.lock(&dataset, "apply", Duration::ZERO, &mut |_| {});
    same("refused", matches!(&refused, Err(StateError::Locked { path, .. }) if *path == dataset), true)?;
    drop(first);
    second.lock(&dataset, "apply", Duration::ZERO, &mut |_| {})?;
    Ok(())
}

/// Large enough that a write is not over at once.
fn content(fill: u8) -> Vec<u8> {
    vec![fill; 3 << 20]
}

fn write_forever(at: &Path) {
    let dataset = Dataset::open_or_create(&at.join("dataset")).expect("the dataset");
    begun();
    for fill in (b'a'..=b'z').cycle() {
        let there = dataset.read(&file(), 64 << 20).expect("a read").map(|bytes| Digest::of(&bytes));
        dataset.write(&file(), &content(fill), there).expect("a write");
    }
}

fn killed_writer() -> Outcome {
    let at = tempfile::tempdir()?;
    let path = at.path().join("dataset");
    let dataset = Dataset::open_or_create(&path)?;
    dataset.write(&file(), &content(b'a'), None)?;
    for round in 0..8 {
        let mut writer = started("write", at.path())?;
        std::thread::sleep(Duration::from_millis(15 + 9 * round));
        writer.kill()?;
        writer.wait()?;
        let bytes = dataset.read(&file(), 64 << 20)?.ok_or("it is gone")?;
        same("whole", bytes == content(bytes[0]), true)?;
    }
    let there = dataset.read(&file(), 64 << 20)?.map(|bytes| Digest::of(&bytes));
    dataset.write(&file(), b"new", there)?;
    same("nothing else is left", names(&path)?, vec!["secrets.yaml".to_owned()])
}

fn changed() -> Outcome {
    let at = tempfile::tempdir()?;
    let dataset = Dataset::open_or_create(at.path())?;
    dataset.write(&file(), b"one", None)?;
    let mode = std::fs::metadata(at.path().join("secrets.yaml"))?.permissions().mode() & 0o777;
    same("readable by those who build from it", mode, 0o644)?;
    for expected in [None, Some(Digest::of(b"two"))] {
        let refused = dataset.write(&file(), b"three", expected);
        same("refused", matches!(refused, Err(FileError::Moved { .. })), true)?;
    }
    dataset.write(&file(), b"two", Some(Digest::of(b"one")))?;
    std::fs::remove_file(at.path().join("secrets.yaml"))?;
    let refused = dataset.write(&file(), b"three", Some(Digest::of(b"two")));
    same("removed", matches!(refused, Err(FileError::Moved { .. })), true)?;
    same("nothing is left", names(at.path())?, Vec::new())
}

fn linked() -> Outcome {
    let at = tempfile::tempdir()?;
    let (path, target) = (at.path().join("dataset"), at.path().join("target"));
    std::fs::create_dir(&path)?;
    std::fs::write(&target, "old")?;
    symlink(&target, path.join("secrets.yaml"))?;
    let dataset = Dataset::open_or_create(&path)?;
    for expected in [None, Some(Digest::of(b"old"))] {
        let refused = dataset.write(&file(), b"new", expected);
        same("refused", matches!(refused, Err(FileError::NotAFile { .. })), true)?;
    }
    same("read", matches!(dataset.read(&file(), 10), Err(FileError::NotAFile { .. })), true)?;
    same("the target", std::fs::read_to_string(&target)?, "old".to_owned())?;
    // The directory that was opened is written to, wherever its name leads by now.
    let dataset = Dataset::open_or_create(&at.path().join("one"))?;
    std::fs::rename(at.path().join("one"), at.path().join("two"))?;
    symlink(&path, at.path().join("one"))?;
    dataset.write(&file(), b"new", None)?;
    same("moved with it", names(&at.path().join("two"))?, vec!["secrets.yaml".to_owned()])
}

fn placed() -> Outcome {
    let at = tempfile::tempdir()?;
    let state = directory(at.path(), Path::new("/d"), "receipt: {path: shared/ours.json}\n")?;
    state.write_receipt(&mut Receipt::new("lineage".to_owned(), "/d".into()))?;
    same("there", names(&at.path().join("shared"))?, vec!["ours.json".to_owned()])?;
    let mode = std::fs::metadata(at.path().join("shared/ours.json"))?.permissions().mode() & 0o777;
    same("for the user alone", mode, 0o600)?;
    same("elsewhere only which one was seen", names(state.path())?, vec!["seen.json".to_owned()])?;
    same("read back", state.receipt()?.map(|receipt| receipt.serial), Some(1))
}

fn in_hardened() -> Outcome {
    let output = Command::new(std::env::current_exe()?).arg("/").env(ROLE, "hardened").output()?;
    same("it said", String::from_utf8(output.stdout)?.trim(), "as expected")
}

fn hardened() -> Outcome {
    use rustix::process::{Resource, getrlimit};
    reconcile::tools::harden::this_process();
    let limit = getrlimit(Resource::Core);
    // The hard limit stays: a program that this process becomes gets the old one back.
    same("limit", limit.current, Some(0))?;
    #[cfg(target_os = "linux")]
    {
        let dumpable = rustix::process::dumpable_behavior()?;
        same("dumpable", dumpable, rustix::process::DumpableBehavior::NotDumpable)?;
    }
    Ok(())
}

/// Runs a role where a directory of its own was prepared by `mount`, and expects it to say that all was well.
fn in_namespace(role: &str, mount: &str) -> Outcome {
    let at = tempfile::tempdir()?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-euc", &format!("{mount}\nexec \"$0\" \"$1\"")]);
    let output = command.arg(std::env::current_exe()?).arg(at.path()).env(ROLE, role).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.trim() == "as expected" { Ok(()) } else { Err(format!("{said}{complained}").into()) }
}

fn print_outcome(outcome: Outcome) {
    match outcome {
        Ok(()) => println!("as expected"),
        Err(failed) => println!("{}", failed.message().unwrap_or("failed")),
    }
}

fn full(at: &Path) -> Outcome {
    let path = at.join("dataset");
    let dataset = Dataset::open_or_create(&path)?;
    dataset.write(&file(), b"old", None)?;
    let refused = dataset.write(&file(), &content(b'x'), Some(Digest::of(b"old")));
    let text = refused.map_err(|error| error.to_string()).err().ok_or("it was written")?;
    same(&text, text.contains("make room") && text.contains("secrets.yaml"), true)?;
    same("the old one", dataset.read(&file(), 10)?, Some(b"old".to_vec()))?;
    same("nothing beside it", names(&path)?, vec!["secrets.yaml".to_owned()])?;
    let state = directory(at, &path, "")?;
    let mut receipt = Receipt::new("lineage".to_owned(), path.clone());
    state.write_receipt(&mut receipt)?;
    let before = receipt.clone();
    for number in 0..20_000 {
        let host: reconcile::address::HostName = format!("host{number}").parse()?;
        receipt.hosts.insert(host, reconcile::receipt::HostRecord::default());
        receipt
            .files
            .insert(format!("file-of-a-long-name-{number}").parse()?, reconcile::receipt::FileRecord::default());
    }
    same("refused", state.write_receipt(&mut receipt).is_err(), true)?;
    same("the old receipt", state.receipt()?, Some(before))?;
    same("its serial", receipt.serial, 1)
}

fn read_only(at: &Path) -> Outcome {
    let path = at.join("dataset");
    let dataset = Dataset::open_or_create(&path)?;
    let refused = dataset.write(&file(), b"new", Some(Digest::of(b"old\n")));
    let text = refused.map_err(|error| error.to_string()).err().ok_or("it was written")?;
    same(&text, text.contains("read-only") && text.contains("secrets.yaml"), true)?;
    same("the old one", dataset.read(&file(), 10)?, Some(b"old\n".to_vec()))?;
    let state = directory(at, &path, "")?;
    let refused = state.lock(&path, "apply", Duration::ZERO, &mut |_| {}).map(drop);
    let text = refused.map_err(|error| error.to_string()).err().ok_or("it was locked")?;
    same(&text, text.contains("read-only"), true)
}
