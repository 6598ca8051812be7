//! How a folder's thread ends: its workers finish what they have begun.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use syncd_core::engine::Event;

use super::{FolderThread, Note, PersistOrder};

/// How long the workers of a folder that ends may take to finish what they have begun.
const WIND_DOWN_MAX: Duration = Duration::from_secs(3);

/// How long of that is given to the bases of what came last, on which nothing depends.
const BASES_MAX: Duration = Duration::from_millis(500);

/// How often they are asked.
const WIND_DOWN_STEP: Duration = Duration::from_millis(5);

impl FolderThread {
    /// Ends the work on the disk: what was swapped in gets its place in the index, and its intents
    /// are closed. What takes too long is put in order by the next start.
    pub(super) fn wind_down(&mut self, notes: &Receiver<Note>) {
        let until = Instant::now() + WIND_DOWN_MAX;
        self.keep_bases();
        self.workers.bases.close();
        self.workers.settles.close();
        while Instant::now() < until {
            let ended = self.workers.settles.has_ended();
            match notes.recv_timeout(WIND_DOWN_STEP) {
                Ok(note @ (Note::Settled(..) | Note::Event(Event::Persisted { .. }))) => {
                    self.take(note);
                }
                Ok(_) => {}
                Err(_) if !ended || self.workers.persists.has_ended() => {}
                Err(_) if self.engine.durable_seq() >= self.engine.last_seq() => break,
                Err(_) => {}
            }
        }
        let done = std::mem::take(&mut self.to_close);
        if !done.is_empty() {
            self.workers.persists.order(PersistOrder { seq: self.engine.last_seq(), done });
        }
        self.workers.persists.close();
        while !self.workers.persists.has_ended() && Instant::now() < until {
            std::thread::sleep(WIND_DOWN_STEP);
        }
        let until = until.min(Instant::now() + BASES_MAX);
        while !self.workers.bases.has_ended() && Instant::now() < until {
            std::thread::sleep(WIND_DOWN_STEP);
        }
    }
}
