//! What should happen to each path, and in which order: the decisions of syncd.

pub mod engine;
pub mod flow;
pub mod model;
pub mod mutant;
pub mod protocol;
