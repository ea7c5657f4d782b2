//! Fills desired and actual: the vault, the files and the hosts, all at once. It looks and changes nothing.

pub mod files;
pub mod vault;
