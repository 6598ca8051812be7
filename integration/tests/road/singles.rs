//! A single file that is shared, under another name on each device.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use syncd_integration::process::{Device, Pair, eventually, set_mtime, write};

/// How long a change may take to show.
const SHOWS_MAX: Duration = Duration::from_secs(60);

const ID: &str = "notes";

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| format!("({error})"))
}

/// One file, `notes.txt` on the laptop and `memo.md` on the devbox, each in a directory in which
/// other files lie too.
struct Shared {
    pair: Pair,
    here: PathBuf,
    there: PathBuf,
}

impl Shared {
    /// Makes it, not yet taken by the devbox.
    fn offered() -> Self {
        let pair = Pair::acquainted();
        let here = pair.laptop.path("texts/notes.txt");
        let there = pair.devbox.path("elsewhere/memo.md");
        write(&here, "first");
        for beside in [here.with_file_name("other.txt"), there.with_file_name("notes.txt")] {
            write(&beside, "a neighbour");
        }
        let path = here.display().to_string();
        let label = ["--label", "My notes"];
        pair.laptop
            .ok(&[&["folder", "add", &path, "--id", ID, "--with", "devbox"], &label[..]].concat());
        eventually(SHOWS_MAX, "the file is offered with its size", || {
            let offers = pair.devbox.json(&["folder", "ls", "--offered"]);
            if offers[0]["files"] == 1 { Ok(()) } else { Err(offers.to_string()) }
        });
        Self { pair, here, there }
    }

    /// Makes it, taken by the devbox under its own name.
    fn new() -> Self {
        let shared = Self::offered();
        shared.accept(&[]);
        shared.both_hold("first");
        shared
    }

    fn accept(&self, arguments: &[&str]) {
        let path = self.there.display().to_string();
        self.pair.devbox.ok(&[&["folder", "accept", ID, &path], arguments].concat());
    }

    /// Each side, with where the file lies on it and on the other one.
    fn sides(&self) -> [(&Device, &Path, &Path); 2] {
        let (laptop, devbox) = (&self.pair.laptop, &self.pair.devbox);
        [(laptop, &self.here, &self.there), (devbox, &self.there, &self.here)]
    }

    #[track_caller]
    fn both_hold(&self, text: &str) {
        eventually(SHOWS_MAX, &format!("both hold {text:?}"), || {
            let found = [read(&self.here), read(&self.there)];
            if found == [text; 2] { Ok(()) } else { Err(format!("{found:?}")) }
        });
    }

    /// Lets both sides write without knowing of each other; what the laptop wrote is newer.
    fn conflict(&self, ours: &str, theirs: &str) {
        self.pair.devbox.ok(&["folder", "pause", ID]);
        write(&self.there, theirs);
        set_mtime(&self.there, 1_700_000_000, 0);
        write(&self.here, ours);
        set_mtime(&self.here, 1_700_086_399, 0);
        for device in [&self.pair.laptop, &self.pair.devbox] {
            device.ok(&["scan"]);
        }
        self.pair.devbox.ok(&["folder", "resume", ID]);
    }

    /// Waits until each side has one conflict copy under its own name, and returns both.
    #[track_caller]
    fn copies(&self) -> [PathBuf; 2] {
        eventually(SHOWS_MAX, "a copy lies on both sides", || {
            let [here, there] = [&self.here, &self.there].map(|path| copies_of(path));
            match (&here[..], &there[..]) {
                ([here], [there]) => Ok([here.clone(), there.clone()]),
                _ => Err(format!("{here:?} and {there:?}")),
            }
        })
    }
}

fn copies_of(path: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(path.parent().unwrap()).unwrap();
    let paths = listed.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_string_lossy().contains(".sync-conflict-")).collect()
}

#[test]
fn every_save_arrives_under_the_name_of_the_other_side() {
    let shared = Shared::new();
    for (device, mine, theirs) in shared.sides() {
        let folders = device.json(&["folder", "ls"]);
        let mine_text = mine.display().to_string();
        assert_eq!(
            (&folders[0]["path"], &folders[0]["single_file"]),
            (&mine_text.into(), &true.into())
        );
        fs::write(mine, device.name()).unwrap();
        shared.both_hold(device.name());
        let staged = mine.with_file_name(".notes.tmp");
        fs::write(&staged, format!("{} saved", device.name())).unwrap();
        fs::rename(&staged, mine).unwrap();
        shared.both_hold(&format!("{} saved", device.name()));
        assert!(!theirs.with_file_name(".notes.tmp").exists(), "what a save leaves is its own");
    }
    let events = shared.pair.devbox.ok(&["events", "--json"]);
    assert!(events.contains("\"memo.md\""), "told by its name here: {events}");
}

