//! All rules of a folder: which line decides a path.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use memchr::memchr;

use crate::gitignore::Gitignores;
use crate::glob::{Glob, Path};
use crate::parse::{Rule, RuleError, Source, Test, built_in, parse};
use crate::token::fold_path;
use crate::verdict::{RuleAt, Verdict};

/// The name under which built-in lines appear in verdicts.
const BUILT_IN: &str = "(built in)";

/// Where syncd keeps its own, folded.
const OWN: &[u8] = b".syncd";

/// The lines that need no file. The first stands before all others, the rest after them: what
/// version control keeps for itself.
const BUILT_IN_LINES: [&str; 5] = ["/.syncd", ".git", ".hg", ".jj", ".svn"];

/// The rules of one folder. The default is the built-in lines alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// In the order in which they are asked.
    rules: Vec<Rule>,
    /// Rules that are a plain name, found by a look-up for each name of a path.
    plain: Names,
    /// The same for rules that fold.
    folded: Names,
    /// All other rules, by their place in `rules`.
    others: Vec<usize>,
    includes: Vec<String>,
    own: RuleAt,
    gitignores: Gitignores,
}

impl Default for Rules {
    fn default() -> Self {
        Self::new(Vec::new(), Vec::new())
    }
}

impl Rules {
    /// Reads rule files, given by name and content in the order in which they are asked. A name
    /// is relative to the folder's root; that is where the file's own includes start from.
    ///
    /// A file may be included once from each of the given files, with all they include.
    ///
    /// # Errors
    /// [`RuleError`] for the first line that cannot be used, with file, line and reason.
    pub fn parse(files: &[(&str, &[u8])], source: &mut dyn Source) -> Result<Self, RuleError> {
        let parsed = parse(files, source)?;
        Ok(Self::new(parsed.rules, parsed.includes))
    }

    fn new(mut rules: Vec<Rule>, includes: Vec<String>) -> Self {
        let mut last = built_in(BUILT_IN, &BUILT_IN_LINES);
        let own = last.remove(0).at;
        rules.append(&mut last);
        let (mut plain, mut folded, mut others) = (Names::default(), Names::default(), Vec::new());
        for (place, rule) in rules.iter().enumerate() {
            match &rule.test {
                Test::Glob(glob) => match glob.plain_name() {
                    Some(name) if glob.folds() => folded.add(name, glob, place),
                    Some(name) => plain.add(name, glob, place),
                    None => others.push(place),
                },
                Test::Gitignore => others.push(place),
            }
        }
        let gitignores = Gitignores::default();
        Self { rules, plain, folded, others, includes, own, gitignores }
    }

    /// Sets or removes the content of `dir/.gitignore`; `b""` is the folder's root. Lines that git
    /// cannot use are skipped, as git does.
    ///
    /// A verdict on a path is right once the files of all directories above it are set. Rules
    /// without a line `#gitignore` never ask them.
    pub fn set_gitignore(&mut self, dir: &[u8], text: Option<&[u8]>) {
        self.gitignores.set(dir, text);
    }

    /// Tells whether some line is `#gitignore`, so that [`Rules::set_gitignore`] matters.
    #[must_use]
    pub fn wants_gitignore(&self) -> bool {
        self.rules.iter().any(|rule| rule.test == Test::Gitignore)
    }

    /// Returns the included files, relative to the root, each once, in the order of their first
    /// mention. The files given to [`Rules::parse`] by name are not among them.
    pub fn includes(&self) -> impl Iterator<Item = &str> {
        self.includes.iter().map(String::as_str)
    }

    /// Decides a path, relative to the root and without a slash at either end. `is_dir` matters
    /// only to `.gitignore` lines; a symbolic link is no directory. The root itself is never
    /// ignored.
    #[must_use]
    pub fn verdict(&self, path: &[u8], is_dir: bool) -> Verdict {
        if is_own(path) {
            return ignored(&self.own, false);
        }
        match self.first_match(path, is_dir) {
            None => Verdict::default(),
            Some((_, Some(git))) => ignored(&git, false),
            Some((place, None)) => {
                let rule = &self.rules[place];
                let rule_at = Some(rule.at.clone());
                Verdict { ignored: !rule.keeps, disposable: rule.disposable, rule: rule_at }
            }
        }
    }

