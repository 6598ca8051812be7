//! Files of a home: private, replaced whole, durable.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Makes `dir` and what is missing above it, readable by the owner alone.
pub(crate) fn make_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Replaces the file at `path` by one that holds `bytes`, with the permission bits `mode`.
///
/// Returns when both the bytes and the name are durable. After a crash there is the old file or
/// the new one. Where `path` is a symlink its target is replaced and the link stays.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let temp = beside(&path)?;
    let result = write_new(&temp, bytes, mode)
        .and_then(|()| fs::rename(&temp, &path))
        .and_then(|()| sync_dir_of(&path));
    if result.is_err() {
        // A failed attempt leaves nothing behind; the error that counts is the first one.
        let _ = fs::remove_file(&temp);
    }
    result
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // What a killed process left there is nobody's: the name holds our own pid.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Returns the name of a temporary file in the directory of `path`.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temp = std::ffi::OsString::from(".");
    temp.push(name);
    temp.push(format!(".new-{}", std::process::id()));
    Ok(path.with_file_name(temp))
}

fn sync_dir_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// Tries whether `bytes` more can be written to `dir` and made durable; nothing of it stays.
pub(crate) fn try_room(dir: &Path, bytes: usize) -> io::Result<()> {
    let path = dir.join(format!(".room-{}", std::process::id()));
    let tried = write_new(&path, &vec![0; bytes], 0o600);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => tried.and(Err(error)),
        Ok(()) | Err(_) => tried,
    }
}

/// Returns the permission bits of `path`, `None` if it cannot be seen.
pub(crate) fn mode_of(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|meta| meta.mode() & 0o777)
}

/// Waits for, and then holds, the right to change the files beside `path`: an exclusive lock
/// that ends when the returned file is dropped.
pub(crate) fn hold(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(file)
}
