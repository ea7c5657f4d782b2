//! Makes the age identity of a host, on that host: only the public half leaves it, and what is there is never replaced.

use std::time::Duration;

use crate::address::HostName;
use crate::manifest::{Access, Become, Host, Surroundings};
use crate::observation::Cause;
use crate::observe::hosts::path_on_host;
use crate::sops::{Identities, Recipient};
use crate::state::{self, FileError};
use crate::text::Untrusted;
use crate::tools::ssh::{Target, quoted};

use super::Failure;

/// How long a host may take for it.
const WITHIN: Duration = Duration::from_secs(30);
/// Makes the file $key with an identity, and prints its public half. A link, unlike a rename, replaces nothing.
const SCRIPT: &str = r#"
set -u
umask 077
PATH=$PATH:/run/wrappers/bin:/run/current-system/sw/bin:/usr/local/bin:/opt/homebrew/bin
export PATH
if ! command -v age-keygen >/dev/null; then echo 'age-keygen is not there: install age' >&2; exit 3; fi
$run mkdir -p -m 0700 "${key%/*}" || exit 1
fresh=$key.reconcile-$$
$run age-keygen -o "$fresh" 2>/dev/null || { echo "nothing can be written into ${key%/*}" >&2; exit 1; }
$run chmod 0600 "$fresh" && $run ln "$fresh" "$key" && made=yes
$run rm -f "$fresh"
[ "${made-}" = yes ] || { echo "$key is there already" >&2; exit 1; }
$run age-keygen -y "$key"
"#;

/// Makes the identity of `host`, and returns its public half.
///
/// # Errors
/// When there is one already, or it cannot be written.
pub(super) async fn make(host: &HostName, declared: &Host, surroundings: &Surroundings) -> Result<Recipient, Failure> {
    let path = path_on_host(declared, &declared.age_key_file, surroundings).map_err(|cause| unmade(host, &cause))?;
    if declared.access == Access::Local {
        match make_here(&path) {
            Err(Failing::Denied) if declared.becomes == Become::Sudo => {}
            Err(Failing::Denied) => {
                let what = format!("host.{host}: {path} cannot be written by this user");
                return Err(Failure::new(what, Some("make it with sudo age-keygen, or declare `become: sudo`")));
            }
            Err(Failing::Other(failure)) => return Err(failure),
            Ok(recipient) => return Ok(recipient),
        }
    }
    make_there(host, declared, surroundings, &path).await
}

enum Failing {
    Denied,
    Other(Failure),
}

fn make_here(path: &str) -> Result<Recipient, Failing> {
    let (text, recipient) = Identities::generate();
    match state::create_private(path.as_ref(), text.as_bytes()) {
        Ok(true) => Ok(recipient),
        Ok(false) => Err(Failing::Other(Failure::new(format!("{path} is there already"), Some("reconcile plan")))),
        Err(error) if matches!(&error, FileError::System { error, .. } if is_denial(*error)) => Err(Failing::Denied),
        Err(error) => Err(Failing::Other(error.into())),
    }
}

fn is_denial(error: rustix::io::Errno) -> bool {
    matches!(error, rustix::io::Errno::ACCESS | rustix::io::Errno::PERM)
}

async fn make_there(
    host: &HostName,
    declared: &Host,
    surroundings: &Surroundings,
    path: &str,
) -> Result<Recipient, Failure> {
    let target = Target::of(&declared.access, surroundings).map_err(|error| unmade(host, &error.cause(host)))?;
    let run = match declared.becomes {
        Become::Sudo => "run='sudo -n --'",
        Become::Never => "run=",
    };
    let script = format!("{run}\nkey={}\n{{\n{SCRIPT}}}\n", quoted(path));
    let answer = target.run(surroundings, &script, WITHIN).await.map_err(|error| unmade(host, &error.cause(host)))?;
    if answer.code != Some(0) {
        let what = format!("host.{host}: no age identity was made ({})", answer.complaint.printable());
        let by_hand = format!("sudo sh -c 'umask 077; mkdir -p \"{}\" && age-keygen -o \"{path}\"'", directory(path));
        return Err(Failure::new(what, Some(&target.by_hand(&by_hand))));
    }
    let printed = String::from_utf8_lossy(&answer.stdout);
    printed.trim().parse().map_err(|error| {
        let printed = Untrusted::new(printed.trim().chars().take(80).collect::<String>());
        Failure::new(format!("host.{host}: age-keygen printed \"{}\": {error}", printed.printable()), None)
    })
}

fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(directory, _)| directory)
}

fn unmade(host: &HostName, cause: &Cause) -> Failure {
    Failure::new(format!("host.{host}: no age identity was made: {cause}"), cause.next().as_deref())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_identity_is_private_and_is_never_replaced() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("run/age/key.txt");
        let text = path.to_string_lossy();
        let Ok(recipient) = make_here(&text) else { panic!("it was not made") };
        let made = std::fs::read(&path)?;
        assert_eq!(Identities::read(&made)?.recipients(), [recipient]);
        assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
        let parent = path.parent().ok_or("it has a parent")?;
        assert_eq!(std::fs::metadata(parent)?.permissions().mode() & 0o777, 0o700);
        assert!(matches!(make_here(&text), Err(Failing::Other(_))));
        assert_eq!(std::fs::read(&path)?, made);
        assert_eq!(std::fs::read_dir(parent)?.count(), 1, "nothing is left beside it");
        Ok(())
    }
}
