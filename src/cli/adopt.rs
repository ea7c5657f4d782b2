//! `reconcile adopt`: records what is in a sops file as ours, without writing it anew. What it holds cannot be read, so
//! this is the operator's word that it is the vault's value; a length that differs refutes it.

use std::collections::BTreeSet;
use std::process::ExitCode;

use crate::actual::FileState;
use crate::address::{Address, FileName};
use crate::cli::arguments::{AdoptArguments, Global};
use crate::cli::error::Error;
use crate::cli::fingerprint_key::keyless;
use crate::cli::project::Project;
use crate::cli::session::{Keep, Session};
use crate::cli::terminal::{Terminal, print};
use crate::desired::ValueFacts;
use crate::observation::Observation;
use crate::observe::vault::read_values;
use crate::plan::Wishes;
use crate::receipt::{KeyRecord, Written};
use crate::secret::SecretName;
use crate::sops::SopsFile;
use crate::state::Directory;

pub async fn run(global: &Global, terminal: &Terminal, arguments: &AdoptArguments) -> Result<ExitCode, Error> {
    let project = Project::open(global)?;
    let Some(address) = &arguments.address else { return take_receipt(&project) };
    let (file, names) = what(&project, address)?;
    let session = Session::open(&project, terminal, Keep::Yes)?;
    let _lock = session.lock("adopt", global)?;
    let mut planned = session.plan(&Wishes::default(), true).await?;
    let vault = session
        .vault
        .as_ref()
        .map_err(|cause| Error::new(format!("the vault cannot be asked: {cause}"), cause.next().unwrap_or_default()))?;
    let key = session.key.get(vault, planned.observed.desired.fingerprint_key.as_ref()).await;
    let key = key.map_err(|cause| keyless(project.manifest(), &project.surroundings, &cause))?;
    read_values(vault, key, &names, &mut planned.observed.desired.items).await;
    let sops = match planned.observed.actual.files.get(&file) {
        Some(Observation::Known(FileState::Sops(sops))) => sops.clone(),
        _ => return Err(Error::new(format!("file.{file} cannot be read as a sops file"), "reconcile plan")),
    };
    let mut receipt = planned.observed.receipt.clone();
    let record = receipt.files.entry(file.clone()).or_default();
    let written = record.written.get_or_insert_with(|| Written {
        digest: sops.digest,
        at: jiff::Timestamp::now().to_string(),
        recipients: sops.recipients.keys().filter_map(|key| key.as_is().parse().ok()).collect(),
        keys: Vec::new(),
    });
    for name in &names {
        let adopted = one(&project, &planned.observed.desired.items, name, &sops)?;
        written.keys.retain(|key| key.key != adopted.key);
        written.keys.push(adopted);
    }
    // The file as a whole is ours when each of its keys is.
    let ours = |(path, leaf): (&crate::address::KeyPath, &crate::sops::Leaf)| {
        written.keys.iter().any(|key| key.key == *path && key.leaf == leaf.digest)
    };
    let whole = sops.leaves.iter().all(ours);
    if whole {
        written.digest = sops.digest;
    }
    session.state.write_receipt(&mut receipt)?;
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    print(&format!(
        "Adopted {} in {file}. Nothing was written but the receipt.\n\
         Whether it decrypts could not be checked without the key of its hosts; if one cannot activate it:\n  \
         reconcile apply --replace file.{file}\n",
        names.join(", ")
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Goes on with the shared receipt as it is: a folder was restored, or one of two histories was given up.
fn take_receipt(project: &Project) -> Result<ExitCode, Error> {
    let state = Directory::of(project.manifest(), &project.surroundings, &project.dataset)?;
    if !state.is_shared() {
        let next = "with `receipt: {path: …}` in the manifest it is shared";
        return Err(Error::new("the receipt is this machine's own: there is no other to take", next));
    }
    let path = state.receipt_path();
    let text = match state.take_receipt()? {
        Some(receipt) => format!(
            "Adopted {} as it is, at serial {}. reconcile plan shows what it lacks.",
            path.display(),
            receipt.serial
        ),
        None => format!("Adopted that there is no {}: the next apply begins anew.", path.display()),
    };
    print(&format!("{text}\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn what(project: &Project, address: &Address) -> Result<(FileName, BTreeSet<SecretName>), Error> {
    let manifest = project.manifest();
    let files: Vec<FileName> = manifest.sops_files().into_keys().cloned().collect();
    let undeclared = || Error::new(format!("{address} is not declared at boot"), "declare it in the manifest first");
    match address {
        Address::File(file) if files.contains(file) => {
            Ok((file.clone(), manifest.boot_secrets(file).map(|(name, ..)| name.clone()).collect()))
        }
        Address::Secret(name) => {
            let carries = |file: &&FileName| manifest.boot_secrets(file).any(|(of, ..)| of == name);
            let file = files.iter().find(carries).ok_or_else(undeclared)?;
            Ok((file.clone(), BTreeSet::from([name.clone()])))
        }
        _ => Err(undeclared()),
    }
}

fn one(
    project: &Project,
    items: &crate::observe::vault::Items,
    name: &SecretName,
    sops: &SopsFile,
) -> Result<KeyRecord, Error> {
    let boot = project.manifest().secrets.get(name).and_then(|secret| secret.boot.as_ref());
    let key = boot
        .map(|boot| boot.key.clone())
        .ok_or_else(|| Error::plain(format!("secret.{name} is not delivered at boot")))?;
    let leaf = sops
        .leaves
        .get(&key)
        .ok_or_else(|| Error::new(format!("secret.{name} is not in the file"), "reconcile apply"))?;
    let unread = |cause: &crate::observation::Cause| {
        Error::new(format!("secret.{name}: {cause}"), cause.next().unwrap_or_else(|| "reconcile plan".to_owned()))
    };
    let item = match items.get(name) {
        Some(Observation::Known(item)) => item,
        Some(Observation::Unknown(cause)) => return Err(unread(cause)),
        None => return Err(Error::plain(format!("secret.{name} was not looked up"))),
    };
    match &item.value {
        Some(Observation::Known(ValueFacts { fingerprint, length })) if *length == leaf.length => Ok(KeyRecord {
            key,
            secret: name.clone(),
            leaf: leaf.digest,
            fingerprint: *fingerprint,
            item: item.identity.clone(),
            revision: item.revision.clone(),
        }),
        Some(Observation::Known(_)) => Err(Error::new(
            format!("secret.{name}: what the file holds is certainly not the vault's value"),
            "put that value into the vault first, or let `reconcile apply` bring the vault's back",
        )),
        Some(Observation::Unknown(cause)) => Err(unread(cause)),
        None => Err(Error::plain(format!("secret.{name} was not read"))),
    }
}
