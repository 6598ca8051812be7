//! Paths that a person names: whether a folder can have its root there, and which folder one
//! lies in.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use syncd_api::{ApiError, PathText};
use syncd_core::model::limits::FOLDER_ID_BYTES_MAX;
use syncd_core::model::{DeviceId, FolderId, RelPath};
use syncd_home::{FolderConfig, Home};

use super::{FrontDesk, blocking};
use crate::run::folder::Folder;
use crate::world::confine::may_lie;
use crate::world::disk::{OWN_NAME, OWNER_NAME};

/// A place for a folder's root that was looked at.
#[derive(Debug)]
pub(super) struct Place {
    /// As it goes into the settings: absolute, without `.`, `..` and symlinks at its end.
    pub(super) path: PathBuf,
    /// The same without any symlink.
    pub(super) real: PathBuf,
    /// Whether one single file lies there.
    pub(super) is_file: bool,
}

/// A path inside a folder.
pub(super) struct Spot {
    pub(super) folder: Folder,
    pub(super) rel: RelPath,
}

impl FrontDesk {
    /// Finds the folder that an absolute path lies in.
    pub(super) async fn locate(&self, path: &PathText) -> Result<Option<Spot>, ApiError> {
        let path = file_of(path)?;
        let folders = self.daemon.folders();
        blocking(move || {
            let named = normal(&path);
            let real = real_name(&named);
            folders.into_iter().find_map(|folder| {
                let config = folder.config();
                let roots = [config.path.clone(), real_name(&config.path)];
                let single = folder.single();
                let found = roots.iter().zip([&named, &real]).find_map(|(root, path)| {
                    match &single {
                        // Beside the file lie its conflict copies.
                        Some(single) => single.path_of(rel_of(root.parent()?, path)?.as_bytes()),
                        None => rel_of(root, path),
                    }
                });
                Some(Spot { folder, rel: found.filter(|rel| !rel.is_reserved())? })
            })
        })
        .await
    }

    /// Finds the folder that a path lies in, or refuses.
    pub(super) async fn located(&self, path: &PathText) -> Result<Spot, ApiError> {
        let spot = self.locate(path).await?;
        spot.ok_or_else(|| {
            ApiError::could_not(format!(
                "{:?} lies in no synced folder; see them with: syncctl folder ls",
                path.path
            ))
        })
    }
}

/// Returns where a path inside a folder lies, absolute.
pub(super) fn absolute(folder: &Folder, rel: &RelPath) -> PathBuf {
    let config = folder.config();
    let (root, rel) = match folder.single() {
        Some(single) => {
            let root = config.path.parent().unwrap_or(&config.path).to_owned();
            (root, single.name_here(rel).unwrap_or_else(|| rel.as_bytes().to_vec()))
        }
        None => (config.path, rel.as_bytes().to_vec()),
    };
    root.join(OsStr::from_bytes(&rel))
}

/// Returns a path inside a folder as it is named here.
pub(super) fn shown(folder: &Folder, rel: &RelPath) -> PathText {
    let name = folder.single().and_then(|single| single.name_here(rel));
    name.map_or_else(|| PathText::of(rel.as_bytes()), |name| PathText::of(&name))
}

fn rel_of(root: &Path, path: &Path) -> Option<RelPath> {
    let rel = path.strip_prefix(root).ok()?.as_os_str().as_bytes();
    if rel.is_empty() { Some(RelPath::root()) } else { RelPath::parse(rel).ok() }
}

/// Reads a path that came in.
pub(super) fn file_of(path: &PathText) -> Result<PathBuf, ApiError> {
    path.file().map_err(|error| ApiError::usage(error.to_string()))
}

/// Takes `.`, `..` and doubled slashes out of an absolute path, by its letters alone.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    normal
}

/// Resolves the symlinks on the way to a path, not one at its end. What is not there stays as
/// it is written.
fn real_name(path: &Path) -> PathBuf {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return path.to_owned();
    };
    let real = std::fs::canonicalize(parent).unwrap_or_else(|_| real_name(parent));
    real.join(name)
}

