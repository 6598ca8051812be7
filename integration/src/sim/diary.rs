//! What happens in a world, told while it happens, or kept as a hash: equal seeds have equal
//! hashes, or something is not deterministic.

use std::fmt::{self, Write as _};
use std::hash::Hasher as _;
use std::io::Write as _;

use syncd_core::engine::{Action, Event, Notice};
use syncd_core::flow::offer::Offer;
use syncd_core::model::{ContentId, RelPath};

use super::device::device_id;
use super::states::{DEVICES_MAX, Mixer};

/// Whether and how what happens is noted.
#[derive(Debug, Clone, Copy, Default)]
pub enum Diary {
    /// Not at all.
    #[default]
    Closed,
    /// As a hash of every event, order and step, in their order.
    Hashed(Mixer),
    /// Printed for people.
    Printed,
}

impl Diary {
    /// Notes a step: something is delivered, done, or somebody acts.
    pub fn step(&mut self, what: fmt::Arguments<'_>) {
        match self {
            Self::Closed => {}
            Self::Hashed(mixer) => hash(mixer, what),
            Self::Printed => print("", what),
        }
    }

    /// Notes what a device's engine hears.
    pub(super) fn hears(&mut self, at: usize, event: &Event) {
        match self {
            Self::Closed => {}
            Self::Hashed(mixer) => hash(mixer, format_args!("{at} {event:?}")),
            Self::Printed => {
                if let Some(told) = event_told(event) {
                    print("    ", format_args!("{} {told}", letter(at)));
                }
            }
        }
    }

    /// Notes what a device's engine orders.
    pub(super) fn orders(&mut self, at: usize, action: &Action) {
        match self {
            Self::Closed => {}
            Self::Hashed(mixer) => hash(mixer, format_args!("{at} {action:?}")),
            Self::Printed => {
                if let Some(told) = action_told(action) {
                    print("        ", format_args!("{} {told}", letter(at)));
                }
            }
        }
    }

    /// Returns the hash of all that was noted; 0 if nothing is.
    #[must_use]
    pub fn hash(&self) -> u64 {
        match self {
            Self::Hashed(mixer) => mixer.finish(),
            Self::Closed | Self::Printed => 0,
        }
    }
}

/// Returns what a device is called: `a` is the first one.
#[must_use]
pub fn letter(at: usize) -> char {
    char::from(b'a' + u8::try_from(at).unwrap_or(25))
}

/// Feeds what is formatted to a hash, with no text in between.
struct Hashing<'a>(&'a mut Mixer);

impl fmt::Write for Hashing<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

fn hash(mixer: &mut Mixer, what: fmt::Arguments<'_>) {
    // What writes to a hash cannot fail.
    let _ = Hashing(mixer).write_fmt(what);
    mixer.write_u8(b'\n');
}

fn print(indent: &str, what: fmt::Arguments<'_>) {
    // Whoever reads may stop reading: `sim --trace | head`.
    let _ = writeln!(std::io::stdout(), "{indent}{}", with_names(what.to_string()));
}

/// Puts the names that histories use in the place of hashes.
#[must_use]
pub fn with_names(mut text: String) -> String {
    let numbered = (0..64).map(|at| format!("w{at}"));
    let before = (0..8).map(|at| format!("before{at}"));
    let named =
        before.chain(numbered).chain(["same", "W0", "W1", "W2", "X", "Y", "Z"].map(str::to_owned));
    for name in named {
        text = text.replace(&format!("{:?}", ContentId::of(name.as_bytes())), &name);
        let half = ContentId::of(&[b"half of ", &ContentId::of(name.as_bytes()).0[..]].concat());
        text = text.replace(&format!("{half:?}"), &format!("half of {name}"));
    }
    text = text.replace(&format!("{:?}", ContentId::of(b"")), "empty");
    for at in 0..DEVICES_MAX {
        text = text.replace(&format!("{:?}", device_id(at)), &letter(at).to_string());
    }
    text
}

