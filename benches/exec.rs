//! What it costs to run a program with its secret, beside `rbw get NAME` in the same run; and what `shell-init` costs the
//! start of a shell. `cargo bench --bench exec`; the real rbw, a server on the loopback interface with 1,000 items.

#[allow(dead_code, reason = "it uses its part of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::bitwarden::Item;
use support::bitwarden::rbw;
use support::launch::{rbw_manifest, with_rbw};
use support::peers;
use support::program::Place;
use support::shells::{SHELLS, Shell};

const ITEMS: usize = 1000;
const ROUNDS: usize = 25;
/// How often a shell evaluates the functions, so that its own start does not hide what that takes.
const EVALUATIONS: u32 = 50;

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if let Some(missing) = rbw::NEEDS.iter().find(|need| peers::find(need).is_none()) {
        println!("{missing} is not there: run tests/peers/install");
        return;
    }
    let others = (0..ITEMS - 1).map(|number| Item::login(&format!("item-{number}"), "someone", "value"));
    let items = others.chain([Item::login("github-token", "someone", "ghp_1")]);
    let (place, _account, server) = with_rbw(&rbw_manifest("never"), items);
    let id = server.items().into_iter().find(|(_, item)| item.name == "github-token").expect("the item").0;
    exec(&place, &id);
    for shell in SHELLS.into_iter().filter(|shell| peers::find(shell.name()).is_some()) {
        shell_init(&place, shell);
    }
}

fn exec(place: &Place, id: &str) {
    let by_id = ["rbw", "get", id];
    let calls: [(&str, &[&str]); 4] = [
        ("true", &["true"]),
        ("rbw get NAME", &["rbw", "get", "github-token"]),
        ("rbw get UUID", &by_id),
        ("reconcile exec github-token -- true", &["reconcile", "exec", "github-token", "--", "true"]),
    ];
    let mut took = calls.map(|_| Vec::new());
    // One after the other in each round: what else the machine does hits all of them. The first is not counted.
    for round in 0..=ROUNDS {
        for ((_, call), took) in calls.iter().zip(&mut took) {
            let time = timed(&mut command(place, call));
            if round > 0 {
                took.push(time);
            }
        }
    }
    let [alone, name, uuid, ours] = took.map(median);
    println!("{ITEMS} items, medians of {ROUNDS} rounds");
    for ((what, _), time) in calls.iter().zip([alone, name, uuid, ours]) {
        println!("  {what:<36} {:8.2} ms", milliseconds(time));
    }
    let over = ours.saturating_sub(alone);
    let share = name.as_secs_f64() / over.as_secs_f64();
    println!("  exec adds {:.2} ms: 1/{share:.1} of rbw get NAME (wanted: 1/20)", milliseconds(over));
}

fn shell_init(place: &Place, shell: Shell) {
    let init = ["reconcile", "shell-init", shell.name()];
    let printed = command(place, &init).stdout(Stdio::piped()).output().expect("it runs").stdout;
    std::fs::write(place.home.join("functions"), printed).expect("a file");
    let line = match shell {
        Shell::Fish => "source $HOME/functions\n",
        _ => "eval \"$(<\"$HOME/functions\")\"\n",
    };
    let (mut with, mut without, mut printing) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let script = |times: u32| line.repeat(times as usize);
        with.push(timed(&mut shell.command(place, &script(EVALUATIONS), &[] as &[&str])));
        without.push(timed(&mut shell.command(place, "true", &[] as &[&str])));
        printing.push(timed(&mut command(place, &init)));
    }
    let evaluation = median(with).saturating_sub(median(without)) / EVALUATIONS;
    let (evaluation, printing) = (milliseconds(evaluation), milliseconds(median(printing)));
    println!(
        "{:<5} evaluates the functions in {evaluation:.2} ms (wanted: 5); printing them takes {printing:.2} ms",
        shell.name()
    );
}

fn command(place: &Place, call: &[&str]) -> Command {
    let mut command = place.command(call[0]);
    command.args(&call[1..]);
    command
}

fn timed(command: &mut Command) -> Duration {
    command.stdout(Stdio::null());
    let began = Instant::now();
    let status = command.status().expect("it runs");
    let took = began.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
