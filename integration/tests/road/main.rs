//! The road from outside: real daemons on real files, looked at as a user would.
//!
//! Each test says in its name what holds. Tables carry a reason in each row, and what makes sense
//! from both sides is tried from both. What takes minutes runs only when `SYNCD_LONG` is set.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, which clippy cannot see")]

mod asked;
mod bases;
mod brakes;
mod catching_up;
mod changes;
mod commands;
mod conflicts;
mod copies;
mod deletes;
mod example;
mod exits;
mod held;
mod homes;
mod hub;
mod ignored;
mod in_sync;
mod interrupted;
mod joining;
mod joins;
mod joins_interrupted;
mod large;
mod limits;
mod pairing;
mod power;
mod report;
mod roles;
mod rules;
mod settings;
mod singles;
mod steering;
mod stopping;
