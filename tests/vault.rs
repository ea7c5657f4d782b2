//! The vault held against the real rbw: what its answers hide (parts of names, duplicates, empty values, prompts) is
//! caught, and what is unchanged needs no key.

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;

use libtest_mimic::{Arguments, Failed, Trial};
use reconcile::desired::{Item as Found, Revision, VaultFacts};
use reconcile::manifest::{self, ItemField, ItemRef, Manifest, Surroundings, Unlock};
use reconcile::observation::{Cause, Observation};
use reconcile::observe;
use reconcile::secret::{FingerprintKey, SecretName};
use reconcile::tools::vault::Vault;
use support::bitwarden::rbw::{Account, Answer, NEEDS};
use support::bitwarden::{Item, Server};
use support::peers;

type Outcome = Result<(), Failed>;

fn main() {
    let arguments = Arguments::from_args();
    let trial = |name: &str, test: fn() -> Outcome| -> Trial { peers::trial(name, NEEDS, test) };
    let trials = vec![
        trial("the_named_item_is_read_and_no_other", named::<DIRECT>),
        trial("the_named_item_is_read_and_no_other_by_command_line", named::<DETOUR>),
        trial("a_deleted_item_is_missing_though_another_name_begins_the_same", near_match::<DIRECT>),
        trial("a_deleted_item_is_missing_though_another_name_begins_the_same_by_command_line", near_match::<DETOUR>),
        trial("two_items_of_one_name_are_refused_until_told_apart", duplicates::<DIRECT>),
        trial("two_items_of_one_name_are_refused_until_told_apart_by_command_line", duplicates::<DETOUR>),
        trial("each_field_is_the_one_that_was_named", fields::<DIRECT>),
        trial("each_field_is_the_one_that_was_named_by_command_line", fields::<DETOUR>),
        trial("empty_and_missing_values_are_no_values", nothing_there::<DIRECT>),
        trial("empty_and_missing_values_are_no_values_by_command_line", nothing_there::<DETOUR>),
        trial("an_item_that_asks_each_time_is_not_read", reprompt::<DIRECT>),
        trial("an_item_that_asks_each_time_is_not_read_by_command_line", reprompt::<DETOUR>),
        trial("names_that_look_like_options_addresses_and_ids", odd_names::<DIRECT>),
        trial("names_that_look_like_options_addresses_and_ids_by_command_line", odd_names::<DETOUR>),
        trial("a_locked_vault_is_not_unlocked_when_it_may_not_be", never),
        trial("a_locked_vault_is_unlocked_once", once::<DIRECT>),
        trial("a_locked_vault_is_unlocked_once_by_command_line", once::<DETOUR>),
        trial("whoever_cancels_is_not_asked_again", cancelled::<DIRECT>),
        trial("whoever_cancels_is_not_asked_again_by_command_line", cancelled::<DETOUR>),
        trial("a_stopped_agent_says_what_to_do", stopped),
        trial("without_login_or_configuration_nobody_is_asked", not_ready),
        trial("a_missing_rbw_is_said_so", not_installed),
        trial("a_revision_survives_syncs_and_shows_an_edit", revisions),
        trial("an_unchanged_vault_is_known_while_it_is_locked", locked_and_unchanged),
        trial("a_renamed_or_added_item_is_not_guessed_while_locked", locked_and_changed),
        trial("an_item_named_by_id_needs_no_names", by_id::<DIRECT>),
        trial("an_item_named_by_id_needs_no_names_by_command_line", by_id::<DETOUR>),
        trial("one_damaged_item_does_not_hide_the_others", damaged::<DIRECT>),
        trial("one_damaged_item_does_not_hide_those_named_by_id_by_command_line", damaged::<DETOUR>),
        trial("a_server_that_is_down_leaves_what_was_synced", down),
        trial("a_database_that_is_being_written_is_waited_for", being_written),
        trial("what_a_plan_keeps_holds_no_value", observed),
        trial("what_the_agent_says_otherwise_is_asked_of_the_command_line", strange),
        trial("an_agent_that_does_not_answer_is_not_waited_for_ever", silent),
        trial("a_version_without_a_raw_list_is_told_to_be_updated", too_old),
        trial("another_item_than_was_asked_for_is_not_taken", other_item),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// The agent is asked over its socket.
const DIRECT: bool = true;
/// The agent's socket is not to be trusted, and rbw's command line is used.
const DETOUR: bool = false;

/// A server, somebody logged in to it, and what is asked of them.
struct Scene {
    server: Server,
    account: Account,
    way: bool,
}

impl Scene {
    fn with(items: impl IntoIterator<Item = Item>) -> Self {
        Self::on(DIRECT, items)
    }

    fn on(way: bool, items: impl IntoIterator<Item = Item>) -> Self {
        let server = Server::start();
        for item in items {
            server.put(item);
        }
        let account = Account::log_in(&server);
        Self { server, account, way }
    }

    fn vault(&self, unlock: Unlock, may_prompt: bool) -> Result<Vault, Failed> {
        let vault = open(surroundings(&self.account), unlock, may_prompt)?;
        if self.way == DETOUR {
            self.not_only_ours(0o770)?;
            drop(block_on(vault.find(&[&called("")])));
            self.not_only_ours(0o700)?;
            let why = vault.detour().ok_or("the agent was asked directly")?;
            same("why", why.contains("is not only yours"), true)?;
        }
        Ok(vault)
    }

    /// The mode of the directory of the agent's socket.
    fn not_only_ours(&self, mode: u32) -> Outcome {
        let directory = self.account.socket().parent().ok_or("a directory")?.to_owned();
        Ok(std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode))?)
    }

    fn look(&self, wanted: &[ItemRef]) -> Result<(VaultFacts, Vec<Result<Found, Cause>>), Failed> {
        look(&self.vault(Unlock::Never, false)?, wanted)
    }

    fn find(&self, wanted: ItemRef) -> Result<Result<Found, Cause>, Failed> {
        Ok(self.look(&[wanted])?.1.remove(0))
    }

    /// Finds and reads.
    fn read(&self, wanted: ItemRef) -> Result<Result<String, Cause>, Failed> {
        read(&self.vault(Unlock::Never, false)?, wanted)
    }

    fn revision(&self, wanted: ItemRef) -> Result<Revision, Failed> {
        Ok(self.find(wanted)?.map_err(shown)?.revision.ok_or("no revision")?)
    }
}

