//! A peer that speaks the protocol badly on purpose, over the real transports.
//!
//! [`Hostile`] has a key and dials; a [`Wire`] is one connection on which any stream may be opened
//! and any bytes written; a [`Session`] has the three lanes of a paired device. Frames are encoded
//! by `syncd_core::protocol`, which checks nothing while it writes; what no value can hold is
//! written over the encoded bytes ([`respelled`]).
//!
//! # Invariants
//! - Nothing here keeps to a limit, an order or a promise unless a test asks for it.
//! - Every wait has an end.

pub use self::forge::{Forger, respelled, spelled};
pub use self::outside::{Outside, traced};
pub use self::session::{Ears, Joined, Session, whole};
pub use self::siege::{PRIVATE, SECRET, Siege, id};
pub use self::wire::{Hostile, Lane, Wire};

mod forge;
mod outside;
mod session;
mod siege;
mod wire;

use std::time::Duration;

/// How long anything that must happen may take, on a slow and busy machine.
pub const WAIT_MAX: Duration = Duration::from_secs(90);
