//! Planning: what becomes of a path when a peer's record meets ours.
//!
//! Planning has no hands: it compares values and returns values. The rules are those of
//! ARCHITECTURE.md, "Merging"; each was broken by a history that is now a test
//! (`tests/histories.rs`).
//!
//! # Invariants
//! - Equal records in, equal verdict out; no clock, no order of arrival.
//! - What one side calls the winner, the other calls the winner.
//! - Only looks-alike and dominance merge without a new counter, so one vector is one record.

pub mod conflict;
pub mod favour;
pub mod merge;
pub mod order;

pub use merge::{Resolution, Side, Verdict, reconcile};
