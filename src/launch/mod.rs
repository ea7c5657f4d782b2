//! One process with its secrets, and nothing else: which secrets it is given, their values, and becoming it; the shell
//! functions that lead there; and git's credential protocol.

mod credential;
mod error;
mod fetch;
mod functions;
mod given;
mod process;

pub use credential::{Asked, answer, credential};
pub use error::LaunchError;
pub use fetch::{value, values};
pub use functions::{Functions, STAMP, Shell};
pub use given::{AsFile, Form, Given, Request, given};
pub use process::{become_program, check_program};
