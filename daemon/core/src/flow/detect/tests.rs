use proptest::prelude::*;

use super::*;

fn path(text: &str) -> RelPath {
    if text.is_empty() { RelPath::root() } else { RelPath::parse(text).unwrap() }
}

fn shown(due: &[Due]) -> Vec<String> {
    let one = |due: &Due| match (&due.look, due.lost) {
        (Look::Path(path), _) => path.to_string(),
        (Look::Tree(path), false) => format!("{path}/**"),
        (Look::Tree(path), true) => format!("{path}/** lost"),
    };
    due.iter().map(one).collect()
}

/// Takes touches, each `(ms, path, hint)`, and lists the looks until nothing waits, each
/// `ms path`.
fn looks(touches: &[(u64, &str, Hint)]) -> Vec<String> {
    let mut debouncer = Debouncer::default();
    let mut looks = Vec::new();
    let mut drain = |debouncer: &mut Debouncer, until: Tick| {
        while let Some(at) = debouncer.next_deadline().filter(|at| *at < until) {
            looks.extend(shown(&debouncer.due(at)).iter().map(|d| format!("{} {d}", at.0)));
        }
    };
    for (ms, name, hint) in touches {
        drain(&mut debouncer, Tick(*ms));
        debouncer.touched(&path(name), *hint, Tick(*ms));
    }
    drain(&mut debouncer, Tick(u64::MAX));
    looks
}

