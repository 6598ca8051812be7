//! What a device does in a folder, and whose version a person prefers.

/// What a device does in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Role {
    /// Tells its changes and takes others'.
    #[default]
    SendReceive,
    /// Tells its changes; others' wait, untaken.
    SendOnly,
    /// Takes others' changes; its own stay here, untold.
    ReceiveOnly,
}

/// Whose version stands where files that were there before a folder was joined differ from the
/// peers'. The other one goes into the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Favour {
    /// This device's.
    Here,
    /// The peers'.
    There,
    /// The one with the later modification time; the peers' when both have the same.
    Newer,
}
