//! What a program is still writing.

use std::fs::File;

use syncd_core::flow::detect::Look;

use super::super::ground::Folder;
use super::*;
use crate::world::disk::writers::Holder;

fn path(name: &str) -> RelPath {
    RelPath::parse(name).unwrap()
}

#[test]
fn what_another_program_is_writing_is_left_out_until_it_is_closed_or_held_for_long() {
    let (one, all) = (|| Look::Path(path("f")), || Look::Tree(RelPath::root()));
    let (written, closed) = (Some(false), Some(true));
    for (look, heard, is_open, left_out, because) in [
        (one(), written, true, true, "between its creation and its close"),
        (one(), written, false, false, "nobody has it open: a mode was changed"),
        (one(), closed, true, false, "a save is not asked for; whoever else has it open"),
        (all(), written, true, true, "a look at all comes by at that moment"),
        (all(), None, true, true, "so early that nothing was heard of it yet"),
        (all(), None, false, false, "it is new, and whole"),
    ] {
        let folder = Folder::new();
        folder.write("f", "some of it");
        let file = File::options().append(true).open(folder.at("f")).unwrap();
        let holder = is_open.then(|| Holder::of(file, true));
        if let Some(closed) = heard {
            folder.unclosed.heard(&path("f"), closed);
        }
        let (report, told) = folder.look(&look);
        assert_eq!(report.unclosed == [path("f")], left_out, "{because}");
        assert_eq!(told.found_names() == ["f"], !left_out, "{because}");
        assert_eq!(folder.unclosed.contains(&path("f")), left_out, "{because}: remembered");
        if left_out {
            folder.unclosed.expire(&path("f"));
            folder.unclosed.heard(&path("f"), false);
            let (report, told) = folder.look(&look);
            assert_eq!((report.unclosed.len(), told.found_names().len()), (0, 1), "a log");
            folder.unclosed.heard(&path("f"), true);
            folder.unclosed.heard(&path("f"), false);
            assert_eq!(folder.look(&look).0.unclosed, [path("f")], "opened anew");
        }
        drop(holder);
        assert_eq!(folder.look(&all()).0.unclosed, [], "{because}: closed, heard or not");
    }
}

#[test]
fn a_write_long_after_another_change_is_waited_for_anew() {
    let folder = Folder::new();
    let unclosed = &folder.unclosed;
    unclosed.heard(&path("f"), false);
    folder.look(&Look::Path(path("f")));
    assert!(!unclosed.contains(&path("f")), "it was deleted");
    unclosed.heard(&path("f"), false);
    unclosed.expire(&path("f"));
    unclosed.heard(&path("f"), false);
    folder.write("f", "some of it");
    let file = File::options().append(true).open(folder.at("f")).unwrap();
    let _holder = Holder::of(file, true);
    assert_eq!(folder.look(&Look::Path(path("f"))).0.unclosed, [path("f")]);
}
