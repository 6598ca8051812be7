//! How the daemon says no.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What the command line's exit code says of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Exit {
    /// 1: it could not be done; the sentence says what to do next.
    CouldNot,
    /// 2: what was asked makes no sense, or a rule file is bad.
    Usage,
    /// 3: there is no daemon. Only the command line says so.
    NotRunning,
    /// 4: the time that was given is over.
    TimedOut,
    /// 5: a person has to decide something first.
    NeedsPerson,
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// One sentence: what could not be done, why, and what to do next.
    pub error: String,
    /// The exit code that a command should end with.
    pub exit: Exit,
    /// What the sentence speaks of, one thing a line: the held changes, the missing devices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<String>,
}

/// Writes an error and its causes in one line for people: joined by colons, each said once, and
/// without the numbers that the system gives its errors.
#[must_use]
pub fn sentence(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.map(|cause| without_numbers(&cause.to_string())).fold(
        without_numbers(&error.to_string()),
        |text, cause| match text.ends_with(&cause) {
            true => text,
            false => format!("{text}: {cause}"),
        },
    )
}

/// Takes each ` (os error 2)` out of a text.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                plain += rest;
            }
            Some(_) | None => plain = format!("{plain} (os error {part}"),
        }
    }
    plain
}

impl Exit {
    /// Returns the exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::CouldNot => 1,
            Self::Usage => 2,
            Self::NotRunning => 3,
            Self::TimedOut => 4,
            Self::NeedsPerson => 5,
        }
    }
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        exit.code()
    }
}

impl TryFrom<u8> for Exit {
    type Error = String;

    fn try_from(code: u8) -> Result<Self, String> {
        match code {
            1 => Ok(Self::CouldNot),
            2 => Ok(Self::Usage),
            3 => Ok(Self::NotRunning),
            4 => Ok(Self::TimedOut),
            5 => Ok(Self::NeedsPerson),
            other => Err(format!("{other} is no exit code of a refusal (1 to 5)")),
        }
    }
}

impl ApiError {
    /// Makes a refusal with the given exit code. The numbers that the system gives its errors
    /// are left out of the sentence.
    pub fn new(exit: Exit, error: impl Into<String>) -> Self {
        Self { error: without_numbers(&error.into()), exit, items: Vec::new() }
    }

    /// Exit 1: it could not be done.
    pub fn could_not(error: impl Into<String>) -> Self {
        Self::new(Exit::CouldNot, error)
    }

    /// Exit 2: what was asked makes no sense.
    pub fn usage(error: impl Into<String>) -> Self {
        Self::new(Exit::Usage, error)
    }

    /// Exit 4: the time that was given is over.
    pub fn timed_out(error: impl Into<String>) -> Self {
        Self::new(Exit::TimedOut, error)
    }

    /// Exit 5: a person has to decide something first.
    pub fn needs_person(error: impl Into<String>) -> Self {
        Self::new(Exit::NeedsPerson, error)
    }

    /// Lists what the sentence speaks of.
    #[must_use]
    pub fn listing(mut self, items: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.items.extend(items.into_iter().map(Into::into));
        self
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error with a cause.
    #[derive(Debug)]
    struct Because(&'static str, Option<Box<Because>>);

    impl fmt::Display for Because {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Because {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as &dyn Error)
        }
    }

    #[test]
    fn an_error_and_its_causes_are_one_sentence() {
        for (error, cause, sentence_, because) in [
            ("cannot read a", None, "cannot read a", "no cause"),
            ("cannot read a", Some("gone (os error 2)"), "cannot read a: gone", "no numbers"),
            ("no a: gone (os error 2)", Some("gone (os error 2)"), "no a: gone", "said once"),
            ("(os error 2) x (os error", None, "(os error 2) x (os error", "not the system's"),
            ("a (os error x) b", None, "a (os error x) b", "no number"),
        ] {
            let error = Because(error, cause.map(|cause| Box::new(Because(cause, None))));
            assert_eq!(sentence(&error), sentence_, "{because}");
        }
        assert_eq!(ApiError::usage("no a (os error 20); b").error, "no a; b");
    }

    #[test]
    fn a_refusal_reads_as_the_contract_says() {
        for (refusal, json) in [
            (ApiError::could_not("no"), r#"{"error":"no","exit":1}"#),
            (ApiError::usage("what?"), r#"{"error":"what?","exit":2}"#),
            (ApiError::timed_out("late"), r#"{"error":"late","exit":4}"#),
            (
                ApiError::needs_person("held").listing(["a", "b"]),
                r#"{"error":"held","exit":5,"items":["a","b"]}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&refusal).unwrap(), json);
            assert_eq!(serde_json::from_str::<ApiError>(json).unwrap(), refusal);
        }
        for wrong in [0, 6, 255] {
            let json = format!(r#"{{"error":"x","exit":{wrong}}}"#);
            assert!(serde_json::from_str::<ApiError>(&json).is_err(), "{wrong} is no refusal");
        }
    }
}
