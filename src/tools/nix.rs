//! What Nix is told: references to flakes, and the wrapper flake that hands live inputs to a configuration. Nix itself is
//! run by `nixos-rebuild`, or by whoever takes the wrapper.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::manifest::{NixosRebuild, Place, Surroundings, UnsetVariable};

/// The word in the manifest that stands for the dataset directory.
const DATASET: &str = "dataset";
/// Words of Nix that no attribute may be called without quotes.
const KEYWORDS: [&str; 10] = ["assert", "else", "if", "in", "inherit", "let", "or", "rec", "then", "with"];

/// Where a flake, or any other input, comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A directory of this machine.
    Path(PathBuf),
    /// A reference of Nix, such as `github:owner/name`.
    Url(String),
}

impl Reference {
    /// Of a text of the manifest: a reference with a scheme, or a path.
    ///
    /// # Errors
    /// When a variable in it is not set.
    pub fn of(text: &str, surroundings: &Surroundings) -> Result<Self, UnsetVariable> {
        if has_scheme(text) {
            return Ok(Self::Url(text.to_owned()));
        }
        Ok(Self::here(&Place::new(text).path(surroundings)?))
    }

    /// Of a directory. Nix takes no link for one.
    fn here(path: &Path) -> Self {
        Self::Path(std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()))
    }

    /// As an argument of Nix.
    #[must_use]
    pub fn as_argument(&self) -> String {
        match self {
            Self::Path(path) => format!("path:{}", encoded(&path.to_string_lossy())),
            Self::Url(url) => url.clone(),
        }
    }

    /// Whether it is known to be no flake.
    fn is_plain(&self) -> bool {
        matches!(self, Self::Path(path) if !path.join("flake.nix").exists())
    }

    /// As the value of an input. A path is an attribute of its own, in which every character stands for itself.
    fn as_input(&self, is_plain: bool) -> String {
        let from = match self {
            Self::Path(path) => format!("type = \"path\"; path = {};", quoted(&path.to_string_lossy())),
            Self::Url(url) => format!("url = {};", quoted(url)),
        };
        let plain = if is_plain { " flake = false;" } else { "" };
        format!("{{ {from}{plain} }}")
    }
}

fn has_scheme(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
    text.split_once(':')
        .is_some_and(|(scheme, _)| scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(good))
}

fn encoded(path: &str) -> String {
    path.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' | b'~' | b'+' => out.push(byte.into()),
            other => drop(write!(out, "%{other:02X}")),
        }
        out
    })
}

/// A flake with nothing of its own: what `function` of another flake makes of inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapper {
    flake: Reference,
    /// By name; whether each is known to be no flake.
    inputs: BTreeMap<String, (Reference, bool)>,
    function: String,
}

impl Wrapper {
    /// Of a flake whose `function` takes these inputs: name → reference, or `dataset`.
    ///
    /// # Errors
    /// When a variable in one is not set.
    pub fn new(
        flake: &str,
        inputs: &BTreeMap<String, String>,
        function: &str,
        surroundings: &Surroundings,
        dataset: &Path,
    ) -> Result<Self, UnsetVariable> {
        let input = |(name, text): (&String, &String)| {
            let reference = input(text, surroundings, dataset)?;
            let is_plain = text == DATASET || reference.is_plain();
            Ok((name.clone(), (reference, is_plain)))
        };
        Ok(Self {
            flake: Reference::of(flake, surroundings)?,
            inputs: inputs.iter().map(input).collect::<Result<_, _>>()?,
            function: function.to_owned(),
        })
    }

    /// The text of its `flake.nix`.
    #[must_use]
    pub fn text(&self) -> String {
        let taken = |name: &&&str| self.inputs.contains_key(**name);
        let config = ["config", "wrapped", "wrapped-flake"].iter().find(|name| !taken(name)).copied().unwrap_or("_");
        let mut text =
            String::from("# The wrapper flake of `reconcile`: a configuration with inputs as they are now.\n{\n");
        text += "  inputs = {\n";
        let _ = writeln!(text, "    {config} = {};", self.flake.as_input(false));
        for (name, (reference, is_plain)) in &self.inputs {
            let _ = writeln!(text, "    {} = {};", attribute(name), reference.as_input(*is_plain));
        }
        text += "  };\n";
        let names: Vec<String> = self.inputs.keys().map(|name| attribute(name)).collect();
        let function = &self.function;
        let _ = writeln!(
            text,
            "  outputs = inputs: inputs.{config}.{function} {{ inherit (inputs) {}; }};",
            names.join(" ")
        );
        text + "}\n"
    }
}

