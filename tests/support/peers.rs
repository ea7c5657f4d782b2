//! The real programs that the tests hold ours against. A test that needs one which is not there is ignored, by name;
//! with `RECONCILE_REQUIRE_PEERS=1`, as in CI, it fails, unless `RECONCILE_PEERS_NOT_AVAILABLE` names the program.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use libtest_mimic::{Failed, Trial};

/// Where the program `name` is: in `$RECONCILE_PEERS/bin`, the cache of `tests/peers/install`, or `PATH`.
pub fn find(name: &str) -> Option<PathBuf> {
    let given = std::env::var_os("RECONCILE_PEERS").map(|peers| PathBuf::from(peers).join("bin"));
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = given.into_iter().chain(cache.map(|cache| cache.join("reconcile-peers/bin")));
    places.chain(std::env::split_paths(&path)).map(|place| place.join(name)).find(|program| program.is_file())
}

/// A test that needs the programs `needs`, or `root`: the right to make namespaces and mount in them.
pub fn trial(name: &str, needs: &[&str], test: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    let missing: Vec<&str> = needs.iter().copied().filter(|need| !is_there(need)).collect();
    if missing.is_empty() {
        return Trial::test(name, test);
    }
    let required = std::env::var_os("RECONCILE_REQUIRE_PEERS").is_some_and(|value| value == "1");
    let excused = std::env::var("RECONCILE_PEERS_NOT_AVAILABLE").unwrap_or_default();
    let excused: Vec<&str> = excused.split_whitespace().collect();
    if required && !missing.iter().all(|need| excused.contains(need)) {
        let missing = missing.join(", ");
        return Trial::test(name, move || Err(format!("missing: {missing}; run tests/peers/install").into()));
    }
    Trial::test(format!("{name} [missing: {}]", missing.join(", ")), || Ok(())).with_ignored_flag(true)
}

fn is_there(need: &str) -> bool {
    if need == "root" { has_root() } else { find(need).is_some() }
}

/// Whether namespaces can be made here, with mounts of their own.
fn has_root() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        let probe = "mount -t tmpfs probe /mnt && mount -t proc proc /proc";
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--net",
            "--pid",
            "--uts",
            "--ipc",
            "--propagation",
            "private",
            "--fork",
            "sh",
            "-c",
            probe,
        ]);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    })
}
