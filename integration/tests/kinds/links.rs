//! Several names of one file: hard links stay files of their own, and no name is forgotten.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use syncd_integration::process::{Pair, write};

#[test]
fn hard_links_arrive_as_files_of_their_own() {
    let pair = Pair::new();
    for (here, there) in pair.sides() {
        let name = |what: &str| format!("{what}-{}", here.name());
        write(&here.path(name("a")), "both");
        fs::hard_link(here.path(name("a")), here.path(name("b"))).unwrap();
        fs::create_dir(here.path(name("d"))).unwrap();
        fs::hard_link(here.path(name("a")), here.path(name("d")).join("c")).unwrap();
        here.flush();
        pair.assert_equal("three names of one file");
        let inode = |what: &str| fs::metadata(there.path(name(what))).unwrap().ino();
        assert_ne!(inode("a"), inode("b"), "two names stay two files");
    }
}

#[test]
fn an_edit_through_one_name_arrives_under_all() {
    let mut pair = Pair::new();
    write(&pair.laptop.path("a"), "one\n");
    fs::hard_link(pair.laptop.path("a"), pair.laptop.path("b")).unwrap();
    fs::create_dir(pair.laptop.path("d")).unwrap();
    fs::hard_link(pair.laptop.path("a"), pair.laptop.path("d/c")).unwrap();
    pair.laptop.flush();
    for (round, name) in ["b", "d/c", "a", "b"].into_iter().enumerate() {
        if round == 3 {
            // What it had learned of the names is learned again.
            pair.laptop.stop();
            pair.laptop.start();
            pair.await_connected();
            pair.laptop.flush();
        }
        let mut file = File::options().append(true).open(pair.laptop.path(name)).unwrap();
        file.write_all(format!("{round}\n").as_bytes()).unwrap();
        drop(file);
        pair.agree();
        let texts = ["a", "b", "d/c"].map(|n| fs::read_to_string(pair.devbox.path(n)).unwrap());
        assert!(texts.iter().all(|text| text.ends_with(&format!("{round}\n"))), "{texts:?}");
    }
}

#[test]
fn a_change_that_arrives_for_one_name_leaves_the_other_as_it_is() {
    let pair = Pair::new();
    write(&pair.laptop.path("a"), "old");
    pair.laptop.flush();
    // Outside of the folder, so that nobody else knows of it.
    let outside = pair.aside("outside");
    fs::hard_link(pair.devbox.path("a"), &outside).unwrap();
    write(&pair.laptop.path("a"), "new");
    pair.laptop.flush();
    assert_eq!(fs::read_to_string(pair.devbox.path("a")).unwrap(), "new");
    assert_eq!(fs::read_to_string(&outside).unwrap(), "old", "never written in place");
}
