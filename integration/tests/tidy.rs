//! The house's rules that can be read off the source: who may name whom, how long a file and a
//! line may be, and that no file is forgotten. The table below is that of ARCHITECTURE.md.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, which clippy cannot see")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Longest file, in lines, tests included.
const FILE_LINES_MAX: usize = 500;

/// Longest line, in characters.
const LINE_CHARS_MAX: usize = 100;

/// Files whose lines are not ours to break, and why.
const LONG_LINES: [(&str, &str); 1] =
    [("integration/tests/road/example.rs", "the documentation's example, word for word")];

/// The members of the workspace, innermost first: a file belongs to the first that holds it.
const CRATES: [&str; 7] =
    ["ignore-rules", "daemon/core", "daemon/api", "daemon/home", "daemon", "cli", "integration"];

/// What the files below a place never name.
struct Never {
    place: &'static str,
    names: &'static [&'static str],
    because: &'static str,
}

const WORLD: &[&str] = &[
    "tokio",
    "libp2p",
    "sled",
    "notify",
    "rustix",
    "rand",
    "getrandom",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
];

const NEVER: &[Never] = &[
    Never { place: "ignore-rules/src", names: WORLD, because: "text in, verdict out" },
    Never {
        place: "ignore-rules/src",
        names: &["syncd", "syncd_api", "syncd_core", "syncd_home"],
        because: "it is of use alone",
    },
    Never { place: "daemon/core/src", names: WORLD, because: "the core decides, others do" },
    Never {
        place: "daemon/core/src/model",
        names: &["crate::flow", "crate::engine", "crate::protocol", "serde", "bincode"],
        because: "values know of nothing above them, nor of bytes",
    },
    Never {
        place: "daemon/core/src/flow",
        names: &["crate::engine", "crate::protocol", "serde", "bincode"],
        because: "a stage knows of no conductor, and what it decides has no shape on the wire",
    },
    Never {
        place: "daemon/core/src/engine",
        names: &["crate::protocol", "serde", "bincode"],
        because: "the engine speaks in values",
    },
    Never {
        place: "daemon/core/src/protocol",
        names: &["crate::engine", "crate::flow::plan", "crate::flow::settle", "crate::flow::pull"],
        because: "the wire carries values and decides nothing",
    },
    Never {
        place: "daemon/api/src",
        names: &["syncd", "syncd_core", "syncd_home", "tokio", "libp2p", "sled"],
        because: "types of the control API, for whoever speaks it",
    },
    Never {
        place: "daemon/home/src",
        names: &["syncd", "syncd_api", "syncd_core::flow", "syncd_core::engine", "libp2p", "sled"],
        because: "what needs no daemon knows none",
    },
    Never {
        place: "daemon/src/flow",
        names: &[
            "libp2p",
            "axum",
            "hyper",
            "crate::run",
            "crate::world::net",
            "crate::world::control",
        ],
        because: "hands know the disk and their orders, not who gave them",
    },
    Never {
        place: "daemon/src/world",
        names: &["sled", "crate::flow", "crate::run", "syncd_core::engine"],
        because: "the outer world is reached by the loop alone",
    },
    Never {
        place: "daemon/src/world/net",
        names: &["std::fs", "tokio::fs", "rustix::fs", "syncd_core::protocol", "syncd_core::flow"],
        because: "the network carries opaque frames, and touches no disk",
    },
    Never {
        place: "daemon/src/run",
        names: &["libp2p", "sled", "notify"],
        because: "each of the three is named in one room only",
    },
    Never {
        place: "cli/src",
        names: &["syncd", "libp2p", "sled", "notify", "syncd_core::flow", "syncd_core::engine"],
        because: "it asks and never decides",
    },
];

/// What the stages are called, in the order of the road.
const ROAD: [&str; 7] = ["detect", "digest", "index", "offer", "plan", "pull", "settle"];

/// Stages that name a later one of the core, or one beside them of the daemon.
const STAGES_THAT_MEET: &[(&str, &str, &str)] = &[
    ("daemon/core/src/flow/plan/order.rs", "settle", "a plan is a list of settle's steps"),
    ("daemon/src/flow/detect", "digest", "a scan hashes what it finds, many files at once"),
];

/// One source file.
struct Source {
    /// From the workspace's root, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// Lists what `use` declarations name, with braces written out: line and full path.
    fn uses(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let mut lines = self.text.lines().enumerate();
        while let Some((at, line)) = lines.next() {
            let Some(start) = line.find("use ").filter(|start| opens_use(&line[..*start])) else {
                continue;
            };
            let mut whole = line[start + 4..].to_owned();
            while !whole.contains(';') {
                let Some((_, more)) = lines.next() else { break };
                whole.push_str(more.split("//").next().unwrap_or_default());
            }
            let whole: String = whole.split(';').next().unwrap_or_default().to_owned();
            // Under which name it is used here says nothing; `spread` cuts it off.
            let whole = whole.replace(" as ", "@");
            let whole: String = whole.chars().filter(|c| !c.is_whitespace()).collect();
            found.extend(spread(&whole).into_iter().map(|path| (at + 1, path)));
        }
        found
    }