    /// Tells whether `dir` or something below it could be synced. False means an ignored directory
    /// that needs neither walking nor watching: no line with `!` that comes before the one which
    /// ignores it can match below.
    #[must_use]
    pub fn may_hold_synced(&self, dir: &[u8]) -> bool {
        if is_own(dir) {
            return false;
        }
        let Some((place, _)) = self.first_match(dir, true) else { return true };
        if self.rules[place].keeps {
            return true;
        }
        let path = Shown::new(dir);
        self.rules[..place].iter().filter(|rule| rule.keeps).any(|rule| match &rule.test {
            Test::Glob(glob) => glob.may_match_below(&path.to(glob).text),
            Test::Gitignore => false,
        })
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub(crate) fn gitignores(&self) -> &Gitignores {
        &self.gitignores
    }

    /// Returns the place of the first rule that matches, and if git decided, its line.
    fn first_match(&self, path: &[u8], is_dir: bool) -> Option<(usize, Option<RuleAt>)> {
        if path.is_empty() {
            return None;
        }
        let path = Shown::new(path);
        let mut named = self.plain.first(&path.plain);
        if !self.folded.is_empty() {
            named = first(named, self.folded.first(path.folded()));
        }
        for &place in &self.others {
            if named.is_some_and(|named| named < place) {
                break;
            }
            match &self.rules[place].test {
                Test::Glob(glob) => {
                    if glob.matches(path.to(glob)) {
                        return Some((place, None));
                    }
                }
                Test::Gitignore => {
                    if let Some(line) = self.gitignores.ignores(&path.plain.text, is_dir) {
                        return Some((place, Some(line)));
                    }
                }
            }
        }
        named.map(|place| (place, None))
    }
}

/// Tells whether the path is syncd's own directory or below it.
fn is_own(path: &[u8]) -> bool {
    // Only what begins with a dot need be folded: no other character folds to one.
    let end = memchr(b'/', path).unwrap_or(path.len());
    path.starts_with(b".") && fold_path(&path[..end]) == OWN
}

fn ignored(rule: &RuleAt, disposable: bool) -> Verdict {
    Verdict { ignored: true, disposable, rule: Some(rule.clone()) }
}

/// A path as it is and, once a rule asks for it, folded.
struct Shown<'a> {
    plain: Path<'a>,
    folded: OnceCell<Path<'a>>,
}

impl<'a> Shown<'a> {
    fn new(path: &'a [u8]) -> Self {
        Self { plain: Path::new(path.into()), folded: OnceCell::new() }
    }

    fn folded(&self) -> &Path<'a> {
        self.folded.get_or_init(|| Path::new(fold_path(&self.plain.text).into()))
    }

    fn to(&self, glob: &Glob) -> &Path<'a> {
        if glob.folds() { self.folded() } else { &self.plain }
    }
}

/// Plain names and the first rules that name them.
#[derive(Debug, Clone, PartialEq, Default)]
struct Names(BTreeMap<Box<[u8]>, Named>);

/// The places of the first rules for one name.
#[derive(Debug, Clone, PartialEq, Default)]
struct Named {
    /// The first that matches what has the name, and what is inside.
    whole: Option<usize>,
    /// The first that matches what is inside: that one, or `name/`.
    inside: Option<usize>,
}

impl Names {
    /// Adds a rule. Rules come in the order of their places.
    fn add(&mut self, name: &[u8], glob: &Glob, place: usize) {
        let named = self.0.entry(name.into()).or_default();
        named.inside = named.inside.or(Some(place));
        if !glob.inside_only() {
            named.whole = named.whole.or(Some(place));
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn first(&self, path: &Path<'_>) -> Option<usize> {
        if self.is_empty() {
            return None;
        }
        let above = path.names_above().filter_map(|name| self.0.get(name)?.inside).min();
        let last = path.names().last().and_then(|name| self.0.get(name)?.whole);
        first(above, last)
    }
}

/// Returns the lesser place of those there are.
fn first(one: Option<usize>, other: Option<usize>) -> Option<usize> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_lines_are_all_there() {
        let rules = Rules::default();
        for (index, line) in BUILT_IN_LINES.iter().enumerate() {
            let rule = rules.verdict(line.trim_start_matches('/').as_bytes(), true).rule;
            let rule = rule.expect("a built-in line");
            assert_eq!((&*rule.file, rule.line, &*rule.text), (BUILT_IN, index + 1, *line));
        }
    }

    #[test]
    fn rules_can_be_shared_between_threads() {
        fn shared<T: Send + Sync + Clone + std::fmt::Debug + PartialEq + Default>() {}
        shared::<Rules>();
    }
}
