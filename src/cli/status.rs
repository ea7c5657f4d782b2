//! `reconcile status`: how far each secret has come. It asks nobody for anything; as a plan does, it records what it
//! proved unchanged.

use std::process::ExitCode;

use crate::cli::arguments::{Global, StatusArguments};
use crate::cli::error::Error;
use crate::cli::plan::context;
use crate::cli::project::Project;
use crate::cli::session::{Keep, Session, warn};
use crate::cli::terminal::{Terminal, print};
use crate::plan::{Inputs, Plan, Status, Wishes, status};
use crate::render::{json, status_text};

pub async fn run(global: &Global, terminal: &Terminal, arguments: &StatusArguments) -> Result<ExitCode, Error> {
    let project = Project::open(global)?;
    warn(&project, terminal);
    let quiet = Terminal { interactive: false, ..terminal.clone() };
    let session = Session::open(&project, &quiet, Keep::No)?;
    let wishes = Wishes::default();
    let planned = session.plan(&wishes, arguments.refresh).await?;
    let observed = &planned.observed;
    let inputs = Inputs {
        manifest: project.manifest(),
        desired: &observed.desired,
        actual: &observed.actual,
        receipt: &observed.receipt,
        wishes: &wishes,
    };
    let status = status(inputs, &planned.plan);
    if arguments.json {
        print(&(serde_json::to_string_pretty(&json::status(&status)).map_err(Error::plain)? + "\n"))?;
    } else {
        let now = jiff::Timestamp::now().as_second();
        print(&status_text(&status, &context(&project, &planned), now, terminal.style))?;
    }
    session.record_proven(observed);
    Ok(exit_code(&status, &planned.plan, arguments.detailed_exitcode))
}

/// As a plan has it: what is blocked comes first. What only a status looks at, it adds.
fn exit_code(status: &Status, plan: &Plan, detailed: bool) -> ExitCode {
    match (plan.blocked.is_empty(), status.differs(), status.is_complete()) {
        (false, ..) => ExitCode::FAILURE,
        (true, true, _) if detailed => ExitCode::from(2),
        (true, _, false) => ExitCode::FAILURE,
        (true, _, true) => ExitCode::SUCCESS,
    }
}
