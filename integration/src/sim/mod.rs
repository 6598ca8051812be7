//! A world of devices around the production engine: disks, a network with two lanes, users.
//!
//! Everything is a value and deterministic. [`World`] can be cloned, so that
//! [`reduced::Explorer`] can try all orders of delivery, and [`explore::random`] many.

mod acts;
pub mod breeds;
pub mod campaign;
pub mod device;
pub mod diary;
pub mod disk;
pub mod explore;
pub mod faults;
mod hands;
mod lives;
pub mod mishaps;
pub mod oracle;
pub mod orders;
pub mod reduced;
pub mod script;
pub mod shrink;
pub mod states;
pub mod wires;
pub mod world;

pub use script::{Op, script};
pub use wires::Bulk;
pub use world::World;
