//! `pause` and `resume`: all folders at once.

use clap::Args;
use hyper::Method;
use syncd_api::{ApiError, Folder, FolderState};

use super::{Outcome, Session};
use crate::client::part;
use crate::render::{self, counted};

/// Stop syncing all folders until they are resumed
///
/// Nothing is sent or taken; what changes meanwhile is told afterwards. One folder alone: syncctl
/// folder pause.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  syncctl pause     on a train, or before a demonstration")]
pub(crate) struct Pause {}

/// Go on syncing all paused folders
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  syncctl resume")]
pub(crate) struct Resume {}

impl Pause {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        each(session, true)
    }
}

impl Resume {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        each(session, false)
    }
}

fn each(session: &Session, pause: bool) -> Outcome {
    let mut changed = Vec::new();
    for folder in session.client.get("/v1/folders")?.read::<Vec<Folder>>()? {
        if (folder.state == FolderState::Paused) == pause {
            continue;
        }
        let verb = if pause { "pause" } else { "resume" };
        let route = format!("/v1/folders/{}/{verb}", part(&folder.id));
        let answer = session.client.order(Method::POST, &route)?;
        changed.push(answer.read::<Folder>()?);
    }
    if session.json {
        let text =
            serde_json::to_value(&changed).map_err(|e| ApiError::could_not(e.to_string()))?;
        return super::print_json(&text);
    }
    let folders = counted(changed.len() as u64, "folder", "folders");
    let done = if pause { "paused; go on with: syncctl resume" } else { "going on" };
    render::print(&format!("{folders} {done}\n"))
}
