//! Keeps values out of core files, and other processes of the same user from reading our memory.

/// Makes this process non-dumpable and sets its core limit to zero. What a system cannot do is left.
pub fn this_process() {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
