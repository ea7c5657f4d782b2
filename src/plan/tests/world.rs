//! A small world in which a plan can be made and carried out: a manifest, a vault, a dataset and a host, as plain data.

use std::collections::{BTreeMap, BTreeSet};

use crate::actual::{Activation, Actual, FileState, HostState, IdentityState, IndexState, Installed, InstalledState};
use crate::address::{Address, FileName, HostName, KeyPath};
use crate::desired::{Desired, Item, ItemIdentity, Revision, Source, ValueFacts, VaultFacts};
use crate::digest::Digest;
use crate::index::Index;
use crate::manifest::{self, Manifest};
use crate::observation::{Cause, Observation};
use crate::plan::{EncryptTo, Inputs, Plan, Status, Step, Wishes, plan, reads, status};
use crate::receipt::{FileRecord, KeyRecord, Receipt, Switched, Written};
use crate::secret::{Fingerprint, FingerprintKey, SecretName, SecretValue};
use crate::sops::{Leaf, LeafKind, Recipient, SopsFile};
use crate::text::Untrusted;

pub(super) const HOST_KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
pub(super) const SECOND_KEY: &str = "age1uaqe6lvmnnttxsy42g8yn37xxugjuqekfcf0dpmjf7wym49js9lsh5lkrs";
pub(super) const OTHER_KEY: &str = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg";

/// Two boot secrets and one for run time, two public files, one host.
pub(super) const MANIFEST: &str = r#"
version: 1
name: test
vault: {file: {path: vault.yaml}}
dataset:
  path: dataset
  files:
    vm-age-pubkey: {age_key_of: vm}
    motd: {literal: hello}
hosts:
  vm:
    ssh: m@vm
    age_key_file: /var/lib/sops-nix/key.txt
    recipient: {file: vm-age-pubkey}
    switch: {command: [switch]}
secrets:
  a: {item: a, delivery: {sops: {owner: m, mode: "0400", restart_units: [a.service]}}}
  b/c: {item: bc, delivery: {sops: {}}}
  token: {item: token, delivery: {runtime: {env: TOKEN, commands: [gh]}}}
"#;

/// The same with three hosts: one command takes two of them, the third has one of its own.
pub(super) fn fleet() -> String {
    let host = |name: &str, switch: &str| {
        format!(
            "  {name}: {{ssh: m@{name}, age_key_file: /key.txt, recipient: {{file: {name}-age-pubkey}}, \
             switch: {{command: [{switch}]}}}}\n"
        )
    };
    let hosts = [("vm", "colmena, --on, '{hosts}'"), ("web", "colmena, --on, '{hosts}'"), ("db", "switch, '{host}'")];
    let hosts: String = hosts.map(|(name, switch)| host(name, switch)).concat();
    let (before, rest) = MANIFEST.split_once("  vm:\n").unwrap_or_default();
    let (_, after) = rest.split_once("secrets:\n").unwrap_or_default();
    let more = "    web-age-pubkey: {age_key_of: web}\n    db-age-pubkey: {age_key_of: db}\nhosts:\n";
    format!("{}{hosts}secrets:\n{after}", before.replace("hosts:\n", more))
}

pub(super) struct World {
    pub(super) manifest: Manifest,
    /// What the vault holds: item name → value; an item may be missing.
    pub(super) vault: BTreeMap<String, Vec<u8>>,
    pub(super) locked: bool,
    pub(super) actual: Actual,
    pub(super) receipt: Receipt,
    pub(super) wishes: Wishes,
    pub(super) key: FingerprintKey,
    /// Counts what was written, so that no ciphertext is like another.
    pub(super) writes: u64,
    /// Whether units of users do not start.
    pub(super) restarts_fail: bool,
    /// What nobody without a key can see.
    pub(super) truth: Truth,
}

/// What ciphertexts hold, who can open them, and what hosts have installed.
#[derive(Debug, Clone, Default)]
pub(super) struct Truth {
    pub(super) holds: BTreeMap<FileName, BTreeMap<KeyPath, Vec<u8>>>,
    pub(super) opens: BTreeMap<FileName, BTreeSet<String>>,
    pub(super) installed: BTreeMap<HostName, BTreeMap<SecretName, Vec<u8>>>,
    /// What units of users began with.
    pub(super) units: BTreeMap<HostName, BTreeMap<SecretName, Vec<u8>>>,
}

