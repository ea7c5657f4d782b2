//! Brings a host's new file into effect: the declared command, `nixos-rebuild`, or our own activation. Whether it
//! arrived is seen afterwards; an exit code proves nothing.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::address::HostName;
use crate::manifest::{
    Access, Become, Host, Manifest, NixosRebuild, Place, Placeholder, Surroundings, Switch, filled_in,
};
use crate::observe::Site;
use crate::observe::hosts::path_on_host;
use crate::plan::Group;
use crate::report::{Event, StepResult};
use crate::sops::Identities;
use crate::state::{Dataset, SOPS_FILE_LIMIT};
use crate::text::Untrusted;
use crate::tools::nix::{self, Reference, Wrapper};
use crate::tools::program::{self, Shown};
use crate::tools::ssh::{Target, quoted};
use crate::tools::together;

use super::activate::{ActivateError, ToInstall, activate};
use super::{Failure, Running, declared, verify};

/// Where what a switch prints goes.
enum Output<'a> {
    /// To our own terminal, which it may read from as well: `ssh -t` asks for a sudo password.
    Inherit,
    /// Line by line to this.
    Lines(&'a mut dyn FnMut(Untrusted)),
}

/// Switches the hosts of a group. One that does not see its new file yet is left out, and told; the others go on.
pub(super) async fn group(running: &Running<'_>, number: usize, group: &Group) -> Result<StepResult, Failure> {
    let apply = running.apply;
    let hosts = group.hosts();
    let seen = together::all(hosts.iter().map(|host| verify::seen_by_host(running, host))).await;
    let (mut ready, mut failures) = (Vec::new(), Vec::new());
    for (host, seen) in hosts.into_iter().zip(seen) {
        match seen {
            Ok(()) => ready.push(host),
            Err(failure) => failures.push(failure),
        }
    }
    if let Some(first) = ready.first() {
        let host = declared(apply, first)?;
        let silent = host.access == Access::Local && matches!(host.switch, Some(Switch::Activate { .. }));
        if running.terminal && !silent {
            running.tell(Event::TookTerminal { step: number });
        }
        let mut line = |line: Untrusted| running.tell(Event::Output { step: number, line });
        let output = if running.terminal { Output::Inherit } else { Output::Lines(&mut line) };
        let Site { manifest, surroundings, dataset } = apply.site;
        let alone = matches!(group, Group::Alone { .. });
        let switching = Switching { hosts: &ready, alone, name: first, host, manifest, surroundings, dataset };
        failures.extend(switching.run(output).await.err());
    }
    Failure::all_of(failures).map_or(Ok(StepResult::Switched), Err)
}

/// Hosts that one command switches.
struct Switching<'a> {
    hosts: &'a [&'a HostName],
    /// Whether the command is that of one host.
    alone: bool,
    /// The first of them. How it is switched is the same for all.
    name: &'a HostName,
    host: &'a Host,
    manifest: &'a Manifest,
    surroundings: &'a Surroundings,
    /// The dataset directory.
    dataset: &'a Path,
}

