//! The tables in `tests/cases`: rules as a user writes them, paths, and the line that decides.
//!
//! A case file is a list of sections, each begun by a line `=== word argument`:
//!
//! | section | holds |
//! |---|---|
//! | `=== case NAME` | nothing; begins a new set of rules |
//! | `=== rules FILE` | a rule file, asked in the order of the sections |
//! | `=== include FILE` | a file that may be included |
//! | `=== gitignore DIR` | the `.gitignore` of a directory; `.` is the root |
//! | `=== paths` | `path verdict file:line # reason`; a path with `/` at the end is a directory |
//! | `=== walk` | `dir yes-or-no # reason`: must it be walked |
//! | `=== includes` | `file # reason`: all included files in order |
//! | `=== error` | `file:line text # reason`: the rules are refused with a text that holds this |
//!
//! A verdict is `synced`, `ignored` or `disposable`; the line is `-` when none decided, and
//! `(built in)` is written `built-in`. `\xNN` is a byte, in rules and in paths. Where the word
//! `cased` follows a section's word, it is left out on systems where case never matters.

use std::collections::BTreeMap;

use ignore_rules::{RuleError, Rules};

const CASELESS: bool = cfg!(any(target_os = "macos", windows));

#[derive(Default)]
struct Case {
    name: String,
    rules: Vec<(String, Vec<u8>)>,
    includes: BTreeMap<String, Vec<u8>>,
    gitignores: Vec<(String, Vec<u8>)>,
    checks: Vec<(String, Vec<String>)>,
}

impl Case {
    fn parse(&self) -> Result<Rules, RuleError> {
        let files: Vec<_> = self.rules.iter().map(|(name, text)| (&**name, &**text)).collect();
        let mut rules = Rules::parse(&files, &mut |name: &str| self.includes.get(name).cloned())?;
        for (dir, text) in &self.gitignores {
            let dir = if dir == "." { "" } else { dir };
            rules.set_gitignore(dir.as_bytes(), Some(text));
        }
        Ok(rules)
    }

    /// Runs all rows; returns what is wrong with each.
    fn run(&self) -> Vec<Option<String>> {
        let parsed = self.parse();
        let mut results = Vec::new();
        for (kind, lines) in &self.checks {
            for (index, line) in lines.iter().enumerate() {
                let (row, reason) = line.split_once(" # ").expect("every row has a reason");
                let words: Vec<&str> = row.split_whitespace().collect();
                let (found, wanted) = match (&**kind, &parsed) {
                    ("error", Err(error)) => (found_error(error, &words), words.join(" ")),
                    ("error", Ok(_)) => ("no error".to_owned(), words.join(" ")),
                    (_, Err(error)) => (error.to_string(), words.join(" ")),
                    ("paths", Ok(rules)) => (found_verdict(rules, words[0]), words[1..].join(" ")),
                    ("walk", Ok(rules)) => (found_walk(rules, words[0]), words[1].to_owned()),
                    ("includes", Ok(rules)) => {
                        let last = index + 1 == lines.len();
                        let from = rules.includes().skip(index);
                        let found: Vec<_> = from.take(if last { 9 } else { 1 }).collect();
                        (found.join(" and "), row.trim().to_owned())
                    }
                    (other, Ok(_)) => panic!("no section is called {other}"),
                };
                let right = found == wanted || (kind == "error" && found.ends_with("(as wanted)"));
                let name = &self.name;
                results.push((!right).then(|| format!("{name}: {row}: found {found}; {reason}")));
            }
        }
        results
    }
}

fn found_error(error: &RuleError, words: &[&str]) -> String {
    let place = format!("{}:{}", error.file, error.line);
    let holds = error.to_string().contains(&words[1..].join(" "));
    let mark = if place == words[0] && holds { " (as wanted)" } else { "" };
    format!("{place} {error}{mark}")
}

fn found_walk(rules: &Rules, dir: &str) -> String {
    if rules.may_hold_synced(&bytes(dir)) { "yes" } else { "no" }.to_owned()
}

fn found_verdict(rules: &Rules, path: &str) -> String {
    let path = bytes(path);
    let (path, is_dir) = path.strip_suffix(b"/").map_or((&*path, false), |path| (path, true));
    let verdict = rules.verdict(path, is_dir);
    let word = match (verdict.ignored, verdict.disposable) {
        (false, false) => "synced",
        (true, false) => "ignored",
        (true, true) => "disposable",
        (false, true) => "disposable yet synced",
    };
    let rule = verdict.rule.map_or("-".to_owned(), |rule| rule.to_string());
    format!("{word} {}", rule.replace("(built in)", "built-in"))
}

/// Turns `\xNN` into bytes.
fn bytes(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => bytes.extend([b"\\x", part.as_bytes()].concat()),
        }
    }
    bytes
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for section in text.split("=== ").skip(1) {
        let (head, body) = section.split_once('\n').expect("a section has a line");
        let (kind, argument) = head.split_once(' ').unwrap_or((head, ""));
        let argument = argument.trim();
        if argument == "cased" && CASELESS {
            continue;
        }
        if kind == "case" {
            cases.push(Case { name: argument.to_owned(), ..Case::default() });
            continue;
        }
        let case = cases.last_mut().expect("a case comes first");
        match kind {
            "rules" => case.rules.push((argument.to_owned(), bytes(body))),
            "include" => drop(case.includes.insert(argument.to_owned(), bytes(body))),
            "gitignore" => case.gitignores.push((argument.to_owned(), bytes(body))),
            _ => {
                let lines = body.lines().filter(|line| !line.trim().is_empty());
                case.checks.push((kind.to_owned(), lines.map(str::to_owned).collect()));
            }
        }
    }
    cases
}

#[test]
fn every_row_is_decided_by_its_line() {
    let texts = [
        include_str!("cases/patterns.txt"),
        include_str!("cases/prefixes.txt"),
        include_str!("cases/order.txt"),
        include_str!("cases/includes.txt"),
        include_str!("cases/gitignore.txt"),
        include_str!("cases/built_in.txt"),
        include_str!("cases/bytes.txt"),
        include_str!("cases/errors.txt"),
    ];
    let cases = texts.iter().flat_map(|text| cases(text));
    let results: Vec<_> = cases.flat_map(|case| case.run()).collect();
    let wrong: Vec<_> = results.iter().flatten().map(String::as_str).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(results.len() >= 120, "only {} rows were found", results.len());
}

#[test]
fn a_gitignore_can_be_taken_back() {
    let mut rules = Rules::parse(&[(".stignore", b"#gitignore")], &mut |_: &str| None)
        .expect("a good rule file");
    assert!(rules.wants_gitignore());
    assert!(!Rules::default().wants_gitignore());
    rules.set_gitignore(b"a", Some(b"x"));
    assert!(rules.verdict(b"a/x", false).ignored);
    rules.set_gitignore(b"a", None);
    assert!(!rules.verdict(b"a/x", false).ignored);
}
