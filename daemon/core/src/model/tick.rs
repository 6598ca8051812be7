//! Time as the core sees it: a number somebody hands in.

/// Milliseconds on a clock that never goes back, from an arbitrary start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(pub u64);

impl Tick {
    /// Returns the tick `wait_ms` milliseconds later.
    #[must_use]
    pub fn after(self, wait_ms: u64) -> Self {
        Self(self.0.saturating_add(wait_ms))
    }

    /// Returns the milliseconds since `earlier`, 0 if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
