//! `sim`: runs simulated histories from seeds, and tells the story of one.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use syncd_core::mutant::Mutant;
use syncd_integration::sim::breeds::{self, Breeds, History, Nursery};
use syncd_integration::sim::campaign::{Case, Plan, behave};
use syncd_integration::sim::diary::{Diary, with_names};
use syncd_integration::sim::faults::Fault;
use syncd_integration::sim::{script, shrink};

const ABOUT: &str = "\
Runs histories of devices that share a folder: the decisions of syncd unchanged, in a simulated \
world in which users act between any two steps and faults come at any moment. Each history is a \
function of its seed. A failure is shortened and printed with the command that replays it.

Exit codes: 0 all held; 1 something did not, with the seed; 2 wrong usage.";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "sim", about = "Runs simulated histories of syncd", long_about = ABOUT)]
struct Args {
    /// Run this history alone
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,

    /// Run so many histories
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    seeds: u64,

    /// The first of them
    #[arg(long, value_name = "S", default_value_t = 0)]
    from: u64,

    /// What histories are drawn from: a name or `all`, in which seeds take turns
    #[arg(long, value_name = "NAME", default_value = "all", value_parser = named)]
    breeds: Named,

    /// Tell the story of the history
    #[arg(long, requires = "seed")]
    trace: bool,

    /// Play only these of its acts, counted from 0
    #[arg(long, value_name = "N,N", value_delimiter = ',', requires = "seed")]
    keep: Option<Vec<usize>>,

    /// Draw the order of steps from this number instead of the seed
    #[arg(long, value_name = "N", requires = "seed")]
    order: Option<u64>,

    /// Run each history twice and compare all that happened
    #[arg(long)]
    twice: bool,

    /// Behave wrongly in this way, which must be found. Needs a build with
    /// `--features mutants`
    #[arg(long, value_name = "NAME", value_parser = mutant)]
    mutant: Option<Mutant>,

    /// How many threads [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// What histories are drawn from.
#[derive(Debug, Clone)]
struct Named(Vec<Breeds>);

fn named(name: &str) -> Result<Named, String> {
    if name == "all" {
        return Ok(Named(breeds::ALL.to_vec()));
    }
    Breeds::named(name).map(|breeds| Named(vec![breeds])).ok_or_else(|| {
        let all = breeds::ALL.map(|breeds| format!("\n  {:<10}{}", breeds.name, breeds.about));
        format!("there are none of that name, but `all` and{}", all.concat())
    })
}

fn mutant(name: &str) -> Result<Mutant, String> {
    if !cfg!(feature = "mutants") {
        return Err("this build has none; build with --features mutants".to_owned());
    }
    Mutant::ALL.into_iter().find(|mutant| mutant.name() == name).ok_or_else(|| {
        let all = Mutant::ALL.map(|mutant| format!("\n  {}", mutant.name()));
        format!("there is none of that name, but{}", all.concat())
    })
}

fn main() -> ExitCode {
    let args = Args::parse();
    behave(args.mutant);
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let seeds = match args.seed {
        Some(seed) => seed..seed.saturating_add(1),
        None => args.from..args.from.saturating_add(args.seeds),
    };
    let plan = Plan {
        breeds: args.breeds.0.clone(),
        seeds,
        threads: args.threads.unwrap_or_else(cores),
        twice: args.twice,
        skip: Vec::new(),
        mutant: args.mutant,
    };
    match args.seed {
        Some(seed) => one(&args, plan.case(seed)),
        None => many(&plan),
    }
}

/// Prints a line. Whoever reads may stop reading: `sim --trace | head`.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn one(args: &Args, case: Case) -> ExitCode {
    let nursery = &mut Nursery::default();
    let acts = case.history(nursery).ops.len();
    if let Some(none) = args.keep.iter().flatten().find(|at| **at >= acts) {
        eprintln!("sim: --keep {none}: this history has acts 0 to {} alone", acts.max(1) - 1);
        return ExitCode::from(2);
    }
    let case = Case { keep: args.keep.clone(), order: args.order, ..case };
    let History { breed, world, ops } = case.history(nursery);
    say(&format!("{breed:?}, {}:\n    {}", world.shape(), script::written(&ops)));
    let ran = match (args.twice, args.trace) {
        (true, _) => case.run_twice(nursery),
        (false, true) => case.run(nursery, Diary::Printed),
        (false, false) => case.run(nursery, Diary::Closed),
    };
    match ran.outcome {
        Ok(()) => {
            say(&with_names(ran.end));
            say(&format!("seed {} keeps all laws, after {} steps", case.seed, ran.steps));
            ExitCode::SUCCESS
        }
        Err(what) => {
            say(&format!("seed {} fails: {}", case.seed, with_names(what)));
            ExitCode::FAILURE
        }
    }
}

fn many(plan: &Plan) -> ExitCode {
    let began = Instant::now();
    let report = plan.run();
    let busy_ms = report.busy.as_secs_f64() * 1_000.0;
    say(&format!(
        "{} histories of {} steps from seeds {}..{} in {:.1} s on {} threads; \
         {:.2} ms of one core each",
        report.histories,
        report.steps,
        plan.seeds.start,
        plan.seeds.end,
        began.elapsed().as_secs_f64(),
        plan.threads,
        busy_ms / (report.histories.max(1) as f64),
    ));
    let could = |fault: &Fault| plan.breeds.iter().any(|breeds| breeds.draw(*fault));
    for fault in Fault::ALL.into_iter().filter(could) {
        say(&format!("{:>12}  {}", report.fired.of(fault), fault.words()));
    }
    if let Some((case, what)) = &report.failed {
        say(&shrink::told(case, what));
        return ExitCode::FAILURE;
    }
    let never = plan.never_fired(&report);
    if !never.is_empty() {
        let kinds: Vec<&str> = never.into_iter().map(Fault::words).collect();
        say(&format!("failed: could have come and never did: {}", kinds.join(", ")));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
