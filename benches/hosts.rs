//! Fifty hosts whose login takes three seconds each, beside one such host; and with one more that never answers.
//! `cargo bench --bench hosts`; the real sshd, in namespaces of its own.

#[allow(dead_code, reason = "it uses its part of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::host::NEEDS;
use support::many::Many;
use support::peers;

const HOSTS: usize = 50;
const ROUNDS: usize = 3;
/// A login, as a slow one is: through a jump host, with a token, over a bad line.
const SLOW: &str = "sleep 3\nexec sh -s\n";
/// The first to come never gets an answer.
const ONE_HANGS: &str = "if mkdir /run/doors/hangs 2>/dev/null; then exec sleep 600; fi\nsleep 3\nexec sh -s\n";

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let missing = NEEDS.iter().find(|need| **need != "root" && peers::find(need).is_none());
    if let Some(missing) = missing {
        println!("{missing} is not there: run tests/peers/install");
        return;
    }
    let (one, many) = (Many::new(1), Many::new(HOSTS));
    one.host.force(SLOW);
    many.host.force(SLOW);
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(timed(&one, 1));
        together.push(timed(&many, HOSTS));
    }
    let (alone, together) = (median(alone), median(together));
    println!("medians of {ROUNDS} rounds; each login takes 3 s");
    println!("   1 host     {:>6.2} s", alone.as_secs_f64());
    println!("{HOSTS:>4} hosts    {:>6.2} s", together.as_secs_f64());
    println!("ratio         {:>6.2}     at most 2 is wanted", together.as_secs_f64() / alone.as_secs_f64());
    many.host.force(ONE_HANGS);
    let hanging = timed(&many, HOSTS - 1);
    println!("one of them never answers: {:.2} s, and all others were seen", hanging.as_secs_f64());
}

/// How long `reconcile status` takes; `answering` hosts must have been seen.
fn timed(many: &Many, answering: usize) -> Duration {
    let began = Instant::now();
    let (seen, others) = many.seen();
    let took = began.elapsed();
    assert_eq!(seen, answering, "{others:?}");
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
