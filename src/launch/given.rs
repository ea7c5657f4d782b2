//! Which secrets a program is given, and in which variables. No value is known here.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::str::FromStr;

use crate::launch::LaunchError;
use crate::manifest::{ItemRef, Manifest, RuntimeDelivery};
use crate::secret::SecretName;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Request<'a> {
    /// These secrets.
    Names(&'a [SecretName]),
    /// All that the manifest gives this command.
    Command(&'a str),
    /// The one of this `with_command`.
    With(&'a str),
}

/// `VARIABLE`, or `NAME=VARIABLE`: this secret as a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsFile {
    /// Which secret; the only one when not said.
    pub secret: Option<SecretName>,
    /// The variable that holds the path.
    pub variable: String,
}

impl FromStr for AsFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (secret, variable) = match text.rsplit_once('=') {
            Some((name, variable)) => (Some(name.parse::<SecretName>().map_err(|e| e.to_string())?), variable),
            None => (None, text),
        };
        let plain = variable.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if variable.is_empty() || variable.starts_with(|c: char| c.is_ascii_digit()) || !plain {
            return Err("the name of a variable has letters, digits and _, and does not begin with a digit".to_owned());
        }
        Ok(Self { secret, variable: variable.to_owned() })
    }
}

/// How a program gets a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The variable holds it.
    Value,
    /// The variable holds the path of a file that is gone with the process.
    File,
}

/// A secret that is given, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given<'m> {
    /// Which.
    pub secret: &'m SecretName,
    /// Where its value is.
    pub item: &'m ItemRef,
    /// The variable.
    pub variable: String,
    /// What the variable holds.
    pub form: Form,
}

/// What `program` is given.
///
/// # Errors
/// When the manifest does not say so, or says two things.
pub fn given<'m>(
    manifest: &'m Manifest,
    request: Request<'_>,
    program: &OsStr,
    files: &[AsFile],
) -> Result<Vec<Given<'m>>, LaunchError> {
    let mut chosen = chosen(manifest, request, program)?;
    let mut forms: BTreeMap<&SecretName, Form> = BTreeMap::new();
    for file in files {
        let (secret, variable) = match (&file.secret, chosen.len()) {
            (Some(name), _) => chosen
                .iter_mut()
                .find_map(|(secret, variable)| (*secret == name).then_some((secret, variable)))
                .ok_or_else(|| LaunchError::AsFile(format!("secret.{name} is not among those that are given")))?,
            (None, 1) => chosen.iter_mut().next().ok_or_else(several)?,
            (None, _) => return Err(several()),
        };
        *variable = Some(file.variable.clone());
        forms.insert(secret, Form::File);
    }
    let mut variables: BTreeMap<String, &SecretName> = BTreeMap::new();
    let mut given = Vec::new();
    for (secret, variable) in chosen {
        let variable = variable.ok_or_else(|| LaunchError::NoVariable(secret.clone()))?;
        if let Some(other) = variables.insert(variable.clone(), secret) {
            return Err(LaunchError::SameVariable(other.clone(), secret.clone(), variable));
        }
        let item = &manifest.secrets.get(secret).ok_or_else(|| LaunchError::NotDeclared(secret.clone()))?.item;
        given.push(Given { secret, item, variable, form: forms.get(secret).copied().unwrap_or(Form::Value) });
    }
    Ok(given)
}

fn several() -> LaunchError {
    LaunchError::AsFile("several secrets are given: say which one is the file".to_owned())
}

type Chosen<'m> = BTreeMap<&'m SecretName, Option<String>>;

fn chosen<'m>(manifest: &'m Manifest, request: Request<'_>, program: &OsStr) -> Result<Chosen<'m>, LaunchError> {
    let runtime = manifest.secrets.iter().filter_map(|(name, secret)| Some((name, secret.runtime.as_ref()?)));
    let (chosen, missing): (Chosen<'m>, _) = match request {
        Request::Names(names) => {
            let each = names.iter().map(|name| {
                let (name, secret) =
                    manifest.secrets.get_key_value(name).ok_or_else(|| LaunchError::NotDeclared(name.clone()))?;
                let runtime = secret.runtime.as_ref().ok_or_else(|| LaunchError::NotAtRunTime(name.clone()))?;
                Ok((name, variable(runtime, program)))
            });
            return each.collect();
        }
        Request::Command(command) => {
            let of = |(name, runtime): (&'m SecretName, &RuntimeDelivery)| {
                Some((name, Some(runtime.commands.get(command)?.clone())))
            };
            (runtime.filter_map(of).collect(), LaunchError::CommandNotDeclared(command.to_owned(), "commands"))
        }
        Request::With(with) => {
            let of = |(name, runtime): (&'m SecretName, &RuntimeDelivery)| {
                (runtime.with_command.as_deref() == Some(with)).then(|| (name, runtime.env.clone()))
            };
            (runtime.filter_map(of).collect(), LaunchError::CommandNotDeclared(with.to_owned(), "with_command"))
        }
    };
    if chosen.is_empty() { Err(missing) } else { Ok(chosen) }
}

