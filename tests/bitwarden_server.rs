//! The Bitwarden server of the tests held against the real client: what `rbw` makes of it is what was measured with
//! servers that people run.

mod support;

use std::fs;
use std::process::Output;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use support::bitwarden::rbw::{Account, Answer, NEEDS};
use support::bitwarden::{Id, Item, Server, bw};
use support::peers;

type Outcome = Result<(), Failed>;

fn main() {
    let arguments = Arguments::from_args();
    let trial = |name: &str, test: fn() -> Outcome| -> Trial { peers::trial(name, NEEDS, test) };
    let trials = vec![
        trial("rbw_logs_in_lists_and_gets", lists_and_gets),
        trial("a_wrong_password_is_refused", wrong_password),
        trial("two_syncs_give_the_same_bytes", same_bytes),
        trial("an_edit_changes_that_entry_alone", edits),
        trial("a_missing_name_gives_another_item", substring),
        trial("of_two_items_of_one_name_the_one_without_user_wins", duplicates),
        trial("what_is_in_the_trash_is_not_synced", trash),
        trial("a_reprompt_asks_each_time", reprompt),
        trial("folders_fields_cards_and_own_keys_are_read", kinds),
        trial("one_damaged_item_fails_every_name", damaged),
        trial("rbw_adds_edits_and_removes", adds_edits_and_removes),
        trial("an_expired_token_is_refreshed", refresh),
        trial("a_locked_agent_prompts_once_it_is_used", prompts),
        trial("a_server_that_is_down_fails_the_sync_alone", down),
        trial("nothing_is_left_of_an_account", nothing_left),
        peers::trial("bw_logs_in_and_lists", bw::NEEDS, bw_lists),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn lists_and_gets() -> Outcome {
    let server = Server::start();
    let id = server.put(Item::login("db/prod", "app", "hunter2 ü").notes("of the\ndatabase"));
    server.put(Item::note("motd", "hello"));
    let account = Account::log_in(&server);
    same("list", text(&account.rbw(&["list", "--fields", "id,name"]))?.contains(&format!("{id}\tdb/prod\n")), true)?;
    same("list", text(&account.rbw(&["list"]))?, "db/prod\nmotd\n")?;
    same("by name", get(&account, "db/prod")?, "hunter2 ü\n")?;
    same("by id", get(&account, &id)?, "hunter2 ü\n")?;
    same("note", get(&account, "motd")?, "hello\n")?;
    same("notes", text(&account.rbw(&["get", "--field", "notes", &id]))?, "of the\ndatabase\n")?;
    let asked: Vec<String> = server.requests().into_iter().filter(|asked| asked.contains("/api/")).collect();
    same("two syncs: of the login and of the sync", asked, vec!["GET /api/sync".to_owned(); 2])
}

fn wrong_password() -> Outcome {
    let account = Account::configured(&Server::start());
    account.answer(Answer::Wrong);
    same("no server", account.rbw(&["login"]).status.success(), false)?;
    let server = Server::start();
    let account = Account::configured(&server);
    account.answer(Answer::Wrong);
    let refused = account.rbw(&["login"]);
    same("refused", refused.status.success(), false)?;
    same("why", String::from_utf8_lossy(&refused.stderr).contains("is incorrect"), true)?;
    same("attempts", account.prompts(), 3)?;
    account.answer(Answer::Cancel);
    let cancelled = account.rbw(&["login"]);
    same("cancelled", String::from_utf8_lossy(&cancelled.stderr).contains("pinentry cancelled"), true)
}

fn same_bytes() -> Outcome {
    let server = Server::start();
    server.put(Item::login("one", "a", "1").field("custom", "2").folder("f"));
    server.put(Item::note("two", "3").with_own_key());
    let account = Account::log_in(&server);
    let before = fs::read(account.database())?;
    account.sync();
    same("bytes", fs::read(account.database())? == before, true)
}

fn edits() -> Outcome {
    let server = Server::start();
    let id = server.put(Item::login("one", "a", "1").notes("kept").with_own_key());
    server.put(Item::login("two", "b", "2"));
    let account = Account::log_in(&server);
    let before = entries(&account)?;
    server.edit(&id, |item| item.set_password(Some("new")));
    account.sync();
    let after = entries(&account)?;
    same("the other one", &after[1], &before[1])?;
    for kept in ["/name", "/notes", "/key", "/data/Login/username"] {
        same(kept, after[0].pointer(kept), before[0].pointer(kept))?;
    }
    let password = "/data/Login/password";
    same("password", after[0].pointer(password) == before[0].pointer(password), false)?;
    same("value", get(&account, &id)?, "new\n")?;
    server.save_again(&id);
    account.sync();
    same("sealed anew", entries(&account)?[0]["notes"] == after[0]["notes"], false)?;
    same("same value", get(&account, &id)?, "new\n")
}

fn substring() -> Outcome {
    let server = Server::start();
    let id = server.put(Item::login("db/prod", "app", "right"));
    server.put(Item::login("db/prod-readonly", "app", "wrong"));
    let account = Account::log_in(&server);
    same("there", get(&account, "db/prod")?, "right\n")?;
    server.remove(&id);
    account.sync();
    same("removed", get(&account, "db/prod")?, "wrong\n")?;
    same("by id", account.rbw(&["get", &id]).status.success(), false)
}

fn duplicates() -> Outcome {
    let server = Server::start();
    server.put(Item::login("dup", "alice", "1"));
    server.put(Item::login("dup", "bob", "2"));
    let account = Account::log_in(&server);
    let refused = account.rbw(&["get", "dup"]);
    same("refused", refused.status.success(), false)?;
    same("why", String::from_utf8_lossy(&refused.stderr).contains("multiple entries found"), true)?;
    server.put(Item::login("dup", "", "3").without_username());
    account.sync();
    same("silently", get(&account, "dup")?, "3\n")
}

fn trash() -> Outcome {
    let server = Server::start();
    let id = server.put(Item::login("one", "a", "1"));
    let account = Account::log_in(&server);
    server.trash(&id);
    account.sync();
    same("entries", entries(&account)?.len(), 0)?;
    server.restore(&id);
    account.sync();
    same("restored", get(&account, &id)?, "1\n")
}

fn reprompt() -> Outcome {
    let server = Server::start();
    let id = server.put(Item::login("one", "a", "1").reprompt());
    let account = Account::log_in(&server);
    same("login", account.prompts(), 1)?;
    same("value", get(&account, &id)?, "1\n")?;
    same(
        "asked",
        account.asked()[1..].contains(&"Accessing this entry requires the master password".to_owned()),
        true,
    )?;
    account.answer(Answer::Cancel);
    same("exit 0 without a value", get(&account, &id)?, "")
}

fn kinds() -> Outcome {
    let server = Server::start();
    let id = server.put(Item::login("one", "a", "1").folder("work").field("token", "2").with_own_key());
    let card = server.put(Item::card("card", "4111", "123").folder("work"));
    let key = server.put(Item::ssh_key("key", "private", "public"));
    let empty = server.put(Item::login("empty", "a", "").without_password());
    let account = Account::log_in(&server);
    let listed = text(&account.rbw(&["list", "--fields", "folder,name"]))?;
    same("folders", listed, "work\tcard\n\tempty\n\tkey\nwork\tone\n")?;
    same("field", text(&account.rbw(&["get", "--field", "token", &id]))?, "2\n")?;
    same("card", get(&account, &card)?, "4111\n")?;
    same("public", get(&account, &key)?, "public\n")?;
    same("private", text(&account.rbw(&["get", "--field", "private_key", &key]))?, "private\n")?;
    same("no value", get(&account, &empty)?, "")?;
    same("folder", server.item(&card).and_then(|item| item.folder).as_deref(), Some("work"))
}

fn damaged() -> Outcome {
    let server = Server::start();
    let id = server.put(Item::login("one", "a", "1"));
    let broken = server.put(Item::login("two", "b", "2"));
    let account = Account::log_in(&server);
    server.damage(&broken);
    account.sync();
    let failed = account.rbw(&["get", "one"]);
    same("by name", String::from_utf8_lossy(&failed.stderr).contains("invalid mac"), true)?;
    same("by id", get(&account, &id)?, "1\n")?;
    same("nobody opens it", server.item(&broken), None)
}

fn adds_edits_and_removes() -> Outcome {
    let server = Server::start();
    let account = Account::log_in(&server);
    text(&account.rbw_with_input(&["add", "--folder", "work", "new", "app"], "value\nnotes\n"))?;
    let added = server.items();
    let expected = Item::login("new", "app", "value").notes("notes").folder("work");
    same("added", added.iter().map(|(_, item)| item).collect::<Vec<_>>(), vec![&expected])?;
    let id: Id = added.into_iter().map(|(id, _)| id).next().ok_or("an item")?;
    text(&account.rbw_with_input(&["edit", &id], "other\nnotes\n"))?;
    same("edited", server.item(&id).as_ref().and_then(Item::password), Some("other"))?;
    same("read", get(&account, &id)?, "other\n")?;
    text(&account.rbw(&["remove", &id]))?;
    same("removed", server.items(), Vec::new())?;
    same("entries", entries(&account)?.len(), 0)
}

fn refresh() -> Outcome {
    let server = Server::start();
    let account = Account::log_in(&server);
    server.put(Item::login("one", "a", "1"));
    server.expire_tokens();
    account.sync();
    same("value", get(&account, "one")?, "1\n")?;
    let tokens = server.requests().iter().filter(|asked| asked.ends_with("/connect/token")).count();
    same("tokens", tokens, 2)
}

fn prompts() -> Outcome {
    let server = Server::start();
    let id = server.put(Item::login("one", "a", "1"));
    let account = Account::log_in(&server);
    same("of the login", account.prompts(), 1)?;
    account.lock();
    same("locked", account.is_unlocked(), false)?;
    account.sync();
    same("a sync asks nobody", account.prompts(), 1)?;
    same("value", get(&account, &id)?, "1\n")?;
    same("of the get", account.prompts(), 2)?;
    account.stop_agent();
    same("no agent", account.agent(), None)?;
    same("locked", account.is_unlocked(), false)?;
    account.unlock();
    same("of the unlock", account.prompts(), 3)?;
    same("unlocked", account.is_unlocked(), true)
}

fn down() -> Outcome {
    let server = Server::start();
    let id = server.put(Item::login("one", "a", "1"));
    let account = Account::log_in(&server);
    server.set_down(true);
    same("sync", account.rbw(&["sync"]).status.success(), false)?;
    same("what is here", get(&account, &id)?, "1\n")?;
    server.set_down(false);
    account.sync();
    Ok(())
}

fn nothing_left() -> Outcome {
    let server = Server::start();
    let account = Account::log_in(&server);
    let pid = account.agent().ok_or("an agent")?;
    let home = account.env().into_iter().find(|(name, _)| name == "HOME").ok_or("HOME")?.1;
    let directory = std::path::Path::new(&home).parent().ok_or("a directory")?.to_owned();
    // blocked: an agent that waits for its pinentry ends all the same
    account.lock();
    account.answer(Answer::Wait);
    std::thread::scope(|scope| {
        scope.spawn(|| account.rbw(&["unlock"]));
        let deadline = Instant::now() + Duration::from_secs(10);
        while account.prompts() < 2 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        account.stop_agent();
    });
    same("asked", account.prompts(), 2)?;
    same("its agent", rustix::process::test_kill_process(pid).is_err() || is_zombie(pid), true)?;
    drop(account);
    same("its directory", directory.exists(), false)
}

fn bw_lists() -> Outcome {
    let server = Server::start();
    let id = server.put(Item::login("one", "a", "1").field("token", "2").folder("work").with_own_key());
    server.put(Item::note("two", "text"));
    let account = bw::Account::log_in(&server);
    let items: Value = serde_json::from_str(&text(&account.bw(&["list", "items"]))?)?;
    let items = items.as_array().ok_or("a list")?;
    same("items", items.len(), 2)?;
    let one = items.iter().find(|item| item["id"] == *id).ok_or("the item")?;
    same("password", one["login"]["password"].as_str(), Some("1"))?;
    same("field", one["fields"][0]["value"].as_str(), Some("2"))?;
    same("notes", text(&account.bw(&["get", "notes", "two"]))?.as_str(), "text")?;
    server.edit(&id, |item| item.set_password(Some("new")));
    account.sync();
    let changed: Value = serde_json::from_str(&text(&account.bw(&["get", "item", &id]))?)?;
    same("changed", changed["login"]["password"].as_str(), Some("new"))?;
    same("revision", changed["revisionDate"] == one["revisionDate"], false)
}

fn is_zombie(pid: rustix::process::Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

fn get(account: &Account, needle: &str) -> Result<String, Failed> {
    text(&account.rbw(&["get", needle]))
}

/// What it wrote, if it succeeded.
fn text(output: &Output) -> Result<String, Failed> {
    same(&String::from_utf8_lossy(&output.stderr), output.status.success(), true)?;
    Ok(String::from_utf8(output.stdout.clone())?)
}

/// The entries of the local database.
fn entries(account: &Account) -> Result<Vec<Value>, Failed> {
    let database: Value = serde_json::from_slice(&fs::read(account.database())?)?;
    Ok(database["entries"].as_array().ok_or("entries")?.clone())
}

fn same<T: PartialEq<U> + std::fmt::Debug, U: std::fmt::Debug>(what: &str, seen: T, expected: U) -> Outcome {
    if seen == expected { Ok(()) } else { Err(format!("{what}: {seen:?}, expected {expected:?}").into()) }
}
