//! The script that every host runs, as other machines would run it: by other shells, with the userland of a BSD, with
//! systemd as what installs secrets. What is not on this machine is stood in for by what it is known to print.

mod support;

use std::fs;

use libtest_mimic::{Arguments, Trial};
use support::den_vm::{self, Outcome, Scene, same};
use support::peers;

fn main() {
    let arguments = Arguments::from_args();
    let needs = den_vm::needs();
    let trial = |name: &str, test: fn() -> Outcome| -> Trial { peers::trial(name, &needs, test) };
    let trials = vec![
        trial("every_shell_gives_the_same_answer", shells),
        trial("the_userland_of_a_bsd_is_enough", bsd),
        trial("secrets_that_systemd_installs_are_told_from_those_it_failed_to", systemd),
        trial("whatever_a_login_prints_around_it_is_passed_over", chatty),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// POSIX shells that may be here; `sh` is.
const SHELLS: [&str; 8] = ["sh", "dash", "bash --posix", "bash", "zsh --emulate sh", "busybox sh", "ksh", "mksh"];

fn shells() -> Outcome {
    let scene = Scene::applied()?;
    scene.host.root("mkdir -m 777 /run/seen");
    scene.host.force("tee /run/seen/script | sh -s\n");
    scene.unchanged()?;
    let asked = scene.host.read("/run/seen/script").ok_or("a script")?;
    scene.host.unforce();
    let by = |shell: &str| {
        let ran = scene.host.ssh(&scene.host.ssh_destination(), &format!("{shell} -s </run/seen/script"));
        (
            ran.status.success(),
            String::from_utf8_lossy(&ran.stdout).into_owned(),
            String::from_utf8_lossy(&ran.stderr).into_owned(),
        )
    };
    let (done, expected, _) = by("sh");
    same("the answer is whole", (done, expected.contains(" end\n")), (true, true))?;
    let here =
        SHELLS.into_iter().filter(|shell| shell.split(' ').next().is_some_and(|name| peers::find(name).is_some()));
    for shell in here {
        same(shell, by(shell), (true, expected.clone(), String::new()))?;
    }
    // A script of which the connection brought a part only does nothing at all.
    let text = String::from_utf8(asked)?;
    for lines in 1..text.lines().count() {
        let part: String = text.lines().take(lines).map(|line| format!("{line}\n")).collect();
        scene.host.write("/run/seen/script", part.as_bytes());
        same("its output", by("sh").1, String::new())?;
    }
    Ok(())
}

/// As macOS and FreeBSD have them: `stat` takes `-f`, `readlink` takes nothing, and there is no `sha256sum`.
const STAT: &str = r#"#!/bin/sh
for last; do :; done
echo "$*" >>/run/seen/stat
follow=
while [ $# -gt 1 ]; do
  case $1 in
  -L) follow=-L ;;
  -f)
    case $2 in
    '%z %Lp %Su:%Sg') exec /usr/bin/stat $follow -c '%s %a %U:%G' "$last" ;;
    %Fm) exec /usr/bin/stat $follow -c %.9Y "$last" ;;
    esac
    ;;
  esac
  shift
done
echo 'stat: illegal option -- c' >&2
exit 1
"#;
const READLINK: &str = r#"#!/bin/sh
case $1 in -*) echo 'readlink: illegal option -- f' >&2; exit 1 ;; esac
exec /usr/bin/readlink "$1"
"#;
const SHA256SUM: &str = "#!/bin/sh\necho 'sha256sum: not found' >&2\nexit 127\n";
const SHASUM: &str = "#!/bin/sh\n[ \"$1 $2 $3\" = '-a 256 --' ] || exit 1\nexec /usr/bin/sha256sum -- \"$4\"\n";

