//! What one look of the doctor found.

use serde_json::{Value, json};

use crate::render::{Tone, escaped, painted, wrapped};

/// Where the prose of a finding begins.
const INDENT: usize = 18;

/// What one look found.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) tone: Tone,
    pub(crate) what: String,
    /// How to mend it; empty when there is nothing to mend.
    pub(crate) remedy: String,
    /// What was measured, without a name of anything: for programs and reports.
    pub(crate) facts: Value,
}

impl Finding {
    pub(super) fn good(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(check, Tone::Good, what.into(), String::new())
    }

    pub(super) fn warn(
        check: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, Tone::Warn, what.into(), remedy.into())
    }

    pub(super) fn bad(
        check: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, Tone::Bad, what.into(), remedy.into())
    }

    fn new(check: &'static str, tone: Tone, what: String, remedy: String) -> Self {
        Self { check, tone, what, remedy, facts: Value::Null }
    }

    /// Adds what was measured.
    pub(super) fn with(mut self, facts: Value) -> Self {
        self.facts = facts;
        self
    }

    pub(crate) fn verdict(&self) -> &'static str {
        match self.tone {
            Tone::Good | Tone::Dim | Tone::Plain => "good",
            Tone::Warn => "warning",
            Tone::Bad => "bad",
        }
    }

    pub(super) fn json(&self) -> Value {
        let mut all = json!({
            "check": self.check, "verdict": self.verdict(), "what": self.what, "do": self.remedy,
        });
        if let (Some(all), false) = (all.as_object_mut(), self.facts.is_null()) {
            all.insert("facts".to_owned(), self.facts.clone());
        }
        all
    }

    pub(super) fn line(&self, colours: bool, columns: Option<usize>) -> String {
        let verdict = painted(self.tone, &format!("{:<8}", self.verdict()), colours);
        let prose = |text: &str| wrapped(&escaped(text), INDENT, columns);
        let mut text = format!("{verdict}{:<10}{}\n", self.check, prose(&self.what));
        if !self.remedy.is_empty() {
            text += &format!("{:INDENT$}{}\n", "", prose(&self.remedy));
        }
        text
    }
}
