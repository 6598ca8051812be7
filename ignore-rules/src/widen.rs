//! Comparing two sets of rules: whether one may let through what the other left out.

use crate::gitignore::Gitignores;
use crate::parse::{Rule, Test};
use crate::ruleset::Rules;

impl Rules {
    /// Tells whether these rules may keep a path that `before` ignores. `false` is certain; `true`
    /// is said whenever it cannot be shown that they do not.
    ///
    /// Shown it is when all lines of `before` that ignore are still there, in their order, and no
    /// line with `!` has come before one of them. The built-in lines stand after all others, so
    /// that any new `!` counts.
    #[must_use]
    pub fn widens(&self, before: &Self) -> bool {
        let mut left: &[Rule] = before.rules();
        for rule in self.rules() {
            let same = |other: &Rule| other.test == rule.test && other.keeps == rule.keeps;
            // Lines with `!` that are gone keep nothing any more.
            let at = left.iter().position(same);
            match at.filter(|at| left[..*at].iter().all(|other| other.keeps)) {
                Some(at) => left = &left[at + 1..],
                None if rule.keeps && left.iter().any(|other| !other.keeps) => return true,
                None => {}
            }
        }
        let asks_git = before.rules().iter().any(|rule| rule.test == Test::Gitignore);
        left.iter().any(|rule| !rule.keeps)
            || asks_git && !Gitignores::narrows(self.gitignores(), before.gitignores())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str, git: &str) -> Rules {
        let mut rules = Rules::parse(&[(".stignore", text.as_bytes())], &mut |_: &str| None)
            .expect("the rules are good");
        rules.set_gitignore(b"", (!git.is_empty()).then_some(git.as_bytes()));
        rules
    }

    #[test]
    fn what_cannot_be_shown_to_keep_no_more_is_wider() {
        for (before, after, wider, because) in [
            ("*.log", "*.log", false, "the same"),
            ("*.log", "// said anew\n*.log\n*.o", false, "a line that ignores more"),
            ("*.log", "*.o\n*.log", false, "the same before it"),
            ("*.log", "", true, "a line is gone"),
            ("*.log", "*.lo", true, "a line is another"),
            ("*.log", "!a.log\n*.log", true, "an exception"),
            ("", "!.git", true, "what is ignored unasked"),
            ("", "!a", true, "it keeps a/.git"),
            ("!a\n*", "*", false, "an exception is gone"),
            ("!a\n!b\n*", "!b\n!a\n*", true, "exceptions in another order"),
            ("*.log\n*.o", "*.o\n*.log", true, "lines in another order"),
            ("(?i)a", "a", true, "one case less"),
            ("a", "(?d)a", false, "who may delete it keeps nothing"),
        ] {
            let (before, after) = (rules(before, ""), rules(after, ""));
            assert_eq!(after.widens(&before), wider, "{because}");
        }
    }

    #[test]
    fn a_repositorys_rules_count_where_they_are_asked() {
        let ask = "#gitignore";
        for (before, after, wider, because) in [
            ((ask, "a"), (ask, "a\nb"), false, "one more"),
            ((ask, "a\nb"), (ask, "a"), true, "one less"),
            ((ask, "a"), (ask, "a\n!a"), true, "an exception"),
            ((ask, "a"), (ask, ""), true, "the file is gone"),
            ((ask, "a"), ("", "a"), true, "nobody asks any more"),
            (("", "a"), ("", ""), false, "nobody asked"),
        ] {
            let (before, after) = (rules(before.0, before.1), rules(after.0, after.1));
            assert_eq!(after.widens(&before), wider, "{because}");
        }
    }
}
