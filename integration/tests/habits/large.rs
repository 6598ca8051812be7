//! A large file of which a little changes, again and again.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use syncd_integration::process::{
    Device, Listen, Mount, Scratch, can_use, eventually, introduce, is_long, share, write_noise,
    write_sparse,
};

const MIB: u64 = 1 << 20;

/// Two devices, of which the second has its folder on a disk of its own.
struct OnDisk {
    laptop: Device,
    devbox: Device,
    _disk: Mount,
    _scratch: Scratch,
}

impl OnDisk {
    fn new(history_percent: &str, mount: impl FnOnce(&Path) -> Mount) -> Self {
        let scratch = Scratch::new();
        let mut laptop = Device::init(scratch.path(), "laptop", Listen::Port);
        let mut devbox = Device::init(scratch.path(), "devbox", Listen::Port);
        let disk = mount(devbox.root());
        // A disk that was just made is not empty.
        let _ = fs::remove_dir(devbox.path("lost+found"));
        // All of the disk may be used.
        devbox.ok(&["config", "set", "limits.free_mib", "1"]);
        devbox.ok(&["config", "set", "limits.history_percent", history_percent]);
        laptop.start();
        devbox.start();
        introduce(&laptop, &devbox, &devbox.address());
        share(&laptop, &devbox);
        Self { laptop, devbox, _disk: disk, _scratch: scratch }
    }

    /// Gives the laptop its file, whole from the beginning: noise, or mostly holes.
    fn begin_with(&self, size: u64, is_sparse: bool) {
        let aside = self.laptop.root().with_extension("aside");
        match is_sparse {
            true => write_sparse(&aside, 1, size),
            false => write_noise(&aside, 1, size),
        }
        count(&File::options().write(true).open(&aside).unwrap(), size, 0);
        fs::rename(&aside, self.laptop.path("image")).unwrap();
    }

    fn agree(&self) {
        self.laptop.ok(&["flush", "--timeout", "15m"]);
        assert_eq!(super::copies(&self.laptop), [""; 0], "one writer makes no conflicts");
        let (ours, theirs) = (self.laptop.path("image"), self.devbox.path("image"));
        assert!(same(&ours, &theirs), "other bytes");
    }
}

/// Tells whether two large files hold the same.
fn same(one: &Path, other: &Path) -> bool {
    let (one, other) = (File::open(one).unwrap(), File::open(other).unwrap());
    let (mut here, mut there) = (vec![0; MIB as usize], vec![1; MIB as usize]);
    let size = one.metadata().unwrap().len();
    size == other.metadata().unwrap().len()
        && (0..size.div_ceil(MIB)).all(|at| {
            let left = (size - at * MIB).min(MIB) as usize;
            one.read_exact_at(&mut here[..left], at * MIB).unwrap();
            other.read_exact_at(&mut there[..left], at * MIB).unwrap();
            here[..left] == there[..left]
        })
}

/// Writes a number into the middle of a file.
fn count(file: &File, size: u64, number: u64) {
    file.write_all_at(&number.to_le_bytes(), size / 2).unwrap();
}

/// Reads the number back; nothing while there is no file.
fn counted(path: &Path, size: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    File::open(path).ok()?.read_exact_at(&mut bytes, size / 2).ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// Returns how many bytes lie below a directory, as the disk counts them.
fn taken(dir: &Path) -> u64 {
    let mut bytes = 0;
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                dirs.push(entry.path());
            } else {
                bytes += std::os::unix::fs::MetadataExt::blocks(&meta) * 512;
            }
        }
    }
    bytes
}

