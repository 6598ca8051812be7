//! Owners, extended attributes and access lists: not sent, and not lost when a change arrives.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use rustix::fs::{XattrFlags, getxattr, setxattr};
use syncd_integration::process::{Pair, write};

/// An access list that lets user 1234 read and write: version 2, then tag, permissions and id of
/// the owner, the user, the group, the mask and the others.
fn access_list() -> Vec<u8> {
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (1_u16, 6_u16, u32::MAX),
        (2, 6, 1234),
        (4, 4, u32::MAX),
        (16, 6, u32::MAX),
        (32, 4, u32::MAX),
    ] {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let count = getxattr(path, name, &mut value[..]).ok()?;
    value.truncate(count);
    Some(value)
}

const LIST: &str = "system.posix_acl_access";

#[test]
fn owners_attributes_and_access_lists_stay_where_they_are() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root gives files away");
        return;
    }
    let pair = Pair::new();
    for (here, there) in pair.sides() {
        let name = format!("file-{}", here.name());
        write(&here.path(&name), "one");
        here.flush();
        let (ours, theirs) = (here.path(&name), there.path(&name));
        chown(&theirs, Some(1234), Some(1235)).unwrap();
        let noted = setxattr(&theirs, "user.note", b"mine", XattrFlags::empty());
        let listed = setxattr(&theirs, LIST, &access_list(), XattrFlags::empty());
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o664)).unwrap();
        there.flush();
        assert_eq!(attribute(&ours, "user.note"), None, "not sent");
        assert_eq!(attribute(&ours, LIST), None, "not sent");
        assert_eq!(fs::metadata(&ours).unwrap().uid(), 0, "not sent");
        write(&ours, "two");
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o644)).unwrap();
        here.flush();
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "two");
        let stat = fs::metadata(&theirs).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (1234, 1235), "the owner is not lost");
        assert_eq!(stat.mode() & 0o7777, 0o644, "the mode is the peer's");
        if noted.is_ok() {
            assert_eq!(attribute(&theirs, "user.note").as_deref(), Some(&b"mine"[..]));
        }
        if listed.is_ok() {
            let list = attribute(&theirs, LIST).expect("the access list is not lost");
            assert_eq!(list.len(), access_list().len(), "{list:?}");
            assert_eq!(list[12..20], access_list()[12..20], "user 1234 is still in it");
        }
        pair.assert_equal("bytes, modes and times");
    }
}

#[test]
fn running_as_root_is_warned_of_once() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: this is no root");
        return;
    }
    let pair = Pair::strangers();
    let log = fs::read_to_string(pair.laptop.log_path()).unwrap();
    assert_eq!(log.matches("runs as root").count(), 1, "{log}");
    let doctor = pair.laptop.ctl(&["doctor"]);
    assert!(doctor.stdout.contains("runs as root"), "{}", doctor.stdout);
}
