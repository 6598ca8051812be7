//! What proves syncd: a simulator around the production core, and helpers for tests that run
//! real daemons.

#[cfg(target_os = "linux")]
pub mod fuse;
pub mod hostile;
pub mod process;
pub mod sim;
