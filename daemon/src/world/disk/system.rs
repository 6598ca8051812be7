//! The calls that differ between kernels, and what a `stat` means to us.
//!
//! Everything here is about one descriptor and names relative to it; nothing follows a symlink.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
#[cfg(target_os = "linux")]
use std::sync::OnceLock;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::{self, Errno};
use syncd_core::model::{Kind, StatKey};

use crate::world::spare;

/// Permission bits that travel; the rest (setuid, setgid, sticky) stays on its device.
pub const MODE_SYNCED: u32 = 0o777;

/// How a directory is opened only to reach names in it. Needs no read permission on Linux.
#[cfg(target_os = "linux")]
pub const WAY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How a directory is opened only to reach names in it.
#[cfg(not(target_os = "linux"))]
pub const WAY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How a directory is opened to be listed or synced.
pub const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How a file is opened to be read: never waits for the other end of a FIFO.
pub const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// How whatever lies at a name is held without being read, so that it can be asked again after
/// its name has moved.
#[cfg(target_os = "linux")]
pub const HANDLE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How whatever lies at a name is held, so that it can be asked again.
#[cfg(not(target_os = "linux"))]
pub const HANDLE: OFlags = OFlags::RDONLY
    .union(OFlags::from_bits_retain(0x0020_0000)) // O_SYMLINK
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// Opens one name, starting over when a signal came, and with a descriptor from the reserve where
/// there are no others.
///
/// # Errors
/// What `openat` said.
pub fn open_at(dir: BorrowedFd<'_>, name: &[u8], flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
    spare::lending(|| io::retry_on_intr(|| fs::openat(dir, name, flags, self::mode(mode))))
}

/// Turns permission bits into what calls take.
#[must_use]
pub fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits as fs::RawMode)
}

/// Asks what lies at one name, without following it; `None` for nothing.
///
/// # Errors
/// What `fstatat` said, except that nothing is there.
pub fn stat_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Stat>> {
    match io::retry_on_intr(|| fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Asks what an open descriptor is.
///
/// # Errors
/// What `fstat` said.
pub fn stat_of(fd: impl AsFd) -> io::Result<Stat> {
    io::retry_on_intr(|| fs::fstat(fd.as_fd()))
}

/// Returns the kind of thing that a `stat` speaks of; `None` for what is never synced.
#[must_use]
pub fn kind_of(stat: &Stat) -> Option<Kind> {
    kind_of_type(FileType::from_raw_mode(stat.st_mode))
}

/// Returns the kind of thing that a type names; `None` for what is never synced or not known.
#[must_use]
pub fn kind_of_type(file_type: FileType) -> Option<Kind> {
    match file_type {
        FileType::RegularFile => Some(Kind::File),
        FileType::Directory => Some(Kind::Directory),
        FileType::Symlink => Some(Kind::Symlink),
        FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => None,
    }
}

/// Returns what the index remembers of a `stat`.
#[must_use]
pub fn key_of(stat: &Stat) -> StatKey {
    StatKey {
        inode: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        mtime_ns: nanoseconds(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or_default()),
        ctime_ns: nanoseconds(stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or_default()),
        mode: mode_of(stat) & MODE_SYNCED,
    }
}

/// Returns the permission bits that never travel: setuid, setgid, sticky.
#[must_use]
pub fn extra_mode_of(stat: &Stat) -> u32 {
    mode_of(stat) & 0o7000
}

/// Returns the raw mode of a `stat`.
#[allow(clippy::useless_conversion, reason = "16 bits on macOS, 32 here")]
fn mode_of(stat: &Stat) -> u32 {
    u32::from(stat.st_mode)
}

/// Returns how many names an inode has.
#[allow(clippy::useless_conversion, reason = "16 bits on macOS, 64 here")]
#[must_use]
pub fn links_of(stat: &Stat) -> u64 {
    u64::from(stat.st_nlink)
}

/// Returns how many bytes of the disk an inode takes.
#[allow(clippy::unnecessary_cast, reason = "another width on other systems")]
#[must_use]
pub fn bytes_taken(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks as i64).unwrap_or_default().saturating_mul(512)
}

/// Returns the device an inode lies on.
#[allow(clippy::unnecessary_cast, reason = "signed 32 bits on macOS, 64 here")]
#[must_use]
pub fn device_of(stat: &Stat) -> u64 {
    stat.st_dev as u64
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// Opens a path beneath `root` in one call that refuses symlinks, ways out and other mounts.
///
/// # Errors
/// `ENOSYS` where the kernel lacks it, `ELOOP` for a symlink on the way, `EXDEV` for another
/// mount, else what `openat2` said.
#[cfg(target_os = "linux")]
pub fn open_beneath(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    // The kernel answers EAGAIN when a rename elsewhere races with the walk; 64 tries outlast
    // any burst that does not aim at us, and an attacker gains an error only.
    let mut tries = 0;
    loop {
        match spare::lending(|| fs::openat2(root, path, flags, Mode::empty(), resolve)) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if tries < 64 => tries += 1,
            answer => return answer,
        }
    }
}

/// Opens a path beneath `root` in one call, where the kernel can.
///
/// # Errors
/// Always `ENOSYS`: this kernel cannot.
#[cfg(not(target_os = "linux"))]
pub fn open_beneath(_root: BorrowedFd<'_>, _path: &[u8], _flags: OFlags) -> io::Result<OwnedFd> {
    Err(Errno::NOSYS)
}

/// Makes `to` share the blocks of `from`.
///
/// # Errors
/// `EOPNOTSUPP` and its kin where the file system cannot.
#[cfg(target_os = "linux")]
pub fn clone_bytes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    fs::ioctl_ficlone(to, from)
}

