//! The only rooms that start a program or open a socket.

pub mod accounts;
pub mod bw;
pub mod file_vault;
pub mod harden;
pub mod nix;
pub mod plaintext;
pub mod program;
pub mod rbw;
pub mod ssh;
pub mod together;
pub mod vault;