#[test]
fn a_large_file_that_changes_all_the_time_follows_and_fills_no_disk() {
    if !can_use(&["mount", "umount", "losetup", "mkfs.ext4"]) {
        return;
    }
    // The large one is mostly holes, so that it takes time and little room.
    let (size, lasts_s, each_ms) =
        if is_long() { (1_024 * MIB, 120, 1_000) } else { (32 * MIB, 4, 200) };
    // The disk has room for four versions: the one that is there, one on its way, and two that
    // were displaced and are not looked at yet.
    let pair =
        OnDisk::new(if is_long() { "1" } else { "10" }, |at| Mount::ext4(at, 4 * size / MIB + 40));
    let path = pair.laptop.path("image");
    pair.begin_with(size, is_long());
    pair.agree();
    // What one version takes: where a hole ends in the middle of a block, it is filled over there.
    let (here, there) = (taken(pair.laptop.root()), taken(pair.devbox.root()));
    let (last, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let (mut most, mut most_here, mut seen) = (0, 0, Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            let image = File::options().write(true).open(&path).unwrap();
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(lasts_s) {
                let number = last.fetch_add(1, Ordering::SeqCst) + 1;
                count(&image, size, number);
                // The pace of the program that changes it.
                thread::sleep(Duration::from_millis(each_ms));
            }
            is_over.store(true, Ordering::SeqCst);
        });
        while !is_over.load(Ordering::SeqCst) {
            most = most.max(taken(pair.devbox.root()));
            most_here = most_here.max(taken(pair.laptop.root()));
            let number = counted(&pair.devbox.path("image"), size);
            seen.extend(number.filter(|number| seen.last() != Some(number)));
            // Between two looks, for as long as the program works.
            thread::sleep(Duration::from_millis(50));
        }
    });
    let last = last.into_inner();
    eprintln!("{last} versions, of which {} were seen; {} MiB at most", seen.len(), most / MIB);
    assert!(seen.is_sorted(), "no version comes back: {seen:?}");
    assert!(most_here < here + 8 * MIB, "the sender needs no room: {} MiB", most_here / MIB);
    // The versions above, and what the trash may keep: a hundredth of the disk and what came since.
    let bound = 4 * there + size / 10 + 40 * MIB;
    assert!(most < bound, "{} of {} MiB at most", most / MIB, bound / MIB);
    eventually(
        Duration::from_secs(if is_long() { 1_800 } else { 240 }),
        "the last version arrives",
        || match counted(&pair.devbox.path("image"), size) {
            Some(number) if number == last => Ok(()),
            number => Err(format!("{number:?} of {last}")),
        },
    );
    pair.agree();
    eventually(Duration::from_secs(120), "old versions make room", || {
        // What the trash may keep of the disk, and the file itself.
        match taken(pair.devbox.root()) {
            left if left < there + size / 2 + 8 * MIB => Ok(()),
            left => Err(format!("{} MiB", left / MIB)),
        }
    });
}

#[test]
fn where_files_share_blocks_a_small_change_of_a_large_file_takes_little_room() {
    if !can_use(&["mount", "umount", "losetup", "mkfs.btrfs"]) {
        return;
    }
    let size = 40 * MIB;
    // All versions are kept, so that what they take shows.
    let pair = OnDisk::new("90", |at| Mount::btrfs(at, 400));
    let path = pair.laptop.path("image");
    pair.begin_with(size, false);
    pair.agree();
    let used = || {
        let disk = rustix::fs::statvfs(pair.devbox.root()).unwrap();
        (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    };
    let synced = || rustix::fs::syncfs(File::open(pair.devbox.root()).unwrap()).unwrap();
    synced();
    let before = used();
    let image = File::options().write(true).open(&path).unwrap();
    for number in 1..=4 {
        count(&image, size, number);
        pair.agree();
    }
    synced();
    let grown = used().saturating_sub(before);
    assert!(grown < 20 * MIB, "four versions of {} MiB took {} MiB", size / MIB, grown / MIB);
    let ours = pair.devbox.path(".syncd/trash");
    let versions = fs::read_dir(ours).unwrap().count() - 1;
    assert_eq!(versions, 4, "and all of them are kept");
}