fn surroundings(account: &Account) -> Surroundings {
    let text = |(name, value): (String, std::ffi::OsString)| Some((name, value.into_string().ok()?));
    Surroundings { variables: account.env().into_iter().filter_map(text).collect(), ..Surroundings::default() }
}

fn open(surroundings: Surroundings, unlock: Unlock, may_prompt: bool) -> Result<Vault, Failed> {
    Ok(Vault::open(&manifest::Vault::Rbw { unlock }, &surroundings, may_prompt, None).map_err(shown)?)
}

fn shown(cause: Cause) -> String {
    format!("{cause}; next: {:?}", cause.next())
}

fn block_on<F: Future>(future: F) -> Result<F::Output, Failed> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}

fn look(vault: &Vault, wanted: &[ItemRef]) -> Result<(VaultFacts, Vec<Result<Found, Cause>>), Failed> {
    block_on(vault.find(&wanted.iter().collect::<Vec<_>>()))
}

fn read(vault: &Vault, wanted: ItemRef) -> Result<Result<String, Cause>, Failed> {
    let found = match look(vault, &[wanted])?.1.remove(0) {
        Ok(found) => found,
        Err(cause) => return Ok(Err(cause)),
    };
    match block_on(vault.read(&found.identity))? {
        Ok(value) => Ok(Ok(value.expose(|bytes| String::from_utf8(bytes.to_vec()))?)),
        Err(cause) => Ok(Err(cause)),
    }
}

fn called(name: &str) -> ItemRef {
    ItemRef { id: None, name: Some(name.to_owned()), user: None, folder: None, field: ItemField::Default }
}

fn field(name: &str, field: ItemField) -> ItemRef {
    ItemRef { field, ..called(name) }
}

fn custom(name: &str, custom: &str) -> ItemRef {
    field(name, ItemField::Custom(custom.to_owned()))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Outcome {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?}, expected {expected:?}").into()) }
}

macro_rules! is {
    ($got:expr, $pattern:pat $(if $guard:expr)?) => {
        match $got {
            $pattern $(if $guard)? => {}
            other => return Err(format!("{other:?} is not {}", stringify!($pattern)).into()),
        }
    };
}

