//! Taking a folder onto files that are there already.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use syncd_integration::process::{Answer, FOLDER, Pair, eventually, set_mtime, write};

/// How long a change may take to show.
const SHOWS_MAX: Duration = Duration::from_secs(30);

/// Files that differ: one more than is joined without a word.
pub(crate) const MANY: usize = 21;

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| format!("({error})"))
}

/// Offers a folder of the laptop's; files lie on the devbox already.
pub(crate) fn offered(differing: usize) -> Pair {
    let pair = Pair::acquainted();
    for (side, text, seconds) in
        [(&pair.laptop, "there", 2_000_000_000), (&pair.devbox, "here", 1_000_000_000)]
    {
        write(&side.path("d/equal"), "the same");
        write(&side.path("ignored.log"), "the same, and not counted");
        set_mtime(&side.path("ignored.log"), 1_000_000_000, 0);
        for at in 0..differing {
            let path = side.path(format!("differs-{at:02}"));
            // The first one is newer on the devbox.
            let newest = at == 0 && side.name() == "devbox";
            write(&path, text);
            set_mtime(&path, if newest { 3_000_000_000 } else { seconds }, 0);
        }
    }
    write(&pair.laptop.path(".stignore"), "*.log\n");
    write(&pair.laptop.path("only-there"), "there");
    write(&pair.devbox.path("only-here"), "here");
    let root = pair.laptop.root().display().to_string();
    pair.laptop.ok(&["folder", "add", &root, "--id", FOLDER, "--with", "devbox"]);
    eventually(SHOWS_MAX, "the devbox is offered the folder", || {
        let offers = pair.devbox.json(&["folder", "ls", "--offered"]);
        if offers[0]["id"] == FOLDER { Ok(()) } else { Err(offers.to_string()) }
    });
    pair
}

pub(crate) fn accept(pair: &Pair, arguments: &[&str]) -> Answer {
    let root = pair.devbox.root().display().to_string();
    pair.devbox.ctl(&[&["folder", "accept", FOLDER, &root], arguments].concat())
}

pub(crate) fn trashed(pair: &Pair) -> Vec<String> {
    let all = [&pair.laptop, &pair.devbox].map(|side| side.json(&["trash", "ls"]));
    let path = |item: &Value| item["path"].as_str().unwrap_or_default().to_owned();
    all.iter().flat_map(|trash| trash.as_array().unwrap().iter().map(path)).collect()
}

pub(crate) fn copies(pair: &Pair) -> usize {
    let names = fs::read_dir(pair.devbox.root()).unwrap();
    names.filter(|n| n.as_ref().unwrap().file_name().to_string_lossy().contains("conflict")).count()
}

#[test]
fn a_dry_run_shows_what_meets_what_and_changes_nothing() {
    let pair = offered(2);
    let answer = accept(&pair, &["--dry-run", "--json"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    for (key, count, because) in [
        ("equal", 1, "in a directory; ignored files do not count"),
        ("different", 2, "other bytes"),
        ("only_here", 1, "one"),
        ("only_there", 2, "one, and the ignore file"),
    ] {
        assert_eq!(report[key], count, "{key}: {because}: {report}");
    }
    assert_eq!(report["examples"][0]["path"], "differs-00", "{report}");
    assert_eq!(report["examples_here"][0]["path"], "only-here", "{report}");
    assert_eq!(report["accepted"], false);
    let page = accept(&pair, &["--dry-run"]).stdout;
    assert!(page.contains("different: differs-01") && page.contains("only there"), "{page}");
    assert_eq!(pair.devbox.json(&["folder", "ls"]).as_array().unwrap().len(), 0);
    assert!(!pair.devbox.path(".syncd").exists(), "nothing is changed");
    assert_eq!(read(&pair.devbox.path("differs-00")), "here");
}

#[test]
fn many_that_differ_want_a_word() {
    let pair = offered(MANY);
    let answer = accept(&pair, &[]);
    assert_eq!(answer.code, 5, "{}", answer.stderr);
    for word in ["--prefer here, there", "newer", "copies", "differs-00", "and 11 more"] {
        assert!(answer.stderr.contains(word), "{word}: {}", answer.stderr);
    }
    assert_eq!(read(&pair.devbox.path("differs-00")), "here", "nothing is changed");
    assert_eq!(pair.devbox.json(&["folder", "ls"]).as_array().unwrap().len(), 0);
}

#[test]
fn the_preferred_side_wins_and_the_other_is_kept_in_the_trash() {
    for (prefer, first, second, because) in [
        ("here", "here", "here", "what lay on the devbox"),
        ("there", "there", "there", "what the laptop has"),
        ("newer", "here", "there", "the first is newer on the devbox, the second is not"),
    ] {
        let pair = offered(MANY);
        let answer = accept(&pair, &["--prefer", prefer]);
        assert_eq!(answer.code, 0, "{prefer}: {}", answer.stderr);
        eventually(SHOWS_MAX, &format!("{prefer}: both sides are one"), || {
            let sides = [&pair.laptop, &pair.devbox];
            let texts = |name: &str| sides.map(|side| read(&side.path(name)));
            let found = [texts("differs-00"), texts("differs-20"), texts("only-here")];
            let wanted = [[first; 2], [second; 2], ["here"; 2]];
            if found == wanted { Ok(()) } else { Err(format!("{because}: {found:?}")) }
        });
        pair.agree();
        assert_eq!(read(&pair.devbox.path("only-there")), "there", "{prefer}");
        assert_eq!(copies(&pair), 0, "{prefer}: no copies");
        let trash = trashed(&pair);
        for lost in ["differs-00", "differs-20"] {
            assert!(trash.iter().any(|path| path == lost), "{prefer}: {lost} of {trash:?}");
        }
        // From now on both are equals.
        write(&pair.devbox.path("differs-20"), "edited");
        pair.agree();
        assert_eq!(read(&pair.laptop.path("differs-20")), "edited", "{prefer}");
    }
}

#[test]
fn few_that_differ_and_copies_keep_both() {
    for (differing, arguments) in [(2, &[][..]), (MANY, &["--prefer", "copies"])] {
        let pair = offered(differing);
        let answer = accept(&pair, arguments);
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        pair.agree();
        assert_eq!(copies(&pair), differing, "each loser lives on");
    }
}
