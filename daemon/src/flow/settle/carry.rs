//! Carrying a single file to another directory of the same disk, at a person's word: the file, its
//! conflict copies, and the folder's own place with its trash.
//!
//! Nobody else is at work there: the folder's thread has ended, or the file's leaving would be told
//! as a delete.
//!
//! # Invariants
//! - Nothing is replaced: whatever lies at a new name already stays, and nothing is moved.
//! - Cut short at any moment, each name is in one of the two directories, and carrying again goes
//!   on from there.

use std::os::fd::AsFd;

use rustix::fs::{self, RenameFlags};
use rustix::io::Errno;
use syncd_core::model::FolderId;

use crate::world::disk::{Attested, DiskError, Root, RootToken, Single, system};

/// Why a single file was not carried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CarryError {
    /// Something lies at a new name. Move that away.
    #[error("{name} lies there already")]
    Taken {
        /// The name.
        name: String,
    },
    /// The new directory is on another disk.
    #[error("it is on another disk")]
    OtherDisk,
    /// Neither directory holds the folder's own place.
    #[error("the folder's '.syncd' is in neither directory")]
    Unproven,
    /// The system refused.
    #[error("the system refused to move it")]
    Refused(#[source] DiskError),
}

/// Carries the single file of `folder` from one root to another, known by its `token`. What was
/// moved already by somebody else is taken as it lies there. Returns what to remember of the new
/// root.
///
/// # Errors
/// [`CarryError`]; what was carried until then is found there by the next call.
pub fn carry(
    (from, to): (&Root, &Root),
    folder: &FolderId,
    token: &RootToken,
) -> Result<RootToken, CarryError> {
    let (Some(old), Some(new)) = (from.single(), to.single()) else {
        return Err(CarryError::Unproven);
    };
    let names = names_to_carry(from, old, new).map_err(|errno| refused(from, errno))?;
    for (_, name) in &names {
        let there = system::stat_at(to.fd(), name).map_err(|errno| refused(to, errno))?;
        if there.is_some() {
            return Err(CarryError::Taken { name: String::from_utf8_lossy(name).into_owned() });
        }
    }
    if from.device_inode().0 != to.device_inode().0 {
        return Err(CarryError::OtherDisk);
    }
    if !has_place(to, token) {
        carry_place(from, to, folder, token)?;
    }
    let remembered = to.prepare(folder).map_err(CarryError::Refused)?;
    for (before, after) in &names {
        rename_new(from, before, to, after)?;
    }
    for root in [from, to] {
        system::sync_directory(root.fd()).map_err(|errno| refused(root, errno))?;
    }
    Ok(remembered)
}

/// Lists the names that belong to the folder, each with the one that it has in the new directory.
fn names_to_carry(
    from: &Root,
    old: &Single,
    new: &Single,
) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = Vec::new();
    for (before, _) in system::names_in(from.fd())? {
        let after = old.path_of(&before).and_then(|path| new.name_here(&path));
        names.extend(after.map(|after| (before, after)));
    }
    Ok(names)
}

/// Tells whether a root holds the folder's own place.
fn has_place(root: &Root, token: &RootToken) -> bool {
    match root.attest(None) {
        Ok(Attested::First(Some(found))) => found.token == token.token,
        Ok(Attested::First(None) | Attested::Known(_) | Attested::Recreated(_)) | Err(_) => false,
    }
}

/// Moves the folder's own place, of which the new root has none.
fn carry_place(
    from: &Root,
    to: &Root,
    folder: &FolderId,
    token: &RootToken,
) -> Result<(), CarryError> {
    if !has_place(from, token) {
        return Err(CarryError::Unproven);
    }
    if matches!(to.stat(to.own()), Ok(Some(_))) {
        return Err(CarryError::Taken { name: to.own().to_string() });
    }
    let outer = |root: &Root| root.prepare_outer().map_err(CarryError::Refused);
    let (old, new) = (outer(from)?, outer(to)?);
    let name = folder.as_str();
    fs::renameat(&old, name, &new, name).map_err(|errno| refused(to, errno))?;
    for (root, outer) in [(from, &old), (to, &new)] {
        system::sync_directory(outer.as_fd()).map_err(|errno| refused(root, errno))?;
    }
    Ok(())
}

