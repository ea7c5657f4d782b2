//! Fills desired and actual: the vault, the files and the hosts, all at once. It looks and changes nothing.

mod activation;
mod answer;
pub mod files;
pub mod hosts;
pub mod vault;
