//! Every small history in every order: the bounds at which broken merging rules show.
//!
//! `SYNCD_LONG=1` widens the alphabets. Each bound is tried with one lane, with frames of either
//! parity on the other lane, so that they overtake each other, or, where that has too many orders,
//! with a single frame there, each in its turn. A script that is cut short fails.

use std::cell::RefCell;
use std::collections::BTreeSet;

use syncd_core::flow::index::MemIndex;
use syncd_core::flow::offer::Offer;
use syncd_core::model::Version;
use syncd_integration::sim::orders::{self, Acts, Tally};
use syncd_integration::sim::reduced::Explorer;
use syncd_integration::sim::{Bulk, Op, World, explore, oracle, script};

/// Writes to one file.
const WRITES: &[&str] = &["w p * 1", "w p * 2"];

/// A way to break a rule, see [`World::with_mangled_offers`].
type Mangle = fn(&MemIndex, &mut Offer);

/// Acts on one file.
const FILE: &[&str] = &["w p * 1", "w p * 2", "d p"];

/// Acts that meet in one file, one other, and a directory.
const WIDE: &[&str] =
    &["w p * 1", "w p same 2", "d p", "t p 2", "r p q", "w d/f * 1", "w d * 1", "d d"];

/// More states than any script of the bounds has, few enough for the memory of a small machine.
const STATES_MAX: usize = 500_000;

/// Every other frame takes the other lane.
const LANES: &[Option<Bulk>] = &[Some(Bulk::Parity(0)), Some(Bulk::Parity(1))];

fn is_long() -> bool {
    std::env::var_os("SYNCD_LONG").is_some()
}

/// Lists every way in which `devices` can do `count` acts of `alphabet`, each device's in order.
/// The order between devices is explored, so it is not listed.
fn scripts(devices: usize, count: usize, alphabet: &[&str]) -> Vec<Vec<(usize, Op)>> {
    let acts = devices * alphabet.len();
    let all = (0..acts.pow(u32::try_from(count).expect("few acts"))).filter_map(|mut number| {
        let mut chosen = Vec::with_capacity(count);
        for _ in 0..count {
            chosen.push((number % acts / alphabet.len(), number % acts % alphabet.len()));
            number /= acts;
        }
        let in_order = chosen.windows(2).all(|pair| pair[0].0 <= pair[1].0);
        in_order.then_some(chosen)
    });
    let spelled = all.map(|chosen| {
        let act = |(at, (device, act)): (usize, &(usize, usize))| {
            let device = ["a", "b", "c"][*device];
            format!("{device}:{}", alphabet[*act].replace('*', &format!("W{at}")))
        };
        chosen.iter().enumerate().map(act).collect::<Vec<_>>().join("; ")
    });
    spelled.map(|text| script(&text)).collect()
}

fn at_rest(devices: usize, hub: bool, lanes: Option<Bulk>) -> World {
    let mut world = World::new(devices, hub, lanes);
    explore::come_to_rest(&mut world).expect("an empty folder comes to rest");
    world
}

/// How many devices, and whether the first is their hub.
type Shape = (usize, bool);

fn holds(name: &str, shape: Shape, lanes: &[Option<Bulk>], scripts: &[Vec<(usize, Op)>]) {
    for lanes in lanes {
        tries(name, shape, *lanes, scripts);
    }
}

/// Lets a single frame take the other lane, each in its turn.
fn holds_where_one_overtakes(name: &str, (devices, hub): Shape, scripts: &[Vec<(usize, Op)>]) {
    let ways = (0..devices).flat_map(|from| (0..devices).map(move |to| (from, to)));
    for (from, to) in ways.filter(|(from, to)| from != to && (!hub || from * to == 0)) {
        // The first on each way tells of the empty folder.
        let mut number = 2;
        while tries(name, (devices, hub), Some(Bulk::One(from, to, number)), scripts) {
            number += 1;
        }
        assert!(number > 3, "{name}: {from} tells {to} nothing");
    }
}

/// Tries each script; tells whether any frame took the other lane.
fn tries(
    name: &str,
    (devices, hub): Shape,
    lanes: Option<Bulk>,
    scripts: &[Vec<(usize, Op)>],
) -> bool {
    let mut explorer = Explorer::new(at_rest(devices, hub, lanes));
    let (mut tally, mut most, mut overtook) = (Tally::default(), 0, false);
    for ops in scripts {
        let check = |world: &World| {
            oracle::no_false_copies(world, ops)?;
            oracle::no_unseen_delete(world)
        };
        let one = explorer
            .every_order(&Acts::new(devices, ops), STATES_MAX, &check)
            .unwrap_or_else(|what| panic!("{name}, lanes {lanes:?}: {what}\nops: {ops:?}"));
        assert!(!one.cut_short, "{name}, lanes {lanes:?}: cut short: {ops:?}");
        assert!(one.rests > 0, "{name}, lanes {lanes:?}: never at rest: {ops:?}");
        most = most.max(one.states);
        overtook |= explorer.has_used_bulk();
        tally.add(one);
    }
    let (count, Tally { states, rests, .. }) = (scripts.len(), tally);
    println!(
        "{name}, lanes {lanes:?}: {count} scripts, {states} states, at most {most} in one, \
         {rests} ends"
    );
    overtook
}

