//! A name that is a file, then a directory, then a link: each into each other.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use syncd_integration::process::{Pair, write};

use super::Row;

/// What a name may be.
const SHAPES: [Row; 6] = [
    ("a file", |at| write(at, "a file\n")),
    ("another file", |at| write(at, "another file\n")),
    ("an empty directory", |at| fs::create_dir(at).unwrap()),
    ("a directory with content", |at| {
        write(&at.join("inside"), "x");
        write(&at.join("deeper/inside"), "y");
    }),
    ("a link to a directory beside it", |at| symlink("other", at).unwrap()),
    ("a link to nowhere", |at| symlink("nowhere", at).unwrap()),
];

fn clear(at: &Path) {
    match fs::symlink_metadata(at) {
        Ok(there) if there.is_dir() => fs::remove_dir_all(at).unwrap(),
        Ok(_) => fs::remove_file(at).unwrap(),
        Err(_) => {}
    }
}

#[test]
fn every_shape_follows_every_other() {
    let pair = Pair::new();
    write(&pair.laptop.path("other/inside"), "what a link on the way must never reach");
    for (here, there) in pair.sides() {
        for (before, make_before) in SHAPES {
            for (after, make_after) in SHAPES {
                let name = here.path("name");
                clear(&name);
                make_before(&name);
                here.flush();
                clear(&name);
                make_after(&name);
                here.flush();
                let because = format!("{before} became {after} on {}", here.name());
                pair.assert_equal(&because);
                assert!(there.path("other/inside").is_file(), "{because}: a link was followed");
            }
        }
        assert_eq!(there.status("work")["conflicts"], 0, "one writer makes no conflicts");
    }
}

#[test]
fn children_of_a_directory_that_became_a_link_are_not_deleted_through_it() {
    let pair = Pair::new();
    for (here, there) in pair.sides() {
        for dir in ["a", "b"] {
            for file in ["one", "two"] {
                write(&here.path(dir).join(file), format!("{dir}/{file}"));
            }
        }
        here.flush();
        fs::remove_dir_all(here.path("a")).unwrap();
        symlink("b", here.path("a")).unwrap();
        here.flush();
        pair.assert_equal("a directory became a link to its neighbour");
        for side in [here, there] {
            for file in ["one", "two"] {
                let text = fs::read_to_string(side.path("b").join(file)).unwrap();
                assert_eq!(text, format!("b/{file}"), "on {}", side.name());
            }
        }
        fs::remove_file(here.path("a")).unwrap();
        here.flush();
        pair.assert_equal("the link is gone");
    }
}