#[test]
fn neighbours_and_their_ignore_files_do_not_count() {
    let shared = Shared::new();
    write(&shared.here.with_file_name(".stignore"), "*\n");
    write(&shared.there.with_file_name("file"), "the name that devices use");
    shared.pair.laptop.ok(&["scan"]);
    fs::write(&shared.here, "not ignored").unwrap();
    shared.both_hold("not ignored");
    for (device, mine, _) in shared.sides() {
        assert_eq!(device.status(ID)["files"], 1, "{}", device.name());
        let beside = mine.with_file_name("file").display().to_string();
        let why = device.json(&["why", &beside]).to_string();
        assert!(why.contains("not-in-folder"), "{why}");
        let why = device.json(&["why", &mine.display().to_string()]).to_string();
        assert!(why.contains("synced"), "{why}");
    }
    assert_eq!(read(&shared.there.with_file_name("notes.txt")), "a neighbour");
    assert_eq!(read(&shared.there.with_file_name("file")), "the name that devices use");
    assert!(!shared.there.with_file_name("other.txt").exists());
    let path = shared.here.with_file_name("other.txt").display().to_string();
    let refused = shared.pair.laptop.ctl(&["folder", "add", &path, "--ignore", "*.log"]);
    assert_eq!(refused.code, 2, "one file has nothing to ignore: {}", refused.stderr);
}

#[test]
fn a_conflict_copy_lies_beside_the_file_under_its_name_here() {
    let shared = Shared::new();
    for keep in ["mine", "theirs"] {
        let [newer, older] = ["newer", "older"].map(|text| format!("{text}, keeping {keep}"));
        shared.conflict(&newer, &older);
        shared.both_hold(&newer);
        let [here, there] = shared.copies();
        let names = [&here, &there].map(|path| path.file_name().unwrap().to_str().unwrap());
        let stamp = format!("20231114-221320-{}", shared.pair.devbox.short_id());
        assert_eq!(
            names,
            [format!("notes.sync-conflict-{stamp}.txt"), format!("memo.sync-conflict-{stamp}.md")]
        );
        assert_eq!([read(&here), read(&there)], [older.clone(), older.clone()]);
        for ((device, mine, _), name) in shared.sides().into_iter().zip(names) {
            let file = mine.file_name().unwrap().to_str().unwrap();
            eventually(SHOWS_MAX, "the conflict is listed", || {
                let listed = device.json(&["conflicts", "ls"]);
                let told = (&listed[0]["path"], &listed[0]["copy"]["path"]);
                let expected = (&Value::from(file), &Value::from(name));
                if told == expected { Ok(()) } else { Err(listed.to_string()) }
            });
        }
        let path = shared.there.display().to_string();
        let both = shared.pair.devbox.ctl(&["conflicts", "resolve", &path, "--keep", "both"]);
        assert_eq!(both.code, 1, "{}", both.stderr);
        assert!(both.stderr.contains("one single file"), "{}", both.stderr);
        shared.pair.devbox.ok(&["conflicts", "resolve", &path, "--keep", keep]);
        shared.both_hold(if keep == "mine" { &older } else { &newer });
        eventually(SHOWS_MAX, "no copy is left", || {
            let left = [&shared.here, &shared.there].map(|path| copies_of(path));
            if left.iter().all(Vec::is_empty) { Ok(()) } else { Err(format!("{left:?}")) }
        });
        // While one side still knows that copy, another of this name would get digits.
        for (device, ..) in shared.sides() {
            device.flush();
        }
    }
}

#[test]
fn a_deleted_file_comes_back_from_the_trash_of_the_other_side() {
    let shared = Shared::new();
    for (device, mine, theirs) in shared.sides() {
        let other =
            if device.name() == "laptop" { &shared.pair.devbox } else { &shared.pair.laptop };
        fs::remove_file(mine).unwrap();
        eventually(SHOWS_MAX, "it is deleted on both", || {
            if theirs.exists() { Err(read(theirs)) } else { Ok(()) }
        });
        let name = theirs.file_name().unwrap().to_str().unwrap();
        let trash = other.json(&["trash", "ls"]);
        assert_eq!(trash[0]["path"], name, "{trash}");
        other.ok(&["trash", "restore", &theirs.display().to_string()]);
        shared.both_hold("first");
    }
}

#[test]
fn restarts_find_the_file_again() {
    let mut shared = Shared::new();
    shared.pair.devbox.stop();
    write(&shared.here, "while the other was away");
    shared.pair.devbox.start();
    shared.both_hold("while the other was away");
    shared.pair.laptop.kill();
    write(&shared.there, "after a crash");
    shared.pair.laptop.start();
    shared.both_hold("after a crash");
    for (device, ..) in shared.sides() {
        assert_eq!(device.status(ID)["conflicts"], 0, "{}", device.name());
    }
}