fn named<const WAY: bool>() -> Outcome {
    let scene = Scene::on(
        WAY,
        [
            Item::login("db/prod", "app", "hunter2 ü\t"),
            Item::login("db/prod-readonly", "app", "wrong").folder("f"),
            Item::note("motd", "first\nlast\n"),
            Item::note("own key", "sealed").with_own_key(),
        ],
    );
    for (name, value) in [("db/prod", "hunter2 ü\t"), ("motd", "first\nlast\n"), ("own key", "sealed")] {
        same(name, scene.read(called(name))?, Ok(value.to_owned()))?;
    }
    let (facts, _) = scene.look(&[called("motd")])?;
    same("kind", facts.kind, "rbw")?;
    same("items", facts.items, Some(4))?;
    same("account", facts.account.as_is().starts_with("someone@example.invalid (http://127.0.0.1:"), true)?;
    same("synced just now", facts.synced.is_some_and(|ago| ago < 60), true)?;
    let listing = block_on(scene.vault(Unlock::Never, false)?.list())?.map_err(shown)?;
    let entry = listing.entries.iter().find(|entry| entry.name == "db/prod-readonly").ok_or("not listed")?;
    same("folder", entry.folder.as_deref(), Some("f"))?;
    same("user", entry.user.as_deref(), Some("app"))
}

fn near_match<const WAY: bool>() -> Outcome {
    let scene = Scene::on(WAY, [Item::login("db/prod-readonly", "app", "wrong")]);
    for name in ["db/prod", "DB/PROD-READONLY", "db/prod-readonl", "db/prod-readonly "] {
        is!(scene.find(called(name))?, Err(Cause::ItemMissing { similar, .. }) if similar.len() == 1);
    }
    is!(scene.find(called("nothing like it"))?, Err(Cause::ItemMissing { similar, .. }) if similar.is_empty());
    let of_another = ItemRef { user: Some("ap".to_owned()), ..called("db/prod-readonly") };
    is!(scene.find(of_another)?, Err(Cause::ItemMissing { .. }));
    let elsewhere = ItemRef { folder: Some("f".to_owned()), ..called("db/prod-readonly") };
    is!(scene.find(elsewhere)?, Err(Cause::ItemMissing { .. }));
    Ok(())
}

fn duplicates<const WAY: bool>() -> Outcome {
    let scene = Scene::on(
        WAY,
        [
            Item::login("dup", "", "no user").without_username(),
            Item::login("dup", "alice", "of alice"),
            Item::login("dup", "bob", "of bob"),
            Item::login("dup", "bob", "of bob, there").folder("there"),
        ],
    );
    is!(scene.find(called("dup"))?, Err(Cause::ItemAmbiguous { count: 4, .. }));
    let user = |user: &str| ItemRef { user: Some(user.to_owned()), ..called("dup") };
    same("of one user", scene.read(user("alice"))?, Ok("of alice".to_owned()))?;
    is!(scene.find(user("bob"))?, Err(Cause::ItemAmbiguous { count: 2, .. }));
    let there = ItemRef { folder: Some("there".to_owned()), ..user("bob") };
    same("in one folder", scene.read(there)?, Ok("of bob, there".to_owned()))
}

fn fields<const WAY: bool>() -> Outcome {
    let scene = Scene::on(
        WAY,
        [
            Item::login("l", "me", "pw")
                .notes("n")
                .field("pin code", "wrong")
                .field("pin", "1234")
                .field("t", "1")
                .field("t", "2"),
            Item::card("card", "4111111111111111", "123").field("limit", "5"),
            Item::ssh_key("key", "-----BEGIN OPENSSH PRIVATE KEY-----", "ssh-ed25519 AAAA"),
        ],
    );
    for (wanted, value) in [
        (field("l", ItemField::Username), "me"),
        (field("l", ItemField::Password), "pw"),
        (field("l", ItemField::Notes), "n"),
        (custom("l", "pin"), "1234"),
        (custom("l", "pin code"), "wrong"),
        (custom("card", "limit"), "5"),
    ] {
        same(&format!("{wanted:?}"), scene.read(wanted)?, Ok(value.to_owned()))?;
    }
    is!(scene.read(custom("l", "pi"))?, Err(Cause::FieldMissing { .. }));
    is!(scene.read(custom("l", "PIN"))?, Err(Cause::FieldMissing { .. }));
    is!(scene.read(custom("l", "t"))?, Err(Cause::ItemUnreadable { .. }));
    is!(scene.read(called("card"))?, Err(Cause::FieldMissing { .. }));
    is!(scene.read(called("key"))?, Err(Cause::FieldMissing { .. }));
    Ok(())
}

