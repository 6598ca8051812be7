//! `held`: changes that wait for a person.

use clap::{Args, Subcommand};
use hyper::Method;
use jiff::Timestamp;
use syncd_api::{Held as Waiting, HeldAnswer};

use super::{Outcome, Session};
use crate::args::Only;
use crate::client::part;
use crate::render::{Cell, ago, counted, escaped, shown};

/// List, approve or reject changes that syncd stopped
///
/// Changes are held when a scan finds many files gone at once, when another device deletes more
/// than 1,000 files and most of a folder at once, or when its rules would have this one send or
/// take more than before.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  syncctl held ls
  syncctl held approve ID      yes, this was meant
  syncctl held reject ID       no; what would have gone is brought back")]
pub(crate) struct Held {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what waits
    Ls(Only),
    /// Let held changes go on
    #[command(visible_alias = "accept")]
    Approve {
        /// Which, as listed
        id: String,
    },
    /// Undo held changes
    Reject {
        /// Which, as listed
        id: String,
    },
}

impl Held {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        match &self.action {
            Action::Ls(only) => list(session, only),
            Action::Approve { id } => decide(session, id, "approve"),
            Action::Reject { id } => decide(session, id, "reject"),
        }
    }
}

fn list(session: &Session, only: &Only) -> Outcome {
    let answer = session.client.get(&only.route("/v1/held"))?;
    session.show(&answer, |session| {
        let held = answer.read::<Vec<Waiting>>()?;
        let now = Timestamp::now();
        let rows: Vec<Vec<Cell>> = held
            .iter()
            .map(|held| {
                vec![
                    Cell::from(&held.id),
                    Cell::from(&held.folder),
                    Cell::from(held.device.as_deref().unwrap_or("this device")),
                    Cell::from(format!("{} of {}", held.files, held.of_files)),
                    Cell::from(ago(held.since, now)),
                    Cell::from(&held.what),
                ]
            })
            .collect();
        let heads = ["ID", "FOLDER", "BY", "FILES", "SINCE", "WHAT"];
        let mut text = session.table(&heads, &rows, "nothing waits for you");
        for held in &held {
            text += &format!("\n{}: {}\n", escaped(&held.id), escaped(&held.remedy));
            text.extend(held.examples.iter().map(|path| format!("  {}\n", shown(path))));
            text.extend(held.lines.iter().map(|line| format!("  {}\n", escaped(line))));
        }
        Ok(text)
    })
}

fn decide(session: &Session, id: &str, verb: &str) -> Outcome {
    let answer = session.client.order(Method::POST, &format!("/v1/held/{}/{verb}", part(id)))?;
    session.show(&answer, |_| {
        let answer = answer.read::<HeldAnswer>()?;
        let files = counted(answer.files, "file", "files");
        let what = if answer.approved { "goes on" } else { "is undone" };
        Ok(escaped(&format!("{} in {}: {what}, {files}", answer.id, answer.folder)) + "\n")
    })
}
