//! Things under the name of the rule file that are no rule file.

use std::fs;

use syncd_integration::process::{Pair, set_mode, write};

use super::{await_no_problem, problem_of};

#[test]
fn a_rule_file_that_cannot_be_read_changes_nothing() {
    let mut pair = Pair::bound_by_permissions();
    write(&pair.laptop.path(".stignore"), "secret\n");
    write(&pair.laptop.path("secret"), "never sent");
    pair.laptop.flush();
    let file = pair.laptop.path(".stignore");
    type Damage = fn(&std::path::Path);
    let ways: [(&str, Damage, Damage); 2] = [
        ("unreadable", |at| set_mode(at, 0o000), |at| set_mode(at, 0o644)),
        (
            "a directory",
            |at| {
                fs::remove_file(at).unwrap();
                write(&at.join("inside"), "x");
            },
            |at| {
                fs::remove_dir_all(at).unwrap();
                write(at, "secret\n");
            },
        ),
    ];
    for (because, damage, mend) in ways {
        damage(&file);
        pair.laptop.ok(&["scan"]);
        let (what, _) = problem_of(&pair.laptop, ".stignore");
        assert!(!what.is_empty(), "{because}");
        write(&pair.laptop.path("beside"), because);
        pair.laptop.ok(&["scan"]);
        pair.laptop.flush();
        assert_eq!(fs::read_to_string(pair.devbox.path("beside")).unwrap(), because);
        assert!(!pair.devbox.path("secret").exists(), "{because}: the last good rules hold");
        // With no good rules known, nothing but the rules themselves moves.
        pair.laptop.stop();
        write(&pair.laptop.path("later"), because);
        pair.laptop.start();
        pair.await_connected();
        pair.laptop.ok(&["scan"]);
        pair.laptop.flush();
        assert!(!pair.devbox.path("secret").exists(), "{because}: after a restart");
        mend(&file);
        pair.laptop.ok(&["scan"]);
        await_no_problem(&pair.laptop);
        pair.laptop.flush();
        assert_eq!(fs::read_to_string(pair.devbox.path("later")).unwrap(), because);
        assert!(!pair.devbox.path("secret").exists(), "{because}: mended");
    }
}
