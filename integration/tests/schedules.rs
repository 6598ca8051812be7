//! Random schedules of random histories, beyond what can be tried in every order.
//!
//! `SYNCD_LONG=1` tries a million of each kind. One alone, or others: `cargo run -p
//! syncd-integration --bin sim -- --help`.

use syncd_integration::sim::breeds::{self, Breeds, Nursery};
use syncd_integration::sim::campaign::{Case, Plan};
use syncd_integration::sim::diary::Diary;
use syncd_integration::sim::shrink;

/// Seeds that are tried of each kind.
const SEEDS: u64 = 20_000;

/// Seeds of a long run.
const SEEDS_LONG: u64 = 1_000_000;

/// Seeds that are tried twice, to compare.
const SEEDS_TWICE: u64 = 500;

/// Lists the seeds of a file: breeds, number, reason.
fn listed(text: &'static str) -> impl Iterator<Item = (Case, &'static str)> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().expect("breeds, a seed and its reason");
        let breeds = Breeds::named(word()).expect("breeds that there are");
        (Case::new(breeds, word().parse().expect("a seed")), word())
    })
}

fn open() -> impl Iterator<Item = (Case, &'static str)> {
    listed(include_str!("../seeds/open.txt"))
}

#[test]
fn schedules_that_once_failed_keep_the_laws() {
    for (case, because) in listed(include_str!("../seeds/schedules.txt")) {
        let ran = case.run(&mut Nursery::default(), Diary::Closed);
        ran.outcome.unwrap_or_else(|what| panic!("{because}: {what}"));
    }
}

/// A list of what does not hold is of use only while it is true.
#[test]
fn what_is_known_not_to_hold_is_listed_no_longer_than_that() {
    for (case, because) in open() {
        let ran = case.run(&mut Nursery::default(), Diary::Closed);
        let now = "holds now: move it to seeds/schedules.txt";
        assert!(ran.outcome.is_err(), "{} {} {now}: {because}", case.breeds.name, case.seed);
    }
}

#[test]
fn random_schedules_keep_the_laws() {
    all_hold(breeds::ORDINARY);
}

/// Whatever roles devices had and whoever was preferred: once all send and receive again, all is
/// as it must be.
#[test]
fn roles_that_changed_leave_nothing_behind() {
    all_hold(breeds::ROLES);
}

#[test]
fn what_a_power_loss_leaves_keeps_the_laws() {
    all_hold(breeds::POWER);
}

/// Whatever peers delete, whoever is asked, and whoever restarts before somebody answers.
#[test]
fn what_waits_for_a_person_keeps_the_laws() {
    all_hold(breeds::BRAKES);
}

/// Whatever disks, roots, watchers and clocks do.
#[test]
fn disks_that_fail_lose_nothing() {
    all_hold(breeds::DISKS);
}

/// Whoever forgets what, and whoever is taken out of the folder and put in again.
#[test]
fn devices_that_forget_lose_nothing() {
    all_hold(breeds::LIVES);
}

/// Whenever a device goes on under another name.
#[test]
fn new_incarnations_change_nothing() {
    all_hold(breeds::CLAIMS);
}

/// Equal seeds have equal stories, event for event.
#[test]
fn what_happened_happens_again() {
    let breeds = breeds::ALL.to_vec();
    let report = Plan {
        breeds,
        seeds: 0..SEEDS_TWICE,
        threads: 2,
        twice: true,
        skip: Vec::new(),
        mutant: None,
    }
    .run();
    assert!(report.failed.is_none(), "{:?}", report.failed);
}

fn all_hold(breeds: Breeds) {
    let is_long = std::env::var_os("SYNCD_LONG").is_some();
    let seeds = 0..if is_long { SEEDS_LONG } else { SEEDS };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let skip =
        open().filter(|(case, _)| case.breeds == breeds).map(|(case, _)| case.seed).collect();
    let plan = Plan { breeds: vec![breeds], seeds, threads, twice: false, skip, mutant: None };
    let report = plan.run();
    if let Some((case, what)) = &report.failed {
        panic!("{}", shrink::told(case, what));
    }
    let never = plan.never_fired(&report);
    assert!(never.is_empty(), "never tried: {never:?}");
}
