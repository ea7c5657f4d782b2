//! What somebody else wrote and what stands where it should not: manifests, saved plans, directories, links and pipes.
//! Nothing of it is obeyed, and nothing is written.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use support::den_vm::same;
use support::peers;
use support::program::{Place, Ran};

type Outcome = Result<(), Failed>;

fn main() {
    let arguments = Arguments::from_args();
    let trial = |name: &str, test: fn() -> Outcome| -> Trial { peers::trial(name, &[], test) };
    let trials = vec![
        trial("no_manifest_with_a_mistake_is_carried_out", bad_manifests),
        trial("a_manifest_where_others_can_write_is_not_found", others_directory),
        trial("a_destination_that_is_an_option_reaches_no_ssh", option_as_destination),
        trial("a_command_is_shown_as_it_is_before_it_is_approved", command_in_plan),
        trial("a_forged_plan_neither_moves_the_cursor_nor_is_carried_out", forged_plans),
        trial("what_is_to_be_destroyed_or_replaced_must_be_there", wishes_of_nothing),
        trial("what_stands_in_place_of_a_file_is_told_and_left", in_place_of_a_file),
        trial("a_link_in_the_state_is_not_written_through", links_in_the_state),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// The quickstart, of a user who has nothing yet.
fn quickstart() -> Result<Place, Failed> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/quickstart");
    let mut place = Place::new(&fs::read_to_string(from.join("secrets.manifest.yaml"))?);
    fs::copy(from.join("vault.yaml"), place.repository.join("vault.yaml"))?;
    place.variables.insert("XDG_STATE_HOME".to_owned(), place.home.join("state").into());
    Ok(place)
}

fn applied() -> Result<Place, Failed> {
    let place = quickstart()?;
    place.run("apply --auto-approve").ended(0)?;
    Ok(place)
}

/// Everything, but the lock, which names its last holder.
fn files(place: &Place) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = place.files();
    files.retain(|path, _| !path.ends_with("lock"));
    files
}

/// The command must end with 1, say `words`, and leave everything as it is.
fn refused(place: &Place, command: &str, words: &[&str]) -> Result<Ran, Failed> {
    let before = files(place);
    let ran = place.run(command).ended(1).and_then(|ran| ran.says(words))?;
    let after = files(place);
    let changed: Vec<_> = after.iter().filter(|(path, bytes)| before.get(*path) != Some(bytes)).collect();
    if !changed.is_empty() || before.len() != after.len() {
        let changed: Vec<_> = changed.into_iter().map(|(path, _)| path).collect();
        return Err(format!("{command} wrote {changed:?}\n{}", ran.all()).into());
    }
    Ok(ran)
}

fn is_plain(ran: &Ran) -> Outcome {
    let moves = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    match ran.all().find(moves) {
        None => Ok(()),
        Some(at) => Err(format!("at {at}: {:?}", ran.all()).into()),
    }
}

fn bad_manifests() -> Outcome {
    let place = applied()?;
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests/bad");
    let mut tried = 0;
    for entry in fs::read_dir(manifests)? {
        fs::copy(entry?.path(), place.manifest())?;
        for command in ["apply --auto-approve", "plan", "validate"] {
            is_plain(&refused(&place, command, &["secrets.manifest.yaml"])?)?;
        }
        tried += 1;
    }
    same("there are some", tried > 40, true)
}

fn others_directory() -> Outcome {
    let place = quickstart()?;
    let below = place.repository.join("below");
    fs::create_dir(&below)?;
    let run = |arguments: &[&str]| -> Result<Ran, Failed> {
        Ok(Ran::from(place.reconcile().args(arguments).current_dir(&below).output()?))
    };
    run(&["validate"])?.ended(0)?;
    for open in [&place.repository, &below] {
        let before = fs::metadata(open)?.permissions();
        fs::set_permissions(open, fs::Permissions::from_mode(0o777))?;
        for command in [&["validate"][..], &["plan"], &["apply", "--auto-approve"]] {
            run(command)?.ended(1)?.says(&["there is no secrets.manifest.yaml", "--manifest"])?;
        }
        fs::set_permissions(open, before)?;
    }
    same("nothing was applied", place.repository.join("run").exists(), false)
}

fn option_as_destination() -> Outcome {
    let mut place = quickstart()?;
    let text = fs::read_to_string(place.manifest())?;
    let (before, after) = text.split_once("    local: {}\n").ok_or("a local host")?;
    place.write_manifest(&format!("{before}    ssh: $WHERE\n{after}").replace("run/age/key.txt", "/run/key.txt"));
    let witness = place.home.join("witness");
    for evil in [format!("-oProxyCommand=touch {}", witness.display()), "a b".to_owned(), "-F/dev/null".to_owned()] {
        place.variables.insert("WHERE".to_owned(), evil.into());
        let ran = place.run("plan");
        same("it is no success", ran.code, 1)?;
    }
    same("it ran", witness.exists(), false)
}

