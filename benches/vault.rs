//! What the vault costs: the real rbw and its agent, asked by name, by id and by us, side by side in one run.
//!
//! ```sh
//! cargo bench --bench vault             # 10, 100, 1,000 and 5,000 items
//! cargo bench --bench vault -- 1000     # one of them
//! ```
//! A server on the loopback interface is logged in to. `rbw get NAME` takes long in a large vault: a few are timed, and
//! what 8 and 100 would take is that times as many.

#[allow(dead_code, reason = "it uses its part of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reconcile::manifest::{self, ItemField, ItemRef, Surroundings, Unlock};
use reconcile::tools::together;
use reconcile::tools::vault::Vault;
use support::bitwarden::rbw::{self, Account};
use support::bitwarden::{Item, Server};
use support::peers;
use support::program::Place;

const ROUNDS: usize = 9;
/// How many secrets are wanted.
const WANTED: [usize; 2] = [8, 100];

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    if let Some(missing) = rbw::NEEDS.iter().find(|need| peers::find(need).is_none()) {
        println!("{missing} is not there: run tests/peers/install");
        return;
    }
    arguments.retain(|argument| argument.parse::<usize>().is_ok());
    let sizes: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    for items in if sizes.is_empty() { vec![10, 100, 1_000, 5_000] } else { sizes } {
        Bench::new(items).run();
    }
}

struct Bench {
    items: usize,
    server: Server,
    account: Account,
    place: Place,
}

impl Bench {
    fn new(items: usize) -> Self {
        let server = Server::start();
        for number in 0..items {
            server.put(Item::login(&name(number), "someone", &format!("value-{number:032}")).notes("some notes"));
        }
        let account = Account::log_in(&server);
        let mut place = Place::new(&manifest_of(items.min(100)));
        place.variables.extend(account.env().into_iter().filter(|(name, _)| name != "HOME"));
        Self { items, server, account, place }
    }

    fn run(&self) {
        println!("\n{} items; medians of {ROUNDS}, in milliseconds", self.items);
        let by_name = self.median(3, || self.rbw(&["get", &name(self.items / 2)]));
        let id = self.server.items()[self.items / 2].0.to_string();
        let by_id = self.median(ROUNDS, || self.rbw(&["get", &id]));
        row("rbw get NAME", by_name, None);
        row("rbw get UUID", by_id, None);
        let single = self.median(ROUNDS, || self.reconcile(&["get", "secret-0"], 0));
        row("reconcile get, the same", single, Some(by_name));
        for wanted in WANTED.into_iter().filter(|wanted| *wanted <= self.items) {
            let (names, ids) = (by_name * wanted as u32, by_id * wanted as u32);
            row(&format!("{wanted} × rbw get NAME"), names, None);
            row(&format!("{wanted} × rbw get UUID"), ids, None);
            let first = self.median(ROUNDS.min(5), || {
                self.forget();
                self.collect(wanted)
            });
            row(&format!("collect of {wanted}, the first time"), first, Some(names));
            row(&format!("collect of {wanted}, ids known"), self.median(ROUNDS, || self.collect(wanted)), Some(names));
        }
        self.plans();
    }

    /// A plan with nothing to do, as a whole process, without its hosts: nothing is synced and no ssh is used.
    fn plans(&self) {
        timed(self.command(&["apply", "--refresh=false", "--no-switch", "--auto-approve"]), 1);
        let secrets = self.items.min(100);
        let plan = || self.reconcile(&["plan", "--refresh=false"], 1);
        row(&format!("plan of {secrets} without a change, unlocked"), self.median(ROUNDS, plan), None);
        self.account.lock();
        row(&format!("plan of {secrets} without a change, locked"), self.median(ROUNDS, plan), None);
        self.account.unlock();
        let version = self.median(ROUNDS, || self.reconcile(&["--version"], 0));
        row("reconcile --version", version, None);
    }

    /// Finds and reads values as an apply does, in this process.
    fn collect(&self, count: usize) -> Duration {
        let text = |(name, value): (String, std::ffi::OsString)| Some((name, value.into_string().ok()?));
        let variables = self.account.env().into_iter().filter_map(text).collect();
        let surroundings = Surroundings { variables, ..Surroundings::default() };
        let wanted: Vec<ItemRef> = (0..count).map(called).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let began = Instant::now();
        let vault = Vault::open(&manifest::Vault::Rbw { unlock: Unlock::Never }, &surroundings, false, None);
        let vault = vault.unwrap_or_else(|cause| panic!("{cause}"));
        let values = runtime.block_on(async {
            let (_, found) = vault.find(&wanted.iter().collect::<Vec<_>>()).await;
            let found: Vec<_> = found.into_iter().map(|item| item.unwrap_or_else(|cause| panic!("{cause}"))).collect();
            together::all(found.iter().map(|item| vault.read(&item.identity))).await
        });
        let took = began.elapsed();
        assert_eq!(values.iter().filter(|value| value.is_ok()).count(), count);
        took
    }

    /// What names stood for.
    fn forget(&self) {
        let cache = self.account.env().into_iter().find(|(name, _)| name == "XDG_CACHE_HOME").expect("a cache").1;
        let _ = std::fs::remove_dir_all(std::path::Path::new(&cache).join("reconcile"));
    }

    fn rbw(&self, arguments: &[&str]) -> Duration {
        let mut command = self.place.command(peers::find("rbw").expect("rbw"));
        command.args(arguments);
        timed(command, 0)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.reconcile();
        command.arg("--manifest").arg(self.place.manifest()).args(arguments);
        command
    }

    fn reconcile(&self, arguments: &[&str], code: i32) -> Duration {
        timed(self.command(arguments), code)
    }

    /// The first is not counted.
    fn median(&self, rounds: usize, mut once: impl FnMut() -> Duration) -> Duration {
        once();
        let mut times: Vec<Duration> = (0..rounds).map(|_| once()).collect();
        times.sort_unstable();
        times[rounds / 2]
    }
}

fn name(number: usize) -> String {
    format!("folder/item-{number:05}")
}

fn called(number: usize) -> ItemRef {
    ItemRef { id: None, name: Some(name(number)), user: None, folder: None, field: ItemField::Default }
}

/// With a host that no plan here looks at.
fn manifest_of(secrets: usize) -> String {
    let mut text =
        "version: 1\nname: bench\nvault: {rbw: {unlock: never}}\ndataset: {path: dataset}\nhosts:\n  vm:\n    \
        ssh: m@vm.invalid\n    recipient: age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg\n    \
        switch: {command: [\"true\"]}\nsecrets:\n"
            .to_owned();
    for number in 0..secrets {
        let item = name(number);
        let _ = writeln!(
            text,
            "  secret-{number}: {{item: {item}, delivery: {{sops: {{owner: m}}, runtime: {{env: V}}}}}}"
        );
    }
    text
}

fn timed(mut command: Command, code: i32) -> Duration {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let began = Instant::now();
    let output = command.output().expect("it runs");
    let took = began.elapsed();
    let said = [output.stdout, output.stderr].concat();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {}", String::from_utf8_lossy(&said));
    took
}

fn row(what: &str, time: Duration, beside: Option<Duration>) {
    let ratio = beside.map(|beside| format!("   1/{:.0}", beside.as_secs_f64() / time.as_secs_f64()));
    println!("  {what:<44} {:10.1}{}", time.as_secs_f64() * 1000.0, ratio.unwrap_or_default());
}
