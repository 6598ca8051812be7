//! The daemon's loop in small: what the engine orders is done, at once or late.

use std::rc::Rc;

use syncd_core::engine::{Action, Cause, Event, LookId, Notice, PullError};
use syncd_core::flow::detect::Look;
use syncd_core::flow::offer::{Lane, Offer};
use syncd_core::flow::settle::{Job, SettleError};
use syncd_core::model::{DeviceId, RelPath};

use super::World;
use super::device::{Device, Duty, Intent};
use super::diary::letter;
use super::faults::Fault;
use super::mishaps::Failure;
use super::wires::Message;

impl World {
    /// Lists devices that have duties, with how many.
    #[must_use]
    pub fn duties(&self) -> Vec<(usize, usize)> {
        let count = |(at, device): (usize, &Rc<Device>)| (at, device.duties.len());
        self.devices.iter().enumerate().map(count).filter(|(_, n)| *n > 0).collect()
    }

    /// Does one of a device's duties. Jobs, flushes and what they report keep their order; looks
    /// and fetches overtake each other.
    pub fn do_duty(&mut self, at: usize, which: usize) {
        let duties = &self.devices[at].duties;
        let Some(picked) = duties.get(which) else { return };
        let class = class_of(picked);
        let first = duties.iter().position(|d| class_of(d) == class);
        let which = if class == Class::Free { which } else { first.unwrap_or(which) };
        if let Some(duty) = self.device(at).duties.remove(which) {
            self.diary.step(format_args!("{} does a {}", letter(at), duty.word()));
            self.perform(at, duty);
        }
        self.say();
    }

    fn perform(&mut self, at: usize, duty: Duty) {
        match duty {
            Duty::Notice(what) => self.begin_look(at, Cause::Watched, what),
            Duty::Look(look, what) => {
                let (seen, attested) = self.look(at, &what);
                let done = Event::LookDone { look, attested };
                self.report(at, vec![Event::Seen { look, seen }, done]);
            }
            Duty::Fetch(ticket, peer, content) => {
                let serves = |d: &Rc<Device>| d.is_mounted() && d.disk.can_serve(content);
                let there = self.devices.iter().any(|d| d.id == peer && serves(d));
                let outcome = if there { Ok(()) } else { Err(PullError::NotThere) };
                let outcome = self.fetch_fails(at).map_or(outcome, Err);
                self.report(at, vec![Event::Fetched { ticket, outcome }]);
            }
            Duty::Settle(jobs) => self.settle(at, &jobs),
            Duty::Persist(_) if self.strikes(at, &[Failure::Flush]) => self.crash(at, true),
            Duty::Persist(seq) => {
                let late = self.late;
                let device = self.device(at);
                if late {
                    device.durable = Rc::new(device.index.clone());
                }
                device.intents.retain(|intent| !intent.indexed);
                device.watermark = seq;
                self.report(at, vec![Event::Persisted { seq }]);
            }
            Duty::Report(events) => {
                for event in events {
                    self.tell(at, event);
                }
            }
        }
    }

    fn report(&mut self, at: usize, events: Vec<Event>) {
        self.device(at).duties.push_back(Duty::Report(events));
        if !self.late {
            self.act(at);
        }
    }

    /// Begins a look that the engine did not order.
    pub(super) fn begin_look(&mut self, at: usize, cause: Cause, what: Vec<Look>) {
        let device = self.device(at);
        device.looks += 1;
        let look = LookId::Begun(device.looks);
        let whole = what.contains(&Look::Tree(RelPath::root()));
        self.tell(at, Event::LookBegun { look, cause, whole });
        self.device(at).duties.push_back(Duty::Look(look, what));
        self.act(at);
    }

    /// Takes the engine's orders until there are none. Prompt hands do their duties at once.
    pub(super) fn act(&mut self, at: usize) {
        loop {
            while let Some(action) = self.device(at).engine.next_action() {
                self.take_order(at, action);
            }
            if self.late {
                return;
            }
            let Some(duty) = self.device(at).duties.pop_front() else { return };
            self.perform(at, duty);
        }
    }

