//! The house keeps its order: imports run one way, the rooms that decide touch nothing outside, one room starts programs,
//! one room prints, and a value is exposed only where it has to be. Read from the sources themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every room. Each may import those before it, and none behind it.
const ROOMS: [&str; 20] = [
    "text",
    "digest",
    "secret",
    "address",
    "sops",
    "manifest",
    "observation",
    "index",
    "actual",
    "desired",
    "receipt",
    "plan",
    "report",
    "render",
    "tools",
    "state",
    "observe",
    "launch",
    "apply",
    "cli",
];

/// They decide and describe: no process, file, clock, environment, thread or randomness.
const PURE: [&str; 14] = [
    "text",
    "digest",
    "secret",
    "address",
    "sops",
    "manifest",
    "observation",
    "index",
    "actual",
    "desired",
    "receipt",
    "plan",
    "report",
    "render",
];

/// What those must not name.
const OUTSIDE: [&str; 18] = [
    "std::process",
    "std::fs",
    "std::env",
    "std::thread",
    "std::net",
    "std::os",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "tokio",
    "getrandom",
    "rustix",
    "tempfile",
    "stdin(",
    "rand::",
];

/// Where a value is looked at. Whoever adds a place says here why.
const SINKS: [(&str, &str); 9] = [
    ("src/secret.rs", "its fingerprint"),
    ("src/sops/write.rs", "encrypted"),
    ("src/apply/activate.rs", "written into a generation, on the host that decrypts"),
    ("src/cli/get.rs", "a pipe, or a terminal with --show"),
    ("src/cli/fingerprint_key.rs", "the key of fingerprints, into the pipe of the program that adds it to the vault"),
    ("src/launch/process.rs", "the environment, or a file without a name, of the program that follows"),
    ("src/launch/credential.rs", "git's pipe"),
    ("src/tools/rbw/config.rs", "the address of the account, into rbw's own configuration"),
    ("src/tools/file_vault.rs", "a copy of a member of the vault that is a file"),
];

/// One source file without its comments, its texts and its tests.
struct Source {
    path: String,
    room: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut files, mut directories) = (Vec::new(), vec![root.join("src")]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files.into_iter().filter_map(|path| source(root, path)).collect()
}

/// `None` for what is compiled for tests only.
fn source(root: &Path, path: PathBuf) -> Option<Source> {
    let below = path.strip_prefix(root).expect("below the root").to_path_buf();
    let parts: Vec<String> = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.iter().any(|part| part == "tests" || part == "tests.rs") {
        return None;
    }
    let room = parts[1].trim_end_matches(".rs").to_owned();
    let text = fs::read_to_string(&path).expect("a source");
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    Some(Source { path: parts.join("/"), room, code: bare(text) })
}

/// Without comments and without what stands between quotes.
fn bare(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines() {
        let mut quoted = false;
        let mut characters = line.chars().peekable();
        while let Some(c) = characters.next() {
            match c {
                '\\' if quoted => drop(characters.next()),
                '"' => quoted = !quoted,
                '/' if !quoted && characters.peek() == Some(&'/') => break,
                _ if quoted => {}
                _ => code.push(c),
            }
        }
        code.push('\n');
    }
    code
}

/// The rooms that follow `crate::` in it.
fn imports(code: &str) -> BTreeSet<String> {
    let after = code.split("crate::").skip(1);
    let name = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut rooms: BTreeSet<String> = after.clone().map(name).collect();
    // `use crate::{a::X, b::Y}`
    for group in after.filter_map(|rest| rest.strip_prefix('{')?.split_once("};")) {
        rooms.extend(group.0.split(',').map(|member| name(member.trim())));
    }
    rooms.remove("");
    rooms
}

fn rank(room: &str) -> usize {
    let place = ROOMS.iter().position(|name| *name == room);
    place.unwrap_or_else(|| panic!("{room} is a new room: where in the flow does it stand?"))
}

#[test]
fn imports_run_one_way() {
    let mut wrong = Vec::new();
    let mut found = 0;
    for source in sources().iter().filter(|source| !["lib", "main"].contains(&source.room.as_str())) {
        for imported in imports(&source.code).into_iter().filter(|imported| *imported != source.room) {
            found += 1;
            if rank(&imported) > rank(&source.room) || (imported == "render" && source.room != "cli") {
                wrong.push(format!("{} imports {imported}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "against the flow:\n{}", wrong.join("\n"));
    assert!(found > 100, "only {found} imports were seen");
}

#[test]
fn every_room_is_declared_in_the_map() {
    let map = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("src/lib.rs");
    let declared: BTreeSet<&str> =
        map.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(declared, BTreeSet::from(ROOMS));
}

#[test]
fn what_decides_touches_nothing_outside() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| PURE.contains(&source.room.as_str())) {
        wrong.extend(
            OUTSIDE.iter().filter(|name| source.code.contains(**name)).map(|n| format!("{}: {n}", source.path)),
        );
    }
    assert!(wrong.is_empty(), "not pure:\n{}", wrong.join("\n"));
}

#[test]
fn only_tools_start_programs_and_only_the_command_line_prints() {
    let mut wrong = Vec::new();
    for source in sources() {
        let starts = ["Command::new", "UnixStream", "TcpStream", ".spawn()"].map(|name| source.code.contains(name));
        // exec: it becomes the program, and starts none.
        let becomes = source.path == "src/launch/process.rs" && source.code.contains(".exec()");
        if starts.contains(&true) && source.room != "tools" && !becomes {
            wrong.push(format!("{} starts a program", source.path));
        }
        let prints =
            ["println!", "eprintln!", "print!(", "stdout()", "stderr()"].map(|name| source.code.contains(name));
        if prints.contains(&true) && source.room != "cli" {
            wrong.push(format!("{} prints", source.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn values_are_exposed_only_where_they_have_to_be() {
    let listed: BTreeMap<&str, &str> = SINKS.into();
    let exposing: BTreeSet<String> =
        sources().into_iter().filter(|source| source.code.contains(".expose(")).map(|source| source.path).collect();
    let unlisted: Vec<_> = exposing.iter().filter(|path| !listed.contains_key(path.as_str())).collect();
    let gone: Vec<_> = listed.keys().filter(|path| !exposing.contains(**path)).collect();
    assert!(unlisted.is_empty(), "a value is looked at where none should be: {unlisted:?}");
    assert!(gone.is_empty(), "listed, and no longer there: {gone:?}");
}