fn nothing_there<const WAY: bool>() -> Outcome {
    let scene = Scene::on(
        WAY,
        [
            Item::login("none", "me", "").without_password(),
            Item::login("empty", "me", "").notes("").field("f", ""),
            Item::login("no user", "", "pw").without_username(),
        ],
    );
    is!(scene.read(called("none"))?, Err(Cause::FieldMissing { .. } | Cause::ItemEmpty { .. }));
    is!(scene.read(called("empty"))?, Err(Cause::FieldMissing { .. } | Cause::ItemEmpty { .. }));
    is!(scene.read(field("empty", ItemField::Notes))?, Err(Cause::FieldMissing { .. } | Cause::ItemEmpty { .. }));
    is!(scene.read(custom("empty", "f"))?, Err(Cause::FieldMissing { .. } | Cause::ItemEmpty { .. }));
    is!(scene.read(custom("empty", "g"))?, Err(Cause::FieldMissing { .. }));
    is!(scene.read(field("no user", ItemField::Username))?, Err(Cause::FieldMissing { .. }));
    is!(scene.read(field("no user", ItemField::Notes))?, Err(Cause::FieldMissing { .. }));
    Ok(())
}

fn reprompt<const WAY: bool>() -> Outcome {
    let scene = Scene::on(WAY, [Item::login("careful", "me", "pw").reprompt(), Item::login("plain", "me", "pw")]);
    let before = scene.account.prompts();
    is!(scene.read(called("careful"))?, Err(Cause::ItemReprompt { .. }));
    same("the other", scene.read(called("plain"))?, Ok("pw".to_owned()))?;
    same("prompts", scene.account.prompts(), before)
}

fn odd_names<const WAY: bool>() -> Outcome {
    let names =
        ["--help", "https://example.org/", "a\tb", "a\nb", "8d2a5f0e-6e3c-4f7e-9d64-0a5a0f2f6b11", " spaced ", "ü 🔑"];
    let scene = Scene::on(WAY, names.map(|name| Item::login(name, "me", &format!("of {name}"))));
    for name in names {
        same(name, scene.read(called(name))?, Ok(format!("of {name}")))?;
    }
    // An id that no item has is not looked up as a name.
    let id = ItemRef { id: Some(names[4].to_owned()), name: None, ..called("") };
    is!(scene.read(id)?, Err(Cause::ItemMissing { .. }));
    Ok(())
}

fn never() -> Outcome {
    let scene = Scene::with([Item::login("a", "me", "pw")]);
    scene.account.lock();
    let before = scene.account.prompts();
    for (unlock, may_prompt) in
        [(Unlock::Never, true), (Unlock::Never, false), (Unlock::Pinentry, false), (Unlock::Terminal, false)]
    {
        let vault = scene.vault(unlock, may_prompt)?;
        is!(read(&vault, called("a"))?, Err(Cause::VaultLocked { unlock, .. }) if unlock == "rbw unlock");
        is!(block_on(vault.list())?.map(drop), Err(Cause::VaultLocked { .. }));
        is!(block_on(vault.sync())?, Ok(()));
    }
    same("prompts", scene.account.prompts(), before)?;
    same("still locked", scene.account.is_unlocked(), false)
}

fn once<const WAY: bool>() -> Outcome {
    let scene = Scene::on(WAY, [Item::login("a", "me", "of a"), Item::login("b", "me", "of b")]);
    scene.account.lock();
    let before = scene.account.prompts();
    let vault = scene.vault(Unlock::Pinentry, true)?;
    let (_, found) = look(&vault, &[called("a"), called("b")])?;
    let found: Vec<Found> = found.into_iter().collect::<Result<_, _>>().map_err(shown)?;
    let values = block_on(reconcile::tools::together::all(found.iter().map(|item| vault.read(&item.identity))))?;
    same("values", values.iter().all(Result::is_ok), true)?;
    same("prompts", scene.account.prompts(), before + 1)?;
    // Locked again in the same run: it was allowed once.
    scene.account.lock();
    is!(block_on(vault.read(&found[0].identity))?.map(drop), Err(Cause::VaultLocked { .. }));
    same("prompts", scene.account.prompts(), before + 1)
}

