//! Every crash point: a real daemon ends between any two changes that it makes to its disk, its
//! home and its folder alike, or the machine loses its power there. It is started again, and all
//! must be as if nothing had happened.
//!
//! The devbox lives on a file system of our own (`syncd_integration::fuse`) that counts changes
//! and knows what is durable. A story is told again and again, the end coming one change later
//! each time, until it comes no more: so all points are met, however many there are. Ordinary
//! runs leave most of them out; `SYNCD_LONG` leaves out none, and tries each kind of power loss
//! at each.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, which clippy cannot see")]

mod bench;
mod stories;

use self::bench::{Bench, End};
use self::stories::STORIES;

/// Tells each story with the ends that `end` makes, and prints how many there were.
fn each_story(end: End) {
    let Some(mut bench) = Bench::new() else { return };
    for story in &STORIES {
        let ends = bench.tell(story, end);
        println!("{}: {ends} ends by {end:?}", story.name);
        assert!(ends > 1, "{}: the devbox changed hardly anything", story.name);
    }
}

#[test]
fn a_daemon_that_is_killed_between_any_two_changes_goes_on_where_it_was() {
    each_story(End::Killed);
}

#[test]
fn a_machine_that_loses_its_power_at_any_change_loses_nothing_else() {
    each_story(End::PowerLost);
}
