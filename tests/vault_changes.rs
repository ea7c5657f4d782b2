//! What happens in a vault between two plans, with the real rbw, carried the whole way: each change gives the right
//! answer or a clear refusal that leaves every file as it is, and settles after one apply.

#[allow(dead_code, reason = "it uses its part of it")]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use support::bitwarden::rbw::{Account, NEEDS};
use support::bitwarden::{Id, Item, Server};
use support::peers;
use support::program::{Place, Ran};

type Outcome = Result<(), Failed>;

fn main() {
    let arguments = Arguments::from_args();
    let trial = |name: &str, test: fn() -> Outcome| -> Trial { peers::trial(name, NEEDS, test) };
    let trials = vec![
        trial("nothing_changed_is_known_with_a_locked_vault_and_without_a_server", nothing_changed),
        trial("what_may_have_changed_is_said_while_locked", may_have_changed),
        trial("an_item_deleted_while_a_longer_name_exists", deleted),
        trial("an_item_in_the_trash_is_missing_and_back_it_is_the_same", trashed),
        trial("a_second_item_of_the_same_name_added_while_locked", doubled),
        trial("an_item_renamed_and_another_created_under_its_name", renamed),
        trial("another_item_or_field_in_the_manifest_only", redeclared),
        trial("an_item_saved_again_without_a_change_changes_nothing", saved_again),
        trial("the_account_has_another_key", rotated),
        trial("an_item_of_an_organisation", organisation),
        trial("an_unlock_is_asked_for_once", asked_once),
        trial("the_command_line_is_used_where_the_socket_is_not_trusted", detour),
        trial("a_thousand_plans_during_syncs_and_edits", during_syncs),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// Two boot secrets, of which one apply was made; the machine itself is the host.
const MANIFEST: &str = "version: 1
name: changes
vault: {rbw: {unlock: never}}
dataset: {path: dataset, files: {key: {age_key_of: here}}}
hosts:
  here: {local: {}, age_key_file: run/key.txt, recipient: {file: key}, switch: {activate: {symlink_path: run/secrets}}}
secrets:
  db: {item: db/prod, delivery: {sops: {}}}
  api: {item: {name: api, field: notes}, delivery: {sops: {}}}
";

struct Scene {
    server: Server,
    account: Account,
    place: Place,
    db: Id,
    api: Id,
}

impl Scene {
    /// Applied, so that there is nothing to do.
    fn settled() -> Result<Self, Failed> {
        Self::of(MANIFEST)
    }

    fn of(manifest: &str) -> Result<Self, Failed> {
        let server = Server::start();
        server.put(Item::login("db/prod-readonly", "app", "wrong"));
        let db = server.put(Item::login("db/prod", "app", "one").notes("n-one"));
        let api = server.put(Item::login("api", "me", "not this").notes("n"));
        let account = Account::log_in(&server);
        let mut place = Place::new(manifest);
        place.variables.extend(account.env().into_iter().filter(|(name, _)| name != "HOME"));
        let scene = Self { server, account, place, db, api };
        scene.apply()?;
        scene.holds("one", "n")?;
        Ok(scene)
    }

    fn plan(&self, more: &str) -> Ran {
        self.place.run(&format!("plan --detailed-exitcode {more}"))
    }

    /// Applies, after which there is nothing to do.
    fn apply(&self) -> Outcome {
        self.place.run("apply --auto-approve").ended(0)?;
        self.plan("").ended(0)?.says(&["No changes."])?;
        self.plan("--refresh=false").ended(0)?.says(&["No changes."]).map(drop)
    }

    /// A plan, and an apply, that fail saying `words` and touch no file.
    fn refuses(&self, words: &[&str]) -> Outcome {
        let before = self.files();
        self.plan("").ended(1)?.says(words)?;
        self.place.run("apply --auto-approve").ended(1)?.says(words)?;
        if self.files() == before { Ok(()) } else { Err("a file was changed".into()) }
    }

    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.place.files()
    }

    fn holds(&self, db: &str, api: &str) -> Outcome {
        for (name, value) in [("db", db), ("api", api)] {
            let there = fs::read_to_string(self.place.repository.join("run/secrets").join(name))?;
            if there != value {
                return Err(format!("{name} is {there:?}, not {value:?}").into());
            }
        }
        Ok(())
    }

    fn same_prompts(&self, before: usize) -> Outcome {
        match self.account.prompts() {
            now if now == before => Ok(()),
            now => Err(format!("{now} prompts, not {before}").into()),
        }
    }
}

fn nothing_changed() -> Outcome {
    let scene = Scene::settled()?;
    let prompts = scene.account.prompts();
    scene.account.lock();
    scene.plan("").ended(0)?.says(&["No changes.", "no value was read"])?;
    scene.plan("--refresh=false").ended(0)?.says(&["No changes."])?;
    scene.place.run("apply --auto-approve").ended(0)?.says(&["No changes."])?;
    // Not even an agent is needed, nor a server.
    scene.account.stop_agent();
    scene.server.set_down(true);
    scene.plan("--refresh=false").ended(0)?.says(&["No changes."])?;
    scene.plan("").ended(0)?.says(&["No changes.", "the vault was not synced", "it is as it was", "ago"])?;
    scene.same_prompts(prompts)
}

fn may_have_changed() -> Outcome {
    let scene = Scene::settled()?;
    scene.account.lock();
    scene.server.edit(&scene.db, |item| item.set_password(Some("two")));
    let locked = "its item was saved anew or never read, and the vault is locked";
    scene.plan("").ended(1)?.says(&["secret.db: it may have changed", locked, "rbw unlock"])?.hides(&["secret.api"])?;
    scene.refuses(&[locked])?;
    scene.account.unlock();
    scene.plan("").ended(2)?.says(&["secret.db will be updated"])?;
    scene.apply()?;
    scene.holds("two", "n")?;
    // A new entry may be called like any of them.
    scene.account.lock();
    scene.server.put(Item::login("another", "me", "x"));
    scene.plan("").ended(1)?.says(&["secret.db", "secret.api", "items were added or renamed"])?;
    scene.account.unlock();
    scene.plan("").ended(0)?.says(&["No changes."])?;
    scene.account.lock();
    scene.plan("").ended(0)?.says(&["No changes."]).map(drop)
}

fn deleted() -> Outcome {
    let scene = Scene::settled()?;
    scene.server.remove(&scene.db);
    // That it is gone needs no key; what may be meant instead does.
    scene.account.lock();
    scene.refuses(&["secret.db", "no item is called \"db/prod\""])?;
    scene.account.unlock();
    scene.refuses(&["secret.db", "no item is called \"db/prod\"", "did you mean \"db/prod-readonly\"?"])?;
    scene.server.put(Item::login("db/prod", "app", "three"));
    scene.apply()?;
    scene.holds("three", "n")
}

fn trashed() -> Outcome {
    let scene = Scene::settled()?;
    scene.server.trash(&scene.db);
    scene.refuses(&["no item is called \"db/prod\""])?;
    scene.server.restore(&scene.db);
    scene.plan("").ended(0)?.says(&["No changes."]).map(drop)
}

fn doubled() -> Outcome {
    let scene = Scene::settled()?;
    scene.account.lock();
    let second = scene.server.put(Item::login("db/prod", "someone else", "two"));
    scene.plan("").ended(1)?.says(&["secret.db", "the vault is locked"])?;
    scene.account.unlock();
    scene.refuses(&["2 items are called \"db/prod\"", "tell them apart"])?;
    scene.account.lock();
    scene.plan("").ended(1)?.says(&["No changes found; 1 not checked."])?.hides(&["No changes."])?;
    scene.account.unlock();
    scene.place.edit_manifest("item: db/prod", "item: {name: db/prod, user: someone else}");
    scene.plan("").ended(2)?.says(&["secret.db will be updated"])?;
    scene.apply()?;
    scene.holds("two", "n")?;
    scene.place.edit_manifest("item: {name: db/prod, user: someone else}", "item: db/prod");
    scene.server.remove(&second);
    scene.apply()?;
    scene.holds("one", "n")
}

fn renamed() -> Outcome {
    let scene = Scene::settled()?;
    scene.account.lock();
    scene.server.edit(&scene.db, |item| item.name = "db/prod-old".to_owned());
    scene.server.put(Item::login("db/prod", "app", "two"));
    scene.plan("").ended(1)?.says(&["secret.db", "the vault is locked"])?;
    scene.account.unlock();
    scene.plan("").ended(2)?.says(&["secret.db will be updated"])?.hides(&["secret.api"])?;
    scene.apply()?;
    scene.holds("two", "n")?;
    // The old one is nobody's now.
    scene.server.edit(&scene.db, |item| item.set_password(Some("nobody's")));
    scene.plan("").ended(0)?.says(&["No changes."]).map(drop)
}

fn redeclared() -> Outcome {
    let scene = Scene::settled()?;
    scene.account.lock();
    // The item is known by its name, and another field of it was never read.
    scene.place.edit_manifest("item: db/prod", "item: {name: db/prod, field: notes}");
    // The index says that the manifest is another one.
    scene.plan("").ended(2)?.says(&["? secret.db", "the vault is locked", "Plan: 0 to add, 1 to change"])?;
    scene.account.unlock();
    scene.plan("").ended(2)?.says(&["secret.db will be updated"])?;
    scene.apply()?;
    scene.holds("n-one", "n")?;
    scene.place.edit_manifest("{name: db/prod, field: notes}", "db/prod-readonly");
    scene.account.lock();
    scene.plan("").ended(2)?.says(&["? secret.db", "the vault is locked"])?;
    scene.account.unlock();
    scene.apply()?;
    scene.holds("wrong", "n")
}

fn saved_again() -> Outcome {
    let scene = Scene::settled()?;
    scene.server.save_again(&scene.db);
    scene.server.save_again(&scene.api);
    // Sealed anew: the values had to be read, and are the same.
    scene.plan("").ended(0)?.says(&["No changes.", "2 values were read"])?;
    let encrypted = fs::read(scene.place.repository.join("dataset/secrets.yaml"))?;
    scene.apply()?;
    scene.account.lock();
    scene.plan("").ended(0)?.says(&["No changes."])?;
    if fs::read(scene.place.repository.join("dataset/secrets.yaml"))? == encrypted {
        return Ok(());
    }
    Err("it was encrypted anew".into())
}

fn rotated() -> Outcome {
    let scene = Scene::settled()?;
    scene.server.rotate_key();
    scene.refuses(&["secret.db", "its keys are not those of the vault", "rbw lock, then: rbw unlock"])?;
    scene.account.lock();
    scene.account.unlock();
    scene.plan("").ended(0)?.says(&["No changes."])?;
    scene.apply()?;
    scene.holds("one", "n")
}

fn organisation() -> Outcome {
    let scene = Scene::settled()?;
    // Of an organisation whose key the agent does not have yet: its name may be any, and ours are found all the same.
    let same_name = scene.server.share(Item::login("db/prod", "team", "not this"));
    scene.plan("").ended(0)?.says(&["No changes."])?;
    scene.account.lock();
    scene.plan("").ended(1)?.says(&["items were added or renamed"])?.hides(&["No changes."])?;
    scene.account.unlock();
    scene.refuses(&["2 items are called \"db/prod\""])?;
    scene.server.remove(&same_name);
    scene.server.share(Item::login("shared", "team", "ours").notes("their notes"));
    scene.place.edit_manifest("item: db/prod", "item: {name: shared, user: team}");
    scene.account.sync();
    // The organisation's key comes with an unlock.
    scene.account.lock();
    scene.account.unlock();
    scene.plan("").ended(2)?.says(&["secret.db will be updated"])?;
    scene.apply()?;
    scene.holds("ours", "n")?;
    scene.account.lock();
    scene.plan("").ended(0)?.says(&["No changes."]).map(drop)
}

fn asked_once() -> Outcome {
    let scene = Scene::of(&MANIFEST.replace("unlock: never", "unlock: pinentry"))?;
    scene.account.lock();
    let prompts = scene.account.prompts();
    scene.server.edit(&scene.db, |item| item.set_password(Some("two")));
    scene.server.edit(&scene.api, |item| item.notes = Some("n2".to_owned()));
    scene.server.put(Item::login("another", "me", "x"));
    // Without a terminal a plan asks nobody.
    scene.plan("").ended(1)?.says(&["the vault is locked", "rbw unlock"])?;
    scene.same_prompts(prompts)?;
    // What runs a program may, as `unlock: pinentry` says.
    let manifest = scene.place.manifest();
    let secrets = "  token: {item: another, delivery: {runtime: {env: TOKEN}}}
  more: {item: api, delivery: {runtime: {env: MORE}}}
";
    fs::write(&manifest, fs::read_to_string(&manifest)? + secrets)?;
    let mut command = scene.place.reconcile();
    command.arg("--manifest").arg(&manifest).args(["exec", "token", "more", "--", "sh", "-c", "echo $TOKEN $MORE"]);
    Ran::from(command.output()?).ended(0)?.says(&["x not this"])?;
    scene.same_prompts(prompts + 1)
}

fn detour() -> Outcome {
    let scene = Scene::settled()?;
    let directory = scene.account.socket().parent().ok_or("a directory")?.to_owned();
    let mode = |mode: u32| fs::set_permissions(&directory, fs::Permissions::from_mode(mode));
    scene.server.edit(&scene.db, |item| item.set_password(Some("two")));
    // Others could have put the socket there.
    mode(0o770)?;
    scene.plan("").ended(2)?.says(&["secret.db will be updated"])?.hides(&["agent"])?;
    mode(0o770)?;
    let said = ["secret.db will be updated", "rbw's agent was not asked directly (", "is not only yours"];
    scene.plan("-v").ended(2)?.says(&said)?;
    mode(0o770)?;
    scene.apply()?;
    mode(0o700)?;
    scene.holds("two", "n")
}

/// Whatever a plan sees of a vault that changes under it, it is what was there at one moment.
fn during_syncs() -> Outcome {
    const PLANS: usize = 1_000;
    let scene = Scene::settled()?;
    for number in 0..300 {
        scene.server.put(Item::login(&format!("other-{number}"), "me", "x"));
    }
    scene.apply()?;
    let prompts = scene.account.prompts();
    let (ended, syncs) = (AtomicBool::new(false), AtomicUsize::new(0));
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn = 0_usize;
            while !ended.load(Ordering::SeqCst) {
                turn += 1;
                // An edit of something else, and every third time one that seals ours anew.
                let value = format!("edited-{turn}");
                scene.server.edit(&scene.api, |item| item.set_password(Some(&value)));
                if turn.is_multiple_of(3) {
                    scene.server.save_again(&scene.db);
                }
                scene.account.sync();
                syncs.fetch_add(1, Ordering::SeqCst);
            }
        });
        let began = Instant::now();
        let checked = (0..PLANS).try_for_each(|_| -> Outcome {
            let ran = scene.plan("--refresh=false").ended(0)?.says(&["No changes."])?;
            if began.elapsed() > Duration::from_secs(900) {
                return Err(format!("it takes too long: {}", ran.all()).into());
            }
            Ok(())
        });
        ended.store(true, Ordering::SeqCst);
        checked
    });
    outcome?;
    let syncs = syncs.load(Ordering::SeqCst);
    println!("{PLANS} plans during {syncs} syncs");
    if syncs < 50 {
        return Err(format!("only {syncs} syncs were made meanwhile").into());
    }
    scene.same_prompts(prompts)
}
