//! What lies outside the road: the disk's descriptors, the network, the control socket.

pub mod confine;
pub mod control;
pub mod disk;
pub mod net;
pub mod spare;