    /// Lists the lines of code, without comments, up to the tests at the file's end.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        self.text[..tests]
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default()))
    }

    fn is_below(&self, place: &str) -> bool {
        let rest = self.path.strip_prefix(place);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Tells whether the file has nothing but tests, or what they share.
    fn is_test(&self) -> bool {
        ["/tests/", "/tests.rs", "/testing.rs", "/conformance.rs"]
            .iter()
            .any(|mark| self.path.contains(mark))
    }
}

/// Tells whether what stands before `use` is nothing, or how visible it is.
fn opens_use(before: &str) -> bool {
    let before = before.trim();
    before.is_empty() || before == "pub" || before.starts_with("pub(") && before.ends_with(')')
}

/// Writes out the braces of a `use`: `a::{b, c::{d, self}}` names `a::b`, `a::c::d`, `a::c`.
fn spread(tree: &str) -> Vec<String> {
    let Some(open) = tree.find('{') else {
        let path = tree.split('@').next().unwrap_or(tree);
        return vec![path.trim_end_matches("::self").to_owned()];
    };
    let (head, rest) = (&tree[..open], &tree[open + 1..]);
    let inner = &rest[..rest.rfind('}').unwrap_or(rest.len())];
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if start < at {
                    found.extend(spread(&format!("{head}{}", &inner[start..at])));
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// Tells whether `code` names the path `name`: as itself, or something in it.
fn names(code: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + name.len()..];
        let apart = before.is_none_or(|c| !word(c) && c != ':' && c != '.' && c != '"');
        apart && (after.is_empty() || after.starts_with("::"))
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Reads every source file of the workspace, by path.
fn sources() -> Vec<Source> {
    let root = root();
    let mut todo: Vec<PathBuf> = CRATES.iter().map(|place| root.join(place)).collect();
    let mut found = BTreeMap::new();
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let hidden = path
                .file_name()
                .is_some_and(|name| name == "target" || name.to_string_lossy().starts_with('.'));
            if path.is_dir() && !hidden {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                found.insert(path.clone(), Source { path, text });
            }
        }
    }
    assert!(found.len() > 100, "the sources are not where they were: {}", found.len());
    found.into_values().collect()
}

fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn files_and_lines_end_in_time() {
    let mut faults = Vec::new();
    for Source { path, text } in sources() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!("{path}: {lines} lines, {FILE_LINES_MAX} are the most"));
        }
        let is_exempt = LONG_LINES.iter().any(|(exempt, _)| path == *exempt);
        for (at, line) in text.lines().enumerate().filter(|_| !is_exempt) {
            if line.chars().count() > LINE_CHARS_MAX {
                faults.push(format!("{path}:{}: over {LINE_CHARS_MAX} columns", at + 1));
            }
        }
    }
    none(faults);
}

#[test]
fn nobody_names_whom_he_must_not() {
    let sources = sources();
    let mut faults = Vec::new();
    for Never { place, names: forbidden, because } in NEVER {
        let here: Vec<&Source> =
            sources.iter().filter(|s| s.is_below(place) && !s.is_test()).collect();
        assert!(!here.is_empty(), "the table speaks of {place}, where nothing is");
        for source in here {
            let end = source.code().last().map_or(0, |(at, _)| at);
            let used = source.uses().into_iter().filter(|(at, _)| *at <= end);
            let inline = source.code().flat_map(|(at, code)| {
                code.split(|c: char| !(c.is_alphanumeric() || "_:.\"".contains(c)))
                    .filter(|word| word.contains("::"))
                    .map(move |word| (at, word.to_owned()))
            });
            let named: BTreeSet<(usize, String)> = used.chain(inline).collect();
            for (at, path) in named {
                for name in forbidden.iter().filter(|name| names(&path, name)) {
                    let whole = &source.path;
                    faults.push(format!("{whole}:{at}: {path} names {name}; {because}"));
                }
            }
        }
    }
    none(faults);
}

#[test]
fn a_stage_knows_only_those_before_it() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for (base, alone) in [("daemon/core/src/flow", false), ("daemon/src/flow", true)] {
            let Some(rest) = source.path.strip_prefix(base) else { continue };
            let own = rest.trim_start_matches('/').split(['/', '.']).next().unwrap_or_default();
            let Some(here) = ROAD.iter().position(|stage| *stage == own) else { continue };
            let end = source.code().last().map_or(0, |(at, _)| at);
            for (at, path) in source.uses().into_iter().filter(|(at, _)| *at <= end) {
                let Some(stage) = path.strip_prefix("crate::flow::") else { continue };
                let stage = stage.split("::").next().unwrap_or_default();
                let there = ROAD.iter().position(|known| *known == stage);
                let allowed = there.is_some_and(|there| there == here || !alone && there < here)
                    || STAGES_THAT_MEET
                        .iter()
                        .any(|(place, met, _)| source.is_below(place) && *met == stage);
                if !allowed {
                    faults.push(format!("{}:{at}: {own} names {stage}", source.path));
                }
            }
        }
    }
    none(faults);
}

