//! Which item of the vault, and which field of it.

use super::super::finding::printable;
use super::super::model::{ItemField, ItemRef};
use super::super::source::{ItemSource, TextOr};
use super::{At, Checker};

pub(super) fn item(check: &mut Checker<'_>, at: &[&str], source: TextOr<ItemSource>) -> Option<ItemRef> {
    let source = match source {
        TextOr::Text(name) => {
            check.no_control(at, &name);
            ItemSource { id: None, name: Some(name), user: None, folder: None, field: None }
        }
        TextOr::Map(source) => {
            for (key, text) in
                [("id", &source.id), ("name", &source.name), ("user", &source.user), ("folder", &source.folder)]
            {
                check.no_control(&[at, &[key]].concat(), text.as_deref().unwrap_or_default());
            }
            source
        }
    };
    let is_named = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if !is_named(&source.id) && !is_named(&source.name) {
        check.error(At::Value, at, "item", "no item is named", "give its exact name, or {id: …}");
        return None;
    }
    if source.id.is_some() && (source.user.is_some() || source.folder.is_some()) {
        let message = "an id names one item: nothing else is looked at";
        check.warning(at, "item", message, "remove `user` and `folder`, or the id");
    }
    let field = match source.field {
        None => ItemField::Default,
        Some(text) => field(check, &[at, &["field"]].concat(), &text)?,
    };
    Some(ItemRef { id: source.id, name: source.name, user: source.user, folder: source.folder, field })
}

fn field(check: &mut Checker<'_>, at: &[&str], text: &str) -> Option<ItemField> {
    check.no_control(at, text);
    match (text, text.strip_prefix("custom:")) {
        ("password", _) => Some(ItemField::Password),
        ("notes", _) => Some(ItemField::Notes),
        ("username", _) => Some(ItemField::Username),
        (_, Some(name)) if !name.is_empty() => Some(ItemField::Custom(name.to_owned())),
        _ => {
            let text = printable(text);
            let custom = text.strip_prefix("custom:").unwrap_or(&text);
            let custom = if custom.is_empty() { "NAME" } else { custom };
            let help = format!("a field is password, notes or username; a custom one is custom:{custom}");
            check.error(At::Value, at, "field", format!("there is no field \"{text}\""), &help);
            None
        }
    }
}
