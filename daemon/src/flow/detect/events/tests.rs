use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use syncd_core::flow::detect::{Debouncer, Look};
use syncd_core::model::{FolderId, Tick};
use tempfile::TempDir;

use super::super::arms::tests::Limited;
use super::super::ground::Folder;
use super::*;

/// Long enough for any machine, and over at once where it is not needed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Leaves out every name in a list that may change.
#[derive(Default)]
struct Names(Mutex<Vec<&'static str>>);

impl Scope for Names {
    fn synced(&self, path: &RelPath, _: bool) -> bool {
        !self.0.lock().unwrap().iter().any(|name| path.parts().any(|part| part == name.as_bytes()))
    }
    fn descend(&self, dir: &RelPath) -> bool {
        self.synced(dir, true)
    }
}

/// A watched folder. A cookie tells when everything that was done has been heard.
struct Ground {
    dir: TempDir,
    scope: Arc<Names>,
    heard: Receiver<Heard>,
    watcher: Watcher,
}

fn path(text: &str) -> RelPath {
    if text.is_empty() { RelPath::root() } else { RelPath::parse(text).unwrap() }
}

impl Ground {
    fn new(dirs: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in dirs {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        root.prepare(&FolderId::parse("f").unwrap()).unwrap();
        Self::watch(dir, &root, Arc::new(Names(Mutex::new(vec!["ignored"]))))
    }

    fn watch(dir: TempDir, root: &Root, scope: Arc<Names>) -> Self {
        let (tell, heard) = channel();
        let tell = move |what| {
            let _ = tell.send(what);
        };
        let watcher = Watcher::start(root, Arc::clone(&scope) as _, tell).unwrap();
        let ground = Self { dir, scope, heard, watcher };
        let first = ground.hear_until(|heard| matches!(heard, Heard::Coverage(_)));
        assert_eq!(first[0], touched("", Hint::Lost), "whatever happened before the watch");
        ground
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn hear_until(&self, last: impl Fn(&Heard) -> bool) -> Vec<Heard> {
        let mut all = Vec::new();
        while all.last().is_none_or(|heard| !last(heard)) {
            let Ok(heard) = self.heard.recv_timeout(PATIENCE) else { panic!("heard only {all:?}") };
            all.push(heard);
        }
        all
    }

    /// Returns all that was heard of what was done so far.
    fn hear(&self) -> Vec<Heard> {
        let cookie = self.watcher.cookie().unwrap();
        let mut all = self.hear_until(|heard| *heard == Heard::Cookie(cookie));
        all.pop();
        all
    }

    /// Returns the last hint for each path, sorted.
    fn hints(&self) -> Vec<(String, Hint)> {
        let mut hints = BTreeMap::new();
        for heard in self.hear() {
            let Heard::Touched { path, hint } = heard else { continue };
            hints.insert(path.to_string(), hint);
        }
        hints.into_iter().collect()
    }

    fn write(&self, name: &str) {
        fs::write(self.at(name), "x").unwrap();
    }
}

fn touched(name: &str, hint: Hint) -> Heard {
    Heard::Touched { path: path(name), hint }
}

fn exchange(ground: &Ground, a: &str, b: &str) {
    let (a, b) = (ground.at(a), ground.at(b));
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(rustix::fs::CWD, a, rustix::fs::CWD, b, flags).unwrap();
}

#[test]
fn each_change_is_heard_under_its_name() {
    type Do = fn(&Ground);
    use Hint::{Changed, Closed, Tree};
    type Hints<'a> = &'a [(&'a str, Hint)];
    let cases: [(Do, Hints<'_>, &str); 16] = [
        (|g| g.write("new"), &[("new", Closed)], "written and closed"),
        (|g| g.write("f"), &[("f", Closed)], "overwritten"),
        (|g| g.write("d/e/deep"), &[("d/e/deep", Closed)], "deep down"),
        (
            |g| fs::set_permissions(g.at("f"), PermissionsExt::from_mode(0o600)).unwrap(),
            &[("f", Changed)],
            "chmod",
        ),
        (
            |g| fs::rename(g.at("f"), g.at("d/f")).unwrap(),
            &[("d/f", Closed), ("f", Changed)],
            "renamed: both names",
        ),
        (
            |g| {
                g.write("f.tmp");
                fs::rename(g.at("f.tmp"), g.at("f")).unwrap();
            },
            &[("f", Closed), ("f.tmp", Changed)],
            "saved as editors do",
        ),
        (|g| fs::remove_file(g.at("f")).unwrap(), &[("f", Changed)], "deleted"),
        (|g| symlink("f", g.at("link")).unwrap(), &[("link", Changed)], "a symlink"),
        (|g| fs::hard_link(g.at("f"), g.at("h")).unwrap(), &[("h", Changed)], "a second name"),
        (|g| fs::create_dir(g.at("n")).unwrap(), &[("n", Tree)], "a directory"),
        (|g| fs::remove_dir_all(g.at("d")).unwrap(), &[("d", Changed), ("d/e", Changed)], "a tree"),
        (
            |g| fs::rename(g.at("d"), g.at("n")).unwrap(),
            &[("d", Changed), ("n", Tree)],
            "a tree gets another name",
        ),
        (|g| g.write("ignored"), &[], "ignored"),
        (|g| fs::create_dir_all(g.at("ignored/x")).unwrap(), &[], "nothing of it is watched"),
        (|g| g.write(".syncd/staging/x"), &[], "ours"),
        (
            |g| fs::rename(g.at("f"), g.at(".syncd/trash/f")).unwrap(),
            &[("f", Changed)],
            "settled away",
        ),
    ];
    for (change, expected, because) in cases {
        let ground = Ground::new(&["d/e"]);
        ground.write("f");
        ground.hear();
        change(&ground);
        let expected: Vec<_> = expected.iter().map(|(p, h)| ((*p).to_owned(), *h)).collect();
        assert_eq!(ground.hints(), expected, "{because}");
    }
}

#[test]
fn a_directory_is_heard_whatever_happened_to_it_before() {
    type Do = fn(&Ground);
    let cases: [(Do, &[&str], &str); 8] = [
        (|g| fs::create_dir_all(g.at("n/m/o")).unwrap(), &["n", "n/m", "n/m/o"], "made"),
        (|g| fs::rename(g.at("d"), g.at("n")).unwrap(), &["n", "n/e"], "renamed"),
        (
            |g| {
                fs::remove_dir_all(g.at("d")).unwrap();
                fs::create_dir_all(g.at("d/e")).unwrap();
            },
            &["d", "d/e"],
            "deleted and made again",
        ),
        (
            |g| {
                fs::rename(g.at("d"), g.at("n")).unwrap();
                fs::create_dir_all(g.at("d/e")).unwrap();
            },
            &["d", "d/e", "n", "n/e"],
            "its name taken by a new one",
        ),
        (
            |g| {
                fs::rename(g.at("d"), g.at("n")).unwrap();
                fs::rename(g.at("n"), g.at("d")).unwrap();
            },
            &["d", "d/e"],
            "there and back",
        ),
        (|g| exchange(g, "d", "b"), &["d", "d/c", "b", "b/e"], "exchanged"),
        (
            |g| {
                fs::remove_dir(g.at("b/c")).unwrap();
                fs::rename(g.at("d"), g.at("b")).unwrap();
            },
            &["b", "b/e"],
            "moved over an empty one",
        ),
        (
            |g| {
                fs::rename(g.at("d"), g.at("ignored")).unwrap();
                fs::rename(g.at("ignored/e"), g.at("e")).unwrap();
            },
            &["e"],
            "out of what is ignored",
        ),
    ];
    for (change, dirs, because) in cases {
        // Asked for often: the system hands events over in parts of its own choice.
        for _ in 0..8 {
            let ground = Ground::new(&["d/e", "b/c"]);
            change(&ground);
            let trees: Vec<_> = ground.hints();
            let told = |dir: &str| {
                trees.iter().any(|(at, hint)| {
                    *hint == Hint::Tree && (at == dir || dir.starts_with(&format!("{at}/")))
                })
            };
            assert!(dirs.iter().all(|dir| told(dir)), "{because}: {trees:?}");
            for dir in dirs {
                ground.write(&format!("{dir}/later"));
            }
            let mut later: Vec<_> =
                dirs.iter().map(|dir| (format!("{dir}/later"), Hint::Closed)).collect();
            later.sort();
            // A replaced directory may tell of its own end as late as now.
            let mut heard = ground.hints();
            heard.retain(|(at, _)| at.ends_with("later"));
            assert_eq!(heard, later, "{because}");
        }
    }
}

#[test]
fn a_watch_that_may_be_of_a_replaced_directory_is_renewed() {
    let folder = Folder::new();
    for name in ["d/e", "b"] {
        fs::create_dir_all(folder.dir.path().join(name)).unwrap();
    }
    let system = Limited { most: 100, ..Limited::default() };
    let (orders, _taken) = channel();
    let mut ears = Ears {
        arms: Arms::new(folder.root.clone(), Arc::<Names>::default(), Box::new(system.clone())),
        jobs: VecDeque::new(),
        orders,
        cookies: Arc::default(),
        overflowed: false,
        told: None,
        tell: Box::new(|_| {}),
    };
    ears.arm(RelPath::root(), Hint::Lost);
    for (change, renewed, because) in [
        (Change::Made, &[][..], "watched after it was made"),
        (Change::Content, &[], "the same directory"),
        (Change::MovedIn, &["d", "e"], "another one has its name, with all that is in it"),
    ] {
        while !ears.jobs.is_empty() {
            ears.work();
        }
        system.unwatched.lock().unwrap().clear();
        ears.changed(path("d"), change);
        while !ears.jobs.is_empty() {
            ears.work();
        }
        assert_eq!(*system.unwatched.lock().unwrap(), renewed, "{because}");
        let watched = system.watched.lock().unwrap().len();
        assert_eq!(watched, 5, "root, ours, d, d/e and b: {because}");
    }
}

#[test]
fn what_the_scope_leaves_out_can_change() {
    let ground = Ground::new(&["d/ignored/deep", "other"]);
    ground.write("d/ignored/deep/f");
    assert_eq!(ground.hints(), []);
    ground.scope.0.lock().unwrap()[0] = "other";
    ground.watcher.watch_tree(&RelPath::root());
    ground.hear_until(|heard| *heard == touched("", Hint::Lost));
    ground.write("d/ignored/deep/f");
    ground.write("other/f");
    assert_eq!(ground.hints(), [("d/ignored/deep/f".to_owned(), Hint::Closed)]);
    ground.watcher.unwatch(&path("d"));
    ground.hear();
    ground.write("d/ignored/deep/f");
    assert_eq!(ground.hints(), []);
}

#[test]
fn lost_events_are_answered_by_watching_anew() {
    let ground = Ground::new(&["d/e"]);
    // Laid, but its event is not heard before the loss: its file was there already.
    ground.watcher.cookies.open().insert(77);
    let lost = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
    ground.watcher.orders.send(Order::Event(Ok(lost))).unwrap();
    let heard = ground.hear_until(|heard| *heard == Heard::Cookie(77));
    let whole = heard.iter().filter(|heard| **heard == touched("", Hint::Lost)).count();
    assert_eq!(whole, 2, "at once, and when everything is watched again: {heard:?}");
    ground.write("d/e/f");
    assert_eq!(ground.hints(), [("d/e/f".to_owned(), Hint::Closed)]);
}

#[test]
fn a_root_that_leaves_is_heard() {
    let ground = Ground::new(&[]);
    let moved = ground.dir.path().with_extension("moved");
    fs::rename(ground.dir.path(), &moved).unwrap();
    ground.hear_until(|heard| *heard == touched("", Hint::Lost));
    fs::rename(&moved, ground.dir.path()).unwrap();
}

#[test]
fn cookies_are_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    root.prepare(&FolderId::parse("f").unwrap()).unwrap();
    fs::write(dir.path().join(".syncd/cookie-0"), "of an earlier run").unwrap();
    let ground = Ground::watch(dir, &root, Arc::default());
    ground.hear();
    ground.hear();
    let left = fs::read_dir(ground.at(".syncd")).unwrap();
    let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.starts_with(COOKIE)).count(), 0);
    fs::remove_dir_all(ground.at(".syncd")).unwrap();
    assert!(matches!(ground.watcher.cookie(), Err(CookieError::Disk(_))));
    root.prepare(&FolderId::parse("f").unwrap()).unwrap();
    assert_eq!(ground.hear(), [], "but that the cookie came");
}

#[test]
fn a_single_file_folder_hears_of_its_one_name() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    let id = FolderId::parse("f").unwrap();
    let root = Root::open_single(dir.path(), b"one", &id).unwrap();
    root.prepare(&id).unwrap();
    let ground = Ground::watch(dir, &root, Arc::default());
    for name in ["one", "two", "sub/one"] {
        ground.write(name);
    }
    assert_eq!(ground.hints(), [("file".to_owned(), Hint::Closed)]);
}

/// Follows the watcher for a while of random work, then compares with a whole scan.
#[test]
fn looks_where_the_watcher_pointed_see_all_that_a_scan_sees() {
    for seed in 0..12u64 {
        let mut folder = Folder::new();
        folder.root.prepare(&FolderId::parse("f").unwrap()).unwrap();
        let (tell, heard) = channel();
        let tell = move |what| {
            let _ = tell.send(what);
        };
        let watcher = Watcher::start(&folder.root, Arc::<Names>::default() as _, tell).unwrap();
        let base = folder.dir.path().to_owned();
        let mut state = seed;
        let mut roll = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let mut debouncer = Debouncer::default();
        for round in 0..6u64 {
            for _ in 0..40 {
                let name = |n: u64| ["a", "b", "a/c", "a/d", "b/c", "a/c/e", "a/c/f"][n as usize];
                let (one, two) = (base.join(name(roll(7))), base.join(name(roll(7))));
                // Whatever fails was no change.
                let _ = match roll(7) {
                    0 | 1 => fs::create_dir_all(&one),
                    2 | 3 => fs::write(&one, format!("{}", roll(1000))),
                    4 => fs::rename(&one, &two),
                    5 => fs::remove_dir_all(&one).or_else(|_| fs::remove_file(&one)),
                    _ => symlink("x", &one),
                };
            }
            let cookie = watcher.cookie().unwrap();
            let now = Tick(round * 10_000);
            loop {
                match heard.recv_timeout(PATIENCE).unwrap() {
                    Heard::Touched { path, hint } => debouncer.touched(&path, hint, now),
                    Heard::Cookie(n) if n == cookie => break,
                    Heard::Cookie(_) | Heard::Coverage(_) => {}
                }
            }
            for due in debouncer.due(now.after(5_000)) {
                folder.learn(&due.look);
            }
            let (report, told) = folder.look(&Look::Tree(RelPath::root()));
            assert!(report.complete && told.seen.is_empty(), "seed {seed}: {:?}", told.seen);
        }
    }
}
