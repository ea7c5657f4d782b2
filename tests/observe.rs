//! What is seen of the vault, the files and a host that is reached by ssh, and what is said where nothing can be seen:
//! by `plan`, `status` and `list --access`, with the real rbw, sshd and sops-install-secrets.

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use support::den_vm::{self, Outcome, Scene, same};
use support::host::{Dataset, Options};
use support::many::Many;
use support::peers;

fn main() {
    let arguments = Arguments::from_args();
    let needs = den_vm::needs();
    let trial = |name: &str, test: fn() -> Outcome| -> Trial { peers::trial(name, &needs, test) };
    let trials = vec![
        trial("status_follows_a_secret_from_the_vault_to_the_host", status_follows),
        trial("status_asks_nobody_and_says_what_it_cannot_know", status_unknown),
        trial("access_is_told_by_recipient_and_by_secret", access),
        trial("an_rbw_on_the_host_that_is_not_ready_is_told_with_the_command", rbw_there),
        trial("a_host_that_sees_an_older_file_or_none_is_told", lagging),
        trial("a_file_that_took_the_place_of_a_secret_is_told", stray),
        trial("another_key_of_the_same_length_is_told", other_key),
        trial("an_answer_that_is_cut_off_anywhere_is_no_answer", cut_off),
        trial("a_connection_lost_while_a_key_is_made_loses_nothing", cut_while_key_is_made),
        trial("a_key_that_appears_meanwhile_is_never_overwritten", key_meanwhile),
        trial("a_host_that_is_off_or_asleep_keeps_no_file_from_being_written", off_or_asleep),
        trial("a_changed_ssh_key_is_refused_and_never_learned", changed_ssh_key),
        trial("fifty_hosts_are_looked_at_at_once_and_one_that_hangs_holds_no_other", fifty),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn status_follows() -> Outcome {
    let scene = Scene::new();
    scene.untouched(|| {
        let ran = scene.place.run("status").ended(0)?;
        ran.says(&["~ tailscale/auth-key     secrets.yaml is not there yet", "4 of 8 up to date, 4 not."])
    })?;
    scene.place.run("apply --auto-approve").ended(0)?;
    let settled = scene.untouched(|| scene.place.run("status --detailed-exitcode").ended(0))?;
    settled.says(&[
        "vm up to date with secrets.yaml (switched",
        "read when it is needed: gh",
        "All 8 are up to date.",
    ])?;
    scene.set("tailscale-auth-key", "tskey-auth-2");
    let newer = scene.place.run("status --detailed-exitcode").ended(2)?;
    newer
        .says(&["~ tailscale/auth-key     vault newer than secrets.yaml (", "7 of 8 up to date, 1 not."])?
        .hides(&["tskey-auth-2"])?;
    scene.place.run("apply --auto-approve --no-switch").ended(0)?;
    scene.place.run("status").ended(0)?.says(&["vm behind secrets.yaml (switched"])?;
    let document: serde_json::Value = serde_json::from_str(&scene.place.run("status --json").ended(0)?.out)?;
    same("its version", document["format_version"].as_str(), Some("1.0"))?;
    same("up to date", document["up_to_date"].as_bool(), Some(false))?;
    let lines = document["status"]["boot"].as_array().ok_or("lines")?;
    let behind = |line: &&serde_json::Value| line["on_host"]["reasons"][0]["reason"] == "host_behind";
    same("hosts behind", lines.iter().filter(behind).count(), 4)?;
    scene.host.root("rm /run/secrets/uniclip/password");
    scene.place.run("status").ended(0)?.says(&["not on vm"])?;
    scene.place.run("apply --auto-approve").ended(0)?;
    scene.settled()
}

fn status_unknown() -> Outcome {
    let scene = Scene::applied()?;
    let prompts = scene.account.prompts();
    scene.account.lock();
    scene.untouched(|| scene.place.run("status").ended(0)?.says(&["All 8 are up to date."]))?;
    scene.set("uniclip-password", "clop");
    let words = [
        "? uniclip/password       secrets.yaml perhaps older: its item was saved, and the vault is locked",
        "→ rbw unlock",
    ];
    scene.untouched(|| scene.place.run("status").ended(1)?.says(&words))?;
    same("prompts", scene.account.prompts(), prompts)?;
    scene.account.unlock();
    // Off: what the vault and the file say is said all the same.
    scene.host.stop();
    let words =
        ["~ uniclip/password       vault newer than secrets.yaml", "vm not known: unreachable (connection refused)"];
    scene.untouched(|| scene.place.run("status").ended(1)?.says(&words))?;
    // As a plan has it: what is blocked comes before what differs.
    for command in ["plan --detailed-exitcode", "status --detailed-exitcode"] {
        scene.place.run(command).ended(1)?;
    }
    // Without a look nothing is said of it.
    scene.place.run("status --refresh=false").ended(1)?.says(&["vm not looked at"])?.hides(&["unreachable"])?;
    scene.host.power_on();
    Ok(())
}

fn access() -> Outcome {
    let scene = Scene::applied()?;
    let key = scene.host.age_recipient();
    let ran = scene.untouched(|| scene.place.run("list --access").ended(0))?;
    // However wide its columns are.
    let said: Vec<String> = ran.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        &format!("host vm {}…{} /var/lib/sops-nix/key.txt; accepted", &key[..7], &key[57..]),
        "rbw/email m /run/secrets/rbw/email m 0400",
        "tailscale/auth-key nobody else /run/secrets/tailscale/auth-key root 0400 (by default)",
        "uniclip/password m /run/secrets/uniclip/password m 0400",
        "user/hashed-password nobody else /run/secrets-for-users/user/hashed-password root 0400 (by default)",
        "github-token gh, git github.com",
        "openai-api-key codex, with-openai",
    ] {
        same(line, said.iter().filter(|said| *said == line).count(), 1)?;
    }
    ran.hides(&["somebody"])?;
    let (_, stranger) = reconcile::sops::Identities::generate();
    scene.sops(&["rotate", "-i", "--add-age", stranger.as_str(), "secrets.yaml"])?;
    let ran = scene.place.run("list --access").ended(0)?;
    ran.says(&["somebody", &stranger.short(), "nobody declares one of its keys"])?;
    let document: serde_json::Value = serde_json::from_str(&scene.place.run("list --access --json").ended(0)?.out)?;
    let keys = &document["access"]["files"]["secrets.yaml"]["keys"];
    same("the host", keys[0]["key"].as_str().map(str::to_owned), Some(key))?;
    same("the other", keys[1]["holder"].as_str(), Some("undeclared"))?;
    // It opens for nobody whom it does not name, and says so where it shows nothing.
    fs::write(scene.file(), "cut off")?;
    scene.place.run("list --access").ended(1)?.says(&["not known:", "it should be:"])?;
    Ok(())
}

/// Puts a file of this machine into the home of `m` on the host, as that user's own.
fn give(scene: &Scene, from: &Path, to: &str) -> Outcome {
    scene.host.write(&format!("/home/m/{to}"), &fs::read(from)?);
    scene.host.root("chown -R 1000:100 /home/m && find /home/m -type f -exec chmod 600 {} +");
    Ok(())
}

fn rbw_there() -> Outcome {
    let scene = Scene::applied()?;
    let noted = |words: &[&str], not: &[&str]| -> Outcome {
        for command in ["plan", "status"] {
            scene.untouched(|| scene.place.run(command).ended(0)?.says(words)?.hides(not))?;
        }
        Ok(())
    };
    let configure = "reconcile rbw-config --dataset /nixos-generated --host vm";
    noted(&["host.vm: rbw of m is not configured there yet", configure], &["rbw login"])?;
    give(&scene, &scene.account.configuration(), ".config/rbw/config.json")?;
    let login = "host.vm: rbw of m is not logged in there: ssh -t m@nixos-vm rbw login";
    noted(&[login], &["rbw-config"])?;
    // The real rbw's database: of another server, without a token, and whole.
    let database = scene.account.database();
    let name = database.file_name().and_then(|name| name.to_str()).ok_or("a name")?;
    give(&scene, &database, &format!(".cache/rbw/default:{}", name.rsplit_once(':').ok_or("an account")?.1))?;
    noted(&[login], &[])?;
    let mut tokens: serde_json::Value = serde_json::from_slice(&fs::read(&database)?)?;
    let token = tokens["refresh_token"].take();
    let token = token.as_str().ok_or("a token")?;
    let without = scene.place.home.join("without");
    fs::write(&without, tokens.to_string())?;
    give(&scene, &without, &format!(".cache/rbw/{name}"))?;
    fs::remove_file(&without)?;
    noted(&[login], &[])?;
    give(&scene, &database, &format!(".cache/rbw/{name}"))?;
    noted(&[], &["rbw of"])?;
    // Seen from elsewhere: as root, and by sudo.
    for (from, to) in [("ssh: m@nixos-vm", "ssh: root@nixos-vm"), ("ssh: root@nixos-vm", "ssh: m@nixos-vm")] {
        scene.place.edit_manifest(from, to);
        scene.place.run("status").ended(0)?.hides(&["rbw of"])?;
    }
    scene.place.edit_manifest("rbw_config: {user: m,", "rbw_config: {user: root,");
    scene.place.run("status").says(&["host.vm: rbw of root is not configured there yet"])?;
    scene.place.edit_manifest("    become: sudo ", "    become: never ");
    let unknown = "host.vm: whether rbw of root is logged in there is not known: only root can see it there";
    scene.place.run("status").says(&[unknown])?;
    scene.place.run("plan").hides(&["whether rbw"])?;
    scene.place.edit_manifest("rbw_config: {user: root,", "rbw_config: {user: no-one,");
    scene.place.run("status").says(&["it has no user no-one"])?;
    // Nothing of it came along.
    scene.place.run("-v status --json").hides(&[token])?;
    Ok(())
}

fn lagging() -> Outcome {
    let scene = Scene::seen(|path| Dataset::Lagging { path, by: Duration::MAX }, Options::default());
    scene.place.run("apply --auto-approve --no-switch").ended(0)?;
    let none = "Warning: host.vm sees no secrets.yaml in /nixos-generated: is the dataset shared with it?";
    for command in ["plan", "status"] {
        scene.place.run(command).says(&[none])?;
    }
    scene.host.catch_up();
    scene.place.run("apply --auto-approve").ended(0)?.hides(&["sees"])?;
    scene.place.run("plan").ended(0)?.says(&["No changes."])?.hides(&["sees"])?;
    scene.set("uniclip-password", "clop");
    scene.place.run("apply --auto-approve --no-switch").ended(0)?;
    let older = "host.vm still sees an older secrets.yaml in /nixos-generated; a switch waits for this one";
    for command in ["plan", "status"] {
        scene.place.run(command).says(&[older])?;
    }
    scene.host.catch_up();
    scene.place.run("apply --auto-approve").ended(0)?;
    scene.settled()
}

fn stray() -> Outcome {
    let scene = Scene::applied()?;
    // The same bytes, owner and mode: a copy that the next rotation would not reach.
    scene.host.root("cd /run/secrets && cp -pL uniclip/password /run/copy && ln -sf /run/copy uniclip/password");
    same("the plan", scene.planned()?.changes, vec!["host.vm: host_drifted".to_owned()])?;
    scene.place.run("plan").ended(0)?.says(&["uniclip/password: a file of its own in its place"])?;
    scene.place.run("status").ended(0)?.says(&["vm: a file of its own in its place"])?;
    scene.place.run("apply --auto-approve").ended(0)?;
    scene.settled()
}

fn other_key() -> Outcome {
    let mut scene = Scene::applied()?;
    // As long as the key of tailscale: no size tells one from the other.
    scene.set("uniclip-password", "clipboard-12");
    scene.place.run("apply --auto-approve").ended(0)?;
    let mistaken = support::den_vm::declared().into_iter();
    let mistaken = mistaken.map(|one| match format!("{one:?}").contains("uniclip") {
        true => one.key("tailscale/auth-key"),
        false => one,
    });
    scene.host.set_declared(mistaken.collect());
    same("it switches", scene.host.switch().status.success(), true)?;
    same("the plan", scene.planned()?.changes, vec!["host.vm: host_drifted".to_owned()])?;
    scene.place.run("plan").ended(0)?.says(&["uniclip/password: another key of the file"])?;
    scene.host.set_declared(support::den_vm::declared());
    scene.place.run("apply --auto-approve").ended(0)?;
    scene.settled()
}

fn cut_off() -> Outcome {
    let scene = Scene::applied()?;
    let whole = {
        scene.host.root("mkdir -m 777 /run/seen");
        scene.host.force("sh -s | tee /run/seen/answer\n");
        scene.unchanged()?;
        scene.host.read("/run/seen/answer").ok_or("an answer")?.len()
    };
    for bytes in [0, 1, whole / 3, whole / 2, whole - 2] {
        // The server's end of the connection is killed behind that many bytes.
        scene.host.force(&format!("sh -s | head -c {bytes}\nkill -9 $PPID\n"));
        let ran = scene
            .untouched(|| scene.place.run("apply --auto-approve").ended(1)?.says(&["host.vm", "1 not checked"]))?;
        ran.hides(&["will be"])?;
    }
    // A file that has to be written is written for the accepted key, and the host is left for later.
    scene.set("uniclip-password", "clop");
    let recipient = scene.host.age_recipient();
    scene.place.run("apply --auto-approve").ended(1)?.says(&["host.vm"])?;
    same("to its key", fs::read_to_string(scene.file())?.contains(&recipient), true)?;
    scene.host.unforce();
    same("the plan", scene.planned()?.changes, vec!["host.vm: host_behind".to_owned()])?;
    scene.place.run("apply --auto-approve").ended(0)?;
    scene.settled()
}

fn cut_while_key_is_made() -> Outcome {
    let scene = Scene::with(Options { key: false, ..Options::default() });
    scene.host.force(
        "script=$(cat)\ncase $script in\n*'age-keygen -o'*) printf '%s\\n' \"$script\" | sh -s >/dev/null; kill -9 $PPID ;;\n\
         *) printf '%s\\n' \"$script\" | sh -s ;;\nesac\n",
    );
    scene.place.run("apply --auto-approve").ended(1)?.says(&["✗ make an age key on vm"])?;
    same("nothing is encrypted", scene.file().exists(), false)?;
    let made = scene.host.age_recipient();
    scene.host.unforce();
    // It is there now, and no other is made in its place.
    scene.place.run("plan").ended(0)?.hides(&["make an age key"])?;
    scene.place.run("apply --auto-approve").ended(0)?;
    same("its key", scene.host.age_recipient(), made.clone())?;
    same("published", fs::read_to_string(scene.dataset.join("vm-age-pubkey"))?, made + "\n")?;
    scene.settled()
}

fn key_meanwhile() -> Outcome {
    let scene = Scene::with(Options { key: false, ..Options::default() });
    let (text, theirs) = reconcile::sops::Identities::generate();
    scene.host.write("/run/theirs", text.as_bytes());
    // Somebody else makes one after the plan, and before ours is there.
    let script = "script=$(cat)\ncase $script in\n\
                  *'age-keygen -o'*) sudo -n -- install -m 600 /run/theirs /var/lib/sops-nix/key.txt ;;\nesac\n\
                  printf '%s\\n' \"$script\" | sh -s\n";
    scene.host.force(&format!("PATH=$PATH:/run/wrappers/bin\n{script}"));
    let ran = scene.place.run("apply --auto-approve").ended(1)?;
    ran.says(&["✗ make an age key on vm", "/var/lib/sops-nix/key.txt is there already"])?;
    same("theirs stays", scene.host.age_recipient(), theirs.to_string())?;
    same("nothing is left beside it", scene.host.root("ls /var/lib/sops-nix"), "key.txt".to_owned())?;
    same("nothing is encrypted", scene.file().exists(), false)?;
    scene.host.unforce();
    scene.place.run("apply --auto-approve").ended(0)?;
    same("theirs is used", fs::read_to_string(scene.dataset.join("vm-age-pubkey"))?, format!("{theirs}\n"))?;
    scene.settled()
}

fn off_or_asleep() -> Outcome {
    let scene = Scene::applied()?;
    for (value, asleep) in [("clop", false), ("clup", true)] {
        let words = if asleep {
            scene.host.freeze();
            "host.vm: unreachable (timed out)"
        } else {
            scene.host.stop();
            "host.vm: unreachable (connection refused)"
        };
        scene.untouched(|| scene.place.run("plan").ended(1)?.says(&[words, "1 not checked"]))?;
        scene.set("uniclip-password", value);
        let plan = scene.untouched(|| Ok(scene.place.run("plan")))?;
        plan.says(&["secret.uniclip/password will be updated", "1 file to encrypt", words])?;
        let applied = scene.place.run("apply --auto-approve --no-switch");
        applied.says(&["✓ encrypt secrets.yaml", words])?;
        if asleep {
            scene.host.thaw()
        } else {
            scene.host.power_on()
        }
        same("the plan", scene.planned()?.changes, vec!["host.vm: host_behind".to_owned()])?;
        scene.place.run("apply --auto-approve").ended(0)?;
        scene.settled()?;
    }
    Ok(())
}

fn changed_ssh_key() -> Outcome {
    let scene = Scene::applied()?;
    let known = fs::read(scene.host.known_hosts())?;
    scene.host.change_ssh_host_key();
    scene.set("uniclip-password", "clop");
    let words = ["host.vm: its ssh key was refused (it is not the one that is known)", "ssh-keygen -R"];
    scene.untouched(|| scene.place.run("plan").says(&words))?;
    scene.place.run("status").ended(1)?.says(&["vm not known: its ssh key was refused"])?;
    let switches = scene.host.switches();
    scene.place.run("apply --auto-approve").ended(1)?.says(&words)?;
    same("switches", scene.host.switches(), switches)?;
    same("what is known", fs::read(scene.host.known_hosts())?, known)?;
    scene.host.trust_ssh_host_key();
    scene.place.run("apply --auto-approve").ended(0)?;
    scene.settled()
}

fn fifty() -> Outcome {
    let many = Many::new(50);
    // Nobody is let in before all fifty stand at the door, and one of them never.
    many.host.force(
        ": >/run/doors/$$\n\
         until [ \"$(ls /run/doors | wc -l)\" -ge 50 ]; do sleep 0.1; done\n\
         if [ \"$(ls /run/doors | sed -n 1p)\" = $$ ]; then exec sleep 600; fi\n\
         exec sh -s\n",
    );
    let (seen, others) = many.seen();
    same("others", others.iter().filter(|why| why.contains("no answer within")).count(), 1)?;
    same("seen", (seen, others.len()), (49, 1))
}