fn cancelled<const WAY: bool>() -> Outcome {
    let scene = Scene::on(WAY, [Item::login("a", "me", "of a")]);
    scene.account.lock();
    scene.account.answer(Answer::Cancel);
    let before = scene.account.prompts();
    let vault = scene.vault(Unlock::Pinentry, true)?;
    for _ in 0..3 {
        is!(read(&vault, called("a"))?, Err(Cause::VaultLocked { .. }));
    }
    same("prompts", scene.account.prompts(), before + 1)
}

fn stopped() -> Outcome {
    let scene = Scene::with([Item::login("a", "me", "of a")]);
    scene.account.stop_agent();
    let before = scene.account.prompts();
    is!(scene.read(called("a"))?, Err(Cause::VaultUnavailable { what, next })
        if what.as_is().contains("agent is not running") && next == "rbw unlock");
    same("prompts", scene.account.prompts(), before)?;
    same("no agent was started", scene.account.agent(), None)?;
    let vault = scene.vault(Unlock::Pinentry, true)?;
    same("when it may", read(&vault, called("a"))?, Ok("of a".to_owned()))
}

fn not_ready() -> Outcome {
    let server = Server::start();
    let account = Account::configured(&server);
    let vault = open(surroundings(&account), Unlock::Pinentry, true)?;
    for cause in [read(&vault, called("a"))?.map(drop), block_on(vault.sync())?, block_on(vault.list())?.map(drop)] {
        is!(cause, Err(Cause::VaultUnavailable { next, .. }) if next == "rbw login");
    }
    let mut elsewhere = surroundings(&account);
    elsewhere.variables.insert("RBW_PROFILE".to_owned(), "other".to_owned());
    let vault = open(elsewhere, Unlock::Pinentry, true)?;
    is!(read(&vault, called("a"))?, Err(Cause::VaultUnavailable { next, .. }) if next.starts_with("rbw config set email"));
    same("prompts", account.prompts(), 0)
}

fn not_installed() -> Outcome {
    let mut nowhere = Surroundings::default();
    nowhere.variables.insert("PATH".to_owned(), "/nonexistent".to_owned());
    nowhere.variables.insert("HOME".to_owned(), "/nonexistent".to_owned());
    let vault = open(nowhere, Unlock::Never, false)?;
    is!(read(&vault, called("a"))?, Err(Cause::VaultUnavailable { what, .. }) if what.as_is().contains("not installed"));
    Ok(())
}

fn revisions() -> Outcome {
    let scene = Scene::with([Item::login("other", "me", "pw")]);
    let id = scene.server.put(Item::login("a", "me", "one").notes("n").field("f", "1"));
    scene.account.sync();
    let all = |scene: &Scene| -> Result<[Revision; 4], Failed> {
        let of = |field| scene.revision(ItemRef { field, ..called("a") });
        let custom = ItemField::Custom("f".to_owned());
        Ok([of(ItemField::Default)?, of(ItemField::Password)?, of(ItemField::Notes)?, of(custom)?])
    };
    let first = all(&scene)?;
    same("tagged", first.iter().all(|revision| revision.0.starts_with("rbw1:")), true)?;
    scene.account.sync();
    scene.account.sync();
    same("after syncs", all(&scene)?, first.clone())?;
    scene.server.edit(&id, |item| item.set_password(Some("two")));
    scene.account.sync();
    let [default, password, notes, custom] = all(&scene)?;
    same("default", default == first[0], false)?;
    same("password", password == first[1], false)?;
    same("notes", notes, first[2].clone())?;
    same("custom", custom.clone(), first[3].clone())?;
    scene.server.edit(&id, |item| item.fields[0].value = "2".to_owned());
    scene.account.sync();
    same("custom", all(&scene)?[3] == custom, false)?;
    same("value", scene.read(called("a"))?, Ok("two".to_owned()))
}