/// Looks at what lies at a path that is to be a root. Blocks.
pub(super) fn look(asked: &Path) -> Result<Option<Place>, ApiError> {
    let refused = |error: std::io::Error| {
        ApiError::could_not(format!("{} cannot be looked at: {error}", asked.display()))
    };
    let real = match std::fs::canonicalize(asked) {
        Ok(real) => real,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let file = asked.ancestors().skip(1).find(|above| above.is_file());
            return Err(file.map_or_else(
                || refused(error),
                |file| {
                    let file = file.display();
                    ApiError::could_not(format!("{file} is a file, not a directory; name another"))
                },
            ));
        }
    };
    let kind = std::fs::symlink_metadata(&real).map_err(refused)?;
    if !kind.is_dir() && !kind.is_file() {
        return Err(ApiError::could_not(format!(
            "{} is neither a directory nor a file; name one of those",
            asked.display()
        )));
    }
    let dotted = asked.components().any(|part| part == Component::ParentDir);
    let ends_in_link = std::fs::symlink_metadata(normal(asked)).is_ok_and(|m| m.is_symlink());
    let path = if dotted || ends_in_link { real.clone() } else { normal(asked) };
    Ok(Some(Place { path, real, is_file: kind.is_file() }))
}

/// Makes sure that a root may lie at `place`. Blocks.
///
/// # Errors
/// One sentence: it is the whole file system or the user's home, or it lies in, around or at
/// syncd's own home or another folder.
pub(super) fn check_free(
    place: &Path,
    home: &Home,
    folders: &[FolderConfig],
) -> Result<(), ApiError> {
    let shown = place.display();
    let refuse = |why: String| Err(ApiError::could_not(why));
    if place == Path::new("/") {
        return refuse("'/' is the whole file system; share a directory in it".to_owned());
    }
    let users = std::env::home_dir().map(|dir| std::fs::canonicalize(&dir).unwrap_or(dir));
    if users.is_some_and(|users| users.starts_with(place)) {
        return refuse(format!("{shown} holds your whole home directory; share a directory in it"));
    }
    let own = [home.dir().to_owned(), home.config_path()].map(|own| real_name(&own));
    let own = [own[0].clone(), own[1].parent().map(Path::to_owned).unwrap_or_default()];
    for own in own {
        match relation(place, &own) {
            None => {}
            Some(Relation::Around) => {
                return refuse(format!(
                    "syncd keeps its keys in {}, below {shown}; share a directory beside it",
                    own.display()
                ));
            }
            Some(Relation::Same | Relation::Inside) => {
                return refuse(format!(
                    "{shown} lies in syncd's own home {}; share another directory",
                    own.display()
                ));
            }
        }
    }
    if !may_lie(place) {
        return refuse(format!(
            "syncd is confined, and {shown} lies in none of the directories that 'confine' in \
             config.toml names; put one above it there, and start syncd again"
        ));
    }
    for folder in folders {
        let (id, other) = (&folder.id, folder.path.display());
        match relation(place, &real_name(&folder.path)) {
            None => {}
            Some(Relation::Same) => {
                return refuse(format!("{shown} is the folder '{id}' already"));
            }
            Some(Relation::Inside) => {
                return refuse(format!(
                    "{shown} lies in the folder '{id}' ({other}) and is synced with it"
                ));
            }
            Some(Relation::Around) => {
                return refuse(format!(
                    "the folder '{id}' ({other}) lies in {shown}; end it first with: syncctl \
                     folder rm {id}"
                ));
            }
        }
    }
    Ok(())
}

/// Makes sure that no other device keeps a folder at `place` or around it: two daemons on one
/// tree would take each other's work for a user's. Blocks.
///
/// # Errors
/// One sentence that names the other device and its home.
pub(super) fn check_unclaimed(place: &Path, me: DeviceId) -> Result<(), ApiError> {
    for dir in real_name(place).ancestors() {
        let owner = std::fs::read_to_string(dir.join(OWN_NAME).join(OWNER_NAME));
        let owner = owner.unwrap_or_default();
        let mut lines = owner.lines();
        let id = lines.next().and_then(|id| DeviceId::parse(id).ok());
        if id.is_some_and(|id| id != me) {
            let (name, home) = (lines.next().unwrap_or("?"), lines.next().unwrap_or("?"));
            let (place, dir) = (place.display(), dir.display());
            return Err(ApiError::could_not(format!(
                "{place} is synced by the device '{name}' already (its home is {home}), and two \
                 devices cannot share one tree; share another directory, or end that folder \
                 first, or remove {dir}/{OWN_NAME} if that device is no more"
            )));
        }
    }
    Ok(())
}

/// Refuses a single file by its name.
pub(super) fn no_single(path: &Path) -> ApiError {
    ApiError::could_not(format!(
        "{} has the name of a conflict copy, and such a file is not shared alone; give it another \
         name",
        path.display()
    ))
}

/// How one path lies to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Same,
    Inside,
    Around,
}

fn relation(path: &Path, other: &Path) -> Option<Relation> {
    if path == other {
        Some(Relation::Same)
    } else if path.starts_with(other) {
        Some(Relation::Inside)
    } else if other.starts_with(path) {
        Some(Relation::Around)
    } else {
        None
    }
}

