//! What goes wrong, and when.

use fuser::Errno;
use rustix::process::{Pid, Signal, kill_process};

/// What comes before a change of the disk.
#[derive(Debug, Clone, Copy)]
pub enum Strike {
    /// The process with this id is killed, and the disk changes no more: it ends between two
    /// changes, whatever its threads are at.
    Kill(Pid),
    /// The change fails with this error (as in `errno`), and only it.
    Fail(i32),
}

/// Counts the changes until a strike comes.
#[derive(Debug, Default)]
pub(super) struct Faults {
    armed: Option<(u64, Strike)>,
    count: u64,
    struck: bool,
    /// Nothing changes any more.
    stopped: bool,
}

impl Faults {
    pub(super) fn arm(&mut self, nth: u64, strike: Strike) {
        *self = Self { armed: Some((nth, strike)), ..Self::default() };
    }

    pub(super) fn is_struck(&self) -> bool {
        self.struck
    }

    pub(super) fn calm(&mut self) -> u64 {
        std::mem::take(self).count
    }

    /// Comes before each change.
    ///
    /// # Errors
    /// Whatever the strike lets it fail with; EIO after a kill.
    pub(super) fn pass(&mut self) -> Result<(), Errno> {
        if self.stopped {
            return Err(Errno::EIO);
        }
        self.count += 1;
        let Some((_, strike)) = self.armed.filter(|(nth, _)| *nth == self.count) else {
            return Ok(());
        };
        self.struck = true;
        match strike {
            Strike::Kill(pid) => {
                self.stopped = true;
                kill_process(pid, Signal::KILL).expect("the daemon of a test can be ended");
                Err(Errno::EIO)
            }
            Strike::Fail(errno) => Err(Errno::from_i32(errno)),
        }
    }
}