fn locked_and_unchanged() -> Outcome {
    let scene = Scene::with([Item::login("a", "me", "pw"), Item::login("b", "me", "pw"), Item::login("c", "me", "pw")]);
    let wanted = [called("a"), field("b", ItemField::Username)];
    let (_, unlocked) = scene.look(&wanted)?;
    scene.account.lock();
    let (facts, locked) = scene.look(&wanted)?;
    same("the same", locked.clone(), unlocked)?;
    same("all known", locked.iter().all(Result::is_ok), true)?;
    same("items", facts.items, Some(3))?;
    // The agent is not even asked.
    scene.account.stop_agent();
    same("without an agent", scene.look(&wanted)?.1, locked)?;
    same("no agent was started", scene.account.agent(), None)?;
    is!(scene.find(called("c"))?, Err(Cause::VaultUnavailable { .. }));
    // Another field of an item that is known by its name.
    is!(scene.find(field("a", ItemField::Notes))?, Ok(_));
    // What is remembered is for the user alone, and holds names of the manifest only.
    let directory = surroundings(&scene.account).variables["XDG_CACHE_HOME"].clone() + "/reconcile";
    let kept = std::fs::read_dir(directory)?.next().ok_or("nothing is kept")??;
    same("mode", kept.metadata()?.permissions().mode() & 0o777, 0o600)?;
    let text = std::fs::read_to_string(kept.path())?;
    same("not the others", text.contains("\"c\""), false)
}

fn locked_and_changed() -> Outcome {
    let scene = Scene::with([]);
    let id = scene.server.put(Item::login("a", "me", "one"));
    let other = scene.server.put(Item::login("b", "me", "pw"));
    scene.account.sync();
    let remembered = |scene: &Scene| -> Result<Result<Found, Cause>, Failed> {
        scene.account.unlock();
        scene.find(called("a"))?.map_err(shown)?;
        scene.account.lock();
        scene.find(called("a"))
    };
    is!(remembered(&scene)?, Ok(_));
    let before = scene.revision(called("a"))?;
    scene.server.edit(&id, |item| item.set_password(Some("two")));
    scene.account.sync();
    let edited = scene.find(called("a"))?.map_err(shown)?;
    same("its version is another", edited.revision == Some(before), false)?;
    for change in [0, 1, 2] {
        is!(remembered(&scene)?, Ok(_));
        match change {
            0 => scene.server.edit(&other, |item| item.name = "a".to_owned()),
            1 => scene.server.edit(&other, |item| item.name = "c".to_owned()),
            _ => drop(scene.server.put(Item::login("a", "me", "another"))),
        }
        scene.account.sync();
        is!(scene.find(called("a"))?, Err(Cause::VaultLocked { .. }));
        scene.account.unlock();
        if change != 1 {
            is!(scene.find(called("a"))?, Err(Cause::ItemAmbiguous { count: 2, .. }));
            scene.server.edit(&other, |item| item.name = "b".to_owned());
            scene.account.sync();
        }
    }
    Ok(())
}

fn by_id<const WAY: bool>() -> Outcome {
    let scene = Scene::on(WAY, [Item::login("b", "me", "wrong")]);
    let id = scene.server.put(Item::login("a", "me", "of a"));
    scene.account.sync();
    let wanted = ItemRef { id: Some(id.to_string()), name: None, ..called("") };
    same("value", scene.read(wanted.clone())?, Ok("of a".to_owned()))?;
    scene.account.lock();
    is!(scene.find(wanted.clone())?, Ok(item) if item.revision.is_some());
    is!(scene.read(wanted)?, Err(Cause::VaultLocked { .. }));
    scene.account.unlock();
    let both = |name: &str| ItemRef { id: Some(id.to_string()), ..called(name) };
    same("with its name", scene.read(both("a"))?, Ok("of a".to_owned()))?;
    is!(scene.find(both("b"))?, Err(Cause::ItemMissing { .. }));
    Ok(())
}

fn damaged<const WAY: bool>() -> Outcome {
    let scene = Scene::on(WAY, []);
    let good = scene.server.put(Item::login("good", "me", "pw"));
    let bad = scene.server.put(Item::login("bad", "me", "pw"));
    scene.server.damage(&bad);
    scene.account.sync();
    let id = |id: &str| ItemRef { id: Some(id.to_owned()), name: None, ..called("") };
    let vault = scene.vault(Unlock::Never, false)?;
    let torn = scene.server.put(Item::login("torn", "me", "pw"));
    scene.server.damage_password(&torn);
    scene.account.sync();
    let (_, found) = look(&vault, &[called("good"), id(&good), id(&bad), called("bad"), id(&torn)])?;
    // The command line lists none when one is damaged.
    same("by name", found[0].is_ok(), WAY == DIRECT)?;
    is!(&found[3], Err(Cause::VaultUnavailable { next, .. }) if next.contains("id:"));
    is!(&found[2], Ok(_));
    let read = |found: &Result<Found, Cause>| -> Result<Result<(), Cause>, Failed> {
        let found = found.clone().map_err(shown)?;
        Ok(block_on(vault.read(&found.identity))?.map(drop))
    };
    same("the intact one", read(&found[1])?, Ok(()))?;
    match WAY {
        // Its value is intact.
        DIRECT => same("the other", read(&found[2])?, Ok(()))?,
        DETOUR => is!(read(&found[2])?, Err(Cause::ItemUnreadable { .. })),
    }
    is!(read(&found[4])?, Err(Cause::ItemUnreadable { .. }));
    Ok(())
}

