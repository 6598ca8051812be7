//! `events`: what happened, as it happens.

use clap::Args;
use serde_json::Value;
use syncd_api::{ApiError, Event};

use super::{Outcome, Session};
use crate::client::query;
use crate::render::{self, escaped, local, shown};

/// Show what happened, one event a line
///
/// Ids grow; a program that remembers the last one asks on from there with --since.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  syncctl events --follow
  syncctl events --since 1200 --json")]
pub(crate) struct Events {
    /// Only events with a greater id
    #[arg(long, value_name = "ID")]
    since: Option<u64>,
    /// Go on with what happens next, until interrupted
    #[arg(long)]
    follow: bool,
}

impl Events {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let since = self.since.map(|id| id.to_string());
        let follow = self.follow.then_some("true");
        let route = query("/v1/events", &[("since", since.as_deref()), ("follow", follow)]);
        if self.follow {
            return session.client.follow(&route, |event| {
                render::print(&match session.json {
                    true => format!("{}\n", render::safe_json(event)),
                    false => line(&read(event)?),
                })
            });
        }
        let answer = session.client.get(&route)?;
        let lines: Vec<String> = match session.json {
            true => {
                let events = answer.read::<Vec<Value>>()?;
                let objects = events.iter().map(|event| render::safe_json(&event.to_string()));
                objects.map(|object| object + "\n").collect()
            }
            false => answer.read::<Vec<Event>>()?.iter().map(line).collect(),
        };
        render::print(&lines.concat())
    }
}

fn read(event: &str) -> Result<Event, ApiError> {
    crate::client::Answered(event.to_owned()).read()
}

fn line(event: &Event) -> String {
    let mut line = format!("{} {} {}", event.id, local(event.time), escaped(&event.kind));
    if let Some(folder) = &event.folder {
        line += &format!(" {}", escaped(folder));
    }
    // Most texts begin with the path themselves.
    if let Some(path) = event.path.as_ref().filter(|path| !event.text.starts_with(&path.path)) {
        line += &format!(" {}", shown(path));
    }
    format!("{line}: {}\n", escaped(&event.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stands_once_in_a_line() {
        for (text, shown, because) in [
            ("a.txt changed here", "file-changed work: a.txt changed here\n", "the text has it"),
            ("it changed", "file-changed work a.txt: it changed\n", "the text has it not"),
        ] {
            let event = serde_json::json!({
                "id": 7, "time": "2026-11-20T19:24:02Z", "kind": "file-changed",
                "folder": "work", "path": "a.txt", "text": text,
            });
            let line = line(&read(&event.to_string()).unwrap());
            assert!(line.starts_with("7 2026-11-2") && line.ends_with(shown), "{because}: {line}");
        }
    }
}
