//! The seven stages, as hands. There is no `plan` here: planning has no hands.

pub mod detect;
pub mod digest;
pub mod index;
pub mod settle;
