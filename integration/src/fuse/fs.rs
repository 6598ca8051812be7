//! What the kernel asks, answered from the tree.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::Asked;
use super::tree::What;

/// The kernel remembers no name: under which spelling it was asked for is not what it is called.
const NO_TIME: Duration = Duration::ZERO;

fn entry(reply: ReplyEntry, answer: Result<FileAttr, Errno>) {
    match answer {
        Ok(attr) => reply.entry(&NO_TIME, &attr, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn data(reply: ReplyData, answer: Result<Vec<u8>, Errno>) {
    match answer {
        Ok(bytes) => reply.data(&bytes),
        Err(error) => reply.error(error),
    }
}

fn attributes(reply: ReplyAttr, answer: Result<FileAttr, Errno>) {
    match answer {
        Ok(attr) => reply.attr(&NO_TIME, &attr),
        Err(error) => reply.error(error),
    }
}

fn empty(reply: ReplyEmpty, answer: Result<(), Errno>) {
    match answer {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

/// Answers with an extended attribute, or with how long it is.
fn value(reply: ReplyXattr, size: u32, answer: Result<Vec<u8>, Errno>) {
    match answer {
        Ok(bytes) if size == 0 => reply.size(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
        Ok(bytes) if bytes.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(bytes) => reply.data(&bytes),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Asked {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(reply, self.with(|tree| tree.find(parent, name)));
    }

    fn forget(&self, _: &Request, ino: INodeNo, _: u64) {
        self.with(|tree| {
            if let Ok(node) = tree.node_mut(ino) {
                node.forgotten = true;
            }
        });
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        attributes(reply, self.with(|tree| tree.node(ino).map(|node| node.attr)));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let answer = self.change(&[], |tree| {
            let (node, now) = (tree.node_mut(ino)?, SystemTime::now());
            node.attr.ctime = now;
            node.attr.perm = mode.map_or(node.attr.perm, |mode| (mode & 0o7777) as u16);
            node.attr.uid = uid.unwrap_or(node.attr.uid);
            node.attr.gid = gid.unwrap_or(node.attr.gid);
            if let (Some(size), What::File(bytes)) = (size, &mut node.what) {
                bytes.resize(usize::try_from(size).map_err(|_| Errno::EFBIG)?, 0);
                node.attr.size = size;
                node.attr.mtime = now;
            }
            match mtime {
                Some(TimeOrNow::SpecificTime(time)) => node.attr.mtime = time,
                Some(TimeOrNow::Now) => node.attr.mtime = now,
                None => {}
            }
            Ok(node.attr)
        });
        attributes(reply, answer);
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        let answer = self.with(|tree| match &tree.node(ino)?.what {
            What::Link(target) => Ok(target.clone()),
            What::Directory(_) | What::File(_) | What::Socket => Err(Errno::EINVAL),
        });
        data(reply, answer);
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let what = What::Directory(Default::default());
        entry(reply, self.change(&[parent], |tree| tree.make(parent, name, what, mode & !umask)));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let what = What::File(Vec::new());
        match self.change(&[parent], |tree| tree.make(parent, name, what, mode & !umask)) {
            Ok(attr) => {
                let handle = FileHandle(0);
                reply.created(&NO_TIME, &attr, Generation(0), handle, FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn mknod(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let made = match mode & libc::S_IFMT {
            libc::S_IFSOCK => {
                self.change(&[parent], |tree| tree.make(parent, name, What::Socket, mode & !umask))
            }
            _ => Err(Errno::EPERM),
        };
        entry(reply, made);
    }

    fn symlink(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let what = What::Link(target.as_os_str().as_bytes().to_vec());
        entry(reply, self.change(&[parent], |tree| tree.make(parent, name, what, 0o777)));
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(reply, self.change(&[parent], |tree| tree.link(ino, parent, name)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.change(&[parent], |tree| tree.remove(parent, name, false)));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.change(&[parent], |tree| tree.remove(parent, name, true)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = self.change(&[parent, new_parent], |tree| {
            tree.rename((parent, name), (new_parent, new_name), flags)
        });
        empty(reply, renamed);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let answer = self.with(|tree| match &tree.node(ino)?.what {
            What::File(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes[from..bytes.len().min(from + size as usize)].to_vec())
            }
            What::Directory(_) | What::Link(_) | What::Socket => Err(Errno::EISDIR),
        });
        data(reply, answer);
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let answer = self.change(&[], |tree| {
            let node = tree.node_mut(ino)?;
            let What::File(bytes) = &mut node.what else { return Err(Errno::EISDIR) };
            let from = usize::try_from(offset).map_err(|_| Errno::EFBIG)?;
            let end = from + data.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[from..end].copy_from_slice(data);
            node.attr.size = bytes.len() as u64;
            (node.attr.mtime, node.attr.ctime) = (SystemTime::now(), SystemTime::now());
            Ok(())
        });
        match answer {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(reply, self.sync(ino));
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(reply, self.sync(ino));
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = match self.with(|tree| tree.list(ino)) {
            Ok(listed) => listed,
            Err(error) => return reply.error(error),
        };
        let dots = [".", ".."].map(|dot| (dot.to_owned(), ino.0, FileType::Directory));
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        for (at, (name, ino, kind)) in dots.into_iter().chain(listed).enumerate().skip(from) {
            if reply.add(INodeNo(ino), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        // 4 GiB, nearly all of it free.
        reply.statfs(1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 4096, 255, 4096);
    }

    fn setxattr(
        &self,
        _: &Request,
        ino: INodeNo,
        name: &OsStr,
        data: &[u8],
        _: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let done = self.change(&[], |tree| {
            tree.node_mut(ino)?.attributes.insert(name.to_owned(), data.to_vec());
            Ok(())
        });
        empty(reply, done);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let found =
            self.with(|tree| tree.node(ino)?.attributes.get(name).cloned().ok_or(Errno::NO_XATTR));
        value(reply, size, found);
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let names = self.with(|tree| {
            let names = tree.node(ino)?.attributes.keys();
            Ok(names.flat_map(|name| [name.as_bytes(), b"\0"].concat()).collect())
        });
        value(reply, size, names);
    }
}
