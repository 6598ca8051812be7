//! The histories that broke simpler merging rules, each over all orders of delivery.

use syncd_integration::sim::orders::{self, Acts};
use syncd_integration::sim::reduced::Explorer;
use syncd_integration::sim::{Bulk, World, explore, oracle, script};

/// A history: its name, how many devices, whether the first is a hub, what happens, and whether
/// any conflict copy at all would be false.
struct History {
    name: &'static str,
    devices: usize,
    hub: bool,
    script: &'static str,
    no_copies: bool,
    because: &'static str,
}

/// On two devices, where any conflict copy would be false.
const TWO: History =
    History { name: "", devices: 2, hub: false, script: "", no_copies: true, because: "" };

/// More states than any of these histories has.
const STATES_MAX: usize = 5_000_000;

/// More frames than the histories here make on any way.
const FRAMES_MAX: u64 = 7;

fn holds(history: &History) {
    holds_and(history, &|_| Ok(()));
}

/// Lists the ways in which lanes overtake each other: between two devices every other frame does,
/// between three, where that has millions of states, a single one.
fn lanes_of(history: &History) -> Vec<Option<Bulk>> {
    let mut lanes = vec![None];
    match history.devices {
        ..=2 => lanes.extend([0, 1].map(|parity| Some(Bulk::Parity(parity)))),
        devices => {
            for (from, to) in (0..devices).flat_map(|from| (0..devices).map(move |to| (from, to))) {
                if from != to && (!history.hub || from * to == 0) {
                    lanes.extend((1..=FRAMES_MAX).map(|at| Some(Bulk::One(from, to, at))));
                }
            }
        }
    }
    lanes
}

/// Tries a history, and checks `also` whenever it has come to rest.
fn holds_and(history: &History, also: &dyn Fn(&World) -> Result<(), String>) {
    let ops = script(history.script);
    let plain = ops.iter().all(|(_, op)| op.is_plain());
    let check = |world: &World| {
        also(world)?;
        if history.no_copies {
            oracle::no_copies(world)?;
        }
        if plain { oracle::no_unseen_delete(world) } else { Ok(()) }
    };
    for lanes in lanes_of(history) {
        let world = settled(World::new(history.devices, history.hub, lanes));
        let acts = Acts::new(history.devices, &ops);
        let tally = match plain {
            true => Explorer::new(world).every_order(&acts, STATES_MAX, &check),
            false => orders::every_order(&world, &acts, STATES_MAX, &check),
        };
        let tally =
            tally.unwrap_or_else(|what| panic!("{}: {}\n{what}", history.name, history.because));
        println!("{} {lanes:?}: {tally:?}", history.name);
        assert!(!tally.cut_short, "{}: too many states", history.name);
        assert!(tally.rests > 0, "{}: it never came to rest", history.name);
    }
}

/// Lets the devices greet each other before anything happens.
fn settled(mut world: World) -> World {
    explore::come_to_rest(&mut world).expect("an empty folder comes to rest");
    world
}

#[test]
fn a_copy_is_not_a_forgotten_delete() {
    holds(&History {
        name: "M1",
        script: "a:w p X 1; b:w p Y 2",
        no_copies: false,
        because: "a copy that carries the loser's version is covered and has no entry",
        ..TWO
    });
}

#[test]
fn a_lane_that_overtakes_loses_nothing() {
    holds(&History {
        name: "M2",
        script: "a:w p X 1; a:w q Y 1; a:w r Z 1",
        because: "covered is not the union of the vectors seen",
        ..TWO
    });
}

#[test]
fn a_resolution_is_no_new_write() {
    holds(&History {
        name: "M3",
        script: "a:w p X 2; b:w p Y 1; a:d p",
        no_copies: false,
        because: "the other's resolution must not bring back what was deleted after ours",
        ..TWO
    });
}

#[test]
fn equal_bytes_with_other_times_agree_on_one() {
    holds(&History {
        name: "M4",
        script: "a:w p X 5; a:t p 2; b:w p X 2",
        because: "one vector with two times would stand for ever",
        ..TWO
    });
}

#[test]
fn a_merge_keeps_both_heritages() {
    holds(&History {
        name: "M5",
        script: "a:w p X 1; a:w p Y 2; b:w p Y 3",
        no_copies: false,
        because: "with the winner's ancestors alone the exchange has no end",
        ..TWO
    });
}

#[test]
fn two_edits_of_one_base_are_a_conflict() {
    holds(&History {
        name: "M6",
        script: "a:w p X 1; a:w p Y 2; b:w p Z 3",
        no_copies: false,
        because: "having once had the content is not having seen the edit",
        ..TWO
    });
}