impl Switching<'_> {
    /// Runs what is declared, to its end.
    async fn run(&self, output: Output<'_>) -> Result<(), Failure> {
        let argv = match &self.host.switch {
            None => return Ok(()),
            Some(Switch::Command(argv)) => filled_in(argv, self.hosts, &|placeholder| match placeholder {
                Placeholder::Dataset => Some(self.dataset.display().to_string()),
                Placeholder::SopsFile => Some(self.sops_file(self.host).display().to_string()),
                _ => None,
            }),
            Some(Switch::NixosRebuild(rebuild)) => return self.rebuild(rebuild, output).await,
            Some(Switch::Activate { symlink_path }) => match self.host.access {
                Access::Local => return self.activate_here(symlink_path),
                Access::Ssh { .. } => return self.activate_there(symlink_path, output).await,
            },
        };
        let by_hand = by_hand(&argv);
        self.command(&argv, &by_hand, output).await
    }

    async fn rebuild(&self, rebuild: &NixosRebuild, output: Output<'_>) -> Result<(), Failure> {
        let Self { surroundings, dataset, .. } = *self;
        let sudo = self.host.becomes == Become::Sudo;
        let words = |wrapper| nix::nixos_rebuild(rebuild, wrapper, sudo, surroundings, dataset);
        let Some(function) = &rebuild.wrap else {
            let argv = words(None)?;
            return self.command(&argv, &by_hand(&argv), output).await;
        };
        let (flake, _) = rebuild.flake_and_attribute();
        let wrapper = Wrapper::new(flake, &rebuild.inputs, function, surroundings, dataset)?;
        // It is gone when the switch has ended; it names places and holds no secret.
        let directory = tempfile::Builder::new().prefix("reconcile-wrapper-").tempdir()?;
        std::fs::write(directory.path().join("flake.nix"), wrapper.text())?;
        let argv = words(Some(directory.path()))?;
        let reference = Reference::Path(directory.path().canonicalize()?).as_argument();
        let by_hand = format!(
            "WRAPPER=$(mktemp -d); reconcile wrapper-flake {} >$WRAPPER/flake.nix; {}",
            self.name,
            by_hand(&argv).replace(&reference, "path:$WRAPPER")
        );
        self.command(&argv, &by_hand, output).await
    }

    fn sops_file(&self, host: &Host) -> PathBuf {
        self.dataset.join(host.sops_file.as_str())
    }

    /// `host.vm`, or `host.web-1, host.web-2`.
    fn addresses(&self) -> String {
        self.hosts.iter().map(|host| format!("host.{host}")).collect::<Vec<_>>().join(", ")
    }

    async fn command(&self, argv: &[String], by_hand: &str, output: Output<'_>) -> Result<(), Failure> {
        let Some((program, arguments)) = argv.split_first() else {
            return Err(Failure::new(format!("{}: the switch command is empty", self.addresses()), None));
        };
        let mut command = program::command_in(program, &self.surroundings.variables);
        let names: Vec<&str> = self.hosts.iter().map(|host| host.as_str()).collect();
        command
            .args(arguments)
            .current_dir(&self.surroundings.directory)
            .env("RECONCILE_HOSTS", names.join(" "))
            .env("RECONCILE_DATASET", self.dataset);
        if self.alone {
            command.env("RECONCILE_HOST", names.join(" "));
        }
        let of = |name: &&HostName| self.manifest.hosts.get(*name).map(|host| &host.sops_file);
        if self.hosts.iter().all(|name| of(name) == Some(&self.host.sops_file)) {
            command.env("RECONCILE_SOPS_FILE", self.sops_file(self.host));
        }
        self.shown(command, output, program, by_hand).await
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
        let how = match ended.map_err(|error| Failure::new(format!("{}: {error}", self.addresses()), None))? {
            Some(0) => return Ok(()),
            Some(code) => format!("ended with code {code}"),
            None => "was ended by a signal".to_owned(),
        };
        // Of several hosts it need not be about the one that failed.
        let said = if last.is_empty() || self.hosts.len() > 1 {
            String::new()
        } else {
            format!(": {}", Untrusted::new(last).printable())
        };
        Err(Failure::new(format!("{}: {program} {how}{said}", self.addresses()), Some(by_hand)))
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
        let failed = |error: ActivateError| {
            let next = error.next(file);
            Failure { next, ..Failure::from(error) }
        };
        activate(&sops, &identities, &secrets, &symlink).map_err(failed)?;
        Ok(())
    }

    /// Another machine activates itself, from where it sees the dataset, with the same program.
    async fn activate_there(&self, symlink: &Place, output: Output<'_>) -> Result<(), Failure> {
        let on_host = |place: &Place| {
            path_on_host(self.host, place, self.surroundings)
                .map_err(|cause| Failure::new(cause.to_string(), cause.next().as_deref()))
        };
        let Some(dataset) = &self.host.path_on_host else {
            let what = format!("{} does not see the dataset, so that it cannot activate", self.addresses());
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

/// A command as a person would type it.
fn by_hand(argv: &[String]) -> String {
    argv.iter().map(|word| word_of(word)).collect::<Vec<_>>().join(" ")
}

/// A word as a person would type it.
fn word_of(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:=@%+,#{}".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { quoted(word) }
}