#[test]
fn a_file_that_lies_there_already_is_compared_first() {
    let shared = Shared::offered();
    write(&shared.there, "mine");
    let path = shared.there.display().to_string();
    let accept = ["folder", "accept", ID, &path];
    let report = shared.pair.devbox.json(&[&accept[..], &["--dry-run"]].concat());
    assert_eq!((&report["different"], &report["only_there"]), (&1.into(), &0.into()), "{report}");
    assert_eq!(report["examples"][0]["path"], "memo.md", "{report}");
    shared.accept(&["--prefer", "here"]);
    shared.both_hold("mine");
    for (device, ..) in shared.sides() {
        assert_eq!(device.status(ID)["conflicts"], 0, "{}", device.name());
    }
    let trash = shared.pair.laptop.json(&["trash", "ls"]);
    assert_eq!(trash[0]["path"], "notes.txt", "what lost is kept: {trash}");
}

#[test]
fn into_a_directory_it_goes_under_the_name_that_it_has_elsewhere() {
    let mut shared = Shared::offered();
    let directory = shared.pair.devbox.path("taken");
    fs::create_dir_all(&directory).unwrap();
    shared.pair.devbox.ok(&["folder", "accept", ID, &directory.display().to_string()]);
    shared.there = directory.join("notes.txt");
    shared.both_hold("first");
}

#[test]
fn it_is_moved_to_another_directory_with_all_that_belongs_to_it() {
    let mut shared = Shared::new();
    fs::write(&shared.here, "second").unwrap();
    shared.both_hold("second");
    let move_to =
        |path: &Path| shared.pair.devbox.ctl(&["folder", "move", ID, &path.display().to_string()]);
    let trash = |path: &str| {
        let listed = shared.pair.devbox.json(&["trash", "ls"]);
        let texts = listed.as_array().unwrap().iter().map(|entry| entry["path"].clone());
        texts.filter(|found| found == path).count()
    };
    let before = trash("memo.md");
    assert!(before > 0, "the first version is in the trash");
    let (nowhere, another) =
        (shared.pair.devbox.path("nowhere/x.md"), shared.pair.devbox.path("another"));
    let refused = move_to(&nowhere);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("make it first"), "{}", refused.stderr);
    write(&another.join("memo.md"), "somebody's");
    let refused = move_to(&another.join("memo.md"));
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("lies there already"), "{}", refused.stderr);
    assert_eq!(read(&shared.there), "second", "it stays where it was");
    fs::remove_file(another.join("memo.md")).unwrap();

    // Into a directory, under its own name.
    let moved = move_to(&another);
    assert_eq!(moved.code, 0, "{}", moved.stderr);
    assert!(!shared.there.exists(), "it is moved, not copied");
    assert!(!shared.there.with_file_name(".syncd").exists(), "nothing of ours is left behind");
    eventually(SHOWS_MAX, "its trash came with it", || match trash("memo.md") {
        count if count == before => Ok(()),
        count => Err(format!("{count} of {before}")),
    });
    // Under another name.
    let last = another.join("renamed.txt");
    let moved = move_to(&last);
    assert_eq!(moved.code, 0, "{}", moved.stderr);
    shared.there = last;
    shared.both_hold("second");
    for (device, mine, _) in shared.sides() {
        fs::write(mine, device.name()).unwrap();
        shared.both_hold(device.name());
        assert_eq!(device.status(ID)["conflicts"], 0, "{}", device.name());
    }
}

#[test]
fn what_its_user_has_moved_already_is_taken_if_it_is_the_file() {
    let mut shared = Shared::new();
    let place = shared.pair.devbox.path("another");
    fs::create_dir_all(&place).unwrap();
    let (right, wrong) = (place.join("memo.md"), place.join("wrong.md"));
    fs::rename(&shared.there, &right).unwrap();
    fs::write(&wrong, "of another matter").unwrap();
    let path = wrong.display().to_string();
    let refused = shared.pair.devbox.ctl(&["folder", "move", ID, &path]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    let steps = format!("folder rm {ID}, then: syncctl folder accept {ID} {path}");
    assert!(refused.stderr.contains(&steps), "{}", refused.stderr);
    shared.pair.devbox.ok(&["folder", "move", ID, &right.display().to_string()]);
    shared.there = right;
    shared.both_hold("first");
    fs::write(&shared.here, "edited").unwrap();
    shared.both_hold("edited");
    assert_eq!(read(&wrong), "of another matter");
}
