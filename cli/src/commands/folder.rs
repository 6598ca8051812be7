//! `folder`: sharing directories and single files.

mod set;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use serde::Serialize;
use syncd_api::{
    self as api, AcceptReport, AcceptRequest, ApiError, Decided, Exit, FolderAdd, FolderAdded,
    FolderMove, FolderRemoved, OfferedFolder, ShareRequest,
};

use self::set::Set;
use super::{Outcome, Session, ask, has_person};
use crate::client::{Answered, Patience, absolute_root, part};
use crate::render::{Cell, bytes, counted, escaped, shown};

/// Share folders, take offered ones, and change how they are shared
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  syncctl folder add ~/work --with devbox          shares ~/work under the id 'work'
  syncctl folder add ~/notes.txt --with devbox     shares one single file
  syncctl folder ls --offered                      what others share with this device
  syncctl folder accept work ~/work                takes it
  syncctl folder rm work                           ends it here; the files stay")]
pub(crate) struct Folder {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Add(Add),
    Accept(Accept),
    Ls(Ls),
    /// Stop sharing a folder on this device; the files stay where they are
    Rm {
        /// The folder's id
        id: String,
    },
    /// Share a folder with more devices
    Share(Share),
    /// Share a folder with fewer devices
    Unshare(Share),
    /// Stop syncing a folder until it is resumed
    Pause {
        /// The folder's id
        id: String,
    },
    /// Go on syncing a paused folder
    Resume {
        /// The folder's id
        id: String,
    },
    Set(Set),
    /// Tell syncd that a folder's root lies elsewhere now
    ///
    /// A directory is moved first, by its user. A single file is moved by this command: had it
    /// gone before, it would have been deleted everywhere.
    Move {
        /// The folder's id
        id: String,
        /// Where the root lies now, or where a single file is to lie
        path: PathBuf,
    },
    /// Make this device's files win everywhere, in a folder that only sends
    ///
    /// What other devices changed meanwhile, and this one did not take, is written over with what
    /// lies here; what only they have is deleted. It goes into their trash.
    #[command(after_long_help = "Example:\n  syncctl folder override work")]
    Override {
        /// The folder's id
        id: String,
    },
    /// Undo what was changed here, in a folder that only receives
    ///
    /// Everything becomes as the other devices have it; what was changed here goes into the
    /// trash, see: syncctl trash ls.
    #[command(after_long_help = "Example:\n  syncctl folder revert work")]
    Revert {
        /// The folder's id
        id: String,
    },
    /// Take a halted folder's root back
    ///
    /// A folder halts when its root is gone or looks like another one. Adopting takes what lies
    /// there now and what others have together; nothing is deleted anywhere.
    Adopt {
        /// The folder's id
        id: String,
    },
}

/// What a device does in a folder
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "lower")]
enum Role {
    /// Send changes and take others'
    SendReceive,
    /// Send changes, take none
    SendOnly,
    /// Take others' changes, send none
    ReceiveOnly,
}

impl From<Role> for api::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::SendReceive => Self::SendReceive,
            Role::SendOnly => Self::SendOnly,
            Role::ReceiveOnly => Self::ReceiveOnly,
        }
    }
}

/// What to do with files that differ
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Prefer {
    /// What lies here wins; the other goes to the trash
    Here,
    /// What lies there wins; what lies here goes to the trash
    There,
    /// The later modification time wins; the other goes to the trash
    Newer,
    /// Keep both; each loser becomes a conflict copy
    Copies,
}

impl From<Prefer> for api::Prefer {
    fn from(prefer: Prefer) -> Self {
        match prefer {
            Prefer::Here => Self::Here,
            Prefer::There => Self::There,
            Prefer::Newer => Self::Newer,
            Prefer::Copies => Self::Copies,
        }
    }
}

/// Share a directory or one single file
///
/// Returns when that is recorded; the first scan goes on behind. Devices that are named with
/// --with are offered the folder and take it with: syncctl folder accept.
#[derive(Debug, Args)]
struct Add {
    /// The directory or file
    path: PathBuf,
    /// The id under which all devices know it; made from the path's last name if not given
    #[arg(long)]
    id: Option<String>,
    /// What people call it; the id if not given
    #[arg(long)]
    label: Option<String>,
    /// A device to share it with: name, id or PeerId; may be repeated
    #[arg(long, value_name = "DEVICE")]
    with: Vec<String>,
    /// What this device does in it
    #[arg(long, value_enum, default_value = "sendreceive")]
    role: Role,
    /// A pattern of what not to sync, written into .stignore; may be repeated
    #[arg(long, value_name = "PATTERN")]
    ignore: Vec<String>,
    /// Write the patterns that suit what lies in it into .stignore: build output and the like
    #[arg(long)]
    starter_ignores: bool,
}

/// Take a folder that another device shares with this one
///
/// The path is made if it is missing. Where files lie there already the two sides are compared
/// first: equal files join with nothing sent, files of one side alone go to the other. Where they
/// differ --prefer says which win, and the others go into the trash; without it both stay, the
/// older as a conflict copy, and when more than 20 differ you are asked.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  syncctl folder accept work ~/work --dry-run         what would meet what
  syncctl folder accept work ~/work --prefer newer

