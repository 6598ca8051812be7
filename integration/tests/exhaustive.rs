//! Every small history in every order: the bounds at which broken merging rules show.
//!
//! `SYNCD_LONG=1` widens the alphabets, adds overtaking lanes where they multiply the states, and
//! lifts the cap. What a run leaves out for its cap it says.

use syncd_integration::sim::explore::{self, Tally};
use syncd_integration::sim::{Op, World, oracle, script};

/// Acts on one file.
const FILE: &[&str] = &["w p * 1", "w p * 2", "d p"];

/// Acts that meet in one file, one other, and a directory.
const WIDE: &[&str] =
    &["w p * 1", "w p same 2", "d p", "t p 2", "r p q", "w d/f * 1", "w d * 1", "d d"];

/// Most states in one script, unless the run is long.
const STATES_MAX: usize = 60_000;

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

fn holds(name: &str, (devices, hub): (usize, bool), lanes: bool, scripts: &[Vec<(usize, Op)>]) {
    let states_max = if is_long() { usize::MAX } else { STATES_MAX };
    let parities = if lanes { &[None, Some(0), Some(1)][..] } else { &[None] };
    let (mut tally, mut cut) = (Tally::default(), 0);
    for parity in parities {
        let mut world = World::new(devices, hub, *parity);
        explore::come_to_rest(&mut world).expect("an empty folder comes to rest");
        if devices > 2 {
            world = world.with_quick_acks();
        }
        for ops in scripts {
            let check = |world: &World| {
                oracle::no_false_copies(world, ops)?;
                oracle::no_unseen_delete(world)
            };
            let one = explore::every_order(&world, ops, states_max, &check)
                .unwrap_or_else(|what| panic!("{name}, lanes {parity:?}: {what}"));
            cut += usize::from(one.cut_short);
            tally.add(one);
        }
    }
    let (count, states, rests) = (scripts.len(), tally.states, tally.rests);
    println!("{name}: {count} scripts, {states} states, {rests} ends, {cut} scripts cut short");
    assert!(tally.rests >= scripts.len() - cut, "{name}: a script never came to rest");
}

#[test]
fn four_writes_on_two_devices() {
    let writes = if is_long() { &["w p * 1", "w p * 2", "w p same 1"][..] } else { &FILE[..2] };
    holds("four writes", (2, false), is_long(), &scripts(2, 4, writes));
}

#[test]
fn three_acts_on_two_devices() {
    holds("three acts", (2, false), is_long(), &scripts(2, 3, WIDE));
}

#[test]
fn three_acts_on_one_file_with_lanes_that_overtake() {
    holds("three acts, two lanes", (2, false), true, &scripts(2, 3, FILE));
}

#[test]
fn three_acts_on_a_hub_with_two_boxes() {
    holds("hub", (3, true), false, &scripts(3, 3, if is_long() { WIDE } else { FILE }));
}

#[test]
fn two_acts_on_a_mesh_of_three() {
    holds("mesh", (3, false), false, &scripts(3, 2, if is_long() { WIDE } else { FILE }));
}
