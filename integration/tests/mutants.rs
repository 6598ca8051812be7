//! The bug zoo: each wrong behaviour that can be switched on is found by the simulator, soon.

use syncd_core::mutant::Mutant;
use syncd_integration::sim::breeds;
use syncd_integration::sim::campaign::Plan;

/// Within so many seeds each is found, counted from any of these first ones; the median of all
/// within [`MEDIAN_MAX`].
const SEEDS: u64 = 20_000;

/// The bound of the median.
const MEDIAN_MAX: u64 = 1_000;

/// Where the search begins, each time anew.
const FIRST: [u64; 3] = [0, 1_000_000, 2_000_000];

#[test]
fn every_mutant_is_found() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all = Vec::new();
    for mutant in Mutant::ALL {
        let mut needed: Vec<u64> = FIRST
            .iter()
            .map(|first| {
                let plan = Plan {
                    breeds: breeds::ALL.to_vec(),
                    seeds: *first..first + SEEDS,
                    threads,
                    twice: false,
                    skip: Vec::new(),
                    mutant: Some(mutant),
                };
                let (case, _) = plan.run().failed.unwrap_or_else(|| {
                    panic!("{} is not found within {SEEDS} seeds from {first}", mutant.name())
                });
                case.seed - first + 1
            })
            .collect();
        needed.sort_unstable();
        println!("{:<22}{needed:?} seeds", mutant.name());
        all.extend(needed);
    }
    all.sort_unstable();
    let median = all[all.len() / 2];
    println!("median: {median} seeds");
    assert!(median <= MEDIAN_MAX, "the median is {median} seeds");
}
