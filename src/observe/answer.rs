//! What a host answered, read record by record. The answer is text from outside: it is bounded before it gets here,
//! every field has a form that is checked, and only lines that begin with the word made for this one look are records.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::text::Untrusted;

/// The records of one look at a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) identity: Option<Identity>,
    /// The path of the running system.
    pub(super) system: Option<String>,
    /// The path of the system that the profile names.
    pub(super) profile: Option<String>,
    /// When each thing was last changed.
    pub(super) changed: BTreeMap<Changed, Time>,
    /// How the running system installs its secrets, and those that users need.
    pub(super) installers: BTreeMap<Kind, Installer>,
    /// The manifests of sops-nix, which say what it installs where.
    pub(super) manifests: Vec<Vec<u8>>,
    /// The sops files that it installs from, with their paths in the store.
    pub(super) installs: Vec<(Digest, String)>,
    /// The live generation's directory, as the link names it.
    pub(super) generation: Option<String>,
    /// What our own activation wrote down of it.
    pub(super) record: Option<Vec<u8>>,
    pub(super) sees: Option<Seen<Digest>>,
    pub(super) secrets: BTreeMap<usize, Seen<Attributes>>,
    pub(super) public: BTreeMap<usize, Public>,
    pub(super) rbw: Option<RbwSeen>,
    /// `sudo -n` was refused.
    pub(super) sudo_refused: bool,
}

/// Whether something is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen<T> {
    Present(T),
    Absent,
    NeedsRoot,
}

/// The identity of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// An age recipient.
    Age(String),
    /// The line of a public ssh key.
    Ssh(String),
    Absent,
    NeedsRoot,
    /// A file that shows no public half.
    Opaque,
}

/// What an installed secret shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attributes {
    /// Where it really is, through all links, if the host can tell.
    pub(super) really: Option<String>,
    pub(super) size: u64,
    pub(super) mode: u16,
    pub(super) owner: String,
    pub(super) group: String,
}

/// A public file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Public {
    Content(Vec<u8>),
    Absent,
    Unreadable,
    Private,
}

/// What a user's rbw shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RbwSeen {
    LoggedIn,
    LoggedOut,
    Unconfigured,
    NeedsRoot,
    /// There is no such user.
    NoUser,
}

/// Which of sops-nix's two sets of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Secrets,
    ForUsers,
}

/// What was changed at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Changed {
    System,
    Profile,
    /// The link to the live generation.
    Link(Kind),
}

/// How secrets are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Installer {
    /// By the system's activation script.
    Activation,
    /// By a unit, which ended so.
    Systemd(Unit),
}

/// How a unit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Succeeded,
    Failed,
    /// Not started, or systemd does not tell.
    Other,
}

/// Seconds and nanoseconds since 1970, on the host's clock.
pub(super) type Time = (i64, u32);

/// Why an answer is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unclear(pub(super) Untrusted);

/// No path of a host is longer, in bytes: PATH_MAX of Linux.
const PATH_LIMIT: usize = 4096;
/// One of secrets, one of those that users need, and each in both styles.
const MANIFESTS_LIMIT: usize = 4;
/// Records come only as often as they were asked for; more sops files than this no system installs from.
const FILES_LIMIT: usize = 1000;

/// Reads an answer whose records begin with `nonce`. What a shell's startup files print around it is passed over.
pub(super) fn read(stdout: &[u8], nonce: &str) -> Result<Answer, Unclear> {
    let text = String::from_utf8_lossy(stdout);
    let mut answer = Answer::default();
    let mut ended = false;
    let mut seen = BTreeSet::new();
    for line in text.split('\n') {
        let Some(record) = line.strip_prefix(nonce).and_then(|rest| rest.strip_prefix(' ')) else { continue };
        if ended {
            return Err(unclear("it goes on after its end"));
        }
        ended = record == "end";
        if !ended {
            let malformed = || Unclear(Untrusted::new(format!("malformed: {record:.60}")));
            one(record, &mut answer, &mut seen).ok_or_else(malformed)?;
        }
    }
    if ended { Ok(answer) } else { Err(unclear("its answer is cut off")) }
}