fn event_told(event: &Event) -> Option<String> {
    Some(match event {
        Event::LookBegun { .. } | Event::LookDone { attested: true, .. } => return None,
        Event::Persisted { .. } | Event::Acked { .. } => return None,
        Event::Seen { seen, .. } => {
            let found = seen.found.iter().map(|f| match f.content {
                ContentId::NONE => format!("{} {:?}", f.path, f.kind),
                content => format!("{} {content:?}", f.path),
            });
            let gone = seen.gone.iter().map(|path| format!("{path} gone"));
            let all: Vec<String> = found.chain(gone).collect();
            if all.is_empty() {
                return None;
            }
            format!("sees {}", all.join(", "))
        }
        Event::Offered { peer, offer } => format!("hears of {peer:?}: {}", offer_told(offer)),
        Event::PeerUp { peer, .. } => format!("is greeted by {peer:?}"),
        Event::PeerDown { peer } => format!("has no session with {peer:?} any more"),
        Event::Settled { outcomes } => {
            let failed = outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err());
            let failed: Vec<String> = failed.map(ToString::to_string).collect();
            if failed.is_empty() {
                return None;
            }
            format!("could not: {}", failed.join(", "))
        }
        Event::Fetched { outcome: Ok(()), .. } => return None,
        Event::RulesChanged { .. } => "reads its rules".to_owned(),
        Event::LookDone { .. }
        | Event::Fetched { .. }
        | Event::BytesDurable { .. }
        | Event::Rotten { .. }
        | Event::IntentFound { .. }
        | Event::SharedWith { .. }
        | Event::CountersReserved { .. }
        | Event::Approved
        | Event::Rejected
        | Event::Decided { .. }
        | Event::RootIsBack
        | Event::RoleIs { .. }
        | Event::Joining { .. }
        | Event::Overruled
        | Event::Reverted
        | Event::LifeBegun { .. }
        | Event::Paused { .. } => format!("hears {event:?}"),
    })
}

fn offer_told(offer: &Offer) -> String {
    let record = |(path, record): &(RelPath, syncd_core::model::Record)| {
        format!(
            "{path} {:?} {:?} {:?} seen {:?}",
            record.kind, record.content, record.dot, record.version
        )
    };
    let records: Vec<String> = offer.records.iter().map(record).collect();
    let covered = offer.upto.as_ref().and_then(|upto| upto.covered.as_ref());
    let covered = covered.map(|version| format!(", all up to {version:?}"));
    format!("frame {}: {}{}", offer.number, records.join("; "), covered.unwrap_or_default())
}

fn action_told(action: &Action) -> Option<String> {
    Some(match action {
        Action::Offer { .. } | Action::Ack { .. } | Action::Persist { .. } => return None,
        Action::Look { .. } | Action::ReadRules | Action::ReserveCounters => return None,
        Action::Fetch { peer, path, content, .. } => {
            format!("fetches {content:?} for {path} from {peer:?}")
        }
        Action::Settle { jobs } => {
            let jobs = jobs.iter().map(|job| format!("{:?}", job.steps));
            format!("settles {}", jobs.collect::<Vec<_>>().join(" "))
        }
        Action::Cut { peer, why } => format!("cuts {peer:?}: {why}"),
        Action::Halt => "halts".to_owned(),
        Action::Tell(Notice::Changed { .. } | Notice::Placed { .. }) => return None,
        Action::Tell(notice) => format!("tells {notice:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_stories_have_equal_hashes() {
        let tell = |what: &str| {
            let mut diary = Diary::Hashed(Mixer::default());
            diary.step(format_args!("{what}"));
            diary.hash()
        };
        assert_eq!(tell("a writes"), tell("a writes"));
        assert_ne!(tell("a writes"), tell("b writes"));
    }

    #[test]
    fn stories_name_what_histories_name() {
        let text = format!("{:?} and {:?}", ContentId::of(b"w3"), device_id(1));
        assert_eq!(with_names(text), "w3 and b");
    }
}