#[test]
fn a_third_device_takes_merged_vectors() {
    for hub in [false, true] {
        holds(&History {
            name: "M7",
            devices: 3,
            hub,
            script: "b:w p X 1; c:w p Y 2",
            no_copies: false,
            because: "third devices' counters come from whoever forwards them",
        });
    }
}

#[test]
fn old_records_do_not_rise_from_dropped_tombstones() {
    holds(&History {
        name: "M8",
        script: "a:w p X 1; b:w p Y 2; b:d p",
        no_copies: false,
        because: "the answer to a forgotten delete has seen all that is covered",
        ..TWO
    });
}

#[test]
fn three_contents_never_share_a_vector() {
    holds(&History {
        name: "M9",
        devices: 3,
        hub: true,
        script: "a:w p X 3; b:w p Y 1; c:w p Z 2",
        no_copies: false,
        because: "pairwise rules without a counter depend on the order of arrival",
    });
}

#[test]
fn a_delete_that_saw_the_edit_stands() {
    holds(&History {
        name: "M10",
        devices: 3,
        hub: true,
        script: "b:w p X 1; c:w p Y 2; b:d p",
        no_copies: false,
        because: "edit always beating delete depends on the order of arrival",
    });
}

#[test]
fn a_new_store_is_heard_from_the_beginning() {
    holds(&History {
        name: "M11",
        script: "a:w p X 1; a:w q Y 1; a:lose; a:w r Z 1",
        because: "a cursor into another store means nothing",
        ..TWO
    });
}

#[test]
fn a_file_that_power_loss_brought_back_does_not_win_unseen() {
    holds(&History {
        name: "M12",
        script: "a:w p W 1; a:w p X 2; a:revert p W 1; b:w q Q 1",
        no_copies: false,
        because: "the counter of a rebuilt scan dominates nothing of another incarnation",
        ..TWO
    });
}

#[test]
fn an_older_version_that_power_loss_brought_back_undoes_no_edit() {
    for (script, there) in [
        ("b:w p W 1; b:w p X 2; a:w q Q 1; b:power p W 1", "p"),
        ("b:w p X 2; a:w q Q 1; b:power p - 1", "p"),
    ] {
        holds_and(
            &History {
                name: "a power loss",
                script,
                because: "what a power loss left has seen nothing, and emptiness is told to nobody",
                ..TWO
            },
            &|world| oracle::never_empty_elsewhere(world, there, 1),
        );
    }
}

#[test]
fn our_own_work_cut_short_is_no_edit() {
    holds(&History {
        name: "M13",
        script: "a:crash; b:w p Y 1; b:w p Z 2",
        because: "an intent holds the whole record",
        ..TWO
    });
}

#[test]
fn what_was_taken_before_a_crash_is_still_the_peers() {
    for script in ["a:crash; b:w p Y 1; b:w p Z 2", "b:w p Y 1; a:crash; b:d p; b:w q Z 1"] {
        holds_and(
            &History {
                name: "a crash after the swap",
                script,
                because: "an intent knows whether its record would have got a counter",
                ..TWO
            },
            &|world| oracle::taken_as_is(world, 1),
        );
    }
}

#[test]
fn a_directory_kept_by_ignored_content_stays_deleted() {
    holds(&History {
        name: "M14",
        script: "b:i d/t; b:w d/t/x I 1; a:w d/f X 1; a:d d",
        because: "a directory that only ignored content keeps alive is not announced",
        ..TWO
    });
}

#[test]
fn absence_is_not_announced_on_un_ignoring() {
    holds(&History {
        name: "M15",
        script: "a:i t; b:i t; b:w t/x X 1; a:i -; b:i -",
        because: "un-ignoring is union mode",
        ..TWO
    });
}

#[test]
fn what_a_rebuilt_store_finds_does_not_undo_a_delete() {
    holds(&History {
        name: "a rebuilt store",
        script: "b:w p X 1; b:d p; a:lose",
        because: "the scan's write has a new incarnation: the tombstone cannot have seen it, but \
                  it deleted the very bytes that were found",
        ..TWO
    });
}

#[test]
fn what_a_rebuilt_store_finds_does_not_undo_a_delete_through_a_hub() {
    holds_and(
        &History {
            name: "a rebuilt store behind a hub",
            devices: 3,
            hub: true,
            script: "b:w p X 1; b:d p; c:lose",
            no_copies: true,
            because: "what was found is found, whoever tells of it",
        },
        &|world| oracle::nothing_at(world, "p"),
    );
}

#[test]
fn a_directory_that_a_rebuilt_store_finds_does_not_undo_its_delete() {
    holds_and(
        &History {
            name: "a rebuilt store with a directory",
            script: "b:w d/f X 1; b:d d; a:lose",
            because: "a found directory was deleted with what lay in it",
            ..TWO
        },
        &|world| oracle::nothing_at(world, "d"),
    );
}