fn unclear(what: &str) -> Unclear {
    Unclear(Untrusted::new(what))
}

/// Takes one record; `None` when it is malformed, or came before.
fn one(record: &str, answer: &mut Answer, seen: &mut BTreeSet<String>) -> Option<()> {
    let (tag, rest) = record.split_once(' ')?;
    let mut once = |key: String| seen.insert(key).then_some(());
    match tag {
        "manifest" => {
            if answer.manifests.len() < MANIFESTS_LIMIT {
                answer.manifests.push(bytes_of(rest)?);
            }
        }
        "installs" => {
            let (digest, path) = rest.split_once(' ')?;
            if answer.installs.len() < FILES_LIMIT {
                answer.installs.push((digest.parse().ok()?, path_of(path)?));
            }
        }
        // Several manifests of one kind: each says the same of it.
        "installer" => {
            let (kind, installer) = installer(rest)?;
            answer.installers.insert(kind, installer);
        }
        "time" => {
            let (what, time) = rest.split_once(' ')?;
            answer.changed.extend(changed(what).zip(time_of(time)));
        }
        "secret" | "public" => {
            let (number, rest) = rest.split_once(' ')?;
            once(format!("{tag} {number}"))?;
            let number = number.parse().ok()?;
            if tag == "secret" {
                answer.secrets.insert(number, seen_at(rest, attributes)?);
            } else {
                answer.public.insert(number, public(rest)?);
            }
        }
        _ => {
            once(tag.to_owned())?;
            match tag {
                "identity" => answer.identity = Some(identity(rest)?),
                "system" => answer.system = Some(path_of(rest)?),
                "profile" => answer.profile = Some(path_of(rest)?),
                "generation" => answer.generation = Some(path_of(rest)?),
                "record" => answer.record = Some(bytes_of(rest)?),
                "rbw" => answer.rbw = Some(rbw(rest)?),
                "sees" => answer.sees = Some(seen_at(rest, |digest| digest.parse().ok())?),
                "note" if rest == "sudo-refused" => answer.sudo_refused = true,
                _ => return None,
            }
        }
    }
    Some(())
}

fn identity(text: &str) -> Option<Identity> {
    match text.split_once(' ') {
        Some(("age", key)) => Some(Identity::Age(key.to_owned())),
        Some(("ssh", line)) => Some(Identity::Ssh(line.to_owned())),
        None if text == "absent" => Some(Identity::Absent),
        None if text == "needs-root" => Some(Identity::NeedsRoot),
        None if text == "opaque" => Some(Identity::Opaque),
        _ => None,
    }
}

fn seen_at<T>(text: &str, present: impl FnOnce(&str) -> Option<T>) -> Option<Seen<T>> {
    match text.split_once(' ') {
        Some(("present", rest)) => present(rest).map(Seen::Present),
        None if text == "absent" => Some(Seen::Absent),
        None if text == "needs-root" => Some(Seen::NeedsRoot),
        _ => None,
    }
}

/// `PATH SIZE MODE OWNER:GROUP`: the path in hexadecimal digits, or `-`, and the rest as both kinds of stat print it. A
/// name may hold spaces, and no colon.
fn attributes(text: &str) -> Option<Attributes> {
    let (really, rest) = text.split_once(' ')?;
    let really = if really == "-" { None } else { Some(path_of(really)?) };
    let (size, rest) = rest.split_once(' ')?;
    let (mode, names) = rest.split_once(' ')?;
    let (owner, group) = names.split_once(':')?;
    let mode = u16::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777)?;
    Some(Attributes { really, size: size.parse().ok()?, mode, owner: owner.to_owned(), group: group.to_owned() })
}

fn rbw(text: &str) -> Option<RbwSeen> {
    match text {
        "logged-in" => Some(RbwSeen::LoggedIn),
        "logged-out" => Some(RbwSeen::LoggedOut),
        "unconfigured" => Some(RbwSeen::Unconfigured),
        "needs-root" => Some(RbwSeen::NeedsRoot),
        "no-user" => Some(RbwSeen::NoUser),
        _ => None,
    }
}

