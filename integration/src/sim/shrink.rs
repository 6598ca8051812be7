//! Making a failure short: acts are dropped for as long as it still fails, in this order of
//! deliveries or another.

use super::breeds::Nursery;
use super::campaign::Case;
use super::diary::{Diary, with_names};
use super::script;

/// Orders that are tried for each history before it counts as one that does not fail.
const ORDERS: u64 = 200;

/// A failure of few acts.
#[derive(Debug)]
pub struct Shortest {
    /// How to replay it.
    pub case: Case,
    /// What does not hold in it.
    pub what: String,
    /// How many acts were left out.
    pub dropped: usize,
}

/// Tells of a failure: the seed, the shortest history that fails, and how to replay it.
#[must_use]
pub fn told(case: &Case, what: &str) -> String {
    let first_line = |text: &str| with_names(text.lines().next().unwrap_or_default().to_owned());
    let text = format!("seed {} failed: {}", case.seed, first_line(what));
    let Some(short) = shortest(case) else {
        return text + "\nrun again, it holds: something is not deterministic";
    };
    let ops = short.case.history(&mut Nursery::default()).ops;
    format!(
        "{text}\nshortest, {} acts left out: {}\n    {}\nreplay it:\n    \
         cargo run -p syncd-integration --bin sim -- {} --trace",
        short.dropped,
        first_line(&short.what),
        script::written(&ops),
        short.case.arguments(),
    )
}

/// Shortens a case that fails; `None` for one that does not.
#[must_use]
pub fn shortest(case: &Case) -> Option<Shortest> {
    let nursery = &mut Nursery::default();
    let all = Case { keep: None, ..case.clone() }.history(nursery).ops.len();
    let mut keep: Vec<usize> = case.keep.clone().unwrap_or_else(|| (0..all).collect());
    let began_with = keep.len();
    let mut best = fails(&Case { keep: Some(keep.clone()), ..case.clone() }, nursery)?;
    // Several at once first, then each alone, until none can be spared.
    let mut count = (keep.len() / 2).max(1);
    loop {
        let mut at = keep.len();
        let before = keep.len();
        while at > 0 {
            let from = at.saturating_sub(count);
            let less = [&keep[..from], &keep[at..]].concat();
            let fewer = Case { keep: Some(less.clone()), order: best.0.order, ..case.clone() };
            if let Some(shorter) = fails(&fewer, nursery) {
                (best, keep) = (shorter, less);
            }
            at = from;
        }
        match count {
            1 if keep.len() == before => break,
            1 => {}
            _ => count /= 2,
        }
    }
    let (case, what) = best;
    Some(Shortest { case, what, dropped: began_with - keep.len() })
}

/// Looks for an order in which a history fails: its own first.
fn fails(case: &Case, nursery: &mut Nursery) -> Option<(Case, String)> {
    let others = (0..ORDERS).map(Some);
    for order in std::iter::once(case.order).chain(others) {
        let case = Case { order, ..case.clone() };
        if let Err(what) = case.run(nursery, Diary::Closed).outcome {
            return Some((case, what));
        }
    }
    None
}
