//! Activation, held against what a user finds afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use crate::sops::{Entry, encrypt};

use super::*;

type Outcome = Result<(), Box<dyn std::error::Error>>;

struct Scene {
    directory: tempfile::TempDir,
    identities: Identities,
    sops: Vec<u8>,
}

impl Scene {
    fn new(values: &[(&str, &str)]) -> Result<Self, Box<dyn std::error::Error>> {
        let (text, _) = Identities::generate();
        let identities = Identities::read(text.as_bytes())?;
        let mut scene = Self { directory: tempfile::tempdir()?, identities, sops: Vec::new() };
        scene.sops = scene.encrypted(values)?;
        Ok(scene)
    }

    fn encrypted(&self, values: &[(&str, &str)]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let held: Vec<(KeyPath, SecretValue)> = values
            .iter()
            .map(|(key, value)| (KeyPath::new(key.split('/')), SecretValue::new(value.as_bytes().to_vec())))
            .collect();
        let entries: Vec<Entry<'_>> = held.iter().map(|(key, value)| Entry { key: key.clone(), value }).collect();
        let mut random = |bytes: &mut [u8]| getrandom::fill(bytes).unwrap_or_else(|error| panic!("{error}"));
        Ok(encrypt(&entries, &self.identities.recipients(), "2026-01-01T00:00:00Z", &mut random)?.bytes)
    }

    fn symlink(&self) -> PathBuf {
        self.directory.path().join("run/secrets")
    }

    fn activate(&self, secrets: &[ToInstall]) -> Result<Activated, ActivateError> {
        activate(&self.sops, &self.identities, secrets, &self.symlink())
    }

