//! Looks at all hosts at once: one connection and one script each. What a host says becomes its state; what it cannot
//! say is unknown, with the cause.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use zeroize::Zeroizing;

use crate::actual::{HostState, IdentityState, Installed, InstalledState, RbwState};
use crate::address::{FileName, HostName};
use crate::desired::Source;
use crate::manifest::{Access, Become, DatasetFile, Host, Manifest, Place, RecipientSource, Surroundings, Switch};
use crate::observation::{Cause, Observation};
use crate::observe::activation::{self, Record};
use crate::observe::answer::{self, Answer, Identity, Public, RbwSeen, Seen as Told};
use crate::secret::SecretName;
use crate::sops::{Identities, Recipient};
use crate::text::Untrusted;
use crate::tools::ssh::{self, Target, quoted};
use crate::tools::together;

/// The script that every host runs; what is asked of it is appended.
const SCRIPT: &str = include_str!("host.sh");
/// How many hosts are looked at together, so that many hundreds do not exhaust this machine.
const AT_ONCE: usize = 64;
/// Where sshd has its public key, converted for `recipient: {ssh_host_key: {}}`.
const SSH_HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key.pub";
/// No public file of a host is longer, in bytes.
const PUBLIC_LIMIT: usize = 16 << 10;
/// No file of identities is longer, in bytes.
const IDENTITIES_LIMIT: u64 = 64 << 10;

/// What one host showed.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its state.
    pub state: Observation<HostState>,
    /// The content of each dataset file that is `read` from it.
    pub files: BTreeMap<FileName, Observation<Source>>,
}

/// Looks at every host, or at those in `only`. A host that is local sees the `dataset` directory itself.
pub async fn look(
    manifest: &Manifest,
    surroundings: &Surroundings,
    dataset: &Path,
    only: Option<&BTreeSet<HostName>>,
) -> BTreeMap<HostName, Seen> {
    let places = tokio::sync::Semaphore::new(AT_ONCE);
    let wanted = manifest.hosts.iter().filter(|(name, _)| only.is_none_or(|only| only.contains(name)));
    let looks = wanted.map(|(name, host)| {
        let places = &places;
        async move {
            let _place = places.acquire().await;
            let look = Look { name, host, manifest, surroundings, dataset };
            (name.clone(), look.one().await)
        }
    });
    together::all(looks).await.into_iter().collect()
}

/// One host to look at.
struct Look<'a> {
    name: &'a HostName,
    host: &'a Host,
    manifest: &'a Manifest,
    surroundings: &'a Surroundings,
    dataset: &'a Path,
}

/// What is asked of a host.
struct Question {
    script: String,
    nonce: String,
    /// By the numbers that the script was given.
    secrets: Vec<SecretName>,
    /// Those whose place is not known here.
    unplaced: BTreeMap<SecretName, Cause>,
}

