//! A worker: a thread that takes orders one by one.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// A worker, as the one who gives it orders sees it. Dropped, it ends after its last order.
pub(super) struct Worker<T> {
    /// `None` once it takes no more orders.
    orders: Option<Sender<T>>,
    thread: JoinHandle<()>,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts a worker named `name`, which ends when `work` returns: when there are no more
    /// orders, or it can do no more.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(
        name: String,
        work: impl FnOnce(Receiver<T>) + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, orders) = channel();
        let thread = std::thread::Builder::new().name(name).spawn(move || work(orders))?;
        Ok(Self { orders: Some(sender), thread })
    }

    /// Gives an order; `false` when the worker takes none any more.
    pub(super) fn order(&self, order: T) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.send(order).is_ok())
    }

    /// Lets the worker end when it has done what it was ordered to.
    pub(super) fn close(&mut self) {
        self.orders = None;
    }

    /// Tells whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}
