//! git's credential protocol: lines of `key=value` up to an empty one. Only the exact hosts of the manifest are
//! answered; for anything else there is nothing to say, so that git asks its next helper.

use zeroize::Zeroizing;

use crate::launch::LaunchError;
use crate::manifest::{GitCredential, ItemRef, Manifest};
use crate::secret::{SecretName, SecretValue};

/// What git asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    protocol: Option<String>,
    host: Option<String>,
    username: Option<String>,
}

impl Asked {
    /// Reads what git sent.
    ///
    /// # Errors
    /// When it is not the protocol: a line without `=`, a carriage return, a NUL, or a host that is told twice.
    pub fn read(input: &[u8]) -> Result<Self, LaunchError> {
        if input.iter().any(|byte| matches!(byte, 0 | b'\r')) {
            return Err(LaunchError::NotGit("there is a carriage return or a NUL byte in it"));
        }
        let mut asked = Self::default();
        for line in input.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty()) {
            let line = std::str::from_utf8(line).map_err(|_| LaunchError::NotGit("it is not UTF-8"))?;
            let (key, value) = line.split_once('=').ok_or(LaunchError::NotGit("a line has no ="))?;
            let place = match key {
                "protocol" => &mut asked.protocol,
                "host" => &mut asked.host,
                "username" => &mut asked.username,
                _ => continue,
            };
            if place.replace(value.to_owned()).is_some() {
                return Err(LaunchError::NotGit("something is told twice"));
            }
        }
        Ok(asked)
    }
}

/// The secret that is the credential for this, and what git is told with it.
#[must_use]
pub fn credential<'m>(
    manifest: &'m Manifest,
    asked: &Asked,
) -> Option<(&'m SecretName, &'m ItemRef, &'m GitCredential)> {
    let host = asked.host.as_deref()?;
    let (name, secret, git) = manifest.secrets.iter().find_map(|(name, secret)| {
        let git = secret.runtime.as_ref()?.git_credential.as_ref()?;
        // Names of hosts have no case.
        git.hosts.iter().any(|declared| declared.eq_ignore_ascii_case(host)).then_some((name, secret, git))
    })?;
    let carried = match asked.protocol.as_deref()? {
        "https" => true,
        "http" => git.allow_http,
        _ => false,
    };
    let same_user = asked.username.as_ref().is_none_or(|username| *username == git.username);
    (carried && same_user).then_some((name, &secret.item, git))
}

/// What git is told.
///
/// # Errors
/// When the value is not one line.
pub fn answer(name: &SecretName, git: &GitCredential, value: &SecretValue) -> Result<Zeroizing<Vec<u8>>, LaunchError> {
    value.expose(|bytes| {
        if bytes.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
            return Err(LaunchError::NotOneLine(name.clone()));
        }
        // Room for all of it, so that no copy is left behind in growing.
        let mut out = Zeroizing::new(Vec::with_capacity(git.username.len() + bytes.len() + 32));
        for part in [b"username=", git.username.as_bytes(), b"\npassword=", bytes, b"\n"] {
            out.extend_from_slice(part);
        }
        Ok(out)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest;

    const MANIFEST: &str = "
version: 1
name: t
vault: {rbw: {unlock: never}}
dataset: {path: out}
hosts: {}
secrets:
  token: {item: token, delivery: {runtime: {git_credential: {hosts: [github.com, 'git.example:8443'], username: x}}}}
  plain: {item: plain, delivery: {runtime: {git_credential: {hosts: ['127.0.0.1:80'], username: x, allow_http: true}}}}
";

    fn found(input: &str) -> Option<String> {
        let checked = manifest::parse("m", MANIFEST);
        let manifest = checked.unwrap_or_else(|error| panic!("{:?}", error.findings().collect::<Vec<_>>())).manifest;
        let asked = Asked::read(input.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        credential(&manifest, &asked).map(|(name, _, _)| name.to_string())
    }

    #[test]
    fn exact_hosts_alone_are_answered() {
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(found("protocol=https\nhost=github.com\npath=a/b\nwwwauth[]=Basic\n\n"), some("token"));
        assert_eq!(found("protocol=https\nhost=GitHub.com\n"), some("token"));
        assert_eq!(found("protocol=https\nhost=github.com\nusername=x\n"), some("token"));
        assert_eq!(found("protocol=https\nhost=git.example:8443\n"), some("token"));
        assert_eq!(found("protocol=http\nhost=127.0.0.1:80\n"), some("plain"));
        for other in [
            "protocol=http\nhost=github.com\n",
            "protocol=ssh\nhost=github.com\n",
            "host=github.com\n",
            "protocol=https\n",
            "protocol=https\nhost=git.example\n",
            "protocol=https\nhost=github.com:443\n",
            "protocol=https\nhost=github.com.evil.example\n",
            "protocol=https\nhost=evil.github.com\n",
            "protocol=https\nhost=github.com.\n",
            "protocol=https\nhost=github.com\nusername=other\n",
            "protocol=https\n\nhost=github.com\n",
            "",
        ] {
            assert_eq!(found(other), None, "{other:?}");
        }
    }

    #[test]
    fn what_could_carry_a_second_line_is_refused() {
        for bad in ["host=a\r\n", "host=a\0b\n", "host\n", "host=a\nhost=b\n", "protocol=https\nprotocol=http\n"] {
            assert!(Asked::read(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let git = GitCredential { hosts: ["h".to_owned()].into(), username: "x".to_owned(), allow_http: false };
        let name: SecretName = "token".parse().unwrap_or_else(|error| panic!("{error}"));
        for (value, told) in
            [("v=1 ", Some("username=x\npassword=v=1 \n")), ("a\n", None), ("a\rb", None), ("\0", None)]
        {
            let answer = answer(&name, &git, &SecretValue::new(value.as_bytes().to_vec())).ok();
            assert_eq!(answer.as_deref().map(|bytes| bytes.as_slice()), told.map(str::as_bytes), "{value:?}");
        }
    }
}
