//! The user's own page, read as stories: each row of "What goes through sops vs rbw", and each of its workflows, with
//! `reconcile` where it has scripts. The manifest of manifests/den-vm as it stands, the real rbw, sshd and
//! sops-install-secrets.

mod support;

use std::fs;

use libtest_mimic::{Arguments, Failed, Trial};
use support::den_vm::{self, INSTALLED, ITEMS, Outcome, Scene, declared, same, succeeded};
use support::host::{Declared, Options};
use support::launch::{bin, prepend_to_path, stand_in};
use support::peers;
use support::shells::Shell;

fn main() {
    let arguments = Arguments::from_args();
    let needs = den_vm::needs();
    let trial = |name: &str, test: fn() -> Outcome| -> Trial { peers::trial(name, &needs, test) };
    let trials = vec![
        trial("row::rbw_email::the_vm_s_rbw_is_configured_without_the_address_in_the_repository", rbw_email),
        trial("row::tailscale_auth_key::a_system_service_has_it_before_any_session", tailscale),
        trial("row::uniclip_password::the_user_s_client_has_it", uniclip),
        trial("row::user_hashed_password::activation_has_it_before_there_are_users", hashed_password),
        trial("row::github_token::gh_and_git_fetch_it_on_demand", github_token),
        trial("row::claude_oauth_token::it_is_injected_only_for_claude", claude),
        trial("row::openai_api_key::codex_and_with_openai_have_it", openai),
        trial("row::amp_api_key::with_amp_has_it", amp),
        trial("workflow::initial_setup", initial_setup),
        trial("workflow::rotating_a_boot_time_secret", rotating_at_boot),
        trial("workflow::rotating_a_runtime_secret", rotating_at_run_time),
        trial("workflow::adding_a_new_boot_time_secret", adding_at_boot),
        trial("workflow::adding_a_new_runtime_secret_helper", adding_at_run_time),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// The operator's `rbw add NAME`, the value from standard input.
fn add(scene: &Scene, name: &str, value: &str) -> Outcome {
    succeeded(&scene.account.rbw_with_input(&["add", name], &format!("{value}\n")))
}

/// What the unit of `m` runs on the host.
fn configure_rbw(scene: &Scene) -> Outcome {
    scene.host.write("/run/reconcile", &fs::read(env!("CARGO_BIN_EXE_reconcile"))?);
    scene.host.root("chmod 755 /run/reconcile");
    let command = "/run/reconcile rbw-config --dataset /nixos-generated --host vm";
    succeeded(&scene.host.ssh(&scene.host.ssh_destination(), command))
}

/// What `m` sees of a command on the host.
fn seen_by_m(scene: &Scene, command: &str) -> String {
    let output = scene.host.ssh(&scene.host.ssh_destination(), command);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn rbw_email() -> Outcome {
    let scene = Scene::applied()?;
    configure_rbw(&scene)?;
    let configuration: serde_json::Value = serde_json::from_str(&seen_by_m(&scene, "cat ~/.config/rbw/config.json"))?;
    same("the account", configuration["email"].as_str(), Some("someone@example.org"))?;
    same("the pinentry", configuration["pinentry"].as_str(), Some("pinentry-curses"))?;
    for (path, bytes) in scene.place.files() {
        let told = String::from_utf8_lossy(&bytes).contains("someone@example.org");
        same(&path.display().to_string(), told, false)?;
    }
    Ok(())
}

fn tailscale() -> Outcome {
    let scene = Scene::applied()?;
    let path = "/run/secrets/tailscale/auth-key";
    // The machine boots: nobody has logged in, and no vault is there.
    scene.account.lock();
    scene.server.set_down(true);
    succeeded(&scene.host.reboot())?;
    same("its owner", scene.host.stat(path), Some("root root 400 12".to_owned()))?;
    same("its value", scene.host.read(path), Some(b"tskey-auth-1".to_vec()))?;
    same("what m reads", seen_by_m(&scene, &format!("cat {path}")), String::new())?;
    let index: serde_json::Value = serde_json::from_slice(&fs::read(scene.dataset.join("reconcile.json"))?)?;
    let bind = &index["secrets"]["tailscale/auth-key"]["bind"];
    same("its option", bind, &serde_json::json!(["services", "tailscale", "authKeyFile"]))
}

fn uniclip() -> Outcome {
    let scene = Scene::applied()?;
    same("what m reads", seen_by_m(&scene, "cat /run/secrets/uniclip/password"), "clip".to_owned())?;
    let nobody = scene.host.run_as_root("setpriv --reuid=65534 --clear-groups cat /run/secrets/uniclip/password");
    same("what others read", (nobody.status.success(), nobody.stdout), (false, Vec::new()))
}

fn hashed_password() -> Outcome {
    let scene = Scene::applied()?;
    let path = "/run/secrets-for-users/user/hashed-password";
    same("its owner", scene.host.stat(path), Some("root root 400 14".to_owned()))?;
    // It is installed before the users are made, and the others behind that.
    let activate = scene.host.root("cat /run/current-system/activate");
    let place = |word: &str| activate.find(word).ok_or_else(|| Failed::from(format!("no {word}")));
    let (ours, users, others) = (place("-ignore-passwd")?, place("snippet users")?, place("snippet setupSecrets:")?);
    same("the order", ours < users && users < others, true)?;
    // So that it does, the index says.
    let index: serde_json::Value = serde_json::from_slice(&fs::read(scene.dataset.join("reconcile.json"))?)?;
    let declared = &index["secrets"]["user/hashed-password"];
    same("needed for users", declared["neededForUsers"].as_bool(), Some(true))?;
    same("its option", &declared["bind"], &serde_json::json!(["users", "users", "m", "hashedPasswordFile"]))?;
    same("not among the others", scene.host.stat("/run/secrets/user/hashed-password"), None)
}

/// Programs that tell which of the four variables they have, and the functions of the manifest in bash.
fn at_a_prompt(mut scene: Scene) -> Scene {
    fs::create_dir(bin(&scene.place)).expect("a directory");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_reconcile"), bin(&scene.place).join("reconcile")).expect("a link");
    let path = scene.place.variables["PATH"].clone();
    prepend_to_path(&mut scene.place, &path);
    let manifest = scene.place.manifest();
    scene.place.variables.insert("RECONCILE_MANIFEST".to_owned(), manifest.into());
    for program in ["gh", "claude", "codex", "amp", "python3", "myapp"] {
        let names = "GITHUB_TOKEN CLAUDE_CODE_OAUTH_TOKEN OPENAI_API_KEY AMP_API_KEY MYAPP_TOKEN";
        let tells = format!(
            "#!/bin/sh\nprintf '%s:' \"${{0##*/}}\"\nfor name in {names}; do\n  eval \"value=\\${{$name-}}\"\n  \
             [ -z \"$value\" ] || printf ' %s=%s' \"$name\" \"$value\"\ndone\necho\n"
        );
        stand_in(&scene.place, program, &tells);
    }
    scene
}

/// What `script` prints behind the line of the README.
fn prints(scene: &Scene, script: &str, expected: &[&str]) -> Outcome {
    let ran = Shell::Bash.run(&scene.place, script)?.ended(0)?;
    same(
        script,
        ran.out.lines().map(str::to_owned).collect(),
        expected.iter().map(ToString::to_string).collect::<Vec<_>>(),
    )
}

/// The session itself has none of it.
const SESSION: &str = "env | grep -c -e ghp_1 -e sk-ant-1 -e sk-1 -e amp-1 || true";

fn github_token() -> Outcome {
    let scene = at_a_prompt(Scene::new());
    prints(
        &scene,
        &format!("gh\nclaude\n{SESSION}"),
        &["gh: GITHUB_TOKEN=ghp_1", "claude: CLAUDE_CODE_OAUTH_TOKEN=sk-ant-1", "0"],
    )?;
    let fill = "printf 'protocol=https\\nhost=%s\\n\\n' github.com | \
                git -c credential.helper='!reconcile git-credential' credential fill";
    let expected = ["protocol=https", "host=github.com", "username=x-access-token", "password=ghp_1"];
    prints(&scene, fill, &expected)?;
    // Another host is not given it, whatever it is called.
    let other = fill.replace("github.com", "github.com.example.org");
    let asked = format!("export GIT_TERMINAL_PROMPT=0\n{other} 2>/dev/null | grep -c ghp_1 || true");
    prints(&scene, &asked, &["0"])
}

fn claude() -> Outcome {
    let scene = at_a_prompt(Scene::new());
    let script = format!("claude\nreconcile exec claude-oauth-token -- python3\npython3\n{SESSION}");
    let token = "CLAUDE_CODE_OAUTH_TOKEN=sk-ant-1";
    prints(&scene, &script, &[&format!("claude: {token}"), &format!("python3: {token}"), "python3:", "0"])
}

fn openai() -> Outcome {
    let scene = at_a_prompt(Scene::new());
    let script = format!("codex\nwith-openai python3\npython3\n{SESSION}");
    prints(&scene, &script, &["codex: OPENAI_API_KEY=sk-1", "python3: OPENAI_API_KEY=sk-1", "python3:", "0"])
}

fn amp() -> Outcome {
    let scene = at_a_prompt(Scene::new());
    prints(&scene, &format!("with-amp amp\namp\n{SESSION}"), &["amp: AMP_API_KEY=amp-1", "amp:", "0"])
}

fn initial_setup() -> Outcome {
    // A VM without a key, an empty vault, no dataset.
    let scene = Scene::with(Options { key: false, ..Options::default() });
    scene.ids.values().for_each(|id| scene.server.trash(id));
    // What is missing is named; what can be done is done: the VM's key, and the public files.
    let first = scene.place.run("apply --auto-approve").ended(1)?;
    first.says(&[
        "no item is called \"tailscale-auth-key\"",
        "no item is called \"github-token\"",
        "Applied in part",
    ])?;
    same("no secrets.yaml of nothing", scene.file().exists(), false)?;
    let key = scene.host.age_recipient();
    same("its key", fs::read_to_string(scene.dataset.join("vm-age-pubkey"))?, format!("{key}\n"))?;
    same("keys to log in", scene.dataset.join("mac-host-authorized-keys").exists(), true)?;
    // "Populate Bitwarden with the entries listed above", and deploy.
    for (name, value) in ITEMS {
        add(&scene, name, value)?;
    }
    scene.place.run("apply --auto-approve").ended(0)?.says(&["4 secrets in place"])?;
    for (path, attributes, value) in INSTALLED {
        same(path, scene.host.stat(path), Some(attributes.to_owned()))?;
        same(path, scene.host.read(path), Some(value.as_bytes().to_vec()))?;
    }
    same("the VM kept its key", scene.host.age_recipient(), key)?;
    // "On the VM, register/login rbw once if needed": it is said until it is done.
    scene.place.run("status").ended(0)?.says(&["rbw of m is not configured there yet", "reconcile rbw-config"])?;
    configure_rbw(&scene)?;
    scene.place.run("status").ended(0)?.says(&["rbw of m is not logged in there: ssh -t m@nixos-vm rbw login"])?;
    // The real database of a login, where rbw of this address would have it.
    scene.host.write("/home/m/.cache/rbw/default:someone@example.org.json", &fs::read(scene.account.database())?);
    scene.host.root("chown -R 1000:100 /home/m/.cache");
    scene.place.run("status").ended(0)?.says(&["All 8 are up to date."])?.hides(&["rbw of m"])?;
    scene.settled()
}

/// `rbw remove` and `rbw add`, as the page has it: the item is another one, of the same name.
fn replace(scene: &Scene, name: &str, value: &str) -> Outcome {
    succeeded(&scene.account.rbw(&["remove", name]))?;
    add(scene, name, value)
}

fn rotating_at_boot() -> Outcome {
    let scene = Scene::applied()?;
    let before = scene.host.restarted_units().len();
    replace(&scene, "tailscale-auth-key", "new-value")?;
    let plan = scene.place.run("plan --detailed-exitcode").ended(2)?;
    plan.says(&["secret.tailscale/auth-key will be updated", "restarts or reloads tailscaled.service", "1 to change"])?;
    scene.place.run("apply --auto-approve").ended(0)?;
    same("its value", scene.host.read("/run/secrets/tailscale/auth-key"), Some(b"new-value".to_vec()))?;
    same("its unit", scene.host.restarted_units()[before..].to_vec(), vec!["tailscaled.service".to_owned()])?;
    scene.settled()
}

fn rotating_at_run_time() -> Outcome {
    let scene = at_a_prompt(Scene::applied()?);
    prints(&scene, "gh", &["gh: GITHUB_TOKEN=ghp_1"])?;
    replace(&scene, "github-token", "new-value")?;
    // "No rebuild needed; next helper invocation fetches the new value."
    prints(&scene, "gh", &["gh: GITHUB_TOKEN=new-value"])?;
    scene.unchanged()?;
    same("switches", scene.host.switches(), 1)
}

fn adding_at_boot() -> Outcome {
    let mut scene = Scene::with(Options { users: vec!["myapp-user".to_owned()], ..Options::default() });
    scene.place.run("apply --auto-approve").ended(0)?;
    // One declaration; what Nix declares of it comes from the index.
    let secret = "  myapp/token:\n    item: myapp-token\n    delivery:\n      sops: {owner: myapp-user}\n";
    scene.place.edit_manifest("  # At run time", &format!("{secret}\n  # At run time"));
    scene
        .untouched(|| scene.place.run("apply --auto-approve").ended(1)?.says(&["no item is called \"myapp-token\""]))?;
    add(&scene, "myapp-token", "token-value")?;
    let all = declared().into_iter().chain([Declared::new("myapp/token").owner("myapp-user")]);
    scene.host.set_declared(all.collect());
    scene.place.run("plan").ended(0)?.says(&["1 to add, 0 to change", "vm:/run/secrets/myapp/token"])?;
    scene.place.run("apply --auto-approve").ended(0)?.says(&["5 secrets in place"])?;
    let path = "/run/secrets/myapp/token";
    same("its owner", scene.host.stat(path), Some("myapp-user myapp-user 400 11".to_owned()))?;
    same("its value", scene.host.read(path), Some(b"token-value".to_vec()))?;
    scene.settled()
}

fn adding_at_run_time() -> Outcome {
    let scene = at_a_prompt(Scene::applied()?);
    add(&scene, "myapp-token", "token-value")?;
    let text = fs::read_to_string(scene.place.manifest())?;
    let secret = "  myapp-token:\n    item: myapp-token\n    delivery:\n      \
                  runtime: {env: MYAPP_TOKEN, commands: [myapp], with_command: with-myapp}\n";
    scene.place.write_manifest(&(text + secret));
    scene.place.run("validate").ended(0)?;
    prints(
        &scene,
        "myapp\nwith-myapp python3\ngh",
        &["myapp: MYAPP_TOKEN=token-value", "python3: MYAPP_TOKEN=token-value", "gh: GITHUB_TOKEN=ghp_1"],
    )?;
    // No host has it, and none is switched for it.
    scene.place.run("apply --auto-approve").ended(0)?;
    same("switches", scene.host.switches(), 1)?;
    scene.unchanged()
}
