//! Fuzzing: what comes from elsewhere, or from a disk that may lie, is decoded without a panic,
//! without an end to waiting, and without more memory than a stated multiple of its size.
//!
//! Each target has a directory of real inputs in `corpus`, of which the inputs are made by changing
//! them (and now and then from nothing). Inputs that once broke something lie there too, by the
//! name `bad-...` where they hold no value. `scripts/fuzz.sh` runs all of it for as long as wanted.
//!
//! All targets run one after the other, since what they allocate is counted for the process.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, which clippy cannot see")]

mod change;
mod disk;
mod local;
mod target;
mod texts;
mod wire;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;