fn command_in_plan() -> Outcome {
    let place = quickstart()?;
    let text = fs::read_to_string(place.manifest())?;
    let at = text.find("    switch:").ok_or("a switch")?;
    let end = at + text[at..].find("\n\n").ok_or("its end")?;
    let hidden = "    switch: {command: [echo, \"fine\\r\\e[2K\\u202e\", \"rm -r x\"]}";
    place.write_manifest(&format!("{}{hidden}{}", &text[..at], &text[end..]));
    let ran = place.run("plan").ended(0)?.says(&[r#"echo "fine\r\u{1b}[2K\u{202e}" "rm -r x""#])?;
    is_plain(&ran)
}

fn forged_plans() -> Outcome {
    let place = applied()?;
    let text = fs::read_to_string(place.manifest())?;
    place.write_manifest(&text.replace("mode: \"0400\"", "mode: \"0440\""));
    place.run("plan --out saved").ended(0)?;
    let saved: serde_json::Value = serde_json::from_slice(&fs::read(place.repository.join("saved"))?)?;
    let forge = |change: &dyn Fn(&mut serde_json::Value)| -> Outcome {
        let mut forged = saved.clone();
        change(&mut forged);
        Ok(fs::write(place.repository.join("forged"), serde_json::to_vec(&forged)?)?)
    };
    // Nothing of it is believed: not its steps, and not what it says it is.
    let stranger = reconcile::sops::Identities::generate().1.to_string();
    let changes: [&dyn Fn(&mut serde_json::Value); 5] = [
        &|plan| plan["plan"]["steps"] = serde_json::json!([]),
        &|plan| plan["plan"]["accepts"] = serde_json::json!({"here": stranger}),
        &|plan| plan["manifest"] = serde_json::json!(reconcile::digest::Digest::of(b"").to_string()),
        &|plan| plan["lineage"] = serde_json::json!("another"),
        &|plan| plan["wishes"]["no_switch"] = serde_json::json!(true),
    ];
    for change in changes {
        forge(change)?;
        refused(&place, "apply forged", &["Saved plan is stale", "reconcile plan --out"])?;
    }
    forge(&|plan| plan["wishes"]["targets"] = serde_json::json!(["nonsense"]))?;
    refused(&place, "apply forged", &["saved plan"])?;
    forge(&|plan| plan["text"] = serde_json::json!("\u{1b}[2J\u{202e}No changes.\r\nreally"))?;
    let shown = place.run("show forged").ended(0)?.says(&["\\u{1b}[2J\\u{202e}No changes.\\u{d}\nreally"])?;
    is_plain(&shown)?;
    for text in ["", "{", "[]", "null", "{\"format\": 1}"] {
        fs::write(place.repository.join("forged"), text)?;
        for command in ["apply forged", "show forged"] {
            refused(&place, command, &["forged", "not a saved plan"])?;
        }
    }
    Ok(())
}

fn wishes_of_nothing() -> Outcome {
    let place = applied()?;
    for (wish, words) in [
        ("--destroy-foreign key.other.yaml/a", "no sops file of that name"),
        ("--destroy-foreign secret.a", "key.FILE/PATH"),
        ("--replace file.other.yaml", "no sops file of that name"),
        ("--replace host.here", "no sops file of that name"),
        ("--accept-recipient there", "no such host"),
        ("--target secret.no", "nothing of that name"),
    ] {
        refused(&place, &format!("apply --auto-approve {wish}"), &[words])?;
        refused(&place, &format!("plan {wish}"), &[words])?;
    }
    Ok(())
}

fn in_place_of_a_file() -> Outcome {
    let place = applied()?;
    fs::write(place.repository.join("vault.yaml"), fs::read_to_string(place.repository.join("vault.yaml"))? + "\n")?;
    let dataset = place.repository.join("run/dataset");
    for name in ["secrets.yaml", "here-age-pubkey", "reconcile.json"] {
        let (file, aside) = (dataset.join(name), dataset.join("aside"));
        fs::rename(&file, &aside)?;
        // A pipe nobody writes to would be waited for.
        let made = place.command("mkfifo").arg(&file).status()?;
        same("a pipe", made.success(), true)?;
        refused(&place, "apply --auto-approve", &[name, "pipe"])?;
        fs::remove_file(&file)?;
        fs::create_dir(&file)?;
        refused(&place, "apply --auto-approve", &[name, "directory"])?;
        fs::remove_dir(&file)?;
        symlink("/dev/zero", &file)?;
        refused(&place, "apply --auto-approve", &[name, "symlink"])?;
        // Nothing that was started goes on reading what has no end.
        let readers = reading(&file);
        same("processes that read it", readers.as_slice(), &[] as &[String])?;
        fs::remove_file(&file)?;
        fs::rename(&aside, &file)?;
    }
    place.run("plan --detailed-exitcode").ended(0)?;
    Ok(())
}

/// The command lines of processes that name `file`.
fn reading(file: &Path) -> Vec<String> {
    let file = file.display().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(&file) && line.contains("sum")).collect()
}

fn links_in_the_state() -> Outcome {
    let place = applied()?;
    let state = fs::read_dir(place.home.join("state/reconcile"))?.flatten().next().ok_or("a state directory")?.path();
    let victim = place.home.join("victim");
    fs::write(&victim, "mine\n")?;
    for name in ["lock", "receipt.json", "fingerprint.key"] {
        let (file, aside) = (state.join(name), state.join("aside"));
        fs::rename(&file, &aside)?;
        symlink(&victim, &file)?;
        refused(&place, "apply --auto-approve", &[name])?;
        fs::remove_file(&file)?;
        fs::rename(&aside, &file)?;
    }
    same("what it led to", fs::read_to_string(&victim)?, "mine\n".to_owned())?;
    place.run("plan --detailed-exitcode").ended(0)?;
    Ok(())
}
