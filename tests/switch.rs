//! Switches as they go right and wrong: of several hosts by one command or at once, with what a failed one leaves, and
//! what a command is given. Hosts are reached by ssh, and install with the real sops-install-secrets.

mod support;

use std::collections::BTreeSet;
use std::fs;

use libtest_mimic::{Arguments, Failed, Trial};
use support::fleet::{Fleet, NEEDS, ONE, SEVERAL, log_in, record_restarts, restarts, until};
use support::host::{Options, Switching};
use support::peers;
use support::program::{Place, Ran};
use support::shells::{Prompt, Shell};

type Outcome = Result<(), Failed>;

fn main() {
    let arguments = Arguments::from_args();
    let trial = |name: &str, test: fn() -> Outcome| -> Trial { peers::trial(name, NEEDS, test) };
    let trials = vec![
        trial("hosts_that_one_command_takes_are_switched_by_one", together),
        trial("a_host_of_a_group_that_fails_hides_no_other", one_of_a_group_fails),
        trial("several_switches_run_at_once_and_their_lines_are_told_apart", at_once),
        trial("no_more_switches_run_at_once_than_are_allowed", at_most),
        trial("one_of_several_at_once_that_fails_hides_no_other", one_at_once_fails),
        trial("a_switch_gets_a_listed_environment_and_its_output_a_heading", environment),
        trial("a_switch_that_ends_well_and_changed_nothing_is_caught", nothing_changed),
        trial("a_switch_that_fails_half_way_is_told_and_finished_later", half_way),
        trial("an_activation_that_failed_is_told_with_the_old_secrets_live", activation_failed),
        trial("a_connection_that_drops_during_a_switch_is_told", dropped),
        trial("an_interrupt_during_a_switch_lets_it_end_and_begins_nothing", interrupted),
        trial("a_host_that_does_not_see_its_file_yet_is_not_switched", lagging),
        trial("nixos_rebuild_is_told_hosts_and_inputs", rebuilt),
        trial("nixos_rebuild_builds_a_wrapper_where_inputs_are_handed_over", rebuilt_by_wrapper),
        peers::trial("the_wrapper_flake_is_one_that_nix_evaluates", &["nix", "nix-instantiate"], wrapper_flake),
        peers::trial("one_switch_at_a_time_has_the_terminal", &[NEEDS, &["tmux"]].concat(), terminal),
        trial("units_of_users_restart_when_their_secret_changed", user_units),
        trial("units_that_do_not_restart_are_told_and_undo_nothing", user_units_fail),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Outcome {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?}, expected {expected:?}").into()) }
}

const WEB: [(&str, &str); 3] = [("db", ONE), ("web-1", SEVERAL), ("web-2", SEVERAL)];
const THREE: [(&str, &str); 3] = [("a", ONE), ("b", ONE), ("c", ONE)];

fn together() -> Outcome {
    let fleet = Fleet::new(&WEB);
    let plan = fleet.place.run("plan").ended(0)?;
    plan.says(&[
        "3 hosts to switch",
        "./colmena apply --on web-1,web-2",
        "switch db · switch web-1, web-2 · verify db, web-1, web-2",
        "# host.web-1, host.web-2 will be switched: what it installs from changes\n  > web-1, web-2",
    ])?;
    fleet.place.run("apply --auto-approve").ended(0)?.says(&["── switch web-1, web-2", "web-2 runs "])?;
    same("calls", fleet.lines("colmena.calls"), vec!["apply --on web-1,web-2".to_owned()])?;
    same("calls", fleet.lines("switch.calls"), vec!["db".to_owned()])?;
    fleet.place.run("doctor").ended(0)?.says(&["✓ switch", "by ./colmena, bash"])?;
    for host in fleet.hosts.values() {
        same("its secret", host.read("/run/secrets/session"), Some(b"session-1".to_vec()))?;
        let attributes = host.stat("/run/secrets-for-users/hash");
        same("what users need", attributes, Some("root root 400 9".to_owned()))?;
    }
    let given: BTreeSet<String> =
        fleet.lines("colmena.env").into_iter().filter(|one| one.starts_with("RECONCILE_")).collect();
    let dataset = fleet.dataset.display();
    let expected = [
        "RECONCILE_HOSTS=web-1 web-2".to_owned(),
        format!("RECONCILE_DATASET={dataset}"),
        format!("RECONCILE_SOPS_FILE={dataset}/secrets.yaml"),
    ];
    same("given", given, expected.into())?;
    fleet.unchanged()?;
    // One of them is behind: the command for several takes it alone.
    fleet.hosts["web-2"].root("chmod 444 /run/secrets/session");
    same("the plan", fleet.planned()?, vec!["host.web-2: host_drifted".to_owned()])?;
    fleet.place.run("apply --auto-approve").ended(0)?;
    same("calls", fleet.lines("colmena.calls").last().cloned(), Some("apply --on web-2".to_owned()))?;
    fleet.unchanged()?;
    // One that is off is blocked, and holds no other.
    fleet.set("session", "session-22");
    fleet.hosts["web-1"].stop();
    fleet.place.run("apply --auto-approve").ended(1)?.says(&[
        "host.web-1",
        "connection refused",
        "Applied in part: 1 blocked",
    ])?;
    same("calls", fleet.lines("colmena.calls").last().cloned(), Some("apply --on web-2".to_owned()))?;
    same("its secret", fleet.hosts["web-2"].read("/run/secrets/session"), Some(b"session-22".to_vec()))?;
    fleet.hosts["web-1"].power_on();
    same("the plan", fleet.planned()?, vec!["host.web-1: host_behind".to_owned()])?;
    // Left as they are on request.
    fleet
        .place
        .run("apply --auto-approve --no-switch")
        .ended(0)?
        .says(&["host.web-1 is not switched (--no-switch)"])?;
    same("the plan", fleet.planned()?, vec!["host.web-1: host_behind".to_owned()])?;
    fleet.place.run("apply --auto-approve").ended(0)?;
    fleet.unchanged().map(drop)
}

fn one_of_a_group_fails() -> Outcome {
    let mut fleet = Fleet::applied(&WEB)?;
    fleet.set("session", "session-22");
    fleet.host("web-1").set_switching(Switching::Refuses);
    let ran = fleet.place.run("apply --auto-approve").ended(1)?.says(&[
        "✗ switch web-1, web-2: host.web-1, host.web-2: ./colmena ended with code 1",
        "→ ./colmena apply --on web-1,web-2",
        "✓ verify db",
        "✗ verify web-1: host.web-1: it still installs from an older file",
        "✓ verify web-2",
        "db runs ",
        "web-2 runs ",
    ])?;
    ran.hides(&["web-1 runs"])?;
    same("the plan", fleet.planned()?, vec!["host.web-1: host_behind".to_owned()])?;
    fleet.host("web-1").set_switching(Switching::Works);
    fleet.place.run("apply --auto-approve").ended(0)?;
    fleet.unchanged().map(drop)
}

/// Each says that it is there, waits for the others, and goes on: it ends only when all run at the same time.
const MEETING: &str = "touch \"$HOME/here-$1\"; echo \"waiting on $1\"
tries=0
until [ -e \"$HOME/here-a\" ] && [ -e \"$HOME/here-b\" ] && [ -e \"$HOME/here-c\" ]; do
  tries=$((tries + 1)); [ $tries -lt 600 ] || exit 9; sleep 0.1
done
echo \"met on $1\"; exec bash \"switch-$1.sh\"
";

fn at_once() -> Outcome {
    let fleet = Fleet::new(&THREE);
    fleet.script("switch.sh", MEETING);
    let ran = fleet.place.run("apply --auto-approve --parallelism 3").ended(0)?;
    let ran = ran.says(&["  a │ waiting on a\n", "  b │ waiting on b\n", "  c │ met on c\n", "✓ switch b"])?;
    ran.hides(&["── switch"])?;
    fleet.unchanged()?;
    // The manifest may allow it, and the command line has the last word.
    for name in ["a", "b", "c"] {
        fs::remove_file(fleet.place.home.join(format!("here-{name}")))?;
    }
    fleet.set("session", "session-22");
    fleet.place.edit_manifest("name: fleet\n", "name: fleet\nparallelism: 4\n");
    let lines = fleet.place.run("apply --auto-approve --json").ended(0)?.json()?;
    let begun: Vec<&str> = lines.iter().filter_map(|line| line["type"].as_str()).collect();
    let kinds = begun.iter().copied().filter(|kind| ["apply_start", "apply_complete"].contains(kind));
    let tail: Vec<&str> = kinds.rev().take(12).collect();
    same("three that are looked at", &tail[3..6], &["apply_start"; 3])?;
    same("three switches", &tail[9..12], &["apply_start"; 3])?;
    fleet.unchanged().map(drop)
}

/// Each writes down how many run with it.
const COUNTING: &str = "mkdir -p \"$HOME/running\"; touch \"$HOME/running/$1\"
ls \"$HOME/running\" | wc -l >>\"$HOME/counted\"
bash \"switch-$1.sh\"; status=$?
ls \"$HOME/running\" | wc -l >>\"$HOME/counted\"
rm \"$HOME/running/$1\"; exit $status
";

fn at_most() -> Outcome {
    let fleet = Fleet::new(&[("a", ONE), ("b", ONE), ("c", ONE), ("d", ONE)]);
    fleet.script("switch.sh", COUNTING);
    let counted = |expected: usize| {
        let most = fleet.lines("counted").iter().filter_map(|line| line.trim().parse::<usize>().ok()).max();
        same("at once", most, Some(expected))
    };
    fleet.place.run("apply --auto-approve").ended(0)?.says(&["── switch a\n", "── switch d\n"])?;
    counted(1)?;
    fleet.set("session", "session-22");
    fleet.place.run("apply --auto-approve --parallelism 2").ended(0)?;
    counted(2)?;
    let wrong = fleet.place.run("apply --auto-approve --parallelism 0").ended(1)?;
    wrong.says(&["--parallelism"])?;
    fleet.unchanged().map(drop)
}

fn one_at_once_fails() -> Outcome {
    let mut fleet = Fleet::applied(&THREE)?;
    fleet.set("session", "session-22");
    fleet.host("b").set_switching(Switching::Refuses);
    fleet.place.run("apply --auto-approve --parallelism 3").ended(1)?.says(&[
        "  b │ error: the option `sops.secrets' does not exist",
        "✗ switch b: host.b: bash ended with code 1: error: the option `sops.secrets' does not exist",
        "✓ switch a",
        "✓ switch c",
        "✓ verify a",
        "✗ verify b",
        "✓ verify c",
    ])?;
    same("the plan", fleet.planned()?, vec!["host.b: host_behind".to_owned()])?;
    fleet.host("b").set_switching(Switching::Works);
    fleet.place.run("apply --auto-approve").ended(0)?;
    fleet.unchanged().map(drop)
}

fn environment() -> Outcome {
    let mut fleet = Fleet::new(&[("vm", ONE)]);
    for (name, value) in [
        ("BW_SESSION", "c4nary"),
        ("AWS_SECRET_ACCESS_KEY", "c4nary"),
        ("LD_LIBRARY_PATH", "/c4nary"),
        ("SOPS_AGE_KEY", "c4nary"),
        ("RECONCILE_ANYTHING", "c4nary"),
        ("NIX_SSHOPTS", "-o LogLevel=ERROR"),
        ("LC_ALL", "C"),
    ] {
        fleet.place.variables.insert(name.to_owned(), value.into());
    }
    let ran = fleet.place.run("apply --auto-approve").ended(0)?;
    let heading = ran.err.find("── switch vm\n").ok_or_else(|| format!("no heading: {}", ran.all()))?;
    same("under it", ran.err[heading..].contains("  │ building the system configuration..."), true)?;
    let environment = fleet.lines("switch.env");
    let text = environment.join("\n");
    same("what is not listed", text.contains("c4nary"), false)?;
    for (name, value) in [
        ("RECONCILE_HOST", "vm".to_owned()),
        ("RECONCILE_HOSTS", "vm".to_owned()),
        ("RECONCILE_DATASET", fleet.dataset.display().to_string()),
        ("RECONCILE_SOPS_FILE", fleet.dataset.join("secrets.yaml").display().to_string()),
        ("NIX_SSHOPTS", "-o LogLevel=ERROR".to_owned()),
        ("LC_ALL", "C".to_owned()),
        ("PWD", fleet.place.repository.display().to_string()),
    ] {
        same(name, environment.contains(&format!("{name}={value}")), true)?;
    }
    // Nothing of a value either.
    same("a value", text.contains("session-1"), false)
}

fn nothing_changed() -> Outcome {
    let mut fleet = Fleet::applied(&[("vm", ONE)])?;
    fleet.set("session", "session-22");
    fleet.host("vm").set_switching(Switching::DoesNothing);
    let ran = fleet.place.run("apply --auto-approve").ended(1)?;
    ran.says(&[
        "✓ switch vm",
        "✗ verify vm: host.vm: the switch ended well, and the host still installs from an older file",
        "→ reconcile plan",
    ])?;
    same("the plan", fleet.planned()?, vec!["host.vm: host_behind".to_owned()])?;
    fleet.host("vm").set_switching(Switching::Works);
    fleet.place.run("apply --auto-approve").ended(0)?;
    fleet.unchanged().map(drop)
}

fn half_way() -> Outcome {
    let mut fleet = Fleet::applied(&[("vm", ONE)])?;
    fleet.set("session", "session-22");
    fleet.host("vm").set_switching(Switching::Refuses);
    let system = fleet.host("vm").system();
    fleet.place.run("apply --auto-approve").ended(1)?.says(&[
        "✓ encrypt secrets.yaml",
        "✗ switch vm: host.vm: bash ended with code 1: error: the option `sops.secrets' does not exist",
        "→ bash switch.sh vm",
        "✗ verify vm: host.vm: it still installs from an older file",
        "Nothing is rolled back; `reconcile plan` shows what is left.",
    ])?;
    same("the system", fleet.host("vm").system(), system)?;
    same("what is live", fleet.host("vm").read("/run/secrets/session"), Some(b"session-1".to_vec()))?;
    // A program that is not there, and one that is ended by a signal.
    fleet.script("switch.sh", "kill -9 $$\n");
    fleet.place.run("apply --auto-approve").ended(1)?.says(&["✗ switch vm: host.vm: bash was ended by a signal"])?;
    fleet.place.edit_manifest("[bash, switch.sh, \"{host}\"]", "[./no-such, \"{host}\"]");
    fleet.place.run("apply --auto-approve").ended(1)?.says(&["✗ switch vm: host.vm: ./no-such is not installed"])?;
    fleet.place.run("doctor").ended(1)?.says(&["✗ switch", "./no-such cannot be run"])?;
    fleet.place.edit_manifest("[./no-such, \"{host}\"]", "[bash, switch-vm.sh]");
    fleet.host("vm").set_switching(Switching::Works);
    fleet.place.run("apply --auto-approve").ended(0)?;
    fleet.unchanged().map(drop)
}

fn activation_failed() -> Outcome {
    let mut fleet = Fleet::applied(&[("vm", ONE)])?;
    fleet.set("session", "session-22");
    fleet.host("vm").set_switching(Switching::ActivationFails);
    let (system, generation) = (fleet.host("vm").system(), fleet.host("vm").generation());
    fleet.place.run("apply --auto-approve").ended(1)?.says(&[
        "✗ switch vm: host.vm: bash ended with code 1",
        "✗ verify vm: host.vm: its activation failed: the old secrets are live",
    ])?;
    same("the system moved", fleet.host("vm").system() != system, true)?;
    same("the generation", fleet.host("vm").generation(), generation)?;
    fleet.place.run("plan").ended(0)?.says(&["its last activation failed, and the old secrets are live"])?;
    fleet.host("vm").set_switching(Switching::Works);
    fleet.place.run("apply --auto-approve").ended(0)?;
    same("what is live", fleet.host("vm").read("/run/secrets/session"), Some(b"session-22".to_vec()))?;
    fleet.unchanged().map(drop)
}

fn dropped() -> Outcome {
    let fleet = Fleet::applied(&[("vm", ONE)])?;
    fleet.set("session", "session-22");
    // The connection stands until it is cut.
    let ssh = "exec ssh -o BatchMode=yes -- root@vm 'echo connected; exec sleep 600'\n";
    fleet.script("switch.sh", &format!("touch \"$HOME/begun\"\n{ssh}"));
    let running = fleet.begin("apply --auto-approve");
    until("the switch begins", || fleet.place.home.join("begun").exists())?;
    until("it is connected", || !fleet.hosts["vm"].root("pgrep -f '[s]leep 600' || true").is_empty())?;
    fleet.hosts["vm"].stop();
    running
        .end()?
        .ended(1)?
        .says(&["✗ switch vm: host.vm: bash ended with code 255", "✗ verify vm: host.vm: unreachable"])?;
    fleet.hosts["vm"].power_on();
    same("the plan", fleet.planned()?, vec!["host.vm: host_behind".to_owned()])?;
    fleet.script("switch.sh", "exec bash \"switch-$1.sh\"\n");
    fleet.place.run("apply --auto-approve").ended(0)?;
    fleet.unchanged().map(drop)
}

fn interrupted() -> Outcome {
    let fleet = Fleet::applied(&[("a", ONE), ("b", ONE)])?;
    fleet.set("session", "session-22");
    let waits = "touch \"$HOME/begun\"; until [ -e \"$HOME/go\" ]; do sleep 0.05; done; exec bash \"switch-$1.sh\"\n";
    fleet.script("switch.sh", waits);
    for signal in ["INT", "TERM"] {
        for file in ["begun", "go"] {
            let _ = fs::remove_file(fleet.place.home.join(file));
        }
        let mut running = fleet.begin("apply --auto-approve");
        until("the switch begins", || fleet.place.home.join("begun").exists())?;
        let kill =
            std::process::Command::new("kill").args([&format!("-{signal}"), &running.id().to_string()]).status()?;
        same("it was sent", kill.success(), true)?;
        running.says("Interrupted")?;
        fs::write(fleet.place.home.join("go"), "")?;
        running.end()?.ended(1)?.says(&["✓ switch", "(not begun)", "Apply interrupted"])?;
    }
    // The first interrupt let a be switched, the second b. Nothing is left but that it was never looked at.
    same("a", fleet.hosts["a"].read("/run/secrets/session"), Some(b"session-22".to_vec()))?;
    fleet.place.run("apply --auto-approve").ended(0)?;
    fleet.unchanged().map(drop)
}

fn lagging() -> Outcome {
    let fleet = Fleet::applied(&[("a", ONE)])?;
    fleet.set("session", "session-22");
    // What the host sees is not what was written.
    fleet.hosts["a"].root("cp -r /nixos-generated /older && mount --bind /older /nixos-generated");
    let running = fleet.begin("apply --auto-approve");
    let file = fleet.dataset.join("secrets.yaml");
    let old = fs::read(&file)?;
    until("the file is written", || fs::read(&file).is_ok_and(|new| new != old))?;
    same("switches", fleet.hosts["a"].switches(), 1)?;
    fleet.hosts["a"].root("umount /nixos-generated");
    running.end()?.ended(0)?.says(&["✓ switch a", "✓ verify a"])?;
    fleet.unchanged().map(drop)
}

/// Writes down what it is told, keeps the flake that it would build, and switches the host.
const NIXOS_REBUILD: &str = "#!/bin/sh
printf '%s\\n' \"$@\" >\"$HOME/rebuild.words\"; env >\"$HOME/rebuild.env\"
case $3 in path:*) flake=${3#path:}; flake=${flake%%#*}; cp \"$flake/flake.nix\" \"$HOME/\"; echo \"$flake\" >\"$HOME/wrapper\" ;; esac
[ ! -e \"$HOME/refuse\" ] || { echo 'error: attribute missing' >&2; exit 1; }
exec bash switch-vm.sh
";

/// A host that `nixos-rebuild` switches, with these settings of it.
fn rebuilding(settings: &str) -> Fleet {
    let mut fleet = Fleet::new(&[("vm", ONE)]);
    fleet.place.edit_manifest(&format!("{{command: {ONE}}}"), &format!("{{nixos_rebuild: {settings}}}"));
    fleet.script("bin/nixos-rebuild", NIXOS_REBUILD);
    let before = fleet.place.variables["PATH"].clone();
    let entries = std::iter::once(fleet.place.repository.join("bin")).chain(std::env::split_paths(&before));
    let path = std::env::join_paths(entries).expect("a PATH");
    fleet.place.variables.insert("PATH".to_owned(), path);
    fleet.place.variables.insert("BUILDER".to_owned(), "builder.example".into());
    fleet
}

fn rebuilt() -> Outcome {
    let fleet = rebuilding(
        "{flake: \".#vm\", inputs: {generated: dataset, a/b: ../b, nixpkgs: \"github:NixOS/nixpkgs\"}, \
         target_host: m@vm, build_host: \"m@$BUILDER\", options: [--no-reexec]}",
    );
    fleet.place.run("plan").ended(0)?.says(&["> vm", "nixos-rebuild switch --flake .#vm\n"])?;
    fleet.place.run("apply --auto-approve").ended(0)?;
    let dataset = format!("path:{}", fleet.dataset.display());
    let b = format!("path:{}", fleet.place.repository.join("../b").display());
    #[rustfmt::skip]
    let expected = [
        "switch", "--flake", ".#vm", "--no-write-lock-file",
        "--override-input", "a/b", &b, "--override-input", "generated", &dataset,
        "--override-input", "nixpkgs", "github:NixOS/nixpkgs",
        "--target-host", "m@vm", "--build-host", "m@builder.example", "--sudo", "--no-reexec",
    ];
    same("told", fleet.lines("rebuild.words"), expected.map(str::to_owned).to_vec())?;
    let environment = fleet.lines("rebuild.env");
    same("its host", environment.contains(&"RECONCILE_HOST=vm".to_owned()), true)?;
    same("its place", environment.contains(&format!("PWD={}", fleet.place.repository.display())), true)?;
    fleet.unchanged().map(drop)
}

fn rebuilt_by_wrapper() -> Outcome {
    let fleet = rebuilding("{flake: \".#vm\", wrap: lib.mkOutputs, inputs: {generated: dataset}, target_host: m@vm}");
    fleet.place.run("apply --auto-approve").ended(0)?;
    let wrapper = fleet.lines("wrapper").pop().ok_or("a wrapper")?;
    let expected =
        ["switch", "--flake", &format!("path:{wrapper}#vm"), "--no-write-lock-file", "--target-host", "m@vm", "--sudo"]
            .map(str::to_owned);
    same("told", fleet.lines("rebuild.words"), expected.to_vec())?;
    same("it is gone", std::path::Path::new(&wrapper).exists(), false)?;
    let built = fs::read_to_string(fleet.place.home.join("flake.nix"))?;
    same("as it is printed", fleet.place.run("wrapper-flake").ended(0)?.out, built.clone())?;
    same("as it is printed", fleet.place.run("wrapper-flake vm").ended(0)?.out, built)?;
    fleet.unchanged()?;
    // What a person runs when it failed makes the wrapper anew.
    fleet.set("session", "session-22");
    fs::write(fleet.place.home.join("refuse"), "")?;
    fleet.place.run("apply --auto-approve").ended(1)?.says(&[
        "✗ switch vm: host.vm: nixos-rebuild ended with code 1: error: attribute missing",
        "→ WRAPPER=$(mktemp -d); reconcile wrapper-flake vm >$WRAPPER/flake.nix; nixos-rebuild switch --flake path:$WRAPPER#vm",
    ])?;
    let gone = fleet.lines("wrapper").pop().ok_or("a wrapper")?;
    same("it is gone", std::path::Path::new(&gone).exists(), false)
}

/// What the configuration of the existing wiring exports, as far as a wrapper sees it.
const CONFIGURATION: &str = "{
  outputs = { self }: {
    lib.mkOutputs = { generated, yeet ? { name = \"nothing\"; }, ... }: {
      nixosConfigurations.vm = \"${builtins.readFile \"${generated}/secrets.yaml\"} and ${yeet.name}\";
    };
  };
}
";

fn wrapper_flake() -> Outcome {
    let place = Place::new(
        "version: 1\nname: wrapped\nvault: {file: {path: vault.yaml}}\ndataset: {path: \"../data set #1\"}\n\
         hosts:\n  vm: {local: {}, recipient: {ssh_host_key: {}}, switch: {command: [vm.sh]}}\nsecrets: {}\n",
    );
    let beside = |name: &str| place.repository.join("..").join(name);
    for (name, file, text) in [
        ("data set #1", "secrets.yaml", "the file"),
        ("repository", "flake.nix", CONFIGURATION),
        ("yeet", "flake.nix", "{ outputs = _: { name = \"yeet\"; }; }"),
    ] {
        fs::create_dir_all(beside(name))?;
        fs::write(beside(name).join(file), text)?;
    }
    let evaluated = |arguments: &str| -> Result<String, Failed> {
        let text = place.run(&format!("wrapper-flake {arguments}")).ended(0)?.out;
        let directory = place.home.join("wrapper");
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("flake.nix"), text)?;
        let nix = |program: &str, words: &[&str]| {
            let mut command = place.command(program);
            // A store of its own: neither a daemon nor /nix is needed, and nothing is left behind.
            for (name, below) in [("NIX_STATE_DIR", "state"), ("NIX_LOG_DIR", "log"), ("NIX_CONF_DIR", "conf")] {
                command.env(name, place.home.join(below));
            }
            let config = "experimental-features = nix-command flakes\nbuild-users-group =\nflake-registry =\n";
            command.env("NIX_CONFIG", config).args(words).output()
        };
        let file = directory.join("flake.nix").display().to_string();
        Ran::from(nix("nix-instantiate", &["--parse", &file])?).ended(0)?;
        let store = place.home.join("store").display().to_string();
        let system = format!("path:{}#nixosConfigurations.vm", directory.display());
        let words = ["--store", &store, "eval", "--raw", "--offline", "--no-write-lock-file", &system];
        Ok(Ran::from(nix("nix", &words)?).ended(0)?.out)
    };
    same("as it is used most", evaluated("")?.as_str(), "the file and nothing")?;
    let all = "--flake . --input generated=dataset --input yeet=../yeet --input with=dataset --function lib.mkOutputs";
    same("with a flake as well, and a keyword", evaluated(all)?.as_str(), "the file and yeet")?;
    place.run("wrapper-flake vm").ended(1)?.says(&["host.vm has no `nixos_rebuild: {wrap: …}`", "--flake"])?;
    place.run("wrapper-flake --input a/b=dataset").ended(1)?.says(&["--input a/b"])?;
    place.run("wrapper-flake --function a..b").ended(1)?.says(&["--function a..b"]).map(drop)
}

/// Asks as `ssh -t` does for sudo's password, where there is a terminal.
const ASKING: &str = "if [ -t 0 ] && [ -t 1 ] && [ -t 2 ]; then read -r -p 'password? ' word; else word=none; fi
echo \"$1 $word\" >>\"$HOME/words\"; exec bash \"switch-$1.sh\"
";

fn terminal() -> Outcome {
    let fleet = Fleet::new(&[("a", ONE), ("b", ONE)]);
    fleet.script("switch.sh", ASKING);
    let reconcile = env!("CARGO_BIN_EXE_reconcile");
    let prompt = Prompt::start(&fleet.place, Shell::Bash, "PS1='> '\n")?;
    let shown = |words: &str| -> Outcome {
        let shown = until(words, || prompt.screen().is_ok_and(|screen| screen.contains(words)));
        shown.map_err(|_| format!("no {words:?} on\n{}", prompt.screen().unwrap_or_default()).into())
    };
    prompt.line(&format!("clear; {reconcile} apply"))?;
    shown("Enter a value:")?;
    prompt.line("yes")?;
    // Each has the terminal under its heading, one after the other.
    for (host, word) in [("a", "first"), ("b", "second")] {
        shown(&format!("── switch {host}\npassword?"))?;
        prompt.line(word)?;
    }
    shown("Apply complete!")?;
    same("answered", fleet.lines("words"), vec!["a first".to_owned(), "b second".to_owned()])?;
    // Two at once have none: nobody would know which of them asks.
    fleet.set("session", "session-22");
    let command = format!("clear; {reconcile} apply --auto-approve --parallelism 2");
    same("its code", prompt.code_of(&command)?.as_str(), "0")?;
    let mut words = fleet.lines("words").split_off(2);
    words.sort();
    same("without a terminal", words, vec!["a none".to_owned(), "b none".to_owned()])?;
    shown("  b │ activating the configuration...")?;
    fleet.unchanged()?;
    // Ctrl-C reaches the command as well as the program, which says what is left.
    fleet.set("session", "session-333");
    fleet.script("switch.sh", "echo waiting; exec sleep 600\n");
    prompt.line(&format!("clear; {reconcile} apply --auto-approve"))?;
    shown("waiting")?;
    prompt.key("C-c")?;
    shown("Apply interrupted")?;
    same("its code", prompt.code()?.as_str(), "1")?;
    shown("✗ switch a: host.a: bash was ended by a signal")?;
    fleet.script("switch.sh", "exec bash \"switch-$1.sh\"\n");
    same("what is left", fleet.planned()?, vec!["host.a: host_behind".to_owned(), "host.b: host_behind".to_owned()])?;
    fleet.place.run("apply --auto-approve").ended(0)?;
    fleet.unchanged().map(drop)
}

fn user_units() -> Outcome {
    let options = Options { users: vec!["postgres".to_owned()], ..Options::default() };
    let fleet = Fleet::with(&[("vm", ONE)], options);
    let vm = &fleet.hosts["vm"];
    record_restarts(vm);
    // Nobody is logged in: what begins later begins with the new value.
    let first = fleet.place.run("apply --auto-approve").ended(0)?;
    first.says(&["then restarts uniclip.service of m", "✓ restart 1 user unit on vm", "m not logged in"])?;
    same("restarts", restarts(vm), vec![])?;
    fleet.unchanged()?;
    log_in(vm, "m");
    fleet.set("session", "session-22");
    fleet.place.run("apply --auto-approve").ended(0)?.hides(&["uniclip.service", "user unit"])?;
    same("of another secret", restarts(vm), vec![])?;
    fleet.set("clip", "clip-22");
    fleet.place.run("plan").ended(0)?.says(&["then restarts uniclip.service of m", "restart 1 user unit on vm"])?;
    fleet.place.run("apply --auto-approve").ended(0)?.says(&["✓ restart 1 user unit on vm"])?;
    same("restarts", restarts(vm), vec!["m /run/user/1000 --user restart -- uniclip.service".to_owned()])?;
    fleet.unchanged()?;
    // Those of another user go by root, when their host is brought up to date.
    fleet.place.edit_manifest("{m: [uniclip.service]}", "{m: [uniclip.service], postgres: [backup.service]}");
    log_in(vm, "postgres");
    fleet.set("clip", "clip-333");
    fleet.place.run("apply --auto-approve --no-switch").ended(0)?;
    same("without a switch", restarts(vm), vec![])?;
    fleet.place.run("apply --auto-approve").ended(0)?;
    let expected = [
        "m /run/user/1000 --user restart -- uniclip.service",
        "root  --user --machine=postgres@.host restart -- backup.service",
    ];
    same("restarts", restarts(vm), expected.map(str::to_owned).to_vec())?;
    fleet.unchanged().map(drop)
}

fn user_units_fail() -> Outcome {
    let options = Options { users: vec!["postgres".to_owned()], ..Options::default() };
    let fleet = Fleet::with(&[("vm", ONE)], options);
    let vm = &fleet.hosts["vm"];
    record_restarts(vm);
    log_in(vm, "m");
    fleet.place.run("apply --auto-approve").ended(0)?;
    fleet.set("clip", "clip-22");
    vm.root("touch /run/nixos/units-fail");
    fleet.place.run("apply --auto-approve").ended(1)?.says(&[
        "✓ verify vm",
        "✗ restart 1 user unit on vm: host.vm: uniclip.service of m: Job for uniclip.service failed.",
        "→ ssh -t m@vm 'sudo systemctl --user --machine=m@.host status uniclip.service'",
        "vm runs ",
    ])?;
    same("what is live", vm.read("/run/secrets/clip"), Some(b"clip-22".to_vec()))?;
    // It is left to do, and nothing is switched for it.
    same("the plan", fleet.planned()?, vec!["host.vm: units_behind".to_owned()])?;
    let plan = fleet.place.run("plan --detailed-exitcode").ended(2)?;
    plan.says(&[
        "# host.vm has units to restart: they were not restarted since clip changed there",
        "* vm   uniclip.service of m",
        "Plan: 0 to add, 0 to change, 0 to destroy. 1 host with units to restart.",
    ])?;
    let switches = vm.switches();
    vm.root("rm /run/nixos/units-fail");
    restarts(vm);
    fleet.place.run("apply --auto-approve").ended(0)?.says(&["✓ restart 1 user unit on vm"])?;
    same("restarts", restarts(vm).len(), 1)?;
    same("switches", vm.switches(), switches)?;
    fleet.unchanged()?;
    // Those of another user, without root.
    fleet.place.edit_manifest("{m: [uniclip.service]}", "{m: [uniclip.service], postgres: [backup.service]}");
    fleet.place.edit_manifest("    become: sudo\n", "");
    log_in(vm, "postgres");
    fleet.set("clip", "clip-333");
    let ran = fleet.place.run("apply --auto-approve").ended(1)?;
    ran.says(&["✗ restart 2 user units on vm: host.vm: the units of postgres are another user's", "→ `become: sudo`"])?;
    same("the plan", fleet.planned()?, vec!["host.vm: units_behind".to_owned()])
}
