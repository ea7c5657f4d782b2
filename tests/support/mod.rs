//! What the tests stand on: the real programs, and the machine they meet.

pub mod bitwarden;
pub mod den_vm;
pub mod fleet;
pub mod host;
pub mod launch;
pub mod many;
pub mod peers;
pub mod program;
pub mod shells;