Exit codes: 1 when the offer is not here yet (it may be repeated); 5 when files differ and a \
person has to say --prefer.")]
struct Accept {
    /// The folder's id
    id: String,
    /// Where to put it on this device
    path: PathBuf,
    /// What to do with files that differ
    #[arg(long, value_enum)]
    prefer: Option<Prefer>,
    /// Count what is equal and what differs, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// List this device's folders and those that are offered
#[derive(Debug, Args)]
struct Ls {
    /// Only the offered folders
    #[arg(long)]
    offered: bool,
}

#[derive(Debug, Args)]
struct Share {
    /// The folder's id
    id: String,
    /// The device: name, id or PeerId; may be repeated
    #[arg(long, required = true, value_name = "DEVICE")]
    with: Vec<String>,
}

impl Folder {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let order = |id: &str, verb: &str| {
            session.client.order(Method::POST, &format!("/v1/folders/{}/{verb}", part(id)))
        };
        match &self.action {
            Action::Add(add) => add.run(session),
            Action::Accept(accept) => accept.run(session),
            Action::Ls(ls) => ls.run(session),
            Action::Rm { id } => remove(session, id),
            Action::Share(share) => share.run(session, "share"),
            Action::Unshare(share) => share.run(session, "unshare"),
            Action::Pause { id } => changed(session, &order(id, "pause")?, "is paused"),
            Action::Resume { id } => changed(session, &order(id, "resume")?, "goes on"),
            Action::Adopt { id } => changed(session, &order(id, "adopt")?, "is taken back"),
            Action::Override { id } => {
                decided(session, &order(id, "override")?, "are written over with what lies here")
            }
            Action::Revert { id } => {
                decided(session, &order(id, "revert")?, "are undone; they go into the trash")
            }
            Action::Set(set) => set.run(session),
            Action::Move { id, path } => {
                let request = FolderMove { path: absolute_root(path)? };
                changed(session, &tell(session, id, "move", &request)?, "is looked for there now")
            }
        }
    }
}

fn tell(
    session: &Session,
    id: &str,
    verb: &str,
    request: &impl Serialize,
) -> Result<Answered, ApiError> {
    let route = format!("/v1/folders/{}/{verb}", part(id));
    session.client.send(Method::POST, &route, request, Patience::Work)
}

fn changed(session: &Session, answer: &Answered, what: &str) -> Outcome {
    session.show(answer, |_| {
        let folder = answer.read::<api::Folder>()?;
        Ok(format!("{} ({}) {what}\n", escaped(&folder.id), shown(&folder.path)))
    })
}

fn decided(session: &Session, answer: &Answered, what: &str) -> Outcome {
    session.show(answer, |_| {
        let decided = answer.read::<Decided>()?;
        let changes = counted(decided.items, "change", "changes");
        Ok(format!("{}: {changes} {what}\n", escaped(&decided.id)))
    })
}

fn remove(session: &Session, id: &str) -> Outcome {
    let route = format!("/v1/folders/{}", part(id));
    let answer = session.client.order(Method::DELETE, &route)?;
    session.show(&answer, |_| {
        let folder = answer.read::<FolderRemoved>()?;
        let path = shown(&folder.path);
        Ok(format!("{} is not shared here any more; what lies at {path} stays\n", folder.id))
    })
}

impl Add {
    fn run(&self, session: &Session) -> Outcome {
        let request = FolderAdd {
            path: absolute_root(&self.path)?,
            id: self.id.clone(),
            label: self.label.clone(),
            with: session.devices(&self.with)?,
            role: self.role.into(),
            ignore: self.ignore.clone(),
            starter_ignores: self.starter_ignores,
        };
        let answer = session.client.send(Method::POST, "/v1/folders", &request, Patience::Work)?;
        session.show(&answer, |_| {
            let added = answer.read::<FolderAdded>()?;
            let folder = &added.folder;
            let names: Vec<&str> = folder.devices.iter().map(|d| d.name.as_str()).collect();
            let (id, path) = (escaped(&folder.id), shown(&folder.path));
            let mut text = match names.is_empty() {
                true => format!(
                    "{path} is shared as {id}, with nobody yet: syncctl folder share {id} --with \
                     DEVICE\n"
                ),
                false => format!("{path} is shared as {id} with {}\n", escaped(&names.join(", "))),
            };
            if !added.suggested_ignores.is_empty() {
                let patterns = escaped(&added.suggested_ignores.join("  "));
                text += &format!("these would suit its .stignore: {patterns}\n");
            }
            Ok(text)
        })
    }
}