fn input(text: &str, surroundings: &Surroundings, dataset: &Path) -> Result<Reference, UnsetVariable> {
    if text == DATASET { Ok(Reference::here(dataset)) } else { Reference::of(text, surroundings) }
}

fn attribute(name: &str) -> String {
    if KEYWORDS.contains(&name) { quoted(name) } else { name.to_owned() }
}

/// A text of Nix.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "\\${"))
}

/// The words of `nixos-rebuild switch`. With `wrapper`, the directory of a wrapper flake, that is built; else inputs are
/// overridden.
///
/// # Errors
/// When a variable in a path or destination is not set.
pub fn nixos_rebuild(
    rebuild: &NixosRebuild,
    wrapper: Option<&Path>,
    sudo: bool,
    surroundings: &Surroundings,
    dataset: &Path,
) -> Result<Vec<String>, UnsetVariable> {
    let (flake, attribute) = rebuild.flake_and_attribute();
    let flake = match wrapper {
        Some(wrapper) => Reference::here(wrapper).as_argument(),
        // What a shell would resolve; else as it is written, which is from the manifest's directory.
        None if !has_scheme(flake) && flake.starts_with(['~', '$']) => {
            Place::new(flake).path(surroundings)?.display().to_string()
        }
        None => flake.to_owned(),
    };
    let mut words = vec!["nixos-rebuild".to_owned(), "switch".to_owned(), "--flake".to_owned()];
    words.push(flake + &attribute.map(|attribute| format!("#{attribute}")).unwrap_or_default());
    words.push("--no-write-lock-file".to_owned());
    if wrapper.is_none() {
        for (name, text) in &rebuild.inputs {
            let reference = input(text, surroundings, dataset)?.as_argument();
            words.extend(["--override-input".to_owned(), name.clone(), reference]);
        }
    }
    for (option, place) in [("--target-host", &rebuild.target_host), ("--build-host", &rebuild.build_host)] {
        if let Some(place) = place {
            words.extend([option.to_owned(), place.text(surroundings)?]);
        }
    }
    if sudo {
        words.push("--sudo".to_owned());
    }
    words.extend(rebuild.options.iter().cloned());
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings() -> Surroundings {
        Surroundings { directory: "/repo".into(), home: Some("/home/m".into()), ..Surroundings::default() }
    }

    fn wrapper(flake: &str, inputs: &[(&str, &str)]) -> String {
        let inputs = inputs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let dataset = Path::new("/data/of m");
        match Wrapper::new(flake, &inputs, "lib.mkOutputs", &surroundings(), dataset) {
            Ok(wrapper) => wrapper.text(),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_wrapper_hands_inputs_to_the_function_of_a_flake() {
        assert_eq!(
            wrapper(".", &[("generated", "dataset"), ("yeet", "github:someone/yeet")]),
            "# The wrapper flake of `reconcile`: a configuration with inputs as they are now.\n\
             {\n  inputs = {\n    config = { type = \"path\"; path = \"/repo\"; };\n    \
             generated = { type = \"path\"; path = \"/data/of m\"; flake = false; };\n    \
             yeet = { url = \"github:someone/yeet\"; };\n  };\n  \
             outputs = inputs: inputs.config.lib.mkOutputs { inherit (inputs) generated yeet; };\n}\n"
        );
        let odd = wrapper("~/a\"$${b}\\", &[("config", "dataset"), ("let", "dataset")]);
        assert!(odd.contains(r#"wrapped = { type = "path"; path = "/home/m/a\"\${b}\\"; };"#), "{odd}");
        assert!(odd.contains("inputs.wrapped.lib.mkOutputs { inherit (inputs) config \"let\"; }"), "{odd}");
    }

    #[test]
    fn a_reference_has_a_scheme_or_is_a_path() -> Result<(), UnsetVariable> {
        for (text, argument) in [
            ("github:someone/name?ref=x", "github:someone/name?ref=x"),
            ("git+file:///x", "git+file:///x"),
            ("~/x", "path:/home/m/x"),
            ("./x y", "path:/repo/x%20y"),
            (".", "path:/repo"),
        ] {
            assert_eq!(Reference::of(text, &surroundings())?.as_argument(), argument, "{text}");
        }
        Ok(())
    }
}
