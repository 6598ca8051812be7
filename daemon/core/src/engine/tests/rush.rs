//! What is told while a program writes much.

use super::*;
use crate::engine::{Cause, LookId};
use crate::flow::detect::{Found, Seen, Stir};

/// Looks at everything and finds `count` files that were written.
fn find(folder: &mut Folder, look: u64, count: usize) {
    let look = LookId::Begun(look);
    folder.tell(Event::LookBegun { look, cause: Cause::Watched, whole: true });
    let found = |n: usize| Found {
        path: RelPath::parse(format!("{look:?} {n}")).unwrap(),
        kind: Kind::File,
        stat: StatKey { inode: n as u64, size: 1, mtime_ns: 1, ctime_ns: 1, mode: 0o644 },
        content: ContentId::of(b"x"),
    };
    let seen = Seen { found: (0..count).map(found).collect(), gone: Vec::new() };
    folder.tell(Event::Seen { look, seen });
    folder.tell(Event::LookDone { look, attested: true });
}

#[test]
fn even_the_first_of_a_rush_is_told_as_a_burst_and_its_end_is_told() {
    for (stir, count, more, because) in [
        (Stir::Calm, 1, More::Nothing, "an edit"),
        (Stir::Busy, 1, More::Nothing, "an edit while much goes on"),
        (Stir::Busy, 8, More::Burst, "many, and more to come"),
        (Stir::Rush, 1, More::Burst, "the first of many"),
    ] {
        let mut folder = Folder::new();
        find(&mut folder, 1, 0);
        folder.greet();
        folder.told.clear();
        folder.engine.stir(stir);
        find(&mut folder, 2, count);
        assert_eq!(folder.told.first(), Some(&(count, more)), "{because}");
        let is_calmer = folder.engine.stir(Stir::Calm);
        assert_eq!(is_calmer, stir > Stir::Calm, "{because}");
        folder.engine.wake(Tick(0), &mut folder.index).unwrap();
        folder.obey();
        let end = folder.told.iter().filter(|told| **told == (0, More::Nothing)).count();
        assert_eq!(end, usize::from(more == More::Burst), "{because}: {:?}", folder.told);
    }
}