impl Look<'_> {
    async fn one(&self) -> Seen {
        match self.answered().await {
            Ok((question, answer)) => {
                let files = self
                    .public()
                    .zip(0..)
                    .map(|((file, path), number)| (file.clone(), self.content(path, answer.public.get(&number))));
                Seen { files: files.collect(), state: Observation::Known(self.state(question, &answer)) }
            }
            Err(cause) => {
                let files = self.public().map(|(file, _)| (file.clone(), Observation::Unknown(cause.clone())));
                Seen { files: files.collect(), state: Observation::Unknown(cause) }
            }
        }
    }

    async fn answered(&self) -> Result<(Question, Answer), Cause> {
        let target = Target::of(&self.host.access, self.surroundings).map_err(|error| error.cause(self.name))?;
        let question = self.question()?;
        let ran = target.run(self.surroundings, &question.script, ssh::LOOK).await;
        let ran = ran.map_err(|error| error.cause(self.name))?;
        match answer::read(&ran.stdout, &question.nonce) {
            Ok(answer) => Ok((question, answer)),
            Err(answer::Unclear(what)) => {
                let said = ran.complaint.as_is();
                Err(self.unclear(if said.is_empty() {
                    what.as_is().to_owned()
                } else {
                    format!("{}: {said}", what.as_is())
                }))
            }
        }
    }

    fn unclear(&self, detail: impl Into<String>) -> Cause {
        Cause::HostUnclear { host: self.name.clone(), detail: Untrusted::new(detail) }
    }

    fn needs_root(&self) -> Cause {
        Cause::NeedsRoot { host: self.name.clone() }
    }

    /// The dataset files that are read from this host, with their paths there.
    fn public(&self) -> impl Iterator<Item = (&FileName, &str)> {
        self.manifest.dataset.files.iter().filter_map(|(file, declared)| match declared {
            DatasetFile::Read { host, path } if host == self.name => Some((file, path.as_str())),
            _ => None,
        })
    }

    fn question(&self) -> Result<Question, Cause> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| self.unclear(format!("no random bytes here: {error}")))?;
        let nonce = format!("{:016x}", u64::from_ne_bytes(random));
        let becomes = match self.host.becomes {
            Become::Never => "never",
            Become::Sudo => "sudo",
        };
        let mut calls = vec!["system".to_owned(), self.ask_for_identity()?];
        match &self.host.switch {
            Some(Switch::Activate { symlink_path }) => {
                calls.push(format!("generation {}", quoted(&self.path(symlink_path)?)));
            }
            _ => calls.push("sops_nix".to_owned()),
        }
        if let Some(directory) = self.dataset_there()? {
            calls.push(format!("sees {}", quoted(&format!("{directory}/{}", self.host.sops_file))));
        }
        if let Some(config) = &self.host.rbw_config {
            calls.push(format!("rbw_of {}", quoted(&config.user)));
        }
        let (mut secrets, mut unplaced) = (Vec::new(), BTreeMap::new());
        for (name, boot) in self.delivered() {
            match self.path(&self.host.installed_path(name, boot)) {
                Ok(path) => {
                    calls.push(format!("secret {} {}", secrets.len(), quoted(&path)));
                    secrets.push(name.clone());
                }
                Err(cause) => drop(unplaced.insert(name.clone(), cause)),
            }
        }
        calls.extend(self.public().zip(0..).map(|((_, path), number)| format!("public {number} {}", quoted(path))));
        // A shell reads a group to its end before it runs any of it: a script that is cut off does nothing.
        let calls = calls.join("\n");
        let script =
            format!("nonce={nonce}\nbecome={becomes}\n{SCRIPT}{{\n{calls}\nsay end\n}} </dev/null 2>/dev/null\n");
        Ok(Question { script, nonce, secrets, unplaced })
    }

    fn ask_for_identity(&self) -> Result<String, Cause> {
        match self.host.recipient {
            RecipientSource::SshHostKey => Ok(format!("ssh_host_key {SSH_HOST_KEY}")),
            RecipientSource::File(_) | RecipientSource::Literal(_) => {
                Ok(format!("age_identity {}", quoted(&self.path(&self.host.age_key_file)?)))
            }
        }
    }

    /// Where the host sees the dataset directory, if it does.
    fn dataset_there(&self) -> Result<Option<String>, Cause> {
        match (&self.host.path_on_host, &self.host.access) {
            (Some(place), _) => self.path(place).map(Some),
            (None, Access::Local) => Ok(Some(self.dataset.to_string_lossy().into_owned())),
            (None, Access::Ssh { .. }) => Ok(None),
        }
    }

    /// A path on the host. Only those of a local host may begin at the manifest.
    fn path(&self, place: &Place) -> Result<String, Cause> {
        path_on_host(self.host, place, self.surroundings)
    }

    fn delivered(&self) -> impl Iterator<Item = (&SecretName, &crate::manifest::BootDelivery)> {
        let secrets = self.manifest.secrets.iter();
        secrets
            .filter_map(|(name, secret)| Some((name, secret.boot.as_ref()?)))
            .filter(|(_, boot)| boot.hosts.contains(self.name))
    }

    fn state(&self, question: Question, answer: &Answer) -> HostState {
        let ours = matches!(self.host.switch, Some(Switch::Activate { .. }));
        let record = answer.record.as_deref().filter(|_| ours).and_then(Record::read);
        let mut notes = Vec::new();
        if answer.sudo_refused {
            notes.push(Untrusted::new("`sudo -n` is refused there: what only root can see was not looked at"));
        }
        let installs = match &record {
            Some(record) => Some(record.sops_file),
            None => activation::installs(answer, &self.host.sops_file),
        };
        HostState {
            identity: self.local_identity().unwrap_or_else(|| self.identity(answer)),
            system: answer.system.clone().map(Untrusted::new),
            generation: answer.generation.as_deref().and_then(activation::generation),
            installs,
            sees: answer.sees.as_ref().map(|sees| match sees {
                Told::Present(digest) => Observation::Known(Some(*digest)),
                Told::Absent => Observation::Known(None),
                Told::NeedsRoot => Observation::Unknown(self.needs_root()),
            }),
            secrets: self.secrets(question, answer),
            rbw: self.host.rbw_config.as_ref().map(|config| self.rbw(&config.user, answer)),
            activation: if ours { activation::of_record(record.as_ref()) } else { activation::of_system(answer) },
            notes,
        }
    }

    fn secrets(&self, question: Question, answer: &Answer) -> BTreeMap<SecretName, Observation<InstalledState>> {
        let unplaced = question.unplaced.into_iter().map(|(name, cause)| (name, Observation::Unknown(cause)));
        let keys = activation::keys(answer);
        let key = |name: &SecretName| {
            let boot = self.manifest.secrets.get(name)?.boot.as_ref()?;
            keys.get(&self.path(&self.host.installed_path(name, boot)).ok()?).map(Untrusted::new)
        };
        let told = question.secrets.into_iter().zip(0..).map(|(name, number)| {
            let seen = match answer.secrets.get(&number) {
                Some(Told::Present(seen)) => Observation::Known(InstalledState::Present(Installed {
                    owner: Untrusted::new(seen.owner.clone()),
                    group: Untrusted::new(seen.group.clone()),
                    mode: seen.mode,
                    size: seen.size,
                    key: key(&name),
                    generation: seen.really.as_deref().map(activation::generation_of),
                })),
                Some(Told::Absent) => Observation::Known(InstalledState::Absent),
                Some(Told::NeedsRoot) => Observation::Unknown(self.needs_root()),
                None => Observation::Unknown(self.unclear(format!("it does not say anything of {name}"))),
            };
            (name, seen)
        });
        told.chain(unplaced).collect()
    }

    fn rbw(&self, user: &str, answer: &Answer) -> Observation<RbwState> {
        match answer.rbw {
            Some(RbwSeen::LoggedIn) => Observation::Known(RbwState::LoggedIn),
            Some(RbwSeen::LoggedOut) => Observation::Known(RbwState::LoggedOut),
            Some(RbwSeen::Unconfigured) => Observation::Known(RbwState::Unconfigured),
            Some(RbwSeen::NeedsRoot) => Observation::Unknown(self.needs_root()),
            Some(RbwSeen::NoUser) => Observation::Unknown(self.unclear(format!("it has no user {user}"))),
            None => Observation::Unknown(self.unclear("it does not say anything of rbw")),
        }
    }

    /// The identity of this machine, where it can be read: no other program is needed for its public half.
    fn local_identity(&self) -> Option<Observation<IdentityState>> {
        if self.host.access != Access::Local || self.host.recipient == RecipientSource::SshHostKey {
            return None;
        }
        let path = self.host.age_key_file.path(self.surroundings).ok()?;
        let seen = std::fs::metadata(&path).ok()?;
        if !seen.is_file() || seen.len() > IDENTITIES_LIMIT {
            let why = "it is not a file of age identities".to_owned();
            return Some(Observation::Unknown(Cause::FileRefused {
                path: Untrusted::new(path.to_string_lossy()),
                why,
            }));
        }
        let text = std::fs::read(&path).map(Zeroizing::new).ok()?;
        let recipients = Identities::read(&text).map(|identities| identities.recipients());
        Some(match recipients.map(|recipients| recipients.into_iter().next()) {
            Ok(Some(recipient)) => Observation::Known(IdentityState::Present(recipient)),
            Ok(None) => Observation::Known(IdentityState::Absent),
            Err(error) => Observation::Unknown(Cause::FileRefused {
                path: Untrusted::new(path.to_string_lossy()),
                why: error.to_string(),
            }),
        })
    }

    fn identity(&self, answer: &Answer) -> Observation<IdentityState> {
        let key_file = self.host.age_key_file.as_written();
        let recipient: Result<Recipient, String> = match &answer.identity {
            Some(Identity::Absent) => return Observation::Known(IdentityState::Absent),
            Some(Identity::NeedsRoot) => return Observation::Unknown(self.needs_root()),
            Some(Identity::Age(text)) => text.parse().map_err(|error| format!("{key_file}: {error}")),
            Some(Identity::Ssh(line)) => {
                Recipient::from_ssh_ed25519(line).map_err(|error| format!("{SSH_HOST_KEY}: {error}"))
            }
            Some(Identity::Opaque) => Err(format!(
                "{key_file} does not show its public half: it has no `# public key:` line, or age-keygen (install age there) refuses it"
            )),
            None => Err("it does not say anything of its identity".to_owned()),
        };
        match recipient {
            Ok(recipient) => Observation::Known(IdentityState::Present(recipient)),
            Err(detail) => Observation::Unknown(self.unclear(detail)),
        }
    }

    fn content(&self, path: &str, told: Option<&Public>) -> Observation<Source> {
        let there = || Untrusted::new(format!("{}:{path}", self.name));
        let unreadable = |detail: &str| Cause::FileUnreadable { path: there(), detail: Untrusted::new(detail) };
        let refused = |why: &str| Cause::FileRefused { path: there(), why: why.to_owned() };
        Observation::Unknown(match told {
            Some(Public::Content(bytes)) if bytes.len() > PUBLIC_LIMIT => refused("it is larger than 16 KiB"),
            Some(Public::Content(bytes)) => return Observation::Known(Source::Content(bytes.clone())),
            Some(Public::Absent) => unreadable("there is no such file"),
            Some(Public::Unreadable) => unreadable("it is no file that everybody may read"),
            Some(Public::Private) => refused("it is a private key"),
            None => self.unclear(format!("it does not say anything of {path}")),
        })
    }
}

/// Where something is on a host: an absolute path. Only that of a local host may be written relative to the manifest.
///
/// # Errors
/// When a variable is not set here, or the path is not absolute there.
pub(crate) fn path_on_host(host: &Host, place: &Place, surroundings: &Surroundings) -> Result<String, Cause> {
    let refused = |text: &str, why: &str| Cause::FileRefused { path: Untrusted::new(text), why: why.to_owned() };
    let text = match host.access {
        Access::Local => {
            let path = place.path(surroundings).map_err(Cause::Unset)?;
            path.into_os_string().into_string().map_err(|path| refused(&path.to_string_lossy(), "it is not UTF-8"))?
        }
        Access::Ssh { .. } => place.text(surroundings).map_err(Cause::Unset)?,
    };
    if !text.starts_with('/') {
        return Err(refused(&text, "a path on a host is absolute"));
    }
    if text.chars().any(char::is_control) {
        return Err(refused(&text, "it has control characters"));
    }
    Ok(text)
}
