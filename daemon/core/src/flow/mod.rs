//! The seven stages, as decisions: detect, digest, index, offer, plan, pull, settle.

pub mod detect;
pub mod digest;
pub mod index;
pub mod offer;
pub mod plan;
pub mod pull;
pub mod settle;
