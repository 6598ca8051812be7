//! Rule files that were read: taken, held or found bad.

use syncd_core::engine::Event;
use syncd_core::model::RelPath;

use super::super::confirm::{self, Whose};
use super::super::rules;
use super::FolderThread;
use crate::run::Happening;

impl FolderThread {
    /// Reads the rule files and tells everybody what they say.
    pub fn read_rules(&mut self) {
        let reading = self.parts.scope.read(&self.index);
        self.take_rules(&reading);
    }

    /// Reads the rule files without an order of the engine: one that could not be read may be
    /// readable by now, and one that is not synced may have changed.
    pub(super) fn read_rules_again(&mut self) {
        let reading = self.parts.scope.read(&self.index);
        if reading.changed || self.folder.with_standing(|s| s.bad_rules != reading.problem) {
            self.take_rules(&reading);
        }
    }

    fn take_rules(&mut self, reading: &rules::Reading) {
        self.folder.with_standing(|s| s.bad_rules.clone_from(&reading.problem));
        self.hold(reading);
        if let Some(texts) = &reading.kept {
            self.remember(texts);
        }
        if let Some(problem) = &reading.problem {
            let (file, what) = (&problem.file, &problem.what);
            let text = format!("the ignore rules in {file} are not used: {what}");
            self.daemon.tell(Happening::folder(self.folder.id(), "rules-bad", &text));
        }
        let scope = self.parts.scope.for_engine();
        let rule_files = reading.files.clone();
        self.tell(Event::RulesChanged { scope, rule_files });
        if reading.changed
            && let Some(watcher) = &self.workers.watcher
        {
            watcher.watch_tree(&RelPath::root());
        }
    }

    /// Takes another device's rules that waited as confirmed by this device's user.
    pub fn approve_rules(&mut self) {
        if let Some(texts) = self.parts.scope.confirm(&self.index) {
            self.remember(&texts);
        }
        self.read_rules();
    }

    /// Notes which rules wait for a person, if any, and tells of new ones.
    fn hold(&mut self, reading: &rules::Reading) {
        let held = match &reading.whose {
            Whose::Ours => None,
            Whose::Others(held) => Some(held.clone()),
            Whose::Unknown => return,
        };
        let news = self.folder.with_standing(|s| {
            let lines = |held: &Option<confirm::HeldRules>| held.as_ref().map(|h| h.lines.clone());
            let news = lines(&held) != lines(&s.held_rules);
            if news {
                s.held_rules.clone_from(&held);
            }
            news
        });
        if let Some(held) = held.filter(|_| news) {
            let text = "another device's rules would have this one send or take more; see 'syncctl \
                        held ls'";
            let id = self.folder.id();
            self.daemon.tell(Happening::folder(id, "rules-held", text).by(held.by));
        }
    }

    fn remember(&self, texts: &confirm::Texts) {
        let key = rules_fact(self.folder.id());
        // What is too long to be kept counts as confirmed at the next start.
        let kept = self.daemon.ledger.set_fact(&key, confirm::encode(texts).as_deref());
        if let Err(error) = kept {
            tracing::warn!(folder = %self.folder.id(), %error, "confirmed rules were not kept");
        }
    }
}

/// The fact under which a folder's confirmed rules are kept.
pub(in crate::run::folder) fn rules_fact(id: &syncd_core::model::FolderId) -> String {
    format!("rules/{id}")
}
