//! A world of devices around the production engine: disks, a network with two lanes, users.
//!
//! Everything is a value and deterministic. [`World`] can be cloned, so that
//! [`reduced::Explorer`] can try all orders of delivery, and [`explore::random`] many.

mod acts;
pub mod device;
pub mod disk;
pub mod explore;
mod hands;
pub mod oracle;
pub mod orders;
pub mod reduced;
pub mod script;
pub mod states;
pub mod world;

pub use script::{Op, script};
pub use world::{Bulk, World};
