//! What a status, a doctor and a list of access say beside a plan: none of them calls well what a plan does not.

mod support;

use std::fs;

use libtest_mimic::{Arguments, Failed, Trial};
use support::peers;
use support::program::Place;

type Outcome = Result<(), Failed>;

fn main() {
    let arguments = Arguments::from_args();
    let trial = |name: &str, test: fn() -> Outcome| -> Trial { peers::trial(name, &[], test) };
    let trials = vec![
        trial("what_is_no_longer_declared_is_told_until_it_is_gone", no_longer_declared),
        trial("a_key_of_somebody_else_is_told_and_exits_as_the_plan_does", foreign),
        trial("advice_on_a_broken_file_can_be_typed", broken_file),
        trial("a_host_whose_key_is_refused_is_well_nowhere", refused_key),
        peers::trial("a_host_that_is_not_reached_is_named_as_such_with_what_to_try", &["ssh"], unreachable),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

const MANIFEST: &str = "version: 1
name: standing
vault: {file: {path: vault.yaml}}
dataset: {path: dataset, files: {here-age-pubkey: {age_key_of: here}}}
hosts:
  here: {local: {}, age_key_file: key.txt, recipient: {file: here-age-pubkey}, switch: {activate: {symlink_path: secrets}}}
secrets:
  a: {item: a, delivery: {sops: {}}}
  user/b: {item: b, delivery: {sops: {}}}
";

/// Applied once: this machine is the host.
fn applied() -> Result<Place, Failed> {
    let place = Place::new(MANIFEST);
    fs::write(place.repository.join("vault.yaml"), "a: canary-a\nb: canary-b\n")?;
    place.run("apply --auto-approve").ended(0)?;
    place.run("status --detailed-exitcode").ended(0)?.says(&["All 2 are up to date."])?;
    Ok(place)
}

fn no_longer_declared() -> Outcome {
    let place = applied()?;
    place.edit_manifest("  user/b: {item: b, delivery: {sops: {}}}\n", "");
    place.run("plan --detailed-exitcode").ended(2)?.says(&["1 to destroy"])?;
    let gone = "- user/b: no longer declared, still in secrets.yaml; the next apply removes it";
    let status = place.run("status --detailed-exitcode").ended(2)?;
    status
        .says(&[gone, "1 of 1 up to date. 1 no longer declared, and still in a file."])?
        .hides(&["All ", "The one secret"])?;
    let document: serde_json::Value = serde_json::from_str(&place.run("status --json").ended(0)?.out)?;
    assert_eq!(document["up_to_date"], false, "{document}");
    place
        .run("list --access")
        .ended(0)?
        .says(&["warning: whoever decrypts it also reads what is not declared: user/b"])?;
    place.run("apply --auto-approve").ended(0)?;
    place.run("status --detailed-exitcode").ended(0)?.says(&["The one secret is up to date."])?;
    place.run("list --access").ended(0)?.hides(&["not declared"])?;
    Ok(())
}

fn foreign() -> Outcome {
    let place = applied()?;
    let file = place.repository.join("dataset/secrets.yaml");
    let text = fs::read_to_string(&file)?;
    // Another's value, as an editor of sops would have put it there: what it says is not looked into.
    let ours = text.lines().find(|line| line.starts_with("a: ")).ok_or("a")?;
    fs::write(&file, format!("{}\n{text}", ours.replacen("a: ", "theirs: ", 1)))?;
    let advice = "--destroy-foreign key.secrets.yaml/theirs";
    for command in ["plan --detailed-exitcode", "status --detailed-exitcode", "status"] {
        place.run(command).ended(1)?.says(&["somebody else put it there", advice])?.hides(&["All 2"])?;
    }
    place.run("list --access").ended(0)?.says(&["also reads what is not declared: theirs"])?;
    Ok(())
}

fn broken_file() -> Outcome {
    let place = applied()?;
    fs::write(place.repository.join("dataset/secrets.yaml"), "<<<<<<< ours\n")?;
    let status = place.run("status").ended(1)?.says(&["reconcile apply --replace file.secrets.yaml"])?;
    assert_eq!(status.out.matches("--replace").count(), 1, "{}", status.out);
    place.run("apply --auto-approve --replace file.secrets.yaml").ended(0)?;
    place.run("status --detailed-exitcode").ended(0)?;
    Ok(())
}

fn refused_key() -> Outcome {
    let place = applied()?;
    let key = place.repository.join("key.txt");
    let lost = fs::read_to_string(&key)?;
    let (other, _) = reconcile::sops::Identities::generate();
    for (text, words) in [(Some(&*other), "not the accepted"), (None, "it has no age key any more")] {
        match text {
            Some(text) => fs::write(&key, text)?,
            None => fs::remove_file(&key)?,
        }
        for command in ["plan", "status", "doctor"] {
            let ran = place.run(command).ended(1)?;
            ran.says(&[words, "--accept-recipient host.here"])?.hides(&["✓ host here", "All 2", "the first apply"])?;
        }
        place.run("status").says(&["The next apply is blocked by host.here"])?;
    }
    fs::write(&key, lost)?;
    place.run("doctor").ended(0)?.says(&["✓ host here"])?;
    Ok(())
}

fn unreachable() -> Outcome {
    // A port of this machine that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let here = "local: {}, age_key_file: key.txt";
    let ssh = format!("ssh: {{to: m@127.0.0.1, port: {port}}}, age_key_file: /key.txt");
    let place = Place::new(&MANIFEST.replace(here, &ssh).replace("symlink_path: secrets", "symlink_path: /secrets"));
    fs::write(place.repository.join("vault.yaml"), "a: canary-a\nb: canary-b\n")?;
    let words = "host.here: its age key was never accepted here, and cannot be read now: unreachable (";
    place.run("plan").ended(1)?.says(&[words])?.hides(&["--accept-recipient"])?;
    let advice = format!("→ start it, or see why: ssh -t -p {port} m@127.0.0.1 'true'");
    place.run("doctor").ended(1)?.says(&["✗ host here", "unreachable (", &advice])?;
    Ok(())
}
