//! The manifest: `secrets.manifest.yaml`, read into types that cannot hold an invalid one.
//!
//! Reading collects everything that is wrong in one run: the text as YAML (`tree`), its shape against the schema
//! (`shape`), and whether it makes sense (`check`). Only then are there types.

mod check;
mod finding;
mod model;
mod place;
mod schema;
mod shape;
mod source;
mod switch;
mod tree;

#[cfg(test)]
mod tests;

pub use finding::{Checked, Finding, ManifestError, Severity};
pub use model::{
    Access, Become, BootDelivery, Dataset, DatasetFile, GitCredential, Host, ItemField, ItemRef, Manifest, Mode, Moved,
    RbwConfig, RecipientSource, RuntimeDelivery, Secret, Unlock, Vault,
};
pub use place::{Place, Surroundings, UnsetVariable, is_destination};
pub use schema::schema;
pub use switch::{NixosRebuild, Placeholder, Switch, filled_in};

use crate::digest::Digest;

use self::source::Source;
use self::tree::{Content, Node};

/// The version of the manifest that this program reads.
pub const VERSION: u32 = 1;

/// Reads a manifest. `name` is what its findings call it.
///
/// # Errors
/// With everything that is wrong, when something is.
pub fn parse(name: &str, text: &str) -> Result<Checked, ManifestError> {
    let mut findings = Vec::new();
    let manifest = read(text, &mut findings);
    finding::place(name, text, &mut findings);
    let is_error = |finding: &Finding| finding.severity == Severity::Error;
    match manifest {
        Some(manifest) if !findings.iter().any(is_error) => Ok(Checked { manifest, warnings: findings }),
        _ => Err(ManifestError::new(name, findings)),
    }
}

fn read(text: &str, findings: &mut Vec<Finding>) -> Option<Manifest> {
    let Some(root) = tree::read(text, findings).filter(|root| root.kind() != Some(tree::NOTHING)) else {
        if findings.is_empty() {
            findings.push(Finding::error("empty", "the manifest is empty", 0..0).help("begin with `version: 1`"));
        }
        return None;
    };
    if let Some(finding) = other_version(&root) {
        // Whatever else seems wrong in it may be right in that version.
        *findings = vec![finding];
        return None;
    }
    let usable = shape::check(&root, findings);
    match serde_path_to_error::deserialize::<_, Source>(usable) {
        Ok(source) => check::all(&root, source, Digest::of(text.as_bytes()), findings),
        Err(error) => {
            // The shape was checked against the schema that these types have, so nothing should get here.
            let parts: Vec<String> = error.path().iter().map(ToString::to_string).collect();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let span = root.at(&parts).map_or(root.span.clone(), |(node, _)| node.span.clone());
            findings.push(Finding::error("type", finding::printable(&error.inner().to_string()), span));
            None
        }
    }
}

fn other_version(root: &Node) -> Option<Finding> {
    let (node, _) = root.at(&["version"])?;
    let Content::Scalar { text, .. } = &node.content else { return None };
    if *text == VERSION.to_string() || node.kind() != Some(tree::NUMBER) {
        return None;
    }
    let message = format!("this is version {text} of the manifest, and this program reads version {VERSION}");
    Some(Finding::error("version", message, node.span.clone()).help("use a newer reconcile, or write `version: 1`"))
}
