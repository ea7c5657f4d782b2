//! rbw's agent, over its socket: one JSON line there, one back, then it closes. It is asked whether it has the keys, to
//! decrypt, and to sync; never to unlock, to log in or to quit.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::manifest::Surroundings;
use crate::tools::plaintext::Plaintext;

use super::database;

/// How many questions are open at a time. A lock in the agent serialises the decryption: more gain nothing.
const AT_ONCE: usize = 4;
/// No answer is longer, in bytes.
const LIMIT: u64 = 16 << 20;
/// How long the agent may take. It stands still while a pinentry asks somebody for the master password.
const PATIENCE: Duration = Duration::from_secs(10);
/// A sync asks a server.
const SYNC: Duration = Duration::from_secs(60);

/// The variables that the agent hands to a pinentry: it keeps those of the last question for its own use.
const ENVIRONMENT: [&str; 12] = [
    "TERM",
    "DISPLAY",
    "XAUTHORITY",
    "XMODIFIERS",
    "WAYLAND_DISPLAY",
    "XDG_SESSION_TYPE",
    "QT_QPA_PLATFORM",
    "GTK_IM_MODULE",
    "DBUS_SESSION_BUS_ADDRESS",
    "QT_IM_MODULE",
    "PINENTRY_USER_DATA",
    "PINENTRY_GEOM_HINT",
];

/// The agent of one profile.
#[derive(Debug)]
pub(super) struct Agent {
    socket: PathBuf,
    environment: Environment,
}

/// Why the agent did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is none.
    NotRunning,
    /// It has no keys.
    Locked,
    /// It does not answer: a pinentry may be open.
    Silent,
    /// This ciphertext is not of the keys that it has, or damaged.
    Undecrypted(String),
    /// It failed at what it was asked.
    Failed(String),
    /// It speaks otherwise than the versions that we know.
    Strange(String),
}

/// A ciphertext with what its key is found by.
#[derive(Debug, Clone)]
pub(super) struct Ciphertext {
    pub(super) text: String,
    pub(super) key: Option<String>,
    pub(super) organisation: Option<String>,
}

#[derive(Debug, Serialize)]
struct Environment {
    tty: Option<String>,
    env_vars: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Request<'a> {
    environment: &'a Environment,
    action: Action<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Action<'a> {
    CheckLock,
    Sync,
    Decrypt { cipherstring: &'a str, entry_key: Option<&'a str>, org_id: Option<&'a str> },
}

/// One struct for all answers: what is told apart by a tag is first kept as a whole, and that copy is not wiped.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "type")]
    kind: String,
    error: Option<String>,
    plaintext: Option<Plaintext>,
}

enum Response {
    Ack,
    Decrypt(Zeroizing<String>),
}

impl Answer {
    fn response(self) -> Result<Response, Fault> {
        match (self.kind.as_str(), self.error, self.plaintext) {
            ("Ack", ..) => Ok(Response::Ack),
            ("Decrypt", _, Some(Plaintext(text))) => Ok(Response::Decrypt(text)),
            ("Error", Some(error), _) => Err(fault_of(error)),
            _ => Err(Fault::Strange("its answer is not understood".to_owned())),
        }
    }
}

impl Agent {
    /// The agent of the profile that is set, whether it runs or not.
    pub(super) fn of(surroundings: &Surroundings) -> Arc<Self> {
        let encoded = |text: &str| STANDARD.encode(text);
        let set = |name: &&str| Some((encoded(name), encoded(surroundings.variables.get(*name)?)));
        let tty = surroundings.variables.get("RBW_TTY").cloned().or_else(terminal);
        let environment =
            Environment { tty: tty.as_deref().map(encoded), env_vars: ENVIRONMENT.iter().filter_map(set).collect() };
        Arc::new(Self { socket: database::runtime_directory(surroundings).join("socket"), environment })
    }

    /// Whether it has the keys.
    pub(super) async fn check(self: &Arc<Self>) -> Result<(), Fault> {
        self.told(Action::CheckLock, PATIENCE).await
    }

    /// Has it fetch what was edited elsewhere. It needs no keys for that.
    pub(super) async fn sync(self: &Arc<Self>) -> Result<(), Fault> {
        self.told(Action::Sync, SYNC).await
    }

    async fn told(self: &Arc<Self>, action: Action<'static>, patience: Duration) -> Result<(), Fault> {
        let agent = Arc::clone(self);
        let asked = tokio::task::spawn_blocking(move || agent.ask(action, patience)).await;
        match asked.map_err(|_| Fault::Strange("it could not be asked".to_owned()))?? {
            Response::Ack => Ok(()),
            Response::Decrypt(_) => Err(Fault::Strange("it answered something else".to_owned())),
        }
    }