#[test]
fn a_look_is_due_when_its_path_is_quiet() {
    use Hint::{Again, Changed, Closed, Lost, Open, Tree};
    type Touches<'a> = &'a [(u64, &'a str, Hint)];
    let cases: [(Touches<'_>, &[&str], &str); 19] = [
        (&[], &[], "nothing"),
        (&[(5, "f", Closed)], &["5 f"], "closed: at once"),
        (&[(5, "f", Changed)], &["15 f"], "10 ms of quiet"),
        (&[(5, "f", Changed), (9, "f", Closed)], &["9 f"], "close ends the wait"),
        (&[(5, "f", Changed), (14, "f", Changed)], &["24 f"], "each touch begins it anew"),
        (&[(5, "f", Changed), (15, "f", Changed)], &["25 f"], "due is due only after it"),
        (&[(5, "f", Changed), (16, "f", Changed)], &["15 f", "26 f"], "two changes"),
        (&[(0, "b", Changed), (0, "a/x", Changed)], &["10 a/x", "10 b"], "sorted by path"),
        (&[(0, "f", Again)], &["25 f"], "once more, after the clock's tick"),
        (&[(0, "f", Again), (3, "f", Changed)], &["13 f"], "changed meanwhile"),
        (&[(0, "f", Changed), (3, "f", Again)], &["10 f"], "comes soon anyway"),
        (&[(0, "f", Open), (300, "f", Changed)], &["500 f"], "its writer is not done"),
        (&[(0, "f", Open), (300, "f", Closed)], &["300 f"], "now it is"),
        (&[(0, "f", Closed), (0, "f", Open)], &["0 f"], "it was closed meanwhile"),
        (&[(0, "d", Tree), (4, "d/x/y", Changed)], &["14 d/**"], "the tree sees it"),
        (&[(0, "d/x", Changed), (4, "d", Tree)], &["14 d/**"], "the tree takes it in"),
        (&[(0, "d/x", Closed), (0, "d", Lost)], &["10 d/** lost"], "even what was due"),
        (&[(0, "d", Tree), (4, "d/x", Lost)], &["14 d/** lost"], "lost below a tree"),
        (
            &[(0, "d", Tree), (2, "", Lost), (3, "f", Closed)],
            &["13 /** lost"],
            "an overflow takes in everything",
        ),
    ];
    for (touches, expected, because) in cases {
        assert_eq!(looks(touches), expected, "{because}");
    }
}

#[test]
fn what_is_touched_without_end_is_looked_at_every_two_seconds() {
    let touches: Vec<_> = (0..500).map(|n| (n * 9, "log", Hint::Changed)).collect();
    assert_eq!(looks(&touches), ["2000 log", "4007 log", "4501 log"]);
}

#[test]
fn what_was_costly_to_read_is_looked_at_when_that_is_paid_for() {
    let (file, mut debouncer) = (path("f"), Debouncer::default());
    for (ms, hint, due_ms, because) in [
        (0, Hint::Closed, 0, "the first"),
        (1_000, Hint::Closed, 9_680, "a gigabyte is read once in ten seconds"),
        (9_700, Hint::Changed, 19_720, "and again"),
        (19_721, Hint::Again, 29_760, "also when it changed while it was read"),
    ] {
        debouncer.touched(&file, hint, Tick(ms));
        assert_eq!(debouncer.next_deadline(), Some(Tick(due_ms)), "{because}");
        assert_eq!(shown(&debouncer.due(Tick(due_ms))), ["f"], "{because}");
        debouncer.read(&file, 1_000_000_000, Tick(due_ms));
    }
    debouncer.touched(&file, Hint::Closed, Tick(40_000));
    let all = debouncer.all(Tick(40_000));
    assert_eq!(shown(&all), ["f"], "unless somebody wants to know now");
}

#[test]
fn many_names_of_a_directory_become_one_look() {
    for (count, looks_due, because) in [
        (NAMES_MAX, NAMES_MAX, "one by one"),
        (NAMES_MAX + 1, 1, "as a whole"),
        (5 * NAMES_MAX, 1, "still as a whole"),
    ] {
        let mut debouncer = Debouncer::default();
        for n in 0..count {
            debouncer.touched(&path(&format!("d/{n}")), Hint::Changed, Tick(1));
        }
        let due = debouncer.due(Tick(11));
        assert_eq!(due.len(), looks_due, "{because}");
        if looks_due == 1 {
            assert_eq!(shown(&due), ["d/**"]);
        }
        assert_eq!(debouncer.next_deadline(), None);
    }
}

#[test]
fn many_paths_become_one_look_at_the_tree_that_holds_them() {
    let mut debouncer = Debouncer::default();
    for n in 0..=PATHS_MAX {
        let name = format!("top/{}/{}", n / 100, n);
        debouncer.touched(&path(&name), Hint::Changed, Tick(1));
    }
    assert_eq!(shown(&debouncer.due(Tick(11))), ["top/**"]);
}

#[test]
fn names_that_were_looked_at_do_not_count() {
    let mut debouncer = Debouncer::default();
    for n in 0..10 * NAMES_MAX {
        let now = Tick(n as u64);
        debouncer.touched(&path(&format!("d/{n}")), Hint::Closed, now);
        assert_eq!(shown(&debouncer.due(now)), [format!("d/{n}")]);
    }
}

fn hints() -> impl Strategy<Value = Hint> {
    prop::sample::select(vec![
        Hint::Closed,
        Hint::Changed,
        Hint::Changed,
        Hint::Again,
        Hint::Open,
        Hint::Tree,
        Hint::Lost,
    ])
}

proptest! {
    #[test]
    fn every_touch_is_answered_by_a_look_after_it_and_in_time(
        touches in prop::collection::vec((0u64..40, "[ab](/[ab]){0,3}", hints()), 1..80),
    ) {
        let mut debouncer = Debouncer::default();
        // Path, first and last touch that no look has answered.
        let mut open: BTreeMap<RelPath, (Tick, bool)> = BTreeMap::new();
        let mut now = Tick(0);
        let mut steps: Vec<_> = touches.into_iter().map(Some).collect();
        steps.push(None);
        for step in steps {
            let until = step.as_ref().map_or(Tick(u64::MAX), |(wait, ..)| now.after(*wait));
            while let Some(at) = debouncer.next_deadline().filter(|at| *at <= until) {
                let due = debouncer.due(at.max(now));
                for Due { look, lost } in due {
                    open.retain(|path, (first, was_lost)| {
                        let covers = look.covers(path);
                        if covers {
                            assert!(at.since(*first) <= WAIT_MS_MAX, "{path:?} waited");
                            assert!(lost || !*was_lost, "{path:?} forgot a loss");
                        }
                        !covers
                    });
                }
            }
            if let Some((_, name, hint)) = step {
                now = until;
                let path = path(&name);
                debouncer.touched(&path, hint, now);
                let (_, lost) = open.entry(path).or_insert((now, false));
                *lost |= hint == Hint::Lost;
            }
        }
        prop_assert!(open.is_empty(), "never looked at: {open:?}");
        prop_assert!(debouncer.names.is_empty() && debouncer.pending.is_empty());
    }
}