pub(super) fn name(text: &str) -> SecretName {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(super) fn file(text: &str) -> FileName {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(super) fn host(text: &str) -> HostName {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(super) fn recipient(text: &str) -> Recipient {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(super) fn parse(text: &str) -> Manifest {
    match manifest::parse("test", text) {
        Ok(checked) => checked.manifest,
        Err(error) => panic!("{error:?}"),
    }
}

impl World {
    /// Nothing is there but the vault and a host with an identity.
    pub(super) fn new(manifest: &str) -> Self {
        let manifest = parse(manifest);
        let (files, hosts) = (BTreeMap::new(), BTreeMap::new());
        let mut world = Self {
            actual: Actual { files, index: Observation::Known(IndexState::Absent), hosts },
            manifest,
            vault: BTreeMap::new(),
            locked: false,
            receipt: Receipt::new("lineage".to_owned(), "/dataset".into()),
            wishes: Wishes::default(),
            key: FingerprintKey::new(&mut [7; 32]),
            writes: 0,
            restarts_fail: false,
            truth: Truth::default(),
        };
        world.show_what_is_declared();
        world
    }

    /// Everything was applied and agrees.
    pub(super) fn settled(manifest: &str) -> Self {
        let mut world = Self::new(manifest);
        let plan = world.plan();
        assert!(plan.blocked.is_empty(), "{:?}", plan.blocked);
        world.carry_out(&plan);
        world
    }

    /// What is declared has an item; its files and hosts can be looked at.
    fn show_what_is_declared(&mut self) {
        let wanted = self.manifest.secrets.values().filter_map(|secret| secret.item.name.clone());
        for item in wanted {
            self.vault.entry(item.clone()).or_insert_with(|| format!("value of {item}").into_bytes());
        }
        let manifest = &self.manifest;
        for file in manifest.dataset.files.keys().chain(manifest.hosts.values().map(|host| &host.sops_file)) {
            self.actual.files.entry(file.clone()).or_insert(Observation::Known(FileState::Absent));
        }
        for (number, host) in manifest.hosts.keys().rev().enumerate() {
            let key = if number == 0 { HOST_KEY } else { SECOND_KEY };
            let state = self.actual.hosts.entry(host.clone()).or_insert_with(|| Observation::Known(fresh_host(key)));
            let Observation::Known(state) = state else { continue };
            for (name, secret) in &manifest.secrets {
                if secret.boot.as_ref().is_some_and(|boot| boot.hosts.contains(host)) {
                    state.secrets.entry(name.clone()).or_insert(Observation::Known(InstalledState::Absent));
                }
            }
        }
    }

    /// What the vault says; values only of `names`.
    fn desired(&self, names: &BTreeSet<SecretName>) -> Desired {
        let item = |secret: &SecretName, declared: &manifest::Secret| {
            if self.locked {
                return Observation::Unknown(Cause::VaultLocked {
                    unlock: "rbw unlock".to_owned(),
                    hidden: crate::observation::Hidden::Value,
                });
            }
            let wanted = declared.item.name.clone().unwrap_or_default();
            let Some(bytes) = self.vault.get(&wanted) else {
                return Observation::Unknown(Cause::ItemMissing {
                    wanted: Untrusted::new(wanted),
                    similar: Vec::new(),
                });
            };
            let value = SecretValue::new(bytes.clone());
            let read = || match bytes.is_empty() {
                true => Observation::Unknown(Cause::ItemEmpty { item: Untrusted::new(wanted.clone()) }),
                false => Observation::Known(ValueFacts {
                    fingerprint: Fingerprint::of(&self.key, secret, &value),
                    length: bytes.len(),
                }),
            };
            let identity = ItemIdentity {
                scheme: "file".to_owned(),
                account: Untrusted::new("vault.yaml"),
                id: Untrusted::new(wanted.clone()),
                field: Untrusted::new("default"),
            };
            Observation::Known(Item {
                identity,
                name: Untrusted::new(wanted.clone()),
                revision: Some(Revision(format!("test:{}", Digest::of(bytes)))),
                changed_at: None,
                value: names.contains(secret).then(read),
            })
        };
        let literal = |(file, declared): (&FileName, &manifest::DatasetFile)| match declared {
            manifest::DatasetFile::Literal(text) => {
                Some((file.clone(), Observation::Known(Source::Content(format!("{text}\n").into_bytes()))))
            }
            _ => None,
        };
        Desired {
            fingerprint_key: None,
            vault: VaultFacts { kind: "file", account: Untrusted::new("vault.yaml"), items: None, synced: None },
            items: self.manifest.secrets.iter().map(|(name, declared)| (name.clone(), item(name, declared))).collect(),
            sources: self.manifest.dataset.files.iter().filter_map(literal).collect(),
        }
    }

    fn inputs<'a>(&'a self, desired: &'a Desired) -> Inputs<'a> {
        Inputs { manifest: &self.manifest, desired, actual: &self.actual, receipt: &self.receipt, wishes: &self.wishes }
    }

    /// Which values would be read.
    pub(super) fn reads(&self) -> BTreeSet<SecretName> {
        let desired = self.desired(&BTreeSet::new());
        reads(self.inputs(&desired))
    }

    pub(super) fn plan(&self) -> Plan {
        let desired = self.desired(&self.reads());
        plan(self.inputs(&desired))
    }

    pub(super) fn status(&self) -> Status {
        let desired = self.desired(&self.reads());
        let inputs = self.inputs(&desired);
        status(inputs, &plan(inputs))
    }

    /// Does to the model what an apply does to the world.
    pub(super) fn carry_out(&mut self, plan: &Plan) {
        for (host, key) in &plan.accepts {
            self.receipt.hosts.entry(host.clone()).or_default().accepted = Some(key.clone());
        }
        let mut encrypted = BTreeMap::new();
        for step in &plan.steps {
            self.do_step(step, &mut encrypted);
        }
    }

    fn do_step(&mut self, step: &Step, encrypted: &mut BTreeMap<FileName, Digest>) {
        self.writes += 1;
        match step {
            Step::MakeIdentity { host } => {
                let made = recipient(OTHER_KEY);
                self.on(host, |state| state.identity = Observation::Known(IdentityState::Present(made.clone())));
                self.receipt.hosts.entry(host.clone()).or_default().accepted = Some(made);
            }
            Step::Publish { file, content, .. } => {
                let content = match content {
                    Source::Content(bytes) => bytes.clone(),
                    Source::MadeByApply(_) => format!("{OTHER_KEY}\n").into_bytes(),
                };
                let digest = Digest::of(&content);
                self.actual.files.insert(file.clone(), Observation::Known(FileState::Public { digest, content }));
                self.record(file, digest, BTreeSet::new(), Vec::new());
            }
            Step::Collect { .. } => {}
            Step::Encrypt { file, recipients, .. } => {
                let digest = self.encrypt(file, recipients);
                // A wish is of one apply.
                self.wishes.replace.remove(&Address::File(file.clone()));
                encrypted.insert(file.clone(), digest);
            }
            Step::Index { files, .. } => {
                let mut files = files.clone();
                files.extend(encrypted.clone());
                let index = Index::of(&self.manifest, files);
                let digest = Digest::of(&index.to_bytes());
                self.actual.index = Observation::Known(IndexState::Present { digest, index: Box::new(index) });
            }
            Step::Switch(group) => group.hosts().into_iter().for_each(|host| self.switch(host)),
            Step::Verify { host, .. } => {
                let Some(installs) = self.state(host).installs else { return };
                let switched = Switched { file: installs, generation: None, at: "then".to_owned() };
                self.receipt.hosts.entry(host.clone()).or_default().switched = Some(switched);
            }
            Step::RestartUserUnits { host, secrets, .. } => self.restart_units(host, secrets),
        }
    }

    fn record(&mut self, file: &FileName, digest: Digest, recipients: BTreeSet<Recipient>, keys: Vec<KeyRecord>) {
        let written = Written { digest, at: "then".to_owned(), recipients, keys };
        self.receipt.files.insert(file.clone(), FileRecord { written: Some(written), pending: None });
    }

    fn encrypt(&mut self, file: &FileName, recipients: &[EncryptTo]) -> Digest {
        let recipients: BTreeSet<Recipient> = recipients
            .iter()
            .map(|to| match to {
                EncryptTo::Key(key) => key.clone(),
                EncryptTo::MadeByApply(_) => recipient(OTHER_KEY),
            })
            .collect();
        let desired = self.desired(&self.manifest.secrets.keys().cloned().collect());
        let (mut leaves, mut keys, mut holds) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        for (name, _, boot) in self.manifest.boot_secrets(file) {
            let Some(Observation::Known(item)) = desired.items.get(name) else { panic!("{name} was not to be had") };
            let Some(Observation::Known(value)) = &item.value else { panic!("{name} has no value") };
            holds.insert(boot.key.clone(), self.vault[item.name.as_is()].clone());
            let digest = Digest::of(format!("{} {name}", self.writes).as_bytes());
            leaves.insert(boot.key.clone(), Leaf { digest, kind: LeafKind::Str, length: value.length });
            keys.push(KeyRecord {
                key: boot.key.clone(),
                secret: name.clone(),
                leaf: digest,
                fingerprint: value.fingerprint,
                item: item.identity.clone(),
                revision: item.revision.clone(),
            });
        }
        self.truth.holds.insert(file.clone(), holds);
        let opens = recipients.iter().map(|key| key.as_str().to_owned()).collect();
        self.truth.opens.insert(file.clone(), opens);
        let sops = sops_file(self.writes, leaves, &recipients);
        let digest = sops.digest;
        self.actual.files.insert(file.clone(), Observation::Known(FileState::Sops(Box::new(sops))));
        self.record(file, digest, recipients, keys);
        digest
    }

    /// Units begin anew with what their host has now, unless they cannot.
    fn restart_units(&mut self, host: &HostName, secrets: &BTreeSet<SecretName>) {
        let file = self.manifest.hosts[host].sops_file.clone();
        let written = self.receipt.written(&file).map(|written| written.keys.clone()).unwrap_or_default();
        let record = &mut self.receipt.hosts.entry(host.clone()).or_default().restarted;
        for secret in secrets {
            record.insert(secret.clone(), None);
            if !self.restarts_fail {
                let fingerprint = written.iter().find(|key| key.secret == *secret).map(|key| key.fingerprint);
                match fingerprint {
                    Some(fingerprint) => drop(record.insert(secret.clone(), Some(fingerprint))),
                    None => drop(record.remove(secret)),
                }
                let value = self.truth.installed.get(host).and_then(|installed| installed.get(secret)).cloned();
                self.truth.units.entry(host.clone()).or_default().insert(secret.clone(), value.unwrap_or_default());
            }
        }
    }

    /// The host installs what the dataset has now.
    pub(super) fn switch(&mut self, host: &HostName) {
        let Some(declared) = self.manifest.hosts.get(host) else { return };
        let Some(Observation::Known(FileState::Sops(sops))) = self.actual.files.get(&declared.sops_file) else {
            return;
        };
        let sops = sops.clone();
        let (mut installed, mut values) = (BTreeMap::new(), BTreeMap::new());
        let holds = self.truth.holds.entry(declared.sops_file.clone()).or_default();
        for (name, _, boot) in self.manifest.boot_secrets(&declared.sops_file) {
            let Some(leaf) = sops.leaves.get(&boot.key).filter(|_| boot.hosts.contains(host)) else { continue };
            values.extend(holds.get(&boot.key).map(|value| (name.clone(), value.clone())));
            let there = Installed {
                owner: Untrusted::new(boot.owner.clone().unwrap_or_else(|| "root".to_owned())),
                group: Untrusted::new(boot.group.clone().unwrap_or_else(|| "root".to_owned())),
                mode: boot.mode.map_or(0o400, |mode| mode.0),
                size: leaf.length as u64,
                key: Some(boot.key.joined()),
                generation: None,
            };
            installed.insert(name.clone(), Observation::Known(InstalledState::Present(there)));
        }
        self.truth.installed.insert(host.clone(), values);
        let digest = sops.digest;
        self.on(host, |state| {
            state.installs = Some(digest);
            state.activation = Activation::Succeeded;
            state.secrets = installed;
        });
    }

    pub(super) fn state(&self, host: &HostName) -> &HostState {
        match self.actual.hosts.get(host) {
            Some(Observation::Known(state)) => state,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn on(&mut self, host: &HostName, change: impl FnOnce(&mut HostState)) {
        match self.actual.hosts.get_mut(host) {
            Some(Observation::Known(state)) => change(state),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn sops(&mut self, file: &FileName, change: impl FnOnce(&mut SopsFile)) {
        match self.actual.files.get_mut(file) {
            Some(Observation::Known(FileState::Sops(sops))) => change(sops),
            other => panic!("{other:?}"),
        }
    }

    /// Another manifest in the same world.
    pub(super) fn declare(&mut self, manifest: &str) {
        self.manifest = parse(manifest);
        self.show_what_is_declared();
    }
}

fn fresh_host(key: &str) -> HostState {
    HostState {
        identity: Observation::Known(IdentityState::Present(recipient(key))),
        system: None,
        generation: None,
        installs: None,
        sees: None,
        secrets: BTreeMap::new(),
        activation: Activation::Unclear,
        rbw: None,
        notes: Vec::new(),
    }
}

pub(super) fn sops_file(number: u64, leaves: BTreeMap<KeyPath, Leaf>, recipients: &BTreeSet<Recipient>) -> SopsFile {
    let digest = Digest::of(format!("file {number}").as_bytes());
    SopsFile {
        digest,
        leaves,
        recipients: recipients.iter().map(|key| (Untrusted::new(key.as_str()), digest)).collect(),
        other_keys: Vec::new(),
        key_groups: false,
        last_modified: Untrusted::new("2026-01-01T00:00:00Z"),
        mac: digest,
        version: Untrusted::new("3.13.2"),
    }
}