#[test]
fn the_same_bytes_written_again_are_a_write() {
    for (devices, hub, script) in [
        (2, false, "b:w p X 1; b:d p; a:w p X 2"),
        (2, false, "b:w p X 1; b:d p; a:w p X 2; b:w q X 1"),
        (3, true, "b:w p X 1; b:d p; c:w p X 2"),
    ] {
        holds(&History {
            name: "the same bytes again",
            devices,
            hub,
            script,
            no_copies: true,
            because: "a delete takes only what was seen, or found by a store that knew nothing",
        });
    }
}

#[test]
fn a_new_store_hears_its_own_old_writes() {
    holds(&History {
        name: "a store that forgot",
        script: "b:w p X 1; b:d p; b:w q Y 1; b:lose",
        because: "who told us a version needs no telling only as long as it has its store",
        ..TWO
    });
}

#[test]
fn a_directory_over_a_file_that_has_its_copy_already_is_made() {
    holds(&History {
        name: "a parent in a file's place",
        script: "a:w d X 1; b:w d/f Y 2; a:w d/g Z 1",
        no_copies: false,
        because: "the copy of the file in the way may be there already: making it again failed \
                  for ever",
        ..TWO
    });
}

#[test]
fn a_file_that_a_directory_replaced_is_no_conflict_when_lanes_overtake() {
    holds(&History {
        name: "a directory in a file's place",
        script: "a:w d X 1; a:w d/f Y 1; a:w d/f Z 1",
        because: "what comes early must wait for what was told before it, where a file is in the \
                  way of its directory",
        ..TWO
    });
}

#[test]
fn what_was_found_and_withheld_is_told_as_found() {
    holds_and(
        &History {
            name: "a rebuilt store in a folder that only receives",
            script: "b:w p X 1; b:d p; a:role receive; a:lose; a:role both",
            because: "what a store found is nobody's write, also when it was withheld first",
            ..TWO
        },
        &|world| oracle::nothing_at(world, "p"),
    );
}

#[test]
fn what_is_found_and_written_names_the_write() {
    holds(&History {
        name: "a rebuilt store and two equal writes",
        script: "a:w p X 1; b:w p X 2; b:lose; a:d p",
        because: "who deleted the file has seen the write, and cannot have seen the find",
        ..TWO
    });
}

#[test]
fn an_older_version_that_power_loss_brought_back_stays_deleted() {
    holds(&History {
        name: "a power loss and a delete",
        script: "b:w p X 1; b:w p Y 2; b:power p X 1; a:d p",
        no_copies: false,
        because: "what a power loss left is nobody's write, and its delete was meant",
        ..TWO
    });
}

#[test]
fn a_directory_that_a_join_forgot_is_made_again_for_what_a_peer_has_in_it() {
    holds(&History {
        name: "a renamed directory in a join",
        script: "a:w d/f X 1; b:rejoin there; b:r d q; a:w d/g Y 1",
        no_copies: false,
        because: "what is written as its parent has a counter, though nobody had heard of it",
        ..TWO
    });
}

#[test]
fn a_person_who_overrules_writes_anew() {
    holds(&History {
        name: "an older version that somebody insists on",
        script: "b:w p X 1; a:role send; b:w p Y 2; a:overrule",
        no_copies: false,
        because: "what somebody says stands is a write, which the replacement has not seen",
        ..TWO
    });
}

#[test]
fn a_deleted_copy_stays_deleted_beside_another_of_its_name() {
    for script in ["a:w p X 1; a:w p Y 1; b:w p Z 3; b:dc", "a:w p Y 1; a:w p X 1; b:w p Z 3; b:dc"]
    {
        holds(&History {
            name: "two copies of one name",
            script,
            no_copies: false,
            because: "one device makes a copy of what the other wrote first, the other of what it \
                      wrote next, in the same second: who has seen both and holds the greater has \
                      heard that the lesser was deleted",
            ..TWO
        });
    }
}

#[test]
fn a_delete_that_nobody_was_told_of_outlives_one_of_a_peer() {
    holds(&History {
        name: "two deletes in a folder that only receives",
        script: "a:w p X 1; b:w p X 2; b:role receive; a:d p; b:d p",
        because: "the peer's delete has not seen all that was deleted here",
        ..TWO
    });
}

#[test]
fn a_new_incarnation_is_the_same_user() {
    for script in [
        "a:w p X 1; a:newlife; a:w p Y 2; b:w q Z 1",
        "a:w p X 1; a:newlife; a:d p; b:w q Z 1",
        "b:w p X 1; a:newlife; b:w p Y 2; b:d p",
    ] {
        holds(&History {
            name: "a new incarnation",
            script,
            because: "what a device writes next has seen what it wrote before under another name",
            ..TWO
        });
    }
}
