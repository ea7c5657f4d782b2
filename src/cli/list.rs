//! `reconcile list`: the secrets and how each is delivered, and who has access to what.

use std::process::ExitCode;

use serde_json::json;

use crate::cli::arguments::{Global, ListArguments};
use crate::cli::error::Error;
use crate::cli::project::Project;
use crate::cli::terminal::{Terminal, print};
use crate::manifest::{Manifest, Secret, Vault};
use crate::observe::files;
use crate::plan::{FileSeen, access};
use crate::receipt::Receipt;
use crate::render::{access_text, json as document};
use crate::secret::SecretName;
use crate::state::Directory;
use crate::text::Untrusted;
use crate::tools::vault::field_text;

pub fn run(global: &Global, terminal: &Terminal, arguments: &ListArguments) -> Result<ExitCode, Error> {
    let project = Project::open(global)?;
    let manifest = project.manifest();
    if arguments.access {
        return who(&project, terminal, arguments.json);
    }
    if arguments.json {
        let secrets: Vec<_> = manifest.secrets.iter().map(|(name, secret)| as_json(manifest, name, secret)).collect();
        let document = json!({"format_version": "1.0", "name": manifest.name, "secrets": secrets});
        print(&(serde_json::to_string_pretty(&document).map_err(Error::plain)? + "\n"))?;
    } else {
        print(&table(manifest))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Who has access, as the manifest, the files and the receipt tell. No host is asked.
fn who(project: &Project, terminal: &Terminal, json: bool) -> Result<ExitCode, Error> {
    let manifest = project.manifest();
    let files = files::look(manifest, &project.surroundings, &project.dataset).files;
    let receipt = Directory::of(manifest, &project.surroundings, &project.dataset)?.receipt()?;
    let receipt = receipt.unwrap_or_else(|| Receipt::new(String::new(), project.dataset.clone()));
    let access = access(manifest, &files, &receipt);
    if json {
        let document = document::access(&manifest.name, &access);
        print(&(serde_json::to_string_pretty(&document).map_err(Error::plain)? + "\n"))?;
    } else {
        let vault = match &manifest.vault {
            Vault::Rbw { .. } => "unlocks rbw".to_owned(),
            Vault::Bw => "unlocks bw".to_owned(),
            Vault::File { path } => format!("reads {}", path.as_written()),
        };
        print(&access_text(&access, &vault, terminal.style))?;
    }
    let unknown = |seen: &FileSeen| matches!(seen, FileSeen::Broken { .. } | FileSeen::Unknown { .. });
    let known = !access.files.values().any(|decrypts| unknown(&decrypts.file));
    Ok(if known { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn item(secret: &Secret) -> String {
    let item = secret.item.name.as_ref().or(secret.item.id.as_ref()).cloned().unwrap_or_default();
    match field_text(&secret.item.field).as_str() {
        "default" => item,
        field => format!("{item} ({field})"),
    }
}

fn consumers(manifest: &Manifest, name: &SecretName, secret: &Secret) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let Some(boot) = &secret.boot {
        for host in &boot.hosts {
            let Some(declared) = manifest.hosts.get(host) else { continue };
            rows.push((
                "sops",
                format!("{} → {host}:{}", declared.sops_file, declared.installed_path(name, boot).as_written()),
            ));
        }
    }
    if let Some(runtime) = &secret.runtime {
        for (command, variable) in &runtime.commands {
            rows.push(("runtime", format!("{command} ({variable})")));
        }
        if let Some(command) = &runtime.with_command {
            rows.push(("runtime", format!("{command} CMD… ({})", runtime.env.clone().unwrap_or_default())));
        }
        for host in runtime.git_credential.iter().flat_map(|git| &git.hosts) {
            rows.push(("runtime", format!("git {host}")));
        }
    }
    rows
}

fn table(manifest: &Manifest) -> String {
    let mut rows = vec![["SECRET".to_owned(), "ITEM".to_owned(), "DELIVERY".to_owned(), "CONSUMER".to_owned()]];
    for (name, secret) in &manifest.secrets {
        for (number, (delivery, consumer)) in consumers(manifest, name, secret).into_iter().enumerate() {
            let first = |text: String| if number == 0 { text } else { String::new() };
            let item = Untrusted::new(item(secret)).printable();
            rows.push([first(name.to_string()), first(item), delivery.to_owned(), consumer]);
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let line = |row: &[String; 4]| {
        let [a, b, c] = widths;
        format!("{:<a$}   {:<b$}   {:<c$}   {}\n", row[0], row[1], row[2], row[3])
    };
    rows.iter().map(line).collect()
}

fn as_json(manifest: &Manifest, name: &SecretName, secret: &Secret) -> serde_json::Value {
    let consumers: Vec<_> = consumers(manifest, name, secret)
        .into_iter()
        .map(|(delivery, consumer)| json!({"delivery": delivery, "consumer": consumer}))
        .collect();
    json!({"name": name, "item": item(secret), "description": secret.description, "consumers": consumers})
}
