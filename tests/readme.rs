//! What the README shows and says is what the program does.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Arguments, Failed, Trial};
use support::den_vm::same;
use support::peers;
use support::program::{Place, Ran};

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        peers::trial("the_plan_was_captured_from_this_program", &["script"], captured),
        Trial::test("every_command_is_told_and_no_other", commands),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

type Outcome = Result<(), Failed>;

const README: &str = include_str!("../README.md");

/// The lines of the code block behind a marker.
fn block(marker: &str) -> Vec<&'static str> {
    let (_, rest) = README.split_once(marker).unwrap_or_else(|| panic!("no {marker} in README.md"));
    rest.lines().skip_while(|line| !line.starts_with("```")).skip(1).take_while(|line| *line != "```").collect()
}

fn quickstart() -> Place {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/quickstart");
    let read = |file: &str| std::fs::read_to_string(from.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let place = Place::new(&read("secrets.manifest.yaml"));
    std::fs::write(place.repository.join("vault.yaml"), read("vault.yaml")).expect("the vault");
    place
}

/// In a terminal of a hundred columns.
fn captured() -> Outcome {
    let mut shown = block("<!-- plan: captured from manifests/quickstart -->").into_iter();
    same("the command", shown.next(), Some("$ reconcile plan"))?;
    let place = quickstart();
    let script = "stty cols 100 && exec \"$RECONCILE\" --no-color plan 2>/dev/null";
    let mut terminal = place.command(peers::find("script").ok_or("script")?);
    terminal.args(["--quiet", "--return", "--command", script, "/dev/null"]);
    let ran = Ran::from(terminal.env("RECONCILE", env!("CARGO_BIN_EXE_reconcile")).output()?).ended(0)?;
    let printed = ran.out.trim_end().lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    same("what it prints (reconcile plan, in a terminal of 100 columns)", printed, shown.collect::<Vec<_>>().join("\n"))
}

fn commands() -> Outcome {
    let help = Command::new(env!("CARGO_BIN_EXE_reconcile")).arg("--help").output()?;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let (_, commands) = help.split_once("Commands:\n").ok_or("a list of commands")?;
    let name =
        |line: &str| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()).map(str::to_owned);
    let there = commands.lines().take_while(|line| !line.is_empty()).filter_map(name).filter(|name| name != "help");
    let (_, table) = README.split_once("## Commands\n").ok_or("a table of commands")?;
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    // One row may tell of several.
    let code = rows.filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let told: BTreeSet<String> = code.filter_map(|code| code.split([' ', '[']).next().map(str::to_owned)).collect();
    same("the table", told, there.collect())
}