/// The variable that the manifest gives to this very program, else the one that it gives to any.
fn variable(runtime: &RuntimeDelivery, program: &OsStr) -> Option<String> {
    let program = Path::new(program).file_name().and_then(OsStr::to_str);
    program.and_then(|program| runtime.commands.get(program)).or(runtime.env.as_ref()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest;

    const MANIFEST: &str = "
version: 1
name: t
vault: {file: {path: vault.yaml}}
dataset: {path: out}
hosts: {here: {local: {}, age_key_file: key.txt, recipient: {file: k}, switch: {activate: {symlink_path: run}}}}
secrets:
  boot: {item: boot, delivery: {sops: {}}}
  token: {item: token, delivery: {runtime: {env: TOKEN, commands: {gh: GH, hub: HUB}, with_command: with-token}}}
  other: {item: other, delivery: {runtime: {env: TOKEN}}}
  second: {item: second, delivery: {runtime: {commands: {gh: SECOND}}}}
";

    fn manifest() -> Manifest {
        let text = MANIFEST.replace("dataset: {path: out}", "dataset: {path: out, files: {k: {age_key_of: here}}}");
        manifest::parse("m", &text)
            .unwrap_or_else(|error| panic!("{:?}", error.findings().collect::<Vec<_>>()))
            .manifest
    }

    fn shown(request: Request<'_>, program: &str, files: &[&str]) -> Result<String, String> {
        let manifest = manifest();
        let files: Vec<AsFile> = files.iter().map(|file| file.parse()).collect::<Result<_, String>>()?;
        let given = given(&manifest, request, OsStr::new(program), &files).map_err(|error| error.to_string())?;
        let each = given.iter().map(|g| format!("{}={}{}", g.variable, g.secret, ["", "@"][g.form as usize]));
        Ok(each.collect::<Vec<_>>().join(" "))
    }

    fn names(names: &str) -> Vec<SecretName> {
        names.split(' ').map(|name| name.parse().unwrap_or_else(|error| panic!("{error}"))).collect()
    }

    #[test]
    fn a_program_gets_what_was_named_and_nothing_else() {
        assert_eq!(shown(Request::Names(&names("token")), "x", &[]).as_deref(), Ok("TOKEN=token"));
        assert_eq!(shown(Request::Names(&names("token token")), "/bin/gh", &[]).as_deref(), Ok("GH=token"));
        assert_eq!(shown(Request::Names(&names("token second")), "gh", &[]).as_deref(), Ok("SECOND=second GH=token"));
        assert_eq!(shown(Request::Command("gh"), "gh", &[]).as_deref(), Ok("SECOND=second GH=token"));
        assert_eq!(shown(Request::With("with-token"), "gh", &[]).as_deref(), Ok("TOKEN=token"));
    }

    #[test]
    fn a_file_takes_the_place_of_the_value() {
        assert_eq!(shown(Request::Names(&names("second")), "x", &["KEY"]).as_deref(), Ok("KEY=second@"));
        assert_eq!(
            shown(Request::Names(&names("second token")), "x", &["second=KEY"]).as_deref(),
            Ok("KEY=second@ TOKEN=token")
        );
        assert!(shown(Request::Names(&names("second token")), "x", &["KEY"]).is_err());
        assert!(shown(Request::Names(&names("token")), "x", &["second=KEY"]).is_err());
        for bad in ["", "A B", "1", "token=", "../x=A", "a=b="] {
            assert!(bad.parse::<AsFile>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_the_manifest_does_not_say_is_refused() {
        for (refused, why) in [
            ("nothing", "the manifest declares no secret nothing"),
            ("boot", "secret.boot is delivered at boot only"),
            ("second", "nothing says which variable secret.second is given as"),
            ("token other", "secret.other and secret.token are both given as TOKEN"),
        ] {
            assert_eq!(shown(Request::Names(&names(refused)), "x", &[]), Err(why.to_owned()));
        }
        assert!(shown(Request::Command("with-token"), "x", &[]).is_err());
        assert!(shown(Request::With("gh"), "x", &[]).is_err());
    }
}