/// Makes a folder's id of the last name of its path: lawful, and not taken.
pub(super) fn id_from(name: &[u8], is_taken: impl Fn(&FolderId) -> bool) -> FolderId {
    let text = String::from_utf8_lossy(name);
    let lawful = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let text: String = text.chars().map(lawful).collect();
    let text = text.trim_start_matches(['.', '-']).trim_end_matches('-');
    let text = if text.is_empty() { "folder" } else { text };
    // All characters are of one byte by now.
    let cut = |room: usize| &text[..text.len().min(room)];
    let plain = std::iter::once(cut(FOLDER_ID_BYTES_MAX).to_owned());
    let numbered = (2_u64..).map(|number| {
        let end = format!("-{number}");
        format!("{}{end}", cut(FOLDER_ID_BYTES_MAX - end.len()))
    });
    let mut ids = plain.chain(numbered).filter_map(|text| FolderId::parse(&text).ok());
    match ids.find(|id| !is_taken(id)) {
        Some(id) => id,
        None => unreachable!("there are more numbers than folders"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_gives_a_lawful_id_of_its_own() {
        let long = "x".repeat(200);
        let cut = "x".repeat(64);
        for (name, taken, id, because) in [
            (&b"work"[..], &[][..], "work", "as it is"),
            (b"My Work!", &[], "My-Work", "blanks and signs"),
            (b".config", &[], "config", "no leading dot"),
            ("caf\u{e9}".as_bytes(), &[], "caf", "no letters but ASCII"),
            (b"\xff\xfe", &[], "folder", "nothing is left"),
            (b"", &[], "folder", "nothing was there"),
            (long.as_bytes(), &[], cut.as_str(), "too long"),
            (b"work", &["work", "work-2"], "work-3", "taken"),
        ] {
            let is_taken = |id: &FolderId| taken.contains(&id.as_str());
            assert_eq!(id_from(name, is_taken).as_str(), id, "{because}");
        }
        let second = id_from(long.as_bytes(), |id| id.as_str() == cut);
        assert_eq!(second.as_str(), format!("{}-2", "x".repeat(62)), "cut to make room");
    }

    #[test]
    fn paths_are_read_by_their_letters() {
        for (path, read) in
            [("/a/b", "/a/b"), ("/a/./b//", "/a/b"), ("/a/x/../b", "/a/b"), ("/../..", "/")]
        {
            assert_eq!(normal(Path::new(path)), Path::new(read), "{path}");
        }
    }

    #[test]
    fn folders_do_not_lie_in_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let base = std::fs::canonicalize(dir.path()).unwrap();
        let home = Home::at(&base.join("home"));
        std::fs::create_dir_all(base.join("work/deep")).unwrap();
        let taken = FolderConfig::new(FolderId::parse("work").unwrap(), base.join("work"));
        for (place, why) in [
            ("work", Some("is the folder 'work' already")),
            ("work/deep", Some("lies in the folder 'work'")),
            ("workshop", None),
            ("", Some("syncd keeps its keys")),
            ("home", Some("syncd's own home")),
            ("home/index", Some("syncd's own home")),
            ("home2", None),
        ] {
            let place = if place.is_empty() { base.clone() } else { base.join(place) };
            let said = check_free(&place, &home, std::slice::from_ref(&taken));
            match (said, why) {
                (Ok(()), None) => {}
                (Err(error), Some(why)) => assert!(error.error.contains(why), "{error}"),
                (said, why) => panic!("{}: {said:?} instead of {why:?}", place.display()),
            }
        }
        let around =
            check_free(&base.join("w"), &home, &[FolderConfig { path: base.join("w/x"), ..taken }]);
        assert!(around.unwrap_err().error.contains("lies in"), "around another folder");
        assert!(check_free(Path::new("/"), &home, &[]).is_err(), "the whole file system");
    }

    #[test]
    fn a_root_is_looked_at_through_links() {
        let dir = tempfile::tempdir().unwrap();
        let base = std::fs::canonicalize(dir.path()).unwrap();
        std::fs::create_dir(base.join("real")).unwrap();
        std::fs::write(base.join("file"), "x").unwrap();
        std::os::unix::fs::symlink("real", base.join("link")).unwrap();
        assert!(look(&base.join("gone")).unwrap().is_none());
        let place = look(&base.join("link")).unwrap().unwrap();
        assert_eq!((place.path, place.is_file), (base.join("real"), false), "where it leads");
        assert!(look(&base.join("file")).unwrap().unwrap().is_file);
        let dotted = look(&base.join("link/../file")).unwrap().unwrap();
        assert_eq!(dotted.path, base.join("file"));
        assert!(look(Path::new("/dev/null")).unwrap_err().error.contains("neither"));
    }
}
