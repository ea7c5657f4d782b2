//! `reconcile wrapper-flake`: prints a flake that hands inputs as they are now to the function of another flake.

use std::collections::BTreeMap;
use std::process::ExitCode;

use crate::cli::arguments::{Global, WrapperFlakeArguments};
use crate::cli::error::Error;
use crate::cli::project::Project;
use crate::cli::terminal::print;
use crate::manifest::{Manifest, NixosRebuild, Switch};
use crate::tools::nix::Wrapper;

pub fn run(global: &Global, arguments: &WrapperFlakeArguments) -> Result<ExitCode, Error> {
    let project = Project::open(global)?;
    let named = arguments.flake.is_some() || !arguments.inputs.is_empty() || arguments.function.is_some();
    let (flake, inputs, function) =
        if named { None } else { declared(project.manifest(), arguments)? }.map_or_else(|| given(arguments), Ok)?;
    let wrapper = Wrapper::new(&flake, &inputs, &function, &project.surroundings, &project.dataset);
    print(&wrapper.map_err(|unset| Error::new(&unset, format!("export {}=…", unset.variable)))?.text())?;
    Ok(ExitCode::SUCCESS)
}

type Wrapped = (String, BTreeMap<String, String>, String);

/// What the named host declares, or the only one that declares a wrapper.
fn declared(manifest: &Manifest, arguments: &WrapperFlakeArguments) -> Result<Option<Wrapped>, Error> {
    let wraps = |switch: &Option<Switch>| match switch {
        Some(Switch::NixosRebuild(NixosRebuild { wrap: Some(function), inputs, flake, .. })) => {
            let (flake, _) = flake.split_once('#').unwrap_or((flake, ""));
            Some((flake.to_owned(), inputs.clone(), function.clone()))
        }
        _ => None,
    };
    if let Some(name) = &arguments.host {
        let host = manifest.hosts.get(name);
        let host =
            host.ok_or_else(|| Error::new(format!("host.{name}: no such host is declared"), "reconcile list"))?;
        let what = || format!("host.{name} has no `nixos_rebuild: {{wrap: …}}`");
        return wraps(&host.switch).map(Some).ok_or_else(|| Error::new(what(), "give --flake and --input instead"));
    }
    let mut all: Vec<Wrapped> = manifest.hosts.values().filter_map(|host| wraps(&host.switch)).collect();
    all.dedup();
    match all.len() {
        0 | 1 => Ok(all.pop()),
        _ => Err(Error::new("several hosts have a wrapper of their own", "name one: reconcile wrapper-flake HOST")),
    }
}

fn given(arguments: &WrapperFlakeArguments) -> Result<Wrapped, Error> {
    let mut inputs: BTreeMap<String, String> = arguments.inputs.iter().cloned().collect();
    if inputs.is_empty() {
        inputs.insert("generated".to_owned(), "dataset".to_owned());
    }
    let function = arguments.function.clone().unwrap_or_else(|| "lib.mkOutputs".to_owned());
    if let Some(name) = inputs.keys().find(|name| !NixosRebuild::is_input(name)) {
        return Err(Error::new(
            format!("--input {name}: no input of a flake is called so"),
            "such as generated=dataset",
        ));
    }
    if !NixosRebuild::is_attribute(&function) {
        return Err(Error::new(
            format!("--function {function}: this is no attribute of a flake"),
            "such as lib.mkOutputs",
        ));
    }
    Ok((arguments.flake.clone().unwrap_or_else(|| ".".to_owned()), inputs, function))
}
