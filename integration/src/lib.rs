//! What proves syncd: a simulator around the production core, and helpers for tests that run
//! real daemons.

pub mod process;
pub mod sim;
