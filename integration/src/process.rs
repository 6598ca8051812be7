//! Real daemons in temporary homes, for tests that look at syncd from outside.
//!
//! A [`Pair`] or a [`Fleet`] makes homes, starts `syncd` in each, pairs the devices and shares
//! the folder `work` between them. Tests then write files as a user would, wait for conditions
//! that can be observed ([`eventually`], `syncctl flush`), and compare the trees with
//! [`differences`].
//!
//! # Invariants
//! - Nothing here shares code with the daemon: what it says is compared with the disk.
//! - Only processes that were started here are ended, by their own handle; all of them are.
//! - Nothing waits for time to pass, only for a condition, and every wait has an end.
//! - When a test fails, the end of each daemon's log is printed. `SYNCD_KEEP=1` keeps the homes.

pub use self::binaries::binary;
pub use self::device::{Answer, Device, Listen, run};
pub use self::fleet::{FOLDER, Fleet, Pair, Scratch, Topology, introduce, share};
pub use self::machine::{Mount, can_use, done, lacking, without_root_rights};
pub use self::material::{Noise, is_long, set_mode, set_mtime, write, write_noise, write_sparse};
pub use self::proxy::Proxy;
pub use self::tree::{Node, differences, nodes};
pub use self::wait::eventually;

mod binaries;
mod device;
mod fleet;
mod machine;
mod material;
mod proxy;
mod tree;
mod wait;
