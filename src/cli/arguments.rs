//! The arguments, as clap reads them and as the manual page and the completions show them.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::address::{Address, HostName};
use crate::launch::AsFile;
use crate::plan::Wishes;
use crate::secret::SecretName;
use crate::tools::rbw::RbwSetting;

/// Plan and apply the secrets that a manifest declares, from the vault to where they are used.
#[derive(Debug, Parser)]
#[command(name = "reconcile", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done; 1 an error, something blocked or unchecked, or wrong usage; \
    2 there are changes (plan and status, --detailed-exitcode). exec: the program's own; 125 to 127 when it was not started.")]
pub struct Arguments {
    /// What applies to every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What applies to every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The manifest; else secrets.manifest.yaml here or in a directory above. exec, get, shell-init and git-credential take
    /// the one in $XDG_CONFIG_HOME/reconcile instead
    #[arg(long, global = true, env = "RECONCILE_MANIFEST", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub manifest: Option<PathBuf>,
    /// No colours, as with NO_COLOR
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Never ask: what would have to be asked is an error
    #[arg(long, global = true)]
    pub no_input: bool,
    /// How long to wait for another run, such as 30s or 5m
    #[arg(long, global = true, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub lock_timeout: Duration,
    /// Say more: nothing is cut, and what was looked at is told
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what would change, and why
    Plan(PlanArguments),
    /// Carry out a plan: collect, encrypt, switch, and see it arrive
    Apply(ApplyArguments),
    /// Check the manifest: every mistake at once, without vault or host
    Validate(ValidateArguments),
    /// List the secrets and how each is delivered, or who has access to what
    List(ListArguments),
    /// Show how far each secret has come: vault, file, host
    Status(StatusArguments),
    /// Show a saved plan, or what the last apply wrote
    Show(ShowArguments),
    /// Record what is in a sops file as ours, without writing it anew (Terraform's import)
    Adopt(AdoptArguments),
    /// Decrypt a sops file into place on this machine, where there is no sops-nix
    Activate(ActivateArguments),
    /// Run a program with secrets in its environment, and in no other
    Exec(ExecArguments),
    /// Print the value of a secret, exactly its bytes
    Get(GetArguments),
    /// Print shell functions for the commands of the manifest, to be evaluated when a shell starts
    ShellInit(ShellInitArguments),
    /// Answer git, as one of its credential helpers
    GitCredential(GitCredentialArguments),
    /// Configure rbw for this user of a host, with the account's address from a secret
    RbwConfig(RbwConfigArguments),
    /// Print the item that holds the fingerprint key of several operators, for the vault's own program to add
    FingerprintKey,
    /// Print a flake that wraps another with its inputs as they are now, such as the dataset
    WrapperFlake(WrapperFlakeArguments),
    /// Check what is needed here: the vault's program, the dataset, the hosts
    Doctor,
    /// Print the JSON Schema of the manifest, for editors
    Schema,
    /// Print the completions of a shell
    Completions(CompletionsArguments),
    /// Print the manual page
    Man,
}

/// What shapes a plan, on `plan` and `apply` alike.
#[derive(Debug, Clone, Default, Args)]
pub struct PlanOptions {
    /// Only this and what its file brings along, such as secret.db/password, file.secrets.yaml or host.vm
    #[arg(long = "target", value_name = "ADDRESS")]
    pub targets: Vec<Address>,
    /// Sync the vault, and look at hosts over ssh; with --refresh=false neither
    #[arg(long, value_name = "BOOL", default_value = "true", default_missing_value = "true", num_args = 0..=1,
        require_equals = true, action = clap::ArgAction::Set)]
    pub refresh: bool,
    /// Take the new age key of this host, such as host.vm
    #[arg(long = "accept-recipient", value_name = "HOST", value_parser = host)]
    pub accept_recipients: Vec<HostName>,
    /// Lose this key that somebody else put into a sops file, such as key.secrets.yaml/old
    #[arg(long = "destroy-foreign", value_name = "ADDRESS")]
    pub destroy_foreign: Vec<Address>,
    /// Write this sops file anew, also a broken one, such as file.secrets.yaml
    #[arg(long = "replace", value_name = "ADDRESS")]
    pub replace: Vec<Address>,
    /// Leave the hosts as they are
    #[arg(long)]
    pub no_switch: bool,
}

impl PlanOptions {
    /// What the operator asked for.
    #[must_use]
    pub fn wishes(&self) -> Wishes {
        Wishes {
            targets: self.targets.iter().cloned().collect(),
            accept_recipients: self.accept_recipients.iter().cloned().collect(),
            destroy_foreign: self.destroy_foreign.iter().cloned().collect(),
            replace: self.replace.iter().cloned().collect(),
            no_switch: self.no_switch,
        }
    }
}