/// Gives a file another name where nothing has it.
fn rename_new(from: &Root, before: &[u8], to: &Root, after: &[u8]) -> Result<(), CarryError> {
    let (old, new) = (from.fd(), to.fd());
    let done = match fs::renameat_with(old, before, new, after, RenameFlags::NOREPLACE) {
        // RACE: where the disk knows no such rename, somebody may take the name right now.
        Err(Errno::INVAL | Errno::NOSYS) => fs::renameat(old, before, new, after),
        done => done,
    };
    match done {
        Err(Errno::EXIST) => {
            Err(CarryError::Taken { name: String::from_utf8_lossy(after).into_owned() })
        }
        done => done.map_err(|errno| refused(to, errno)),
    }
}

fn refused(root: &Root, errno: Errno) -> CarryError {
    match errno {
        Errno::XDEV => CarryError::OtherDisk,
        errno => CarryError::Refused(DiskError::of(root.own(), errno)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const COPY: &str = ".sync-conflict-20261120-192402-EIRCEIR";

    fn folder() -> FolderId {
        FolderId::parse("notes").unwrap()
    }

    fn single(dir: &Path, name: &str) -> Root {
        std::fs::create_dir_all(dir).unwrap();
        Root::open_single(dir, name.as_bytes(), &folder()).unwrap()
    }

    fn names(dir: &Path) -> Vec<String> {
        let listed = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<String> =
            listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != ".syncd");
        names.sort();
        names
    }

    #[test]
    fn a_file_goes_with_its_copies_and_its_trash_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        let from = single(&a, "notes.txt");
        let token = from.prepare(&folder()).unwrap();
        let copy = format!("notes{COPY}.txt");
        for name in ["notes.txt", &copy, "other.txt", ".syncd/notes/trash/kept"] {
            std::fs::write(a.join(name), name).unwrap();
        }
        let to = single(&b, "memo.md");
        std::fs::write(b.join("memo.md"), "somebody's").unwrap();
        let taken = CarryError::Taken { name: "memo.md".to_owned() };
        assert_eq!(carry((&from, &to), &folder(), &token), Err(taken), "nothing is replaced");
        assert_eq!(names(&a).len(), 3, "and nothing was moved");
        std::fs::remove_file(b.join("memo.md")).unwrap();
        let carried = carry((&from, &to), &folder(), &token).unwrap();
        assert_eq!(names(&a), ["other.txt"]);
        assert_eq!(names(&b), ["memo.md".to_owned(), format!("memo{COPY}.md")]);
        assert!(b.join(".syncd/notes/trash/kept").exists(), "the trash goes with it");
        assert_eq!((carried.token, carried.inode), (token.token, to.device_inode().1));
        assert_eq!(to.attest(Some(&carried)), Ok(Attested::Known(carried)));
        assert_eq!(carry((&from, &to), &folder(), &token), Ok(carried), "twice is once");
    }

    #[test]
    fn what_cannot_be_proven_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        let (from, to) = (single(&a, "f"), single(&b, "f"));
        std::fs::write(a.join("f"), "x").unwrap();
        let token = RootToken { token: [7; 16], inode: 1 };
        assert_eq!(carry((&from, &to), &folder(), &token), Err(CarryError::Unproven));
        from.prepare(&folder()).unwrap();
        assert_eq!(carry((&from, &to), &folder(), &token), Err(CarryError::Unproven), "another's");
        let token = from.prepare(&folder()).unwrap();
        to.prepare(&folder()).unwrap();
        let taken = CarryError::Taken { name: ".syncd/notes".to_owned() };
        assert_eq!(
            carry((&from, &to), &folder(), &token),
            Err(taken),
            "a place of an earlier life"
        );
        assert_eq!((names(&a).len(), names(&b).len()), (1, 0));
    }
}