/// Makes `to` share the blocks of `from`.
///
/// # Errors
/// Always `EOPNOTSUPP`: this kernel clones names, not descriptors.
#[cfg(not(target_os = "linux"))]
pub fn clone_bytes(_from: BorrowedFd<'_>, _to: BorrowedFd<'_>) -> io::Result<()> {
    Err(Errno::OPNOTSUPP)
}

/// Copies up to `count` bytes at `offset` to the same place, inside the kernel; 0 at the end.
///
/// # Errors
/// `EXDEV`, `EINVAL`, `EOPNOTSUPP` or `ENOSYS` where the kernel cannot, else what it said.
#[cfg(target_os = "linux")]
pub fn copy_range(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    offset: u64,
    count: usize,
) -> io::Result<usize> {
    io::retry_on_intr(|| {
        let (mut reads, mut writes) = (offset, offset);
        fs::copy_file_range(from, Some(&mut reads), to, Some(&mut writes), count)
    })
}

/// Copies up to `count` bytes at `offset` to the same place, where the kernel can.
///
/// # Errors
/// Always `ENOSYS`.
#[cfg(not(target_os = "linux"))]
pub fn copy_range(
    _from: BorrowedFd<'_>,
    _to: BorrowedFd<'_>,
    _offset: u64,
    _count: usize,
) -> io::Result<usize> {
    Err(Errno::NOSYS)
}

/// Lists the extended attributes of what a handle holds, with their values.
///
/// # Errors
/// What `listxattr` or `getxattr` said; `EOPNOTSUPP` counts as none.
#[cfg(target_os = "linux")]
pub fn attributes_of(handle: &OwnedFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    use std::os::fd::AsRawFd;
    // A handle cannot be asked itself, but the kernel shows the inode behind it.
    let shown = format!("/proc/self/fd/{}", handle.as_raw_fd());
    // Most files have none, and the kernel makes room for as much as is asked for.
    let mut few = [0; FEW_ATTRIBUTES_BYTES];
    if matches!(fs::listxattr(&shown, &mut few[..]), Ok(0) | Err(Errno::OPNOTSUPP)) {
        return Ok(Vec::new());
    }
    let mut names = vec![0; ATTRIBUTES_BYTES_MAX];
    let listed = fs::listxattr(&shown, &mut names[..])?;
    let names = names[..listed].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value_of = |name: &[u8]| {
        let mut value = vec![0; ATTRIBUTES_BYTES_MAX];
        let count = fs::getxattr(&shown, name, &mut value[..])?;
        value.truncate(count);
        Ok((name.to_vec(), value))
    };
    names.map(value_of).collect()
}

/// The most that the names, or one value, of extended attributes take on Linux, in bytes.
#[cfg(target_os = "linux")]
const ATTRIBUTES_BYTES_MAX: usize = 64 << 10;
/// Room for asking whether a file has any at all.
#[cfg(target_os = "linux")]
const FEW_ATTRIBUTES_BYTES: usize = 256;

/// Lists the extended attributes of what a handle holds, where that is done yet.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn attributes_of(_handle: &OwnedFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    Ok(Vec::new())
}

