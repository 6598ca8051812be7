//! What is wrong with the device as a whole, for `syncctl status`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use syncd_core::model::DeviceId;

/// What may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ailment {
    /// The settings were changed to something that cannot be used; the last good ones hold.
    Settings,
    /// Folders were added or moved in the settings in a way that cannot be used.
    Folders,
    /// The disk of the home does not take what must be kept.
    Home,
    /// It does not listen where the settings say.
    Listening,
    /// The clocks of this device and of that one are far apart.
    Clock(DeviceId),
}

/// All that is wrong, each with what to do about it.
#[derive(Debug, Default)]
pub struct Ailments {
    known: Mutex<BTreeMap<Ailment, (String, String)>>,
}

impl Ailments {
    /// Notes that something is wrong, `what` and what to do about it. Returns whether that is
    /// news.
    pub fn set(&self, ailment: Ailment, what: String, remedy: String) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let told = (what, remedy);
        known.insert(ailment, told.clone()) != Some(told)
    }

    /// Notes that it is as it should be. Returns whether that is news.
    pub fn clear(&self, ailment: Ailment) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&ailment).is_some()
    }

    /// Lists what is wrong and what to do about each.
    #[must_use]
    pub fn all(&self) -> Vec<(String, String)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_news_once() {
        let ailments = Ailments::default();
        let set = |what: &str| ailments.set(Ailment::Settings, what.to_owned(), String::new());
        assert!(set("line 1"), "it broke");
        assert!(!set("line 1"), "it is still broken");
        assert!(set("line 2"), "it is broken elsewhere");
        assert_eq!(ailments.all().len(), 1);
        assert!(ailments.clear(Ailment::Settings) && !ailments.clear(Ailment::Settings));
        assert!(ailments.all().is_empty());
    }
}