impl Accept {
    fn run(&self, session: &Session) -> Outcome {
        let mut request = AcceptRequest {
            path: absolute_root(&self.path)?,
            prefer: self.prefer.map(api::Prefer::from),
            dry_run: self.dry_run,
        };
        let mut answer = tell(session, &self.id, "accept", &request);
        if let Err(error) = &answer
            && error.exit == Exit::NeedsPerson
            && request.prefer.is_none()
            && has_person()
        {
            eprint!("{}", crate::render::refusal(error));
            if let Some(prefer) = preferred() {
                request.prefer = Some(prefer);
                answer = tell(session, &self.id, "accept", &request);
            }
        }
        let answer = answer?;
        session.show(&answer, |_| {
            let report = answer.read::<AcceptReport>()?;
            let (id, path) = (escaped(&report.id), shown(&report.path));
            let mut text = match report.accepted {
                true => format!("{id} is taken, at {path}\n"),
                false => format!("{id} would lie at {path}\n"),
            };
            let counts = [
                (report.equal, "equal"),
                (report.only_here, "only here"),
                (report.only_there, "only there"),
                (report.different, "different"),
            ];
            let counts = counts.map(|(count, what)| format!("{what} {count}"));
            text += &format!("files: {}\n", counts.join(", "));
            for (what, count, paths) in [
                ("different", report.different, &report.examples),
                ("only here", report.only_here, &report.examples_here),
                ("only there", report.only_there, &report.examples_there),
            ] {
                for path in paths.iter().take(EXAMPLES_MAX) {
                    text += &format!("  {what}: {}\n", shown(path));
                }
                let more = count.saturating_sub(paths.len().min(EXAMPLES_MAX) as u64);
                if more > 0 && !paths.is_empty() {
                    text += &format!("  {what}: and {more} more\n");
                }
            }
            Ok(text)
        })
    }
}

/// Examples of each kind that people are shown; programs get more.
const EXAMPLES_MAX: usize = 5;

fn preferred() -> Option<api::Prefer> {
    match ask("which shall win: here, there, newer or copies? (nothing: stop)").as_str() {
        "here" => Some(api::Prefer::Here),
        "there" => Some(api::Prefer::There),
        "newer" => Some(api::Prefer::Newer),
        "copies" => Some(api::Prefer::Copies),
        _ => None,
    }
}

impl Share {
    fn run(&self, session: &Session, verb: &str) -> Outcome {
        let request = ShareRequest { with: session.devices(&self.with)? };
        let answer = tell(session, &self.id, verb, &request)?;
        session.show(&answer, |_| {
            let folder = answer.read::<api::Folder>()?;
            let names: Vec<&str> = folder.devices.iter().map(|d| d.name.as_str()).collect();
            let with = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
            Ok(format!("{} is shared with {}\n", escaped(&folder.id), escaped(&with)))
        })
    }
}

impl Ls {
    fn run(&self, session: &Session) -> Outcome {
        if self.offered {
            let answer = session.client.get("/v1/offers")?;
            return session.show(&answer, |session| {
                Ok(offered(session, &answer.read::<Vec<OfferedFolder>>()?))
            });
        }
        let answer = session.client.get("/v1/folders")?;
        session.show(&answer, |session| {
            let rows: Vec<Vec<Cell>> = answer
                .read::<Vec<api::Folder>>()?
                .iter()
                .map(|folder| {
                    let (tone, state) = super::status::state(folder.state);
                    vec![
                        Cell::from(&folder.id),
                        Cell::toned(tone, state),
                        Cell::from(role(folder.role)),
                        Cell::from(&folder.path.path),
                        Cell::from(members(&folder.devices)),
                    ]
                })
                .collect();
            let heads = ["FOLDER", "STATE", "ROLE", "PATH", "WITH"];
            let nothing = "no folders yet; share one with: syncctl folder add PATH --with DEVICE";
            let mut text = session.table(&heads, &rows, nothing);
            let offers = session.client.get("/v1/offers")?.read::<Vec<OfferedFolder>>()?;
            if !offers.is_empty() {
                text += &format!("\n{}", offered(session, &offers));
            }
            Ok(text)
        })
    }
}

/// Lays out the offered folders.
pub(crate) fn offered(session: &Session, offers: &[OfferedFolder]) -> String {
    let unknown = || "unknown".to_owned();
    let rows: Vec<Vec<Cell>> = offers
        .iter()
        .map(|offer| {
            let names: Vec<&str> = offer.devices.iter().map(|d| d.name.as_str()).collect();
            vec![
                Cell::from(&offer.id),
                Cell::from(&offer.label),
                Cell::from(names.join(", ")),
                Cell::from(offer.files.map_or(unknown(), |n| counted(n, "file", "files"))),
                Cell::from(offer.bytes.map_or(unknown(), bytes)),
            ]
        })
        .collect();
    let heads = ["OFFERED", "LABEL", "BY", "FILES", "SIZE"];
    session.table(&heads, &rows, "no folder is offered; what others share shows up here")
}

fn members(devices: &[api::FolderDevice]) -> String {
    let names: Vec<String> = devices
        .iter()
        .map(|device| match device.accepted {
            true => device.name.clone(),
            false => format!("{} (not taken yet)", device.name),
        })
        .collect();
    names.join(", ")
}

fn role(role: api::Role) -> &'static str {
    match role {
        api::Role::SendReceive => "sendreceive",
        api::Role::SendOnly => "sendonly",
        api::Role::ReceiveOnly => "receiveonly",
    }
}