    /// Decrypts all, each by itself, and answers in their order. What is no fault of a single ciphertext ends it.
    pub(super) async fn decrypt(
        self: &Arc<Self>,
        ciphertexts: Vec<Ciphertext>,
    ) -> Result<Vec<Result<Zeroizing<String>, String>>, Fault> {
        let lane = ciphertexts.len().div_ceil(AT_ONCE).max(1);
        let lanes = ciphertexts.chunks(lane).map(|part| {
            let (agent, part) = (Arc::clone(self), part.to_vec());
            tokio::task::spawn_blocking(move || part.iter().map(|one| agent.decrypt_one(one)).collect())
        });
        let mut plaintexts = Vec::with_capacity(ciphertexts.len());
        for lane in lanes.collect::<Vec<_>>() {
            let lane: Result<Vec<_>, Fault> =
                lane.await.map_err(|_| Fault::Strange("it could not be asked".to_owned()))?;
            plaintexts.extend(lane?);
        }
        Ok(plaintexts)
    }

    fn decrypt_one(&self, one: &Ciphertext) -> Result<Result<Zeroizing<String>, String>, Fault> {
        let action = Action::Decrypt {
            cipherstring: &one.text,
            entry_key: one.key.as_deref(),
            org_id: one.organisation.as_deref(),
        };
        match self.ask(action, PATIENCE) {
            Ok(Response::Decrypt(text)) => Ok(Ok(text)),
            Ok(Response::Ack) => Err(Fault::Strange("it answered something else".to_owned())),
            Err(Fault::Undecrypted(why)) => Ok(Err(why)),
            // Keys of organisations come with an unlock: one that was joined since has none.
            Err(Fault::Locked) if one.organisation.is_some() => Ok(Err("no key of its organisation".to_owned())),
            Err(fault) => Err(fault),
        }
    }

    fn ask(&self, action: Action<'_>, patience: Duration) -> Result<Response, Fault> {
        let line = self.line(action, patience).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Fault::NotRunning,
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Fault::Silent,
            _ => Fault::Strange(error.to_string()),
        })?;
        let answer: Result<Answer, _> = serde_json::from_slice(&line);
        answer.map_err(|_| Fault::Strange("its answer is not understood".to_owned()))?.response()
    }

    fn line(&self, action: Action<'_>, patience: Duration) -> std::io::Result<Zeroizing<Vec<u8>>> {
        let directory = self.socket.parent().unwrap_or(Path::new("/"));
        let seen = std::fs::metadata(directory)?;
        // Below /tmp somebody else may have put a socket there, to answer with values of their choice.
        if seen.uid() != rustix::process::getuid().as_raw() || seen.mode() & 0o022 != 0 {
            let what = format!("{} is not only yours", directory.display());
            return Err(std::io::Error::new(ErrorKind::PermissionDenied, what));
        }
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut request = serde_json::to_vec(&Request { environment: &self.environment, action })?;
        request.push(b'\n');
        stream.write_all(&request)?;
        // Large enough for what most values need, so that no copy is left behind by growing.
        let mut line = Zeroizing::new(Vec::with_capacity(16 << 10));
        stream.take(LIMIT).read_to_end(&mut line)?;
        Ok(line)
    }
}

/// What the agent's words mean, in the versions 1.10 to 1.15. They may hold our ciphertext, and are not passed on.
fn fault_of(error: String) -> Fault {
    let has = |words: &str| error.contains(words);
    match () {
        () if has("failed to parse message") => Fault::Strange("it does not know the question".to_owned()),
        () if has("agent is locked") || has("in-memory state") => Fault::Locked,
        () if has("failed to decrypt") || has("failed to parse individual item") || has("invalid cipherstring") => {
            Fault::Undecrypted(error.rsplit(": ").next().unwrap_or_default().to_owned())
        }
        () => Fault::Failed(error),
    }
}

/// The terminal that we were started at, for a pinentry that asks there.
fn terminal() -> Option<String> {
    rustix::termios::ttyname(std::io::stdin(), Vec::new()).ok()?.into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_agent_are_told_apart() {
        for (words, fault) in [
            ("agent is locked", Fault::Locked),
            ("failed to find decryption keys in in-memory state", Fault::Locked),
            ("failed to decrypt encrypted secret: invalid mac", Fault::Undecrypted("invalid mac".to_owned())),
            (
                "failed to parse message '{\"action\":{}}\n': unknown variant",
                Fault::Strange("it does not know the question".to_owned()),
            ),
            (
                "failed to sync database from server: x",
                Fault::Failed("failed to sync database from server: x".to_owned()),
            ),
        ] {
            assert_eq!(fault_of(words.to_owned()), fault, "{words}");
        }
    }

    #[test]
    fn a_socket_where_others_may_write_is_not_asked() -> std::io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir()?;
        let environment = || Environment { tty: None, env_vars: Vec::new() };
        let agent = Agent { socket: directory.path().join("socket"), environment: environment() };
        assert_eq!(agent.ask(Action::CheckLock, PATIENCE).err(), Some(Fault::NotRunning));
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777))?;
        assert!(
            matches!(agent.ask(Action::CheckLock, PATIENCE), Err(Fault::Strange(why)) if why.contains("not only yours"))
        );
        let nowhere = Agent { socket: "/nonexistent/rbw/socket".into(), environment: environment() };
        assert_eq!(nowhere.ask(Action::CheckLock, PATIENCE).err(), Some(Fault::NotRunning));
        Ok(())
    }
}