#[test]
fn four_writes_on_two_devices() {
    let all = scripts(2, 4, if is_long() { &WIDE[..2] } else { WRITES });
    holds("four writes", (2, false), &[None], &all);
    holds("four writes", (2, false), LANES, &all);
}

#[test]
fn three_acts_on_two_devices() {
    let all = scripts(2, 3, WIDE);
    holds("three acts", (2, false), &[None], &all);
    holds("three acts", (2, false), LANES, &all);
}

#[test]
fn acts_on_a_hub_with_two_boxes() {
    holds("hub", (3, true), &[None], &scripts(3, 3, if is_long() { WIDE } else { FILE }));
    holds("hub", (3, true), LANES, &scripts(3, 2, WIDE));
    let some = scripts(3, 3, if is_long() { FILE } else { WRITES });
    holds_where_one_overtakes("hub", (3, true), &some);
}

#[test]
fn acts_on_a_mesh_of_three() {
    holds("mesh", (3, false), &[None], &scripts(3, 2, if is_long() { WIDE } else { FILE }));
    holds("mesh", (3, false), LANES, &scripts(3, 1, WIDE));
    if is_long() {
        // Some 100 million states.
        holds_where_one_overtakes("mesh", (3, false), &scripts(3, 2, FILE));
    }
}

#[test]
fn four_acts_on_two_devices() {
    holds("four acts", (2, false), &[None], &scripts(2, 4, WIDE));
}

/// What is left out must leave no end out: the same histories, tried as whole worlds one after the
/// other and with nothing left out, come to the same ends.
#[test]
fn fewer_orders_come_to_the_same_ends() {
    let (two, hub, mesh) = ((2, false), (3, true), (3, false));
    for (shape, lanes, text) in [
        (two, true, "a:w p X 1; b:w p Y 2"),
        (two, true, "a:w p X 1; a:d p; b:w p Y 2"),
        (two, true, "a:w p X 1; b:r p q; b:w p Y 2"),
        (two, true, "a:w d/f X 1; b:w d Y 2; a:d d"),
        (two, true, "a:w p X 1; a:w d Y 1; a:w d/f Z 1"),
        (hub, true, "b:w p X 1; b:d p"),
        (hub, false, "a:w p X 1; b:w p Y 2; b:d p"),
        (hub, false, "b:w p X 1; c:w d/p Y 2; c:r d q"),
        (mesh, false, "b:w p X 1; a:d p"),
    ] {
        let ops = script(text);
        let acts = Acts::new(shape.0, &ops);
        let all_lanes = [None].iter().chain(LANES.iter().filter(|_| lanes));
        for parity in all_lanes {
            let world = at_rest(shape.0, shape.1, *parity);
            let ends = |all: bool| {
                let ends = RefCell::new(BTreeSet::new());
                let note = |world: &World| {
                    ends.borrow_mut().insert(world.fingerprint());
                    Ok(())
                };
                let tally = match all {
                    true => orders::every_order(&world, &acts, STATES_MAX, &note),
                    false => Explorer::new(world.clone()).every_order(&acts, STATES_MAX, &note),
                };
                (tally.unwrap_or_else(|what| panic!("{text}: {what}")), ends.into_inner())
            };
            let ((all, all_ends), (fewer, fewer_ends)) = (ends(true), ends(false));
            println!("{text} {parity:?}: {} of {} states", fewer.states, all.states);
            assert!(all_ends == fewer_ends, "{text}, lanes {parity:?}: other ends");
            assert!(fewer.states <= all.states, "{text}, lanes {parity:?}: nothing was spared");
        }
    }
}

/// Rules that are broken on purpose are found to be: a covered vector that runs ahead of what was
/// told, and writes that have seen nothing.
#[test]
fn broken_rules_are_found() {
    let runs_ahead: Mangle = |_, offer| {
        let covered = offer.upto.as_mut().and_then(|upto| upto.covered.as_mut());
        if let Some(covered) = covered {
            let ahead = covered.counters().map(|(writer, counter)| (writer, counter + 1));
            *covered = Version::from_counters(ahead.collect::<Vec<_>>());
        }
    };
    let sees_nothing: Mangle = |_, offer| {
        for (_, record) in &mut offer.records {
            record.version = Version::of(record.dot);
        }
    };
    for (mangle, text, because) in [
        (runs_ahead, "a:w p X 1; a:w q Y 1", "the second write is taken for a forgotten delete"),
        (sees_nothing, "a:w p X 1; b:d p", "a delete has not seen what it deleted"),
    ] {
        let ops = script(text);
        let check = |world: &World| {
            oracle::no_false_copies(world, &ops)?;
            oracle::no_unseen_delete(world)
        };
        for parity in [None].iter().chain(LANES).copied() {
            let world = at_rest(2, false, parity).with_mangled_offers(mangle);
            let mut explorer = Explorer::new(world);
            let tried = explorer.every_order(&Acts::new(2, &ops), STATES_MAX, &check);
            assert!(tried.is_err(), "{because}: not found with lanes {parity:?}");
        }
    }
}
