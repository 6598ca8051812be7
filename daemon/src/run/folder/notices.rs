//! What an engine may want a person to know, as an event of the log.

use syncd_core::engine::Notice;
use syncd_core::model::{DeviceId, FolderId, Kind, RelPath};

use crate::run::Happening;
use crate::world::disk::Root;

/// Returns the event that tells `notice` of the folder `id`, with the names that paths have here
/// and those by which `name_of` calls devices.
pub(super) fn happening(
    id: &FolderId,
    root: &Root,
    name_of: impl Fn(DeviceId) -> String,
    notice: Notice,
) -> Happening {
    let here = |path: RelPath| root.path_here(&path).into_owned();
    let what = |kind: Kind| match kind {
        Kind::Tombstone => "deleted",
        Kind::Directory => "directory",
        Kind::File | Kind::Symlink => "file",
    };
    match notice {
        Notice::Changed { path, kind } => {
            let path = here(path);
            let text = format!("{path} changed here ({})", what(kind));
            Happening::path(id, "file-changed", path, &text)
        }
        Notice::Placed { path, kind, author } => {
            let path = here(path);
            let text = format!("{path} came from {} ({})", name_of(author), what(kind));
            Happening::path(id, "file-settled", path, &text).by(author)
        }
        Notice::Conflict { path, copy } => {
            let (path, copy) = (here(path), here(copy));
            let text = format!("{path} was written on two devices; the other version is {copy}");
            Happening::path(id, "conflict", path, &text)
        }
        Notice::Joined => {
            let text = "what was here and what the others have is one now";
            Happening::folder(id, "folder-joined", text)
        }
        Notice::Steady => {
            let text = "all was looked at since the machine stopped without warning";
            Happening::folder(id, "folder-steady", text)
        }
        Notice::HeldOf { peer, files } => {
            let text = format!(
                "{} deletes {files} files at once, which is most of the folder; they are held: \
                 syncctl held ls",
                name_of(peer)
            );
            Happening::folder(id, "held", &text).by(peer)
        }
        Notice::Held { count } => {
            let text = format!(
                "{count} deletes found by a scan are held; if they are meant: syncctl held approve \
                 {id}"
            );
            Happening::folder(id, "held", &text)
        }
    }
}
