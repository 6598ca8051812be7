//! `trash`: what was displaced or deleted, and getting it back.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use hyper::Method;
use syncd_api::{ApiError, Emptied, EmptyRequest, RestoreRequest, Restored, TrashReason, Trashed};

use super::{Outcome, Session, ask, has_person};
use crate::args::{self, Only};
use crate::client::{Patience, absolute};
use crate::render::{Cell, bytes, counted, local, shown};

/// List and bring back what syncd replaced or deleted
///
/// Whatever another device's change displaces here is kept for a while: 30 days, 100 versions of
/// a file and 10 % of the disk, unless the settings say otherwise.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  syncctl trash ls
  syncctl trash restore ~/work/notes.txt                     its newest version
  syncctl trash restore --id ID --to ~/notes-of-monday.txt   another one
  syncctl trash empty --older-than 7d")]
pub(crate) struct Trash {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what can be brought back
    Ls(Only),
    /// Bring something back; what lies there now is never replaced
    Restore {
        /// Where it lay; the newest version comes back
        #[arg(required_unless_present = "id")]
        path: Option<PathBuf>,
        /// Which one, as listed
        #[arg(long)]
        id: Option<String>,
        /// Where to put it; where it lay if not given
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Delete it for good
    Empty {
        #[command(flatten)]
        only: Only,
        /// Only what was moved away at least this long ago, such as 12h or 7d
        #[arg(long, value_name = "AGE", value_parser = args::duration)]
        older_than: Option<Duration>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

impl Trash {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        match &self.action {
            Action::Ls(only) => list(session, only),
            Action::Restore { path, id, to } => {
                let request = RestoreRequest {
                    id: id.clone(),
                    from: path.as_deref().map(absolute).transpose()?,
                    to: to.as_deref().map(absolute).transpose()?,
                };
                let route = "/v1/trash/restore";
                let answer = session.client.send(Method::POST, route, &request, Patience::Work)?;
                session.show(&answer, |_| {
                    let restored = answer.read::<Restored>()?;
                    Ok(format!("{} is back, {}\n", shown(&restored.path), bytes(restored.size)))
                })
            }
            Action::Empty { only, older_than, yes } => {
                let older_than_ms =
                    older_than.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
                let request = EmptyRequest { folder: only.folder.clone(), older_than_ms };
                empty(session, &request, *yes)
            }
        }
    }
}

fn list(session: &Session, only: &Only) -> Outcome {
    let answer = session.client.get(&only.route("/v1/trash"))?;
    session.show(&answer, |session| {
        let rows: Vec<Vec<Cell>> = answer
            .read::<Vec<Trashed>>()?
            .iter()
            .map(|trashed| {
                let reason = match trashed.reason {
                    TrashReason::Replaced => "replaced",
                    TrashReason::Deleted => "deleted",
                    TrashReason::Joined => "lost on joining",
                    TrashReason::Resolved => "lost on resolving",
                };
                vec![
                    Cell::from(&trashed.id),
                    Cell::from(&trashed.folder),
                    Cell::from(&trashed.path.path),
                    Cell::from(bytes(trashed.size)),
                    Cell::from(local(trashed.time)),
                    Cell::from(reason),
                    Cell::from(trashed.device.as_deref().unwrap_or_default()),
                ]
            })
            .collect();
        let heads = ["ID", "FOLDER", "FILE", "SIZE", "WHEN", "WHY", "BY"];
        Ok(session.table(&heads, &rows, "nothing was displaced or deleted"))
    })
}

fn empty(session: &Session, request: &EmptyRequest, yes: bool) -> Outcome {
    if !yes && has_person() && ask("delete it for good? (yes/no)") != "yes" {
        return Err(ApiError::could_not("nothing was deleted; answer yes to delete"));
    }
    let answer = session.client.send(Method::POST, "/v1/trash/empty", request, Patience::Work)?;
    session.show(&answer, |_| {
        let emptied = answer.read::<Emptied>()?;
        let files = counted(emptied.files, "file", "files");
        Ok(format!("{files} deleted for good, {}\n", bytes(emptied.bytes)))
    })
}