fn bsd() -> Outcome {
    let scene = Scene::applied()?;
    for (name, text) in [("stat", STAT), ("readlink", READLINK), ("sha256sum", SHA256SUM), ("shasum", SHASUM)] {
        scene.host.write(&format!("/run/bsd/{name}"), text.as_bytes());
    }
    scene.host.root("chmod 755 /run/bsd /run/bsd/*");
    scene.host.root("mkdir -m 777 /run/seen");
    scene.host.force("PATH=/run/bsd:$PATH exec sh -s\n");
    scene.unchanged()?;
    let asked = String::from_utf8(scene.host.read("/run/seen/stat").ok_or("it was not asked")?)?;
    same("what stat was asked", asked.contains("-L -f %z %Lp %Su:%Sg /run/secrets/rbw/email"), true)?;
    scene.host.root("chown root /run/secrets/uniclip/password");
    same("the plan", scene.planned()?.changes, vec!["host.vm: host_drifted".to_owned()])?;
    scene.host.root("chown m /run/secrets/uniclip/password && rm /run/secrets/rbw/email");
    scene.place.run("plan").ended(0)?.says(&["rbw/email: it is not there"])?;
    Ok(())
}

/// `systemctl show -p ActiveState -p Result`, as systemd prints it.
const SYSTEMCTL: &str = "#!/bin/sh\n[ \"$1\" = show ] || exit 1\nfor unit; do :; done\ncat \"/run/units/$unit\"\n";

fn systemd() -> Outcome {
    let scene = Scene::applied()?;
    // The same system, with units in place of the snippets of its activation.
    scene.host.root(
        "out=$(readlink -f /run/current-system); cp -r $out $out-systemd; chmod u+w $out-systemd/activate
        units=$out-systemd/etc/systemd/system; mkdir -p $units
        for suffix in '' -for-users; do
          line=$(grep -o \"/nix/store/[^ ]*/sops-install-secrets .*manifest$suffix.json\" $out/activate)
          printf '[Service]\\nType=oneshot\\nExecStart=%s\\n' \"$line\" >$units/sops-install-secrets$suffix.service
        done
        sed -i /sops-install-secrets/d $out-systemd/activate
        ln -sfn $out-systemd /run/current-system",
    );
    scene.host.write("/run/bsd/systemctl", SYSTEMCTL.as_bytes());
    scene.host.root("chmod 755 /run/bsd /run/bsd/systemctl && mkdir -p /run/units");
    scene.host.force("PATH=/run/bsd:$PATH exec sh -s\n");
    let show = |unit: &str, state: &str, result: &str| {
        let text = format!("Result={result}\nActiveState={state}\n");
        scene.host.write(&format!("/run/units/{unit}.service"), text.as_bytes());
    };
    show("sops-install-secrets", "active", "success");
    show("sops-install-secrets-for-users", "active", "success");
    scene.unchanged()?;
    let failed = || same("the plan", scene.planned()?.changes, vec!["host.vm: activation_failed".to_owned()]);
    for unit in ["sops-install-secrets", "sops-install-secrets-for-users"] {
        show(unit, "failed", "exit-code");
        failed()?;
        scene.place.run("status").ended(0)?.says(&["vm: its last activation failed, and the old secrets are live"])?;
        show(unit, "active", "success");
    }
    // One that never ran tells nothing; what is there is compared all the same.
    show("sops-install-secrets", "inactive", "success");
    scene.unchanged()?;
    // It installs from another file than the dataset's.
    let file = fs::read_to_string(scene.file())?;
    fs::write(scene.file(), format!("{file}\n"))?;
    scene.place.run("status").says(&["vm behind secrets.yaml"])?;
    Ok(())
}

fn chatty() -> Outcome {
    let scene = Scene::applied()?;
    scene.host.force(
        "printf 'Welcome!\\n\\033[2J'; echo 'identity absent'; sh -s; echo 'secret 0 absent'; printf 'bye' >&2; exit 3\n",
    );
    let ran = scene.place.run("plan --detailed-exitcode").ended(0)?;
    ran.says(&["No changes."])?.hides(&["Welcome", "bye", "\u{1b}"])?;
    Ok(())
}
