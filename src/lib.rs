#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! WIP

pub mod address;
pub mod digest;
pub mod manifest;
pub mod secret;
pub mod sops;
pub mod text;
