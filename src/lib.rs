#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! `reconcile` carries every secret of a machine from a vault to where it is used.
//!
//! # The flow
//! `manifest → observe (desired, actual, receipt) → plan → apply → observe again`. The modules below are declared in
//! that order, and imports run one way: from the end of the flow to its beginning.
//!
//! # The words
//! A **manifest** declares **secrets** and the **delivery** of each. Values come from **items** of a **vault**. Those
//! needed at boot go into a sops file of the **dataset** directory, encrypted to the **recipients** of the **hosts** that
//! decrypt it. **Desired** is the manifest and what the vault says; **actual** is what files and hosts show; the
//! **receipt** is what the last apply wrote. An **observation** is known, or unknown with a cause. A **plan** has
//! **changes**, each with its **reasons**, and **steps**. **Drift** is an actual state that differs from the receipt. A
//! **fingerprint** is a keyed MAC of a value; a **revision** an opaque token of an item's version. The **index** is what
//! Nix reads.

// What everything speaks of.
pub mod address;
pub mod digest;
pub mod secret;
pub mod text;

// What is declared, and the format of the file that carries it.
pub mod manifest;
pub mod sops;

// The inputs of a plan: plain data.
pub mod actual;
pub mod desired;
pub mod index;
pub mod observation;
pub mod receipt;

// The decisions, and what carrying them out did.
pub mod plan;
pub mod report;

// Looking, carrying out, and what is kept of it.
pub mod apply;
pub mod launch;
pub mod observe;
pub mod state;
pub mod tools;

// How it is shown, and the command line.
pub mod cli;
pub mod render;
