//! `status`: how all folders stand, once or live.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use syncd_api::{
    ApiError, FolderState, FolderStatus, LeftOutWhy, Problem, Role, Status as Standing,
};

use super::{Outcome, Session};
use crate::client::Answered;
use crate::render::{self, Cell, Tone, bytes, counted, escaped, shown};

/// How often the live view asks, in milliseconds.
const WATCH_MS: u64 = 500;

/// Show how all folders stand
#[derive(Debug, Args)]
#[command(after_long_help = "\
States: idle (nothing to do), scanning, syncing, held (changes wait for a person: syncctl held \
ls), halted (the root is gone or another one: syncctl folder adopt), error, paused.

Examples:
  syncctl status
  syncctl status --watch
  syncctl status --json | jq '.folders[] | select(.state != \"idle\")'")]
pub(crate) struct Status {
    /// Go on showing it until interrupted: live on a terminal, else a line for every change
    #[arg(long)]
    watch: bool,
}

impl Status {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        if self.watch {
            return watch(session);
        }
        let answer = session.client.get("/v1/status")?;
        session.show(&answer, |session| Ok(page(session, &answer.read()?)))
    }
}

/// Writes a folder's state, and how it is to be taken.
pub(crate) fn state(state: FolderState) -> (Tone, &'static str) {
    match state {
        FolderState::Idle => (Tone::Good, "idle"),
        FolderState::Scanning => (Tone::Plain, "scanning"),
        FolderState::Syncing => (Tone::Plain, "syncing"),
        FolderState::Held => (Tone::Warn, "held"),
        FolderState::Halted => (Tone::Bad, "halted"),
        FolderState::Error => (Tone::Bad, "error"),
        FolderState::Paused => (Tone::Dim, "paused"),
    }
}

fn page(session: &Session, status: &Standing) -> String {
    let rows: Vec<Vec<Cell>> = status.folders.iter().map(row).collect();
    let heads = ["FOLDER", "STATE", "FILES", "SIZE", "NEEDS", "CONFLICTS", "DEVICES"];
    let nothing = "no folders yet; share one with: syncctl folder add PATH --with DEVICE";
    let mut text = session.table(&heads, &rows, nothing);
    for problem in &status.problems {
        text += &told(session, "this device", problem);
    }
    for folder in &status.folders {
        for problem in &folder.problems {
            let path = match problem.path.path.is_empty() {
                true => escaped(&folder.id),
                false => format!("{}: {}", escaped(&folder.id), shown(&problem.path)),
            };
            text += &told(session, &path, problem);
        }
        let id = escaped(&folder.id);
        for device in &folder.devices {
            for left_out in &device.left_out {
                let files = counted(left_out.files, "file", "files");
                let why = match left_out.why {
                    LeftOutWhy::Ignored => "its rules ignore them",
                    LeftOutWhy::Unsupported => "its disk cannot hold them beside others",
                    LeftOutWhy::NotTaken => "its folder only sends",
                };
                text += &format!("\n{id}: {} leaves {files} out: {why}\n", escaped(&device.name));
            }
        }
        if folder.out_of_sync > 0 {
            let items = counted(folder.out_of_sync, "change", "changes");
            text += &format!(
                "\n{id}: {items} of others not taken, since it only sends; to write over them: \
                 syncctl folder override {id}\n"
            );
        }
        if folder.local_changes > 0 && folder.role == Role::ReceiveOnly {
            let items = counted(folder.local_changes, "change", "changes");
            text += &format!(
                "\n{id}: {items} made here and told nobody, since it only receives; to undo them: \
                 syncctl folder revert {id}\n"
            );
        }
        if folder.held > 0 {
            let held = counted(folder.held, "change waits", "changes wait");
            text += &format!("\n{}: {held} for you: syncctl held ls\n", escaped(&folder.id));
        }
    }
    text
}

/// Writes what is wrong with something, and what to do.
fn told(session: &Session, of: &str, problem: &Problem) -> String {
    let what = render::painted(Tone::Bad, &escaped(&problem.what), session.colours);
    format!("\n{of}: {what}\n  {}\n", escaped(&problem.remedy))
}

