//! Digesting: reading a file once, as it truly was at one moment.

mod read;
mod trust;

pub(crate) use read::digest_in_steps;
pub use read::{Digest, DigestError, digest_file};
pub use trust::{COARSE_WINDOW_NS, is_fresh, now_ns, window_ns};
