//! One decoder, what it must keep to, and how it is run.

use std::fs::OpenOptions;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bolero::check;
use stats_alloc::Region;

use super::ALLOCATOR;
use super::change::Recipe;

/// How long one input may take before it counts as one that never ends: longer than any machine
/// stands still.
const ENDLESS: Duration = Duration::from_secs(120);

/// What a long run decoded last, for when the process dies of it.
const LAST: &str = "last";

/// One at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Since when which input is decoded.
static NOW: Mutex<Option<(Instant, &'static str, Vec<u8>)>> = Mutex::new(None);

/// What a decoder gives back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Law {
    /// The bytes that it was given.
    Same,
    /// Bytes that it gives back as they are.
    Settled,
    /// What the bytes begin with.
    Beginning,
    /// Nothing that would be compared.
    Nothing,
}

/// One decoder under test.
pub(crate) struct Target {
    /// Its directory in the corpus, too.
    pub(crate) name: &'static str,
    /// What it gives back of what it takes.
    pub(crate) law: Law,
    /// Longest input that is tried.
    pub(crate) bytes_max: usize,
    /// What it may allocate for each byte of its input, all in all.
    pub(crate) room_each: usize,
    /// What it may allocate beyond that.
    pub(crate) room_always: usize,
    /// How many inputs are tried, but where the environment says for how long.
    pub(crate) inputs: usize,
}

/// A file of the corpus.
struct Known {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Target {
    /// Tries the corpus and then inputs made of it. `decode` returns the value written again.
    pub(crate) fn run(&self, decode: impl Fn(&[u8]) -> Option<Vec<u8>>) {
        let only = std::env::var("SYNCD_FUZZ_ONLY").unwrap_or_default();
        if !only.is_empty() && only != self.name {
            return;
        }
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        watch();
        let decode = AssertUnwindSafe(decode);
        let known = self.corpus();
        for Known { path, bytes } in &known {
            let name = path.file_name().unwrap().to_string_lossy();
            let taken = self.try_one(&*decode, bytes);
            assert_eq!(taken, !name.starts_with("bad-"), "{}", path.display());
        }
        let seeds: Vec<Vec<u8>> = known.into_iter().map(|known| known.bytes).collect();
        let (tried, taken, broke) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(Vec::new()));
        let one = AssertUnwindSafe(|recipe: &Recipe| {
            let bytes = recipe.make(&seeds, self.bytes_max);
            tried.fetch_add(1, Ordering::Relaxed);
            match catch_unwind(AssertUnwindSafe(|| self.try_one(&*decode, &bytes))) {
                Ok(is_taken) => drop(taken.fetch_add(u64::from(is_taken), Ordering::Relaxed)),
                Err(panic) => {
                    // Each is smaller than the one before: bolero shrinks what it found.
                    *broke.lock().unwrap() = bytes;
                    resume_unwind(panic);
                }
            }
        });
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let target = check!(name = self.name).with_type::<Recipe>();
            // The environment says how long, or here is said how many.
            match std::env::var_os("BOLERO_RANDOM_TEST_TIME_MS") {
                Some(_) => target.for_each(|recipe| one(recipe)),
                None => target.with_iterations(self.inputs).for_each(|recipe| one(recipe)),
            }
        }));
        *NOW.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Err(panic) = ended {
            self.keep(&broke.into_inner().unwrap());
            resume_unwind(panic);
        }
        if let Some(dir) = found() {
            std::fs::remove_file(dir.join(LAST)).unwrap();
        }
        let (tried, taken) = (tried.into_inner(), taken.into_inner());
        let known = seeds.len();
        eprintln!("fuzz: {}: {tried} inputs, {taken} held a value; corpus {known}", self.name);
    }

    /// Decodes one input and checks what it must keep to; whether it held a value.
    fn try_one(&self, decode: &dyn Fn(&[u8]) -> Option<Vec<u8>>, bytes: &[u8]) -> bool {
        note(self.name, bytes);
        let region = Region::new(ALLOCATOR);
        let came = decode(bytes);
        let used = region.change().bytes_allocated;
        let most = self.room_always + self.room_each * bytes.len();
        let given = bytes.len();
        assert!(used <= most, "{given} bytes made it allocate {used}, {most} are the most");
        match (&came, self.law) {
            (None, _) | (Some(_), Law::Nothing) => {}
            (Some(came), Law::Same) => assert_eq!(came, bytes, "it is written differently"),
            (Some(came), Law::Beginning) => assert!(bytes.starts_with(came), "something else came"),
            (Some(came), Law::Settled) => {
                assert_eq!(decode(came).as_ref(), Some(came), "what is written is not read again");
            }
        }
        came.is_some()
    }

    fn corpus(&self) -> Vec<Known> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(self.name);
        let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.into_iter().map(|path| Known { bytes: std::fs::read(&path).unwrap(), path }).collect()
    }

    /// Writes down what broke it, for the corpus.
    fn keep(&self, bytes: &[u8]) {
        let dir = found().map_or_else(std::env::temp_dir, Path::to_owned);
        let path = dir.join(format!("syncd-fuzz-{}-{}", self.name, std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        eprintln!("fuzz: {}: what broke it is in {}", self.name, path.display());
    }
}

/// Says which input is decoded from now on.
fn note(name: &'static str, bytes: &[u8]) {
    let mut now = NOW.lock().unwrap_or_else(PoisonError::into_inner);
    let mut kept = now.take().map(|(_, _, kept)| kept).unwrap_or_default();
    kept.clear();
    kept.extend_from_slice(bytes);
    *now = Some((Instant::now(), name, kept));
    // Memory that is refused ends the process at once: only what is written down by then is left.
    if let Some(dir) = found() {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let mut file = options.open(dir.join(LAST)).unwrap();
        file.write_all(bytes).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
    }
}

/// Where a long run wants what it finds, if this is one.
fn found() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(|| std::env::var_os("SYNCD_FUZZ_FOUND").map(PathBuf::from)).as_deref()
}

/// Ends the process, with the input, when one takes for ever.
fn watch() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let now = NOW.lock().unwrap_or_else(PoisonError::into_inner);
                let Some((since, name, bytes)) = &*now else { continue };
                if since.elapsed() > ENDLESS {
                    let path = std::env::temp_dir().join(format!("syncd-fuzz-{name}-endless"));
                    let _ = std::fs::write(&path, bytes);
                    eprintln!("fuzz: {name}: {} is never decoded", path.display());
                    std::process::abort();
                }
            }
        });
    });
}