fn down() -> Outcome {
    let scene = Scene::with([Item::login("a", "me", "of a")]);
    scene.server.set_down(true);
    let vault = scene.vault(Unlock::Never, false)?;
    is!(block_on(vault.sync())?, Err(Cause::VaultUnavailable { what, next })
        if what.as_is().starts_with("rbw sync failed") && next == "rbw sync");
    same("what was synced", read(&vault, called("a"))?, Ok("of a".to_owned()))
}

fn being_written() -> Outcome {
    let scene = Scene::with([Item::login("a", "me", "of a")]);
    let (database, whole) = (scene.account.database(), std::fs::read(scene.account.database())?);
    let before = scene.account.prompts();
    for kept in [0, whole.len() / 2] {
        std::fs::write(&database, &whole[..kept])?;
        let vault = scene.vault(Unlock::Pinentry, true)?;
        is!(read(&vault, called("a"))?, Err(Cause::VaultUnavailable { what, .. }) if what.as_is().contains("cut off"));
        let (database, whole) = (database.clone(), whole.clone());
        let writer = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(150));
            std::fs::write(database, whole)
        });
        same("after it was written", read(&vault, called("a"))?, Ok("of a".to_owned()))?;
        writer.join().map_err(|_| "it panicked")??;
    }
    // rbw takes a database that is cut off for one that was never logged in.
    same("prompts", scene.account.prompts(), before)
}

fn observed() -> Outcome {
    let scene = Scene::with([Item::login("a", "me", "canary"), Item::login("b", "me", "").without_password()]);
    let manifest = manifest_of(&[("one", "a"), ("two", "b"), ("three", "c")])?;
    let vault = scene.vault(Unlock::Never, false)?;
    let key = FingerprintKey::new(&mut [7; 32]);
    let mut items = block_on(observe::vault::look(&vault, &manifest))?.items;
    let names: BTreeSet<SecretName> = items.keys().cloned().collect();
    block_on(observe::vault::read_values(&vault, &key, &names, &mut items))?;
    let of = |name: &str| -> Result<&Observation<Found>, Failed> {
        Ok(items.get(&name.parse::<SecretName>()?).ok_or("not there")?)
    };
    let value = of("one")?.known().and_then(|item| item.value.as_ref());
    is!(value, Some(Observation::Known(facts)) if facts.length == 6);
    let value = of("two")?.known().and_then(|item| item.value.as_ref());
    is!(value, Some(Observation::Unknown(Cause::FieldMissing { item, .. })) if item.as_is() == "b");
    is!(of("three")?, Observation::Unknown(Cause::ItemMissing { .. }));
    same("the value", format!("{items:?}").contains("canary"), false)
}

fn manifest_of(secrets: &[(&str, &str)]) -> Result<Manifest, Failed> {
    let secret = |(name, item): &(&str, &str)| {
        format!("  {name}: {{item: {item}, delivery: {{runtime: {{env: {}}}}}}}\n", name.to_uppercase())
    };
    let secrets: String = secrets.iter().map(secret).collect();
    let text = format!("version: 1\nname: t\nvault: {{rbw: {{}}}}\ndataset: {{path: /d}}\nsecrets:\n{secrets}");
    Ok(manifest::parse("t", &text).map_err(|error| format!("{error:?}"))?.manifest)
}

/// A program in place of rbw, for what the real one does not do on demand. It gets the real one's path in `$REAL`.
fn instead(scene: &Scene, script: &str) -> Result<(tempfile::TempDir, Surroundings), Failed> {
    let directory = tempfile::tempdir()?;
    let program = directory.path().join("rbw");
    let real = peers::find("rbw").ok_or("rbw")?;
    std::fs::write(&program, format!("#!/bin/sh\nREAL={}\n{script}\n", real.display()))?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700))?;
    let mut surroundings = surroundings(&scene.account);
    let path = surroundings.variables.entry("PATH".to_owned()).or_default();
    *path = format!("{}:{path}", directory.path().display());
    Ok((directory, surroundings))
}