fn public(text: &str) -> Option<Public> {
    match text.split_once(' ') {
        Some(("content", hex)) => bytes_of(hex).map(Public::Content),
        None if text == "absent" => Some(Public::Absent),
        None if text == "unreadable" => Some(Public::Unreadable),
        None if text == "private" => Some(Public::Private),
        _ => None,
    }
}

fn installer(text: &str) -> Option<(Kind, Installer)> {
    let mut words = text.split_ascii_whitespace();
    let kind = kind(words.next()?)?;
    let installer = match words.next()? {
        "activation" => Installer::Activation,
        "systemd" => {
            let words: Vec<&str> = words.collect();
            let says = |word: &str| words.contains(&word);
            Installer::Systemd(if says("ActiveState=active") && says("Result=success") {
                Unit::Succeeded
            } else if says("ActiveState=failed") {
                Unit::Failed
            } else {
                Unit::Other
            })
        }
        _ => return None,
    };
    Some((kind, installer))
}

fn kind(word: &str) -> Option<Kind> {
    match word {
        "secrets" => Some(Kind::Secrets),
        "users" => Some(Kind::ForUsers),
        _ => None,
    }
}

fn changed(word: &str) -> Option<Changed> {
    match word {
        "system" => Some(Changed::System),
        "profile" => Some(Changed::Profile),
        _ => kind(word).map(Changed::Link),
    }
}

/// Seconds with an optional fraction, as GNU's `%.9Y` and BSD's `%Fm` print them.
fn time_of(text: &str) -> Option<Time> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((seconds.parse().ok()?, format!("{fraction:0<9}").parse().ok()?))
}