/// Sets an extended attribute of a file.
///
/// # Errors
/// What `fsetxattr` said.
pub fn set_attribute(fd: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> io::Result<()> {
    fs::fsetxattr(fd, name, value, fs::XattrFlags::empty())
}

/// Sets room aside for a file to grow into, without making it longer.
///
/// # Errors
/// `EOPNOTSUPP` where the file system cannot, `ENOSPC` when there is no room.
#[cfg(target_os = "linux")]
pub fn reserve(fd: BorrowedFd<'_>, offset: u64, bytes: u64) -> io::Result<()> {
    fs::fallocate(fd, fs::FallocateFlags::KEEP_SIZE, offset, bytes)
}

/// Sets room aside for a file to grow into, where the kernel can.
///
/// # Errors
/// Always `EOPNOTSUPP`.
#[cfg(not(target_os = "linux"))]
pub fn reserve(_fd: BorrowedFd<'_>, _offset: u64, _bytes: u64) -> io::Result<()> {
    Err(Errno::OPNOTSUPP)
}

/// Tells whether the kernel, and the sandbox we may be in, allow [`sync_file_system`]. It is tried
/// once, with a pipe, whose file system has nothing to write.
#[cfg(target_os = "linux")]
#[must_use]
pub fn can_sync_file_systems() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| match std::io::pipe() {
        Ok((end, _)) => !matches!(fs::syncfs(&end), Err(Errno::NOSYS | Errno::PERM)),
        Err(_) => true,
    })
}

/// Tells whether [`sync_file_system`] is allowed, as it always is here.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn can_sync_file_systems() -> bool {
    true
}

/// Makes everything on the descriptor's file system durable.
///
/// # Errors
/// What `syncfs` said; then nothing is known to be durable.
#[cfg(target_os = "linux")]
pub fn sync_file_system(fd: BorrowedFd<'_>) -> io::Result<()> {
    fs::syncfs(fd)
}

/// Makes everything on all file systems durable, as far as this kernel promises it.
///
/// # Errors
/// None; the kernel tells nothing.
#[cfg(not(target_os = "linux"))]
pub fn sync_file_system(_fd: BorrowedFd<'_>) -> io::Result<()> {
    rustix::fs::sync();
    Ok(())
}

/// Makes a directory's names durable. Where a file system cannot do that for one directory it
/// has nothing to sync, and that counts as done.
///
/// # Errors
/// What `fsync` said.
pub fn sync_directory(dir: BorrowedFd<'_>) -> io::Result<()> {
    match fs::fsync(dir) {
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
        answer => answer,
    }
}

/// Lists the names in an open directory with what it says of them, without `.` and `..`.
///
/// # Errors
/// What `getdents` said; a part is never returned.
#[cfg(target_os = "linux")]
pub fn names_in(dir: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, FileType)>> {
    let mut names = Vec::new();
    // Opened anew: a descriptor goes on listing where it last stopped.
    let dir = open_at(dir, b".", DIRECTORY, 0)?;
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = fs::RawDir::new(&dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        match entry {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(entry) => keep_name(&mut names, entry.file_name().to_bytes(), entry.file_type()),
        }
    }
    Ok(names)
}

/// Lists the names in an open directory with what it says of them, without `.` and `..`.
///
/// # Errors
/// What the system said; a part is never returned.
#[cfg(not(target_os = "linux"))]
pub fn names_in(dir: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, FileType)>> {
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(dir)? {
        let entry = entry?;
        keep_name(&mut names, entry.file_name().to_bytes(), entry.file_type());
    }
    Ok(names)
}

/// Finds which of the `names` in a directory the file system answers with for `name`, which is
/// not among them; `None` when it answers with none.
///
/// # Errors
/// What `fstatat` said.
pub fn spelling(
    dir: BorrowedFd<'_>,
    name: &[u8],
    names: Vec<(Vec<u8>, FileType)>,
) -> io::Result<Option<Vec<u8>>> {
    let Some(stat) = stat_at(dir, name)? else { return Ok(None) };
    for (listed, _) in names {
        if stat_at(dir, &listed)?.is_some_and(|there| there.st_ino == stat.st_ino) {
            return Ok(Some(listed));
        }
    }
    Ok(None)
}

fn keep_name(names: &mut Vec<(Vec<u8>, FileType)>, name: &[u8], file_type: FileType) {
    if !matches!(name, b"." | b"..") {
        names.push((name.to_vec(), file_type));
    }
}

/// Not to leave a trace in the access time; only the owner may.
#[cfg(target_os = "linux")]
pub const NO_ATIME: OFlags = OFlags::NOATIME;
/// Not to leave a trace in the access time; unknown here.
#[cfg(not(target_os = "linux"))]
pub const NO_ATIME: OFlags = OFlags::empty();
