//! The decision table held to its rows, and to what must hold of every plan.

mod access;
mod property;
mod rows;
mod status;
mod world;
