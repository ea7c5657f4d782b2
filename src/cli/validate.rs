//! `reconcile validate`: every mistake of the manifest at once, for people, programs or a pull request.

use std::process::ExitCode;

use crate::cli::arguments::{Format, Global, ValidateArguments};
use crate::cli::error::Error;
use crate::cli::project;
use crate::cli::terminal::{Terminal, print};
use crate::manifest::{self, Finding, Severity};

pub fn run(global: &Global, terminal: &Terminal, arguments: &ValidateArguments) -> Result<ExitCode, Error> {
    let (path, text) = project::text(global)?;
    let name = path.display().to_string();
    let result = manifest::parse(&name, &text);
    let code = if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let findings: Vec<&Finding> = match &result {
        Ok(checked) => checked.warnings.iter().collect(),
        Err(error) => error.findings().collect(),
    };
    match arguments.format {
        Format::Json => {
            let document = serde_json::json!({
                "format_version": "1.0",
                "valid": result.is_ok(),
                "manifest": name,
                "findings": findings.iter().map(|finding| as_json(finding)).collect::<Vec<_>>(),
            });
            print(&(serde_json::to_string_pretty(&document).map_err(Error::plain)? + "\n"))?;
        }
        Format::Github => {
            for finding in findings {
                print(&annotation(&name, finding))?;
            }
        }
        Format::Text => match result {
            Ok(checked) => {
                for warning in &checked.warnings {
                    terminal.warning(&warning.to_string());
                }
                let boot = checked.manifest.secrets.values().filter(|secret| secret.boot.is_some()).count();
                let runtime = checked.manifest.secrets.values().filter(|secret| secret.runtime.is_some()).count();
                let hosts = checked.manifest.hosts.len();
                print(&format!(
                    "{name} is valid: {boot} secrets at boot, {runtime} at run time, {hosts} host{}.\n",
                    if hosts == 1 { "" } else { "s" }
                ))?;
            }
            Err(error) => return Err(error.into()),
        },
    }
    Ok(code)
}

fn level(finding: &Finding) -> &'static str {
    match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn as_json(finding: &Finding) -> serde_json::Value {
    let (line, column) = finding.position();
    serde_json::json!({
        "severity": level(finding),
        "code": finding.code,
        "message": finding.message,
        "help": finding.help,
        "line": line,
        "column": column,
    })
}

/// `::error file=…,line=…,col=…::message`
fn annotation(name: &str, finding: &Finding) -> String {
    let (line, column) = finding.position();
    let escape = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| escape(text).replace(':', "%3A").replace(',', "%2C");
    let help = finding.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    let message = escape(&format!("{}{help}", finding.message));
    format!("::{} file={},line={line},col={column}::{message}\n", level(finding), property(name))
}
