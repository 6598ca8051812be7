//! `conflicts`: files of which two devices have different versions.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use hyper::Method;
use similar::TextDiff;
use syncd_api::{Conflict, ConflictView, Keep as Kept, ResolveRequest, Resolved, Side};

use super::{Outcome, Session};
use crate::args::Only;
use crate::client::{Patience, absolute, query_path};
use crate::render::{Cell, Tone, bytes, counted, escaped, local, painted, shown};

/// Lines around a change that a diff shows.
const CONTEXT_LINES: usize = 3;

/// List, look at and resolve conflicts
///
/// When two devices change a file without knowing of each other, one version keeps the name and
/// the other becomes a copy beside it: name.sync-conflict-DATE-TIME-DEVICE.ext. Nothing is lost.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  syncctl conflicts ls
  syncctl conflicts show notes.txt
  syncctl conflicts resolve notes.txt --keep mine
  syncctl conflicts resolve notes.txt --with merged.txt")]
pub(crate) struct Conflicts {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the conflict copies
    Ls(Only),
    /// Show both versions, what they began with, and how they differ
    Show {
        /// The file or its conflict copy
        path: PathBuf,
    },
    /// End a conflict; what is not kept goes to the trash
    Resolve(Resolve),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("how").required(true))]
struct Resolve {
    /// The file or its conflict copy
    path: PathBuf,
    /// Which version to keep
    #[arg(long, value_enum, group = "how")]
    keep: Option<Keep>,
    /// A merged file to put in place of both
    #[arg(long, value_name = "FILE", group = "how")]
    with: Option<PathBuf>,
}

/// Which version to keep
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Keep {
    /// This device's
    Mine,
    /// The other device's
    Theirs,
    /// Both, as two files
    Both,
}

impl Conflicts {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        match &self.action {
            Action::Ls(only) => list(session, only),
            Action::Show { path } => {
                let route = query_path("/v1/conflicts/show", &absolute(path)?);
                let answer = session.client.get(&route)?;
                session.show(&answer, |session| Ok(page(&answer.read()?, session.colours)))
            }
            Action::Resolve(resolve) => resolve.run(session),
        }
    }
}

fn list(session: &Session, only: &Only) -> Outcome {
    let answer = session.client.get(&only.route("/v1/conflicts"))?;
    session.show(&answer, |session| {
        let rows: Vec<Vec<Cell>> = answer
            .read::<Vec<Conflict>>()?
            .iter()
            .map(|conflict| {
                vec![
                    Cell::from(&conflict.folder),
                    Cell::from(&conflict.path.path),
                    Cell::from(conflict.device.as_deref().unwrap_or("unknown")),
                    Cell::from(local(conflict.time)),
                    Cell::from(bytes(conflict.size)),
                    Cell::from(&conflict.copy.path),
                ]
            })
            .collect();
        let heads = ["FOLDER", "FILE", "COPY BY", "MODIFIED", "SIZE", "COPY"];
        Ok(session.table(&heads, &rows, "no conflicts"))
    })
}

impl Resolve {
    fn run(&self, session: &Session) -> Outcome {
        let keep = match self.keep {
            Some(Keep::Mine) => Kept::Mine,
            Some(Keep::Theirs) => Kept::Theirs,
            Some(Keep::Both) => Kept::Both,
            None => Kept::Merged,
        };
        let with = self.with.as_deref().map(absolute).transpose()?;
        let request = ResolveRequest { path: absolute(&self.path)?, keep, with };
        let route = "/v1/conflicts/resolve";
        let answer = session.client.send(Method::POST, route, &request, Patience::Work)?;
        session.show(&answer, |_| {
            let resolved = answer.read::<Resolved>()?;
            let path = shown(&resolved.path);
            let kept = match resolved.kept {
                Kept::Mine => "this device's version is kept",
                Kept::Theirs => "the other device's version is kept",
                Kept::Both => "both versions are kept",
                Kept::Merged => "the merged version is in place",
            };
            Ok(match resolved.left {
                0 => format!("{path}: {kept}\n"),
                left => format!("{path}: {kept}; {} left\n", counted(left, "copy", "copies")),
            })
        })
    }
}

fn page(view: &ConflictView, colours: bool) -> String {
    let mut text = format!("{} in {}\n", shown(&view.path), escaped(&view.folder));
    text += &format!("copy: {}\n\n", shown(&view.copy));
    match &view.base {
        // What both began with is nobody's.
        Some(base) => text += &format!("base    {}, {}\n", local(base.time), bytes(base.size)),
        None => text += "base    not known any more\n",
    }
    text += &described("mine", &view.mine);
    text += &described("theirs", &view.theirs);
    let pairs = match &view.base {
        Some(base) => {
            vec![("base", base, "mine", &view.mine), ("base", base, "theirs", &view.theirs)]
        }
        None => vec![("mine", &view.mine, "theirs", &view.theirs)],
    };
    for (from, old, to, new) in pairs {
        if let (Some(old), Some(new)) = (&old.text, &new.text) {
            text += &format!("\n{}", difference(from, old, to, new, colours));
        }
    }
    text
}

fn described(name: &str, side: &Side) -> String {
    let device = escaped(side.device.as_deref().unwrap_or("an unknown device"));
    format!("{name:<8}{} on {device}, {}\n", local(side.time), bytes(side.size))
}

/// Writes a unified diff whose lines cannot harm a terminal.
fn difference(from: &str, old: &str, to: &str, new: &str, colours: bool) -> String {
    let diff = TextDiff::from_lines(old, new);
    let unified = diff.unified_diff().context_radius(CONTEXT_LINES).header(from, to).to_string();
    if unified.is_empty() {
        return format!("{from} and {to} have the same text\n");
    }
    let lines = unified.lines().map(|line| {
        let tone = match line.as_bytes().first() {
            Some(b'+') => Tone::Good,
            Some(b'-') => Tone::Bad,
            Some(b'@') => Tone::Dim,
            Some(_) | None => Tone::Plain,
        };
        // Tabs are the one control character that text needs.
        let safe: Vec<String> = line.split('\t').map(escaped).collect();
        painted(tone, &safe.join("\t"), colours) + "\n"
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_lines_and_harms_nobody() {
        for (old, new, shown) in [
            ("a\n", "a\n", "base and mine have the same text\n"),
            (
                "a\nb\n",
                "a\n\tc\x1b[2J\n",
                "--- base\n+++ mine\n@@ -1,2 +1,2 @@\n a\n-b\n+\tc\\u{1b}[2J\n",
            ),
        ] {
            assert_eq!(difference("base", old, "mine", new, false), shown);
        }
        assert!(difference("base", "a\n", "mine", "b\n", true).contains("\x1b[32m+b\x1b[0m"));
    }
}
