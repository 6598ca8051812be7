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
    if let Some(path) = &event.path {
        line += &format!(" {}", shown(path));
    }
    format!("{line}: {}\n", escaped(&event.text))
}
