//! Many hosts in one manifest that are one machine: each is a login of its own there.

#![allow(dead_code, reason = "each test binary uses its part of it")]

use super::host::{Host, Options};
use super::program::Place;

/// A machine that is `count` hosts, `web-1` and so on, and a vault that is a file.
pub struct Many {
    pub place: Place,
    pub host: Host,
    pub count: usize,
}

impl Many {
    pub fn new(count: usize) -> Self {
        let host = Host::start(Options::default());
        // The machine's own /tmp is this one's.
        host.root("mkdir -m 777 /run/doors");
        let (_, key) = reconcile::sops::Identities::generate();
        let mut manifest =
            "version: 1\nname: many\nvault: {file: {path: vault.yaml}}\ndataset: {path: dataset}\nhosts:\n".to_owned();
        for number in 1..=count {
            manifest += &format!(
                "  web-{number}: {{ssh: m@web-{number}, recipient: {key}, switch: {{command: [\"true\"]}}}}\n"
            );
        }
        manifest += "secrets:\n  session: {item: session, delivery: {sops: {}}}\n";
        let mut place = Place::new(&manifest);
        std::fs::write(place.repository.join("vault.yaml"), "session: s\n").expect("the vault");
        for (name, value) in host.env_as("web-*") {
            place.variables.insert(name.to_owned(), value);
        }
        place.variables.insert("XDG_STATE_HOME".to_owned(), place.home.join("state").into());
        Self { place, host, count }
    }

    /// How many hosts answered, and what was said of the others.
    pub fn seen(&self) -> (usize, Vec<String>) {
        let ran = self.place.run("status --json");
        let document: serde_json::Value =
            serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.all()));
        let lines = document["status"]["boot"].as_array().cloned().unwrap_or_default();
        assert_eq!(lines.len(), self.count, "{}", ran.all());
        let unknown = lines.iter().filter(|line| line["on_host"]["standing"] == "unknown");
        let why: Vec<String> = unknown.map(|line| line["on_host"]["cause"].to_string()).collect();
        (self.count - why.len(), why)
    }
}