#[test]
fn planning_has_no_hands() {
    assert!(root().join("daemon/core/src/flow/plan").is_dir());
    for absent in ["daemon/src/flow/plan", "daemon/src/flow/plan.rs"] {
        assert!(!root().join(absent).exists(), "{absent}");
    }
}

#[test]
fn nothing_is_left_undone_or_allowed_without_a_reason() {
    let unfinished = ["todo", "unimplemented", "dbg"].map(|word| format!("{word}!("));
    let mut faults = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in unfinished.iter().filter(|word| code.contains(word.as_str())) {
                faults.push(format!("{}:{}: {word}..)", source.path, at + 1));
            }
            let opens = ["#[allow(", "#![allow(", "#[expect(", "#![expect("];
            if opens.iter().any(|open| code.trim_start().starts_with(open)) {
                let end = lines[at..].iter().position(|line| line.contains(")]"));
                let whole = lines[at..=at + end.unwrap_or(0)].concat();
                if !whole.contains("reason = \"") {
                    faults.push(format!("{}:{}: allowed without a reason", source.path, at + 1));
                }
            }
        }
    }
    none(faults);
}

#[test]
fn no_file_is_forgotten() {
    let sources: BTreeMap<String, Source> =
        sources().into_iter().map(|source| (source.path.clone(), source)).collect();
    let mut todo: Vec<&Source> =
        sources.values().filter(|source| is_target(&source.path)).collect();
    let mut reached = BTreeSet::new();
    while let Some(source) = todo.pop() {
        if reached.insert(source.path.clone()) {
            todo.extend(modules(source).iter().filter_map(|path| sources.get(path)));
        }
    }
    none(
        sources
            .keys()
            .filter(|path| !reached.contains(*path))
            .map(|path| format!("{path}: no target, and no target's module"))
            .collect(),
    );
}

/// Tells the files that cargo builds by themselves.
fn is_target(path: &str) -> bool {
    let Some(rest) = CRATES.iter().find_map(|place| path.strip_prefix(&format!("{place}/"))) else {
        return false;
    };
    let parts: Vec<&str> = rest.split('/').collect();
    matches!(
        parts[..],
        ["src", "lib.rs" | "main.rs"]
            | ["build.rs"]
            | ["src", "bin", _]
            | ["src", "bin", _, "main.rs"]
            | ["tests" | "examples" | "benches", _]
            | ["tests" | "examples" | "benches", _, "main.rs"]
    )
}

/// Lists the files that a file's `mod` declarations may stand for.
fn modules(source: &Source) -> Vec<String> {
    let (dir, name) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let stem = name.trim_end_matches(".rs");
    let owns_its_folder = is_target(&source.path) || stem == "mod";
    let inner = if owns_its_folder { dir.to_owned() } else { format!("{dir}/{stem}") };
    let mut found = Vec::new();
    let mut given = None;
    for line in source.text.lines().map(str::trim) {
        if let Some(path) = line.strip_prefix("#[path = \"") {
            given = path.strip_suffix("\"]").map(|path| lexically(dir, path));
        } else if let Some(name) = module_name(line) {
            found.extend(given.take());
            found.push(format!("{inner}/{name}.rs"));
            found.push(format!("{inner}/{name}/mod.rs"));
        }
    }
    found
}

/// Returns `path` seen from `dir`, with its `..` walked.
fn lexically(dir: &str, path: &str) -> String {
    let mut parts: Vec<&str> = dir.split('/').collect();
    for part in path.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

fn module_name(line: &str) -> Option<&str> {
    let at = line.find("mod ").filter(|at| opens_use(&line[..*at]))?;
    let name = line[at + 4..].strip_suffix(';')?;
    name.chars().all(|c| c.is_alphanumeric() || c == '_').then_some(name)
}

#[test]
fn this_file_reads_what_it_should() {
    let source = Source {
        path: "daemon/core/src/x.rs".to_owned(),
        text: "use a::{b, c::{d, self}};\npub(super) use e::f as g;\nlet reuse = 1;\n".to_owned(),
    };
    let uses: Vec<String> = source.uses().into_iter().map(|(_, path)| path).collect();
    assert_eq!(uses, ["a::b", "a::c::d", "a::c", "e::f"]);
    for (code, name, named, because) in [
        ("sled::Db", "sled", true, "something in it"),
        ("sled", "sled", true, "itself"),
        ("resled::Db", "sled", false, "another name"),
        ("std::fs::File", "std::fs", true, "something in it"),
        ("tokio::fs", "std::fs", false, "another's"),
        ("super::notify::x", "notify", false, "a module of ours"),
        ("std::fsx::y", "std::fs", false, "a longer name"),
    ] {
        assert_eq!(names(code, name), named, "{because}");
    }
    assert_eq!(module_name("pub(super) mod a;"), Some("a"));
    assert_eq!(module_name("mod tests {"), None);
    assert_eq!(lexically("a/b", "../c.rs"), "a/c.rs");
}
