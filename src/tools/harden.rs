//! Keeps values out of core files, and other processes of the same user from reading our memory.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What was changed of this process and would be passed on to a program that it becomes.
#[derive(Debug, Clone)]
pub struct Hardened {
    core: Rlimit,
}

/// Makes this process non-dumpable and sets its core limit to zero. What a system cannot do is left.
pub fn this_process() -> Hardened {
    let core = getrlimit(Resource::Core);
    // The hard limit stays: once lowered, nobody but root could give it back.
    let none = Rlimit { current: Some(0), maximum: core.maximum };
    let _ = setrlimit(Resource::Core, none);
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    Hardened { core }
}

impl Hardened {
    /// Gives the core limit back, right before this process becomes another program; that one is dumpable by itself.
    pub fn undo(self) {
        let _ = setrlimit(Resource::Core, self.core);
    }
}
