//! Brings a host's new file into effect: the declared command, `nixos-rebuild`, or our own activation. Whether it
//! arrived is seen afterwards; an exit code proves nothing.

use std::path::Path;

use tokio::process::Command;

use crate::address::HostName;
use crate::manifest::{Access, Become, Host, Manifest, Place, Surroundings, Switch};
use crate::observe::hosts::path_on_host;
use crate::sops::Identities;
use crate::state::{Dataset, SOPS_FILE_LIMIT};
use crate::text::Untrusted;
use crate::tools::program::{self, Shown};
use crate::tools::ssh::{Target, quoted};

use super::Failure;
use super::activate::{ToInstall, activate};

/// Where what a switch prints goes.
pub(super) enum Output<'a> {
    /// To our own terminal, which it may read from as well: `ssh -t` asks for a sudo password.
    Inherit,
    /// Line by line to this.
    Lines(&'a mut dyn FnMut(Untrusted)),
}

/// One host to switch.
pub(super) struct Switching<'a> {
    pub(super) name: &'a HostName,
    pub(super) host: &'a Host,
    pub(super) manifest: &'a Manifest,
    pub(super) surroundings: &'a Surroundings,
    /// The dataset directory.
    pub(super) dataset: &'a Path,
}

impl Switching<'_> {
    /// Runs what is declared, to its end.
    pub(super) async fn run(&self, output: Output<'_>) -> Result<(), Failure> {
        let argv = match &self.host.switch {
            None => return Ok(()),
            Some(Switch::Command(argv)) => argv.iter().map(|word| self.filled_in(word)).collect(),
            Some(Switch::NixosRebuild { flake, inputs, target_host, build_host }) => {
                let mut argv = vec!["nixos-rebuild", "switch", "--flake", flake, "--no-write-lock-file"]
                    .into_iter()
                    .map(str::to_owned)
                    .collect::<Vec<_>>();
                for (name, path) in inputs {
                    argv.extend(["--override-input".to_owned(), name.clone(), self.input(path)?]);
                }
                for (option, place) in [("--target-host", target_host), ("--build-host", build_host)] {
                    if let Some(place) = place {
                        argv.extend([option.to_owned(), place.text(self.surroundings)?]);
                    }
                }
                if self.host.becomes == Become::Sudo {
                    argv.push("--sudo".to_owned());
                }
                argv
            }
            Some(Switch::Activate { symlink_path }) => match self.host.access {
                Access::Local => return self.activate_here(symlink_path),
                Access::Ssh { .. } => return self.activate_there(symlink_path, output).await,
            },
        };
        self.command(&argv, output).await
    }

    fn filled_in(&self, word: &str) -> String {
        let dataset = self.dataset.to_string_lossy();
        word.replace("{host}", self.name.as_str())
            .replace("{dataset}", &dataset)
            .replace("{sops_file}", &format!("{dataset}/{}", self.host.sops_file))
    }

    fn input(&self, path: &str) -> Result<String, Failure> {
        let path = match path {
            "dataset" => self.dataset.to_path_buf(),
            other => Place::new(other).path(self.surroundings)?,
        };
        Ok(format!("path:{}", path.display()))
    }

    async fn command(&self, argv: &[String], output: Output<'_>) -> Result<(), Failure> {
        let Some((program, arguments)) = argv.split_first() else {
            return Err(Failure::new(format!("host.{}: the switch command is empty", self.name), None));
        };
        let mut command = program::command_in(program, &self.surroundings.variables);
        let file = self.dataset.join(self.host.sops_file.as_str());
        command
            .args(arguments)
            .current_dir(&self.surroundings.directory)
            .env("RECONCILE_HOST", self.name.as_str())
            .env("RECONCILE_DATASET", self.dataset)
            .env("RECONCILE_SOPS_FILE", file);
        let by_hand = argv.iter().map(|word| word_of(word)).collect::<Vec<_>>().join(" ");
        self.shown(command, output, program, &by_hand).await
    }

    async fn shown(&self, command: Command, output: Output<'_>, program: &str, by_hand: &str) -> Result<(), Failure> {
        let mut last = String::new();
        let mut keep = |line: &[u8], show: &mut dyn FnMut(Untrusted)| {
            let line = String::from_utf8_lossy(line).trim_end().to_owned();
            if !line.is_empty() {
                last.clone_from(&line);
            }
            show(Untrusted::new(line));
        };
        let ended = match output {
            Output::Inherit => program::run_shown(command, Shown::Inherit).await,
            Output::Lines(show) => program::run_shown(command, Shown::Lines(&mut |line| keep(line, show))).await,
        };
        let how = match ended.map_err(|error| Failure::new(format!("host.{}: {error}", self.name), None))? {
            Some(0) => return Ok(()),
            Some(code) => format!("ended with code {code}"),
            None => "was ended by a signal".to_owned(),
        };
        let said = if last.is_empty() { String::new() } else { format!(": {}", Untrusted::new(last).printable()) };
        Err(Failure::new(format!("host.{}: {program} {how}{said}", self.name), Some(by_hand)))
    }

    fn activate_here(&self, symlink: &Place) -> Result<(), Failure> {
        let file = &self.host.sops_file;
        let missing = || Failure::new(format!("{file} is not in {}", self.dataset.display()), Some("reconcile plan"));
        let dataset = Dataset::open(self.dataset)?.ok_or_else(missing)?;
        let sops = dataset.read(file, SOPS_FILE_LIMIT)?.ok_or_else(missing)?;
        let key_file = self.host.age_key_file.path(self.surroundings)?;
        let identities = read_identities(&key_file)?;
        let secrets = ToInstall::of_manifest(self.manifest, self.name, self.surroundings)
            .map_err(|cause| Failure::new(cause.to_string(), cause.next().as_deref()))?;
        let symlink = symlink.path(self.surroundings)?;
        activate(&sops, &identities, &secrets, &symlink)?;
        Ok(())
    }

    /// Another machine activates itself, from where it sees the dataset, with the same program.
    async fn activate_there(&self, symlink: &Place, output: Output<'_>) -> Result<(), Failure> {
        let on_host = |place: &Place| {
            path_on_host(self.host, place, self.surroundings)
                .map_err(|cause| Failure::new(cause.to_string(), cause.next().as_deref()))
        };
        let Some(dataset) = &self.host.path_on_host else {
            let what = format!("host.{} does not see the dataset, so that it cannot activate", self.name);
            return Err(Failure::new(what, Some("declare path_on_host")));
        };
        let words = [
            "reconcile activate --dataset",
            &quoted(&on_host(dataset)?),
            "--host",
            &quoted(self.name.as_str()),
            "--age-key-file",
            &quoted(&on_host(&self.host.age_key_file)?),
            "--symlink-path",
            &quoted(&on_host(symlink)?),
        ]
        .join(" ");
        let target = Target::of(&self.host.access, self.surroundings)?;
        let sudo = match self.host.becomes {
            Become::Sudo => "sudo -n -- ",
            Become::Never => "",
        };
        let command = target.command_line(self.surroundings, &format!("{sudo}{words}"));
        self.shown(command, output, "reconcile activate", &target.by_hand(&words)).await
    }
}

/// Reads the age identities of this machine.
pub(crate) fn read_identities(path: &Path) -> Result<Identities, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", path.display()), None);
    let text = std::fs::read(path).map(zeroize::Zeroizing::new).map_err(|error| failed(&error))?;
    Identities::read(&text).map_err(|error| failed(&error))
}

/// A word as a person would type it.
fn word_of(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:=@%+,#{}".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { quoted(word) }
}