fn path_of(hex: &str) -> Option<String> {
    let bytes = bytes_of(hex).filter(|bytes| !bytes.is_empty() && bytes.len() <= PATH_LIMIT)?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "w0rd";

    fn told(lines: &[&str]) -> Result<Answer, Unclear> {
        let text: String = lines.iter().map(|line| format!("{NONCE} {line}\n")).collect();
        read(text.as_bytes(), NONCE)
    }

    #[test]
    fn an_answer_is_read_past_what_a_shell_prints_around_it() {
        let digest = Digest::of(b"x");
        let text = format!(
            "Welcome!\n{NONCE} identity age age1xyz\n{NONCE} secret 0 present 2f61 19 400 m:users\n\
             {NONCE} sees present {digest}\nidentity age age1forged\n{NONCE} secret 1 needs-root\n{NONCE} end\nBye\n"
        );
        let answer = read(text.as_bytes(), NONCE);
        let really = Some("/a".to_owned());
        let attributes = Attributes { really, size: 19, mode: 0o400, owner: "m".to_owned(), group: "users".to_owned() };
        let expected = Answer {
            identity: Some(Identity::Age("age1xyz".to_owned())),
            sees: Some(Seen::Present(digest)),
            secrets: [(0, Seen::Present(attributes)), (1, Seen::NeedsRoot)].into(),
            ..Answer::default()
        };
        assert_eq!(answer, Ok(expected));
    }

    #[test]
    fn an_answer_that_is_cut_off_anywhere_is_no_answer() {
        let whole = format!("{NONCE} identity absent\n{NONCE} secret 0 absent\n{NONCE} end");
        assert!(read(whole.as_bytes(), NONCE).is_ok());
        for end in 0..whole.len() {
            assert!(read(&whole.as_bytes()[..end], NONCE).is_err(), "{end}");
        }
    }

    #[test]
    fn what_is_malformed_doubled_or_unheard_of_is_refused() {
        for lines in [
            &["secret 0 present - 19 400 m", "end"][..],
            &["secret 0 present 19 400 m:users", "end"],
            &["secret 0 present - -1 400 m:users", "end"],
            &["secret 0 present - 19 99999 m:users", "end"],
            &["rbw", "end"],
            &["rbw logged", "end"],
            &["secret x absent", "end"],
            &["secret 0 absent", "secret 0 needs-root", "end"],
            &["identity absent", "identity age age1x", "end"],
            &["sees present abc", "end"],
            &["system zz", "end"],
            &["public 0 content 0", "end"],
            &["installs 00 2f", "end"],
            &["shell rm", "end"],
            &["end", "identity absent"],
            &["", "end"],
        ] {
            assert!(told(lines).is_err(), "{lines:?}");
        }
        let Err(Unclear(text)) = told(&["\u{1b}]0;title\u{7} x", "end"]) else { panic!("it was taken") };
        assert!(!text.printable().contains('\u{1b}'));
    }

    #[test]
    fn any_bytes_give_an_answer_or_none() {
        let mut bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        for at in (0..5000).step_by(97) {
            bytes.splice(at..at, format!("\n{NONCE} secret {at} present - 1 400 \u{0}\u{202e}:\n").bytes());
        }
        assert!(read(&bytes, NONCE).is_err());
        bytes.extend(format!("\n{NONCE} end\n").bytes());
        assert_eq!(read(&bytes, NONCE).map(|answer| answer.secrets.len()), Ok(52));
    }

    #[test]
    fn what_stat_and_systemctl_print_is_read() {
        // GNU coreutils 9, then macOS 15; `%Lp` and `%Fm` of BSD.
        let secrets = ["secret 0 present - 19 400 m:users", "secret 1 present - 19 440 _www:wheel", "end"];
        let modes = told(&secrets).map(|answer| {
            answer
                .secrets
                .into_values()
                .filter_map(|seen| match seen {
                    Seen::Present(seen) => Some((seen.owner, seen.group, seen.mode)),
                    _ => None,
                })
                .collect::<Vec<_>>()
        });
        let expected = [("m", "users", 0o400), ("_www", "wheel", 0o440)];
        assert_eq!(modes, Ok(expected.map(|(owner, group, mode)| (owner.to_owned(), group.to_owned(), mode)).into()));
        for (text, time) in [
            ("1700000000.123456789", Some((1_700_000_000, 123_456_789))),
            ("1700000000.500000", Some((1_700_000_000, 500_000_000))),
            ("1700000000", Some((1_700_000_000, 0))),
            ("%.9Y", None),
            ("1700000000.", None),
        ] {
            assert_eq!(time_of(text), time, "{text}");
        }
        // `systemctl show -p ActiveState -p Result`, sorted and on one line.
        for (text, unit) in [
            ("secrets systemd ActiveState=active Result=success ", Unit::Succeeded),
            ("secrets systemd ActiveState=failed Result=exit-code ", Unit::Failed),
            ("secrets systemd ActiveState=inactive Result=success ", Unit::Other),
            ("secrets systemd ", Unit::Other),
        ] {
            assert_eq!(installer(text), Some((Kind::Secrets, Installer::Systemd(unit))), "{text}");
        }
        assert_eq!(installer("users activation"), Some((Kind::ForUsers, Installer::Activation)));
    }

    proptest::proptest! {
        /// Whatever a host prints is understood or refused.
        #[test]
        fn reading_anything_ends(
            records in proptest::collection::vec(
                "(identity|system|profile|generation|record|sees|secret|public|manifest|installs|installer|time|note|end)?\
                ( (age|ssh|absent|present|needs-root|content|secrets|users|systemd|activation|[0-9]{1,21}|-1|[0-9a-f]{1,9}\
                |\\PC{0,6}|[0-9]{1,3}\\.[0-9]{0,12}|m:users|:)){0,5}",
                0..9,
            ),
        ) {
            let lines: Vec<&str> = records.iter().map(String::as_str).collect();
            let _ = told(&lines);
            if let Err(Unclear(said)) = told(&[lines.as_slice(), &["end"]].concat()) {
                proptest::prop_assert!(!said.printable().contains(char::is_control));
            }
        }
    }
}