/// `reconcile plan`
#[derive(Debug, Args)]
pub struct PlanArguments {
    /// What shapes the plan.
    #[command(flatten)]
    pub options: PlanOptions,
    /// Save the plan, for `reconcile apply FILE`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: Option<PathBuf>,
    /// Only tell what moved behind our back, and record what was proven unchanged
    #[arg(long, conflicts_with = "out")]
    pub refresh_only: bool,
    /// Exit with 2 when there are changes
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// `reconcile apply`
#[derive(Debug, Args)]
pub struct ApplyArguments {
    /// A saved plan: exactly that is carried out, without a question
    #[arg(value_name = "PLAN", value_hint = ValueHint::FilePath,
        conflicts_with_all = ["targets", "accept_recipients", "destroy_foreign", "replace", "no_switch"])]
    pub plan: Option<PathBuf>,
    /// What shapes the plan.
    #[command(flatten)]
    pub options: PlanOptions,
    /// Do not ask
    #[arg(long)]
    pub auto_approve: bool,
    /// How many switches may run at once; else the manifest's `parallelism`, else 1, which has the terminal
    #[arg(long, value_name = "N")]
    pub parallelism: Option<NonZeroUsize>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// `reconcile validate`
#[derive(Debug, Args)]
pub struct ValidateArguments {
    /// How findings are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
    /// Annotations of GitHub Actions.
    Github,
}

/// `reconcile list`
#[derive(Debug, Args)]
pub struct ListArguments {
    /// Who can decrypt each sops file, and who can read each secret
    #[arg(long)]
    pub access: bool,
    /// One JSON document
    #[arg(long)]
    pub json: bool,
}

/// `reconcile status`
#[derive(Debug, Args)]
#[command(after_help = "Nobody is asked for anything: with a locked vault, what its items' versions tell is told. \
    Exit codes: 0 everything was compared; 1 something is not known or blocked; 2 with --detailed-exitcode, something \
    differs and nothing is blocked.")]
pub struct StatusArguments {
    /// Sync the vault, and look at hosts over ssh; with --refresh=false neither
    #[arg(long, value_name = "BOOL", default_value = "true", default_missing_value = "true", num_args = 0..=1,
        require_equals = true, action = clap::ArgAction::Set)]
    pub refresh: bool,
    /// Exit with 2 when something differs
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// One JSON document
    #[arg(long)]
    pub json: bool,
}

/// `reconcile show`
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// A saved plan
    #[arg(value_name = "PLAN", value_hint = ValueHint::FilePath)]
    pub plan: Option<PathBuf>,
    /// One JSON document
    #[arg(long)]
    pub json: bool,
}

/// `reconcile adopt`
#[derive(Debug, Args)]
pub struct AdoptArguments {
    /// secret.NAME, or file.NAME for all that is declared in it
    #[arg(value_name = "ADDRESS", required_unless_present = "receipt")]
    pub address: Option<Address>,
    /// The receipt at the shared path as it is now, though this machine has seen another one
    #[arg(long, conflicts_with = "address")]
    pub receipt: bool,
}

/// `reconcile activate`
#[derive(Debug, Args)]
pub struct ActivateArguments {
    /// The dataset directory: reconcile.json in it says what belongs on this host
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    pub dataset: PathBuf,
    /// Which host of the manifest this is
    #[arg(long, value_name = "HOST", value_parser = host)]
    pub host: HostName,
    /// The age identity of this host
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub age_key_file: PathBuf,
    /// The symlink to the live generation
    #[arg(long, value_name = "PATH", default_value = "/run/secrets", value_hint = ValueHint::AnyPath)]
    pub symlink_path: PathBuf,
}

/// `reconcile exec`
#[derive(Debug, Args)]
#[command(after_help = "The manifest is that of --manifest or RECONCILE_MANIFEST, an absolute path, or \
    $XDG_CONFIG_HOME/reconcile/secrets.manifest.yaml. Exit codes: the program's own; 125 when a secret cannot be had, \
    126 when the program cannot be run, 127 when there is none.")]
pub struct ExecArguments {
    /// The secrets, each in the variable that the manifest names
    #[arg(value_name = "NAME", required_unless_present_any = ["command", "with_command"],
        conflicts_with_all = ["command", "with_command"])]
    pub names: Vec<SecretName>,
    /// Run this command with all that the manifest gives it; what follows are its arguments
    #[arg(long, value_name = "COMMAND", conflicts_with = "with_command")]
    pub command: Option<String>,
    /// Run what follows with the secret that has this `with_command`
    #[arg(long, value_name = "NAME")]
    pub with_command: Option<String>,
    /// Give the path of a file in this variable, gone with the process, instead of the value
    #[arg(long, value_name = "[NAME=]VARIABLE")]
    pub as_file: Vec<AsFile>,
    /// The program and its arguments
    #[arg(last = true, value_name = "PROGRAM", value_hint = ValueHint::CommandWithArguments)]
    pub program: Vec<OsString>,
}

