//! `reconcile plan`: looks, decides, shows; changes nothing.

use std::process::ExitCode;

use crate::actual::HostState;
use crate::cli::arguments::{Global, PlanArguments};
use crate::cli::error::Error;
use crate::cli::project::Project;
use crate::cli::saved::SavedPlan;
use crate::cli::session::{Keep, Planned, Session, warn};
use crate::cli::terminal::{Terminal, print, say};
use crate::manifest::{self, Access};
use crate::observation::Observation;
use crate::plan::{Plan, Reason};
use crate::render::{Context, Style, cost_text, drift_text, json, plan_text};
use crate::text::Untrusted;

pub async fn run(global: &Global, terminal: &Terminal, arguments: &PlanArguments) -> Result<ExitCode, Error> {
    let project = Project::open(global)?;
    warn(&project, terminal);
    let keep = if arguments.out.is_some() { Keep::Yes } else { Keep::No };
    let session = Session::open(&project, terminal, keep)?;
    let wishes = arguments.options.wishes();
    check_targets(&project, &wishes)?;
    let mut planned = session.plan(&wishes, arguments.options.refresh).await?;
    let mut shown: fn(&Plan, &Context, Style) -> String = plan_text;
    if arguments.refresh_only {
        only_drift(&mut planned.plan);
        shown = drift_text;
    }
    let plan = &planned.plan;
    let text = shown(plan, &context(&project, &planned), terminal.style);
    if arguments.json {
        print_json(plan)?;
    } else {
        print(&text)?;
    }
    match &arguments.out {
        Some(path) => {
            let manifest = project.manifest().digest;
            let receipt = &planned.observed.receipt;
            let plain = Style { colour: false, ..terminal.style };
            let text = plan_text(plan, &context(&project, &planned), plain);
            let document = json::document(plan);
            SavedPlan::new(plan, manifest, receipt, &arguments.options, text, document).write(path)?;
            if !arguments.json {
                say(&format!("Saved to {0}. To carry out exactly this: reconcile apply {0}", path.display()));
            }
        }
        None => session.record_proven(&planned.observed),
    }
    Ok(exit_code(plan, arguments.detailed_exitcode))
}

/// 1 when something is blocked or was not checked: `No changes.` is said, and 0 returned, only when everything is known.
fn exit_code(plan: &Plan, detailed: bool) -> ExitCode {
    let blocked = !plan.blocked.is_empty();
    let changes = !plan.changes.is_empty() || !plan.steps.is_empty();
    match (blocked, changes) {
        (true, _) => ExitCode::FAILURE,
        (false, true) if detailed => ExitCode::from(2),
        (false, true) => ExitCode::SUCCESS,
        (false, false) if !plan.unchecked.is_empty() => ExitCode::FAILURE,
        (false, false) => ExitCode::SUCCESS,
    }
}

fn only_drift(plan: &mut Plan) {
    plan.changes.retain(|change| change.reasons.iter().any(Reason::is_drift));
    plan.steps.clear();
    plan.accepts.clear();
}

/// A target that names nothing would silently leave everything out.
pub(super) fn check_targets(project: &Project, wishes: &crate::plan::Wishes) -> Result<(), Error> {
    use crate::address::Address;
    let manifest = project.manifest();
    for target in &wishes.targets {
        let there = match target {
            Address::Secret(name) => {
                manifest.secrets.contains_key(name) || manifest.moved.iter().any(|moved| moved.from == *name)
            }
            Address::Host(host) => manifest.hosts.contains_key(host),
            Address::File(file) | Address::Key(file, _) => {
                manifest.dataset.files.contains_key(file) || manifest.sops_files().contains_key(file)
            }
        };
        if !there {
            return Err(Error::new(format!("--target {target}: nothing of that name is declared"), "reconcile list"));
        }
    }
    let is_sops = |file: &crate::address::FileName| manifest.sops_files().contains_key(file);
    let given_up = wishes.destroy_foreign.iter().map(|wish| {
        let there = matches!(wish, Address::Key(file, _) if is_sops(file));
        (wish, there, "--destroy-foreign", "it takes key.FILE/PATH, as `reconcile plan` prints it")
    });
    let replaced = wishes.replace.iter().map(|wish| {
        let there = matches!(wish, Address::File(file) if is_sops(file));
        (wish, there, "--replace", "it takes file.NAME, as `reconcile plan` prints it")
    });
    if let Some((wish, _, option, next)) = given_up.chain(replaced).find(|(_, there, ..)| !there) {
        return Err(Error::new(format!("{option} {wish}: no sops file of that name is declared"), next));
    }
    if let Some(host) = wishes.accept_recipients.iter().find(|host| !manifest.hosts.contains_key(*host)) {
        return Err(Error::new(format!("--accept-recipient host.{host}: no such host is declared"), "reconcile list"));
    }
    Ok(())
}

pub(super) fn context(project: &Project, planned: &Planned) -> Context {
    let manifest = project.manifest();
    let host = |(name, declared): (&crate::address::HostName, &crate::manifest::Host)| {
        let to = match &declared.access {
            Access::Local => "this machine".to_owned(),
            Access::Ssh { to, .. } => to.as_written().to_owned(),
        };
        let seen = match planned.observed.actual.hosts.get(name) {
            Some(Observation::Known(HostState { generation: Some(generation), .. })) => {
                format!(" · generation {generation}")
            }
            Some(Observation::Unknown(_)) => " · not seen".to_owned(),
            _ => String::new(),
        };
        format!("{name} · {to}{seen}")
    };
    let cost = planned.observed.cost;
    let mut vault = planned.observed.desired.vault.clone();
    if let manifest::Vault::File { path } = &manifest.vault {
        vault.account = Untrusted::new(path.as_written());
    }
    Context {
        vault,
        now: jiff::Timestamp::now().as_second(),
        cost: cost_text(cost.vault, (!manifest.hosts.is_empty()).then_some(cost.hosts), cost.values),
        dataset: manifest.dataset.path.as_written().to_owned(),
        hosts: manifest.hosts.iter().map(host).collect(),
    }
}

pub(super) fn print_json(plan: &Plan) -> Result<(), Error> {
    let now = jiff::Timestamp::now().to_string();
    let mut text = json::version(env!("CARGO_PKG_VERSION"), &now).to_string() + "\n";
    for line in json::plan(plan, &now) {
        text += &(line.to_string() + "\n");
    }
    print(&text)
}
