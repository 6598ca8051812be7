//! How editors save: in place, by a new file that takes the name, with the old one as a backup.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use syncd_integration::process::{Device, Pair, nodes, set_mode, write};

use super::{agree_without_conflict, await_text, done};

/// Saves `text` at a path as some editor does.
type Save = fn(&Path, &str);

/// Returns the path with more behind its name.
fn beside(path: &Path, more: &str) -> PathBuf {
    PathBuf::from(format!("{}{more}", path.display()))
}

/// Runs vim on a file as a person would: open, replace all, write, quit. Its swap file comes and
/// goes beside the file.
fn vim(path: &Path, text: &str, backupcopy: &str) {
    let aside = tempfile::tempdir().unwrap();
    let new = aside.path().join("new");
    fs::write(&new, text).unwrap();
    let read = format!("call setline(1, readfile('{}'))", new.display());
    done(
        Command::new("vim")
            .args(["-N", "-u", "NONE", "-i", "NONE", "-e", "-s"])
            .args(["-c", "set swapfile updatecount=1 writebackup backupskip="])
            .args(["-c", &format!("set backupcopy={backupcopy}")])
            .args(["-c", "%delete _", "-c", &read, "-c", "write", "-c", "quit"])
            .arg(path),
    );
}

/// `files.saveConflictResolution` and all: the file is opened with `O_TRUNC`, written, synced.
fn vs_code(path: &Path, text: &str) {
    let mut file = File::create(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.sync_data().unwrap();
}

/// "Safe write": a new file beside it, the old one steps aside, the new one takes the name.
fn jet_brains(path: &Path, text: &str) {
    let (new, old) = (beside(path, "___jb_tmp___"), beside(path, "___jb_old___"));
    let mut file = File::create(&new).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    drop(file);
    fs::set_permissions(&new, fs::metadata(path).unwrap().permissions()).unwrap();
    fs::rename(path, &old).unwrap();
    fs::rename(&new, path).unwrap();
    fs::remove_file(&old).unwrap();
}

/// A lock link, a backup by rename, a new file written in pieces.
fn emacs(path: &Path, text: &str) {
    let name = path.file_name().unwrap().to_string_lossy();
    let lock = path.with_file_name(format!(".#{name}"));
    std::os::unix::fs::symlink("me@host.1234:1", &lock).unwrap();
    let mode = fs::metadata(path).unwrap().permissions();
    fs::rename(path, beside(path, "~")).unwrap();
    let mut file = File::options().write(true).create_new(true).open(path).unwrap();
    for piece in text.as_bytes().chunks(4_096) {
        file.write_all(piece).unwrap();
    }
    file.set_permissions(mode).unwrap();
    file.sync_all().unwrap();
    drop(file);
    fs::remove_file(&lock).unwrap();
    fs::remove_file(beside(path, "~")).unwrap();
}

/// The program itself.
fn sed(path: &Path, text: &str) {
    let aside = tempfile::tempdir().unwrap();
    let new = aside.path().join("new");
    fs::write(&new, text).unwrap();
    let script = format!("1r {}\nd", new.display());
    done(Command::new("sed").args(["-i", "-e", &script]).arg(path));
}

/// How it is called, and how it saves.
const EDITORS: [(&str, Save); 7] = [
    ("vim that renames the old file away", |path, text| vim(path, text, "no")),
    ("vim that writes in place", |path, text| vim(path, text, "yes")),
    ("vim that chooses", |path, text| vim(path, text, "auto")),
    ("VS Code", vs_code),
    ("JetBrains", jet_brains),
    ("Emacs", emacs),
    ("sed -i", sed),
];

/// Lists the files of a device's folder, by their paths.
fn names(device: &Device) -> Vec<PathBuf> {
    nodes(device.root()).into_keys().collect()
}

#[test]
fn what_an_editor_saves_arrives_and_nothing_beside_it_stays() {
    let pair = Pair::new();
    for (here, there) in pair.sides() {
        for (editor, save) in EDITORS {
            write(&here.path("src/main.c"), "first\n");
            set_mode(&here.path("src/main.c"), 0o750);
            here.flush();
            for (at, text) in ["one\n", "two\nlines\n", &"long\n".repeat(9_000)].iter().enumerate()
            {
                save(&here.path("src/main.c"), text);
                await_text(there, "src/main.c", text);
                // Every other save is flushed, so that the next comes upon a busy daemon too.
                if at % 2 == 0 {
                    here.flush();
                }
            }
            here.flush();
            pair.assert_equal(&format!("{editor}, on {}", here.name()));
            let left = [PathBuf::from("src"), PathBuf::from("src/main.c")];
            assert_eq!(names(there), left, "{editor}, on {}", here.name());
            agree_without_conflict(&pair, editor);
        }
    }
}

#[test]
fn saves_that_follow_each_other_without_a_pause_end_as_the_last_one() {
    let pair = Pair::new();
    for (here, there) in pair.sides() {
        for (editor, save) in EDITORS {
            let path = format!("{}.txt", editor.replace(' ', "-"));
            write(&here.path(&path), "first\n");
            for at in 0..20 {
                save(&here.path(&path), &format!("{editor} {at}\n"));
            }
            await_text(there, &path, &format!("{editor} 19\n"));
        }
        agree_without_conflict(&pair, here.name());
        let files = names(here).len();
        assert_eq!(files, EDITORS.len(), "only the saved files stay: {:?}", names(here));
    }
}

#[test]
fn an_editor_that_saves_by_turns_with_the_other_side_makes_no_conflict() {
    let pair = Pair::new();
    // As the starter ignores have it: a swap file says that somebody edits, and would say so on
    // the other side too while it is on its way.
    write(&pair.laptop.path(".stignore"), "*.sw?\n*~\n.#*\n");
    for (editor, save) in EDITORS {
        write(&pair.laptop.path("notes"), editor);
        pair.laptop.flush();
        for turn in 0..6 {
            let (here, there) = pair.sides()[turn % 2];
            let text = format!("{editor}, turn {turn}\n");
            save(&here.path("notes"), &text);
            await_text(there, "notes", &text);
        }
        agree_without_conflict(&pair, editor);
    }
}