/// `reconcile get`
#[derive(Debug, Args)]
pub struct GetArguments {
    /// The secret
    #[arg(value_name = "NAME")]
    pub name: SecretName,
    /// Also on a terminal, where everybody behind you can read it
    #[arg(long)]
    pub show: bool,
}

/// `reconcile shell-init`
#[derive(Debug, Args)]
#[command(
    after_help = "bash and zsh: eval \"$(reconcile shell-init bash)\"      fish: reconcile shell-init fish | source"
)]
pub struct ShellInitArguments {
    /// Of which shell
    #[arg(value_enum)]
    pub shell: ShellName,
}

/// A shell that functions can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ShellName {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// `reconcile git-credential`
#[derive(Debug, Args)]
#[command(after_help = "git config --global credential.helper '!reconcile git-credential'")]
pub struct GitCredentialArguments {
    /// get, store or erase, as git calls it; only get says anything
    #[arg(value_name = "OPERATION")]
    pub operation: String,
}

/// `reconcile rbw-config`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("address").required(true).args(["dataset", "email_file"]),
    after_help = "It runs as the user whose rbw it is, on the host: in a unit of that user, after the secrets are \
    there. Settings that are not given stay as they are."
)]
pub struct RbwConfigArguments {
    /// The dataset directory: reconcile.json in it says what the manifest's `rbw_config` says
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath, requires = "host")]
    pub dataset: Option<PathBuf>,
    /// Which host of the manifest this is
    #[arg(long, value_name = "HOST", value_parser = host, requires = "dataset")]
    pub host: Option<HostName>,
    /// Where the secrets of this host are
    #[arg(long, value_name = "PATH", default_value = "/run/secrets", value_hint = ValueHint::DirPath)]
    pub symlink_path: PathBuf,
    /// Without a dataset: the file that holds the account's address
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub email_file: Option<PathBuf>,
    /// A setting of rbw, such as pinentry=pinentry-curses; over those of the manifest
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub settings: Vec<RbwSetting>,
}

/// `reconcile wrapper-flake`
#[derive(Debug, Args)]
#[command(after_help = "WRAPPER=$(mktemp -d); reconcile wrapper-flake >$WRAPPER/flake.nix\n\
    nixos-rebuild switch --flake path:$WRAPPER#vm --no-write-lock-file")]
pub struct WrapperFlakeArguments {
    /// A host with `nixos_rebuild: {wrap: …}`: what it declares; not needed when there is one such host
    #[arg(value_name = "HOST", value_parser = host, conflicts_with_all = ["flake", "inputs", "function"])]
    pub host: Option<HostName>,
    /// Without such a host: the flake, a reference or a path from the manifest; the manifest's directory when not said
    #[arg(long, value_name = "FLAKE", value_hint = ValueHint::DirPath)]
    pub flake: Option<String>,
    /// An input and where it comes from, a path, a reference or `dataset`; generated=dataset when not said
    #[arg(long = "input", value_name = "NAME=FLAKE", value_parser = input)]
    pub inputs: Vec<(String, String)>,
    /// The function of the flake that takes the inputs; lib.mkOutputs when not said
    #[arg(long, value_name = "ATTRIBUTE")]
    pub function: Option<String>,
}

/// `reconcile completions`
#[derive(Debug, Args)]
pub struct CompletionsArguments {
    /// Of which shell
    pub shell: clap_complete::Shell,
}

/// `host.vm`, as in a plan, or `vm`.
fn host(text: &str) -> Result<HostName, String> {
    let name = text.strip_prefix("host.").unwrap_or(text);
    HostName::from_str(name).map_err(|error| error.to_string())
}

/// `generated=dataset`
fn input(text: &str) -> Result<(String, String), String> {
    let (name, from) = text.split_once('=').ok_or("write NAME=FLAKE, such as generated=dataset")?;
    Ok((name.to_owned(), from.to_owned()))
}

/// `30s`, `5m`, or a number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix('m') {
        Some(number) => (number, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let number: u64 = number.parse().map_err(|_| "a time is a number followed by s or m, such as 30s".to_owned())?;
    Ok(Duration::from_secs(number.saturating_mul(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn refresh_can_be_switched_off_as_in_terraform() {
        for (arguments, expected) in
            [(&["reconcile", "plan"][..], true), (&["reconcile", "plan", "--refresh=false"], false)]
        {
            match Arguments::try_parse_from(arguments).map(|arguments| arguments.command) {
                Ok(Command::Plan(plan)) => assert_eq!(plan.options.refresh, expected),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert!(duration("soon").is_err());
    }
}