fn row(folder: &FolderStatus) -> Vec<Cell> {
    let (tone, state) = state(folder.state);
    let needs = match (folder.need_files, folder.need_bytes) {
        (0, 0) => Cell::from("nothing"),
        (files, size) => Cell::toned(Tone::Warn, format!("{files} ({})", bytes(size))),
    };
    let conflicts = match folder.conflicts {
        0 => Cell::from("0"),
        some => Cell::toned(Tone::Warn, some.to_string()),
    };
    let devices = folder.devices.iter().map(|device| {
        let how = match (device.in_sync, device.connected) {
            (true, _) => "in sync".to_owned(),
            (false, true) => counted(device.need_files, "file to go", "files to go"),
            (false, false) => "not connected".to_owned(),
        };
        format!("{}: {how}", device.name)
    });
    vec![
        Cell::from(&folder.id),
        Cell::toned(tone, state),
        Cell::from(folder.files.to_string()),
        Cell::from(bytes(folder.bytes)),
        needs,
        conflicts,
        Cell::from(devices.collect::<Vec<_>>().join(", ")),
    ]
}

fn watch(session: &Session) -> Outcome {
    let mut view = match (session.json, std::io::stdout().is_terminal()) {
        (true, _) => View::Json(String::new()),
        (false, true) => View::Live(Live::default()),
        (false, false) => View::Lines(BTreeMap::new()),
    };
    loop {
        let answer = session.client.get("/v1/status")?;
        view.show(&answer)?;
        std::thread::sleep(Duration::from_millis(WATCH_MS));
    }
}

/// How a watcher sees it.
enum View {
    /// One object a line, whenever it changed.
    Json(String),
    /// One line a folder, whenever it changed.
    Lines(BTreeMap<String, String>),
    /// A bar for each folder.
    Live(Live),
}

impl View {
    fn show(&mut self, answer: &Answered) -> Result<(), ApiError> {
        match self {
            Self::Json(last) => {
                if *last != answer.0 {
                    last.clone_from(&answer.0);
                    render::print(&format!("{}\n", render::safe_json(last)))?;
                }
            }
            Self::Lines(last) => {
                for folder in answer.read::<Standing>()?.folders {
                    let line = line(&folder);
                    if last.get(&folder.id) != Some(&line) {
                        render::print(&format!("{line}\n"))?;
                        last.insert(folder.id, line);
                    }
                }
            }
            Self::Live(live) => live.show(&answer.read()?),
        }
        Ok(())
    }
}

fn line(folder: &FolderStatus) -> String {
    let (_, state) = state(folder.state);
    let mut line = format!("{}: {state}", escaped(&folder.id));
    if folder.need_files > 0 {
        let files = counted(folder.need_files, "file", "files");
        line += &format!(", {files} ({}) to come", bytes(folder.need_bytes));
    }
    for device in folder.devices.iter().filter(|device| !device.in_sync) {
        let files = counted(device.need_files, "file", "files");
        line += &format!(", {files} to go to {}", escaped(&device.name));
    }
    if folder.conflicts > 0 {
        line += &format!(", {}", counted(folder.conflicts, "conflict", "conflicts"));
    }
    line
}

/// The bars on a terminal.
struct Live {
    bars: MultiProgress,
    by_folder: BTreeMap<String, ProgressBar>,
}

impl Default for Live {
    fn default() -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        Self { bars, by_folder: BTreeMap::new() }
    }
}

impl Live {
    fn show(&mut self, status: &Standing) {
        self.by_folder.retain(|id, bar| {
            let there = status.folders.iter().any(|folder| folder.id == *id);
            if !there {
                self.bars.remove(bar);
            }
            there
        });
        for folder in &status.folders {
            let (done, all) = progress(folder);
            let line = line(folder);
            let message = line.split_once(": ").map_or("", |(_, rest)| rest).to_owned();
            match self.by_folder.get(&folder.id) {
                Some(bar) => {
                    bar.set_length(all);
                    bar.set_position(done);
                    bar.set_message(message);
                }
                None => {
                    // Filled in before it is shown, so that it does not flicker.
                    let bar = ProgressBar::hidden();
                    bar.set_style(style());
                    bar.set_prefix(escaped(&folder.id));
                    bar.set_length(all);
                    bar.set_position(done);
                    bar.set_message(message);
                    self.by_folder.insert(folder.id.clone(), self.bars.add(bar));
                }
            }
        }
        for bar in self.by_folder.values() {
            bar.tick();
        }
    }
}

/// Returns how much is here of how much there is. Bytes tell it better than files; a folder of
/// empty files has only files, and an empty one is complete.
fn progress(folder: &FolderStatus) -> (u64, u64) {
    match (folder.bytes, folder.files) {
        (0, 0) => (1, 1),
        (0, files) => (files.saturating_sub(folder.need_files), files),
        (all, _) => (all.saturating_sub(folder.need_bytes), all),
    }
}

fn style() -> ProgressStyle {
    // The template is ours and fits; the default style is the fallback.
    ProgressStyle::with_template("{prefix:16} [{bar:30}] {percent:>3}% {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