    fn take_order(&mut self, at: usize, action: Action) {
        self.diary.orders(at, &action);
        let duty = match action {
            Action::Look { look, what } => Duty::Look(look, what),
            Action::Fetch { ticket, peer, content, .. } => Duty::Fetch(ticket, peer, content),
            Action::Settle { jobs } => Duty::Settle(jobs),
            Action::Persist { seq } => Duty::Persist(seq),
            Action::Offer { peer, lane, offer } => return self.send_offer(at, peer, lane, offer),
            Action::Ack { peer, frames, aside, sent } => {
                let to = self.place_of(peer);
                return self.send(at, to, false, Message::Ack(frames, aside, sent));
            }
            Action::ReserveCounters => {
                let counters = self.device(at).reserve();
                return self.tell(at, Event::CountersReserved { counters });
            }
            Action::ReadRules => return self.read_rules(at),
            Action::Cut { peer, .. } if std::mem::take(&mut self.repeating) => {
                let other = self.place_of(peer);
                return self.begin_session_anew(at, other);
            }
            Action::Cut { why, .. } => {
                self.broken.get_or_insert(format!("device {at} cut a lawful peer: {why}"));
                return;
            }
            Action::Tell(Notice::Joined) => {
                self.device(at).joining = None;
                return;
            }
            Action::Tell(Notice::Steady) => {
                self.device(at).shaken = false;
                return;
            }
            Action::Halt | Action::Tell(_) => return,
        };
        self.device(at).duties.push_back(duty);
    }

    fn settle(&mut self, at: usize, jobs: &[Job]) {
        let device = self.device(at);
        let intent =
            |job: &Job| Intent { ticket: job.ticket, becomes: job.becomes.clone(), indexed: false };
        device.intents.extend(jobs.iter().map(intent));
        let outcomes: Vec<(_, Result<_, SettleError>)> =
            jobs.iter().map(|job| (job.ticket, self.take_job(at, job))).collect();
        if std::mem::take(&mut self.device(at).crash_next) {
            self.fired.note(Fault::KilledBetween);
            self.crash(at, false);
        } else {
            self.report(at, vec![Event::Settled { outcomes }]);
        }
    }

    fn send_offer(&mut self, at: usize, peer: DeviceId, lane: Lane, mut offer: Offer) {
        if let Some(mangle) = self.mangle {
            mangle(&self.devices[at].index, &mut offer);
        }
        if offer.records.iter().any(|(_, r)| r.version.counters().any(|(w, _)| w.is_untold())) {
            self.broken.get_or_insert(format!("device {at} told of what nobody may hear of"));
        }
        let to = self.place_of(peer);
        let bulk = match self.bulk {
            Some(bulk) => bulk.takes(at, to, offer.number),
            None => lane == Lane::Bulk,
        };
        self.send(at, to, bulk, Message::Offer(offer));
    }

    fn place_of(&self, peer: DeviceId) -> usize {
        self.devices.iter().position(|d| d.id == peer).expect("a device")
    }

    fn send(&mut self, at: usize, to: usize, bulk: bool, message: Message) {
        self.saying.entry((at, to, bulk)).or_default().push(message);
    }
}

/// Which duties keep their order among themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Hands,
    Flush,
    Free,
}

fn class_of(duty: &Duty) -> Class {
    match duty {
        Duty::Settle(_) => Class::Hands,
        Duty::Persist(_) => Class::Flush,
        Duty::Report(events) => match events.first() {
            Some(Event::Settled { .. }) => Class::Hands,
            Some(Event::Persisted { .. }) => Class::Flush,
            _ => Class::Free,
        },
        Duty::Notice(_) | Duty::Look(..) | Duty::Fetch(..) => Class::Free,
    }
}