/// One that answers in place of the agent, each question with the same line, until it is dropped. The agent's own socket
/// is beside it meanwhile.
struct InPlaceOfTheAgent {
    socket: std::path::PathBuf,
    own: std::path::PathBuf,
}

impl InPlaceOfTheAgent {
    fn answering(scene: &Scene, line: Option<&'static str>) -> Result<Self, Failed> {
        let socket = scene.account.socket();
        let own = socket.with_extension("own");
        std::fs::rename(&socket, &own)?;
        let listener = std::os::unix::net::UnixListener::bind(&socket)?;
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let mut question = String::new();
                let _ = BufReader::new(&stream).read_line(&mut question);
                match line {
                    Some(line) => drop(stream.write_all(line.as_bytes())),
                    None => open.push(stream),
                }
            }
        });
        Ok(Self { socket, own })
    }
}

impl Drop for InPlaceOfTheAgent {
    fn drop(&mut self) {
        let _ = std::fs::rename(&self.own, &self.socket);
    }
}

fn strange() -> Outcome {
    let answers = [
        "{\"type\":\"Error\",\"error\":\"failed to parse message '…': unknown variant\"}\n",
        "{\"type\":\"Sorry\"}\n",
        "{\"type\":\"Decrypt\",\"plaintext\":\"canary\"}\n",
        "HTTP/1.1 400 Bad Request\n",
        "",
    ];
    // At once: the command line, which takes what answers for an agent of another version, waits for its end.
    std::thread::scope(|scope| {
        let asked = answers.map(|answer| scope.spawn(move || strangely(answer)));
        asked.into_iter().try_for_each(|asked| asked.join().map_err(|_| "it panicked")?)
    })
}

fn strangely(answer: &'static str) -> Outcome {
    let scene = Scene::with([Item::login("a", "me", "right")]);
    let vault = scene.vault(Unlock::Never, false)?;
    let instead = InPlaceOfTheAgent::answering(&scene, Some(answer))?;
    is!(look(&vault, &[called("a")])?.1.remove(0), Err(Cause::VaultUnavailable { .. }));
    same("detour", vault.detour().is_some(), true)?;
    drop(instead);
    same(answer, read(&vault, called("a"))?, Ok("right".to_owned()))
}

fn silent() -> Outcome {
    let scene = Scene::with([Item::login("a", "me", "right")]);
    let vault = scene.vault(Unlock::Never, false)?;
    let _instead = InPlaceOfTheAgent::answering(&scene, None)?;
    is!(read(&vault, called("a"))?, Err(Cause::VaultUnavailable { what, next })
        if what.as_is().contains("does not answer") && next.contains("rbw stop-agent"));
    same("nothing was looked up otherwise", vault.detour(), None)
}

fn too_old() -> Outcome {
    let scene = Scene::on(DETOUR, [Item::login("a", "me", "pw")]);
    let script = "case $* in *--raw*) echo \"error: unexpected argument '--raw' found\" >&2; exit 2 ;; esac\nexec \"$REAL\" \"$@\"";
    let (_directory, surroundings) = instead(&scene, script)?;
    let vault = open(surroundings, Unlock::Never, false)?;
    scene.not_only_ours(0o770)?;
    is!(read(&vault, called("a"))?, Err(Cause::VaultUnavailable { what, .. }) if what.as_is().contains("1.14"));
    Ok(())
}

fn other_item() -> Outcome {
    let scene = Scene::on(DETOUR, [Item::login("a", "me", "right")]);
    let other = scene.server.put(Item::login("b", "me", "wrong"));
    scene.account.sync();
    let script = format!("[ \"$1\" = get ] && exec \"$REAL\" get --raw -- {other}\nexec \"$REAL\" \"$@\"");
    let (_directory, surroundings) = instead(&scene, &script)?;
    let vault = open(surroundings, Unlock::Never, false)?;
    scene.not_only_ours(0o770)?;
    is!(read(&vault, called("a"))?, Err(Cause::ItemMissing { .. }));
    Ok(())
}
