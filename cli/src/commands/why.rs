//! `why`: why a file is as it is.

use std::path::PathBuf;

use clap::Args;
use syncd_api::{ReasonKind, Why as Told};

use super::{Outcome, Session};
use crate::client::{absolute, query_path};
use crate::render::{Tone, escaped, local, painted, shown};

/// Tell why a file is in the state it is in
///
/// Ignored by which line, waiting for which device, held, in conflict, open for writing, not
/// readable, and so on.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  syncctl why ~/work/notes.txt")]
pub(crate) struct Why {
    /// The file or directory; it need not exist
    path: PathBuf,
}

impl Why {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let route = query_path("/v1/why", &absolute(&self.path)?);
        let answer = session.client.get(&route)?;
        session.show(&answer, |session| {
            let told = answer.read::<Told>()?;
            let folder = told.folder.map(|id| format!(" in {id}")).unwrap_or_default();
            let mut text = format!("{}{}\n", shown(&told.path), escaped(&folder));
            for reason in told.reasons {
                let what = painted(tone(reason.kind), &escaped(&reason.what), session.colours);
                text += &format!("  {what}");
                if let (Some(file), Some(line)) = (&reason.file, reason.line) {
                    text += &format!(" (line {line} of {})", escaped(file));
                }
                if let Some(device) = &reason.device {
                    text += &format!(" ({})", escaped(device));
                }
                if let Some(time) = reason.time {
                    text += &format!(", {}", local(time));
                }
                text.push('\n');
                if let Some(remedy) = &reason.remedy {
                    text += &format!("    {}\n", escaped(remedy));
                }
            }
            Ok(text)
        })
    }
}

fn tone(kind: ReasonKind) -> Tone {
    match kind {
        ReasonKind::Synced => Tone::Good,
        ReasonKind::Ignored
        | ReasonKind::Deleted
        | ReasonKind::Missing
        | ReasonKind::NotInFolder => Tone::Dim,
        ReasonKind::Waiting | ReasonKind::Quiet | ReasonKind::OpenForWriting => Tone::Plain,
        ReasonKind::Damaged => Tone::Bad,
        ReasonKind::Held
        | ReasonKind::Conflict
        | ReasonKind::NoRoom
        | ReasonKind::FolderStopped
        | ReasonKind::LocalChange => Tone::Warn,
        ReasonKind::Unsupported | ReasonKind::Unreadable => Tone::Bad,
    }
}
