//! What the database tells without a key: which edit changes which revision, what is no database, and where it is.

use super::*;

const ENTRIES: &str = r#"[
    {"id":"1","org_id":null,"folder":"2.folder","folder_id":"f","name":"2.name","data":{"Login":{"username":"2.user","password":"2.password","totp":null,"uris":[]}},
     "fields":[{"ty":1,"name":"2.field","value":"2.value","linked_id":null}],"notes":"2.notes","history":[],"key":"2.key","master_password_reprompt":0},
    {"id":"2","org_id":null,"folder":null,"folder_id":null,"name":"2.note","data":"SecureNote",
     "fields":[],"notes":"2.text","history":[],"key":null,"master_password_reprompt":1}]"#;

fn database(entries: &str) -> Database {
    let text =
        format!(r#"{{"access_token":"canary","refresh_token":"canary","protected_key":"2.x","entries":{entries}}}"#);
    parse(&text).unwrap_or_else(|| panic!("not read: {text}"))
}

fn parse(text: &str) -> Option<Database> {
    Database::of(serde_json::from_str(text).ok()?, Some(7))
}

fn surroundings(variables: &[(&str, &str)]) -> Surroundings {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Surroundings { variables, ..Surroundings::default() }
}

#[test]
fn an_edit_changes_the_revision_of_what_was_edited() {
    let changed = |old: &str, new: &str| -> Vec<&str> {
        let (before, after) = (database(ENTRIES), database(&ENTRIES.replace(old, new)));
        let (before, after) = (&before.entries["1"], &after.entries["1"]);
        let custom = ItemField::Custom("any".to_owned());
        let fields = [
            ("default", ItemField::Default),
            ("password", ItemField::Password),
            ("notes", ItemField::Notes),
            ("username", ItemField::Username),
            ("custom", custom),
        ];
        let differs = |field: &ItemField| before.revision(field) != after.revision(field);
        fields.into_iter().filter(|(_, field)| differs(field)).map(|(name, _)| name).collect()
    };
    assert_eq!(changed("2.text", "2.other"), [""; 0]);
    assert_eq!(changed("2.password", "2.other"), ["default", "password"]);
    assert_eq!(changed("2.notes", "2.other"), ["notes"]);
    assert_eq!(changed("2.value", "2.other"), ["custom"]);
    assert_eq!(changed("2.user", "2.other"), ["username"]);
    for elsewhere in ["2.name", "2.folder"] {
        assert_eq!(changed(elsewhere, "2.other"), [""; 0], "{elsewhere}");
    }
    for everywhere in [r#""2.key""#, r#""org_id":null"#] {
        let other = everywhere.replace("2.key", "2.other").replace("null", r#""o""#);
        assert_eq!(changed(everywhere, &other).len(), 5, "{everywhere}");
    }
}

#[test]
fn the_default_of_a_note_is_its_text() {
    let database = database(ENTRIES);
    let (login, note) = (&database.entries["1"], &database.entries["2"]);
    assert_eq!(login.sealed_field(&ItemField::Default), Some("2.password"));
    assert_eq!(note.sealed_field(&ItemField::Default), Some("2.text"));
    assert_eq!(note.sealed_field(&ItemField::Password), None);
    assert_ne!(login.revision(&ItemField::Default), login.revision(&ItemField::Password));
}

#[test]
fn names_are_the_same_until_one_of_them_changes() {
    let names = |text: &str| -> Vec<Digest> { database(text).entries.values().map(Sealed::naming).collect() };
    assert_eq!(names(ENTRIES), names(&ENTRIES.replace("2.password", "2.other")));
    for text in ["2.name", "2.folder", "2.user", r#""id":"2""#] {
        assert_ne!(names(ENTRIES), names(&ENTRIES.replace(text, &text.replace('2', "3"))), "{text}");
    }
    assert_ne!(names(ENTRIES), names("[]"));
}

#[test]
fn an_item_that_asks_each_time_is_known() {
    let database = database(ENTRIES);
    assert!(!database.entries["1"].reprompt);
    assert!(database.entries["2"].reprompt);
}

#[test]
fn tokens_only_say_that_they_are_there() {
    assert!(database(ENTRIES).logged_in);
    assert!(!format!("{:?}", database(ENTRIES)).contains("canary"));
    let out = parse(r#"{"access_token":null,"refresh_token":null,"protected_key":null,"entries":[]}"#);
    assert_eq!(out.map(|database| database.logged_in), Some(false));
}

#[test]
fn what_was_cut_off_is_no_database() -> std::io::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("db.json");
    assert_eq!(Database::read(&path).err(), Some(Unusable::Absent));
    std::fs::write(&path, r#"{"access_token":"canary","entr"#)?;
    assert_eq!(Database::read(&path).err(), Some(Unusable::Torn));
    std::fs::write(&path, r#"{"items":{}}"#)?;
    assert_eq!(Database::read(&path).err(), Some(Unusable::Unknown));
    let twice = format!("[{0},{0}]", r#"{"id":"1","name":"n","data":"SecureNote"}"#);
    std::fs::write(&path, format!(r#"{{"entries":{twice}}}"#))?;
    assert_eq!(Database::read(&path).err(), Some(Unusable::Unknown));
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn the_database_is_where_rbw_keeps_it() -> std::io::Result<()> {
    let home = tempfile::tempdir()?;
    let at = home.path().to_str().unwrap_or_default();
    assert_eq!(Account::read(&surroundings(&[("HOME", at)])).err(), Some(NotConfigured));
    for (profile, directory) in [("", "rbw"), ("work", "rbw-work")] {
        let config = home.path().join(".config").join(directory);
        std::fs::create_dir_all(&config)?;
        std::fs::write(
            config.join("config.json"),
            r#"{"email":"m@example.org","base_url":"http://127.0.0.1:8080/a%b"}"#,
        )?;
        let here = surroundings(&[("HOME", at), ("RBW_PROFILE", profile)]);
        let account = Account::read(&here).unwrap_or_else(|_| panic!("not configured"));
        assert_eq!(account.text(), "m@example.org (http://127.0.0.1:8080/a%b)");
        let expected =
            home.path().join(".cache").join(directory).join("http%3A%2F%2F127.0.0.1%3A8080%2Fa%25b:m@example.org.json");
        assert_eq!(account.database(&here), Some(expected));
    }
    let account =
        Account { email: "m@example.org".to_owned(), server: Some("https://m:canary@v.example/x@y".to_owned()) };
    assert_eq!(account.text(), "m@example.org (https://v.example/x@y)");
    let account = Account { email: "m@example.org".to_owned(), server: None };
    let elsewhere = surroundings(&[("HOME", at), ("XDG_CACHE_HOME", "/c")]);
    assert_eq!(account.database(&elsewhere), Some("/c/rbw/default:m@example.org.json".into()));
    Ok(())
}