    fn generations(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.directory.path().join("run/secrets.d")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

fn secret(name: &str) -> ToInstall {
    let name: SecretName = name.parse().unwrap_or_else(|error| panic!("{error}"));
    ToInstall { key: KeyPath::from(&name), name, path: None, owner: None, group: None, mode: None }
}

#[test]
fn secrets_are_behind_the_symlink_with_their_modes() -> Outcome {
    let scene = Scene::new(&[("a/b", "one"), ("c", "two")])?;
    let open = ToInstall { mode: Some(Mode(0o440)), key: KeyPath::new(["a", "b"]), ..secret("d/e/f") };
    let elsewhere = ToInstall { path: Some(scene.directory.path().join("etc/c")), ..secret("c") };
    let activated = scene.activate(&[secret("a/b"), elsewhere, open])?;
    assert_eq!(activated, Activated { generation: 1, secrets: 3 });
    let at = |name: &str| scene.symlink().join(name);
    for (name, value, mode) in [("a/b", "one", 0o400), ("c", "two", 0o400), ("d/e/f", "one", 0o440)] {
        assert_eq!(fs::read_to_string(at(name))?, value);
        assert_eq!(fs::metadata(at(name))?.permissions().mode() & 0o7777, mode, "{name}");
    }
    for directory in ["", "a", "d/e"] {
        assert_eq!(fs::metadata(at(directory))?.permissions().mode() & 0o7777, 0o751, "{directory}");
    }
    assert_eq!(fs::read_link(scene.symlink())?, Path::new("secrets.d/1"));
    assert_eq!(fs::read_to_string(scene.directory.path().join("etc/c"))?, "two");
    let record = Record { version: 1, sops_file: Digest::of(&scene.sops) };
    let beside = fs::read(scene.directory.path().join("run/secrets.d/1.json"))?;
    assert_eq!(serde_json::from_slice::<Record>(&beside)?, record);
    Ok(())
}

#[test]
fn a_new_generation_replaces_the_old_one() -> Outcome {
    let mut scene = Scene::new(&[("a", "one"), ("b", "x")])?;
    scene.activate(&[secret("a"), secret("b")])?;
    scene.sops = scene.encrypted(&[("a", "two")])?;
    // What a killed activation left behind.
    fs::create_dir_all(scene.directory.path().join("run/secrets.d/7/left"))?;
    assert_eq!(scene.activate(&[secret("a")])?.generation, 8);
    assert_eq!(fs::read_to_string(scene.symlink().join("a"))?, "two");
    assert!(!scene.symlink().join("b").exists());
    assert_eq!(scene.generations(), ["8", "8.json"].map(str::to_owned).into());
    Ok(())
}

#[test]
fn a_failure_leaves_the_old_generation_and_nothing_of_the_new() -> Outcome {
    let mut scene = Scene::new(&[("a", "one")])?;
    scene.activate(&[secret("a")])?;
    let nobody = ToInstall { owner: Some("no-such-user-here".to_owned()), ..secret("a") };
    let taken = scene.directory.path().join("taken");
    fs::write(&taken, "mine")?;
    let in_the_way = ToInstall { path: Some(taken.clone()), ..secret("a") };
    // Below a file there is no room for a directory: found only while writing.
    let below = ToInstall { key: KeyPath::new(["a"]), ..secret("a/x") };
    let good = scene.sops.clone();
    let mut tampered = good.clone();
    tampered.truncate(good.len() / 2);
    for (sops, secrets, expected) in [
        (&good, vec![secret("a"), secret("gone")], "no key gone"),
        (&good, vec![nobody], "no user no-such-user-here"),
        (&good, vec![in_the_way], "no symlink"),
        (&good, vec![secret("a"), below], "opening the directory failed"),
        (&tampered, vec![secret("a")], ""),
    ] {
        scene.sops.clone_from(sops);
        let Err(error) = scene.activate(&secrets) else { panic!("{expected}: it was activated") };
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(scene.generations(), ["1", "1.json"].map(str::to_owned).into(), "{expected}");
        assert_eq!(fs::read_to_string(scene.symlink().join("a"))?, "one");
    }
    assert_eq!(fs::read_to_string(taken)?, "mine");
    let (text, _) = Identities::generate();
    let others = Identities::read(text.as_bytes())?;
    let refused = activate(&good, &others, &[secret("a")], &scene.symlink());
    assert!(matches!(refused, Err(ActivateError::Decrypt(_))));
    Ok(())
}

#[test]
fn what_is_not_ours_is_left_as_it_is() -> Outcome {
    let scene = Scene::new(&[("a", "one")])?;
    let run = scene.directory.path().join("run");
    fs::create_dir_all(run.join("secrets"))?;
    assert!(matches!(scene.activate(&[secret("a")]), Err(ActivateError::InTheWay { .. })));
    fs::remove_dir(run.join("secrets"))?;
    symlink("/etc", run.join("secrets"))?;
    assert!(matches!(scene.activate(&[secret("a")]), Err(ActivateError::InTheWay { .. })));
    fs::remove_file(run.join("secrets"))?;
    fs::set_permissions(run.join("secrets.d"), fs::Permissions::from_mode(0o777))?;
    assert!(matches!(scene.activate(&[secret("a")]), Err(ActivateError::InTheWay { .. })));
    fs::remove_dir(run.join("secrets.d"))?;
    symlink("/tmp", run.join("secrets.d"))?;
    assert!(matches!(scene.activate(&[secret("a")]), Err(ActivateError::System { .. })));
    let relative = activate(&scene.sops, &scene.identities, &[secret("a")], Path::new("run/secrets"));
    assert!(matches!(relative, Err(ActivateError::InTheWay { .. })));
    Ok(())
}

#[test]
fn an_owner_gives_its_group_unless_one_is_declared() -> Outcome {
    let scene = Scene::new(&[("a", "one")])?;
    if !rustix::process::geteuid().is_root() {
        let others = ToInstall { owner: Some("root".to_owned()), ..secret("a") };
        let Err(error) = scene.activate(&[others]) else { panic!("it was given away") };
        assert!(error.to_string().contains("only root"), "{error}");
        return Ok(());
    }
    let daemon = accounts::user("daemon")?;
    let owned = ToInstall { owner: Some("daemon".to_owned()), ..secret("a") };
    scene.activate(std::slice::from_ref(&owned))?;
    let seen = fs::metadata(scene.symlink().join("a"))?;
    assert_eq!((seen.uid(), seen.gid()), (daemon.uid, daemon.gid));
    scene.activate(&[ToInstall { group: Some("tty".to_owned()), ..owned }])?;
    assert_eq!(fs::metadata(scene.symlink().join("a"))?.gid(), accounts::group("tty")?);
    Ok(())
}

/// Whoever may write the dataset of a host may not make programs that run as its root.
#[test]
fn an_index_gives_no_mode_that_the_manifest_could_not() -> Outcome {
    let index = |mode: &str| {
        let text = format!(
            r#"{{"version":1,"name":"t","manifest":"{0}","files":{{}},"hosts":{{"vm":"secrets.yaml"}},"secrets":{{
            "a":{{"hosts":["vm"],"key":["a"],"mode":"{mode}","neededForUsers":false}}}}}}"#,
            Digest::of(b"")
        );
        Index::read(text.as_bytes()).ok_or("an index")
    };
    let vm = "vm".parse()?;
    assert!(ToInstall::of_index(&index("0440")?, &vm).is_ok());
    for mode in ["4755", "2755", "1777", "9", ""] {
        assert!(matches!(ToInstall::of_index(&index(mode)?, &vm), Err(IndexError::Mode(_))), "{mode}");
    }
    Ok(())
}

#[test]
fn a_value_that_does_not_decrypt_is_mended_by_writing_its_file_anew() -> Outcome {
    let mut scene = Scene::new(&[("a", "one")])?;
    let file: FileName = "secrets.yaml".parse()?;
    scene.activate(&[secret("a")])?;
    // Two values in each other's place: nobody without the key sees it.
    let text = String::from_utf8(scene.encrypted(&[("a", "one"), ("b", "two")])?)?;
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().to_owned();
    let (a, b) = (value("a: "), value("b: "));
    scene.sops = text.replace(&a, "?").replace(&b, &a).replace('?', &b).into_bytes();
    let refused = scene.activate(&[secret("a")]).map_err(|error| (error.to_string(), error.next(&file)));
    let Err((what, next)) = refused else { return Err("it was activated".into()) };
    assert!(what.contains("does not decrypt"), "{what}");
    assert_eq!(next.as_deref(), Some("reconcile apply --replace file.secrets.yaml"));
    assert_eq!(fs::read_to_string(scene.symlink().join("a"))?, "one");
    // A key that is not the file's, or one that is not in it, is no fault of what it holds.
    scene.sops = Scene::new(&[("a", "one")])?.sops;
    let other = scene.activate(&[secret("a")]).map_err(|error| error.next(&file));
    assert_eq!(other, Err(None));
    Ok(())
}
