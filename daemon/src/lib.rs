//! The road of a change, in terms of bytes, sockets and files.
//!
//! `detect → digest → index → offer ~~ network ~~> plan → pull → settle`: the decisions are in
//! `syncd-core`, the hands in [`flow`], everything outside in [`world`], and [`run`] lets them
//! meet: facts become events, orders become work.

pub mod flow;
pub mod run;
pub mod world;
