//! Laws over random rule files: the verdict is that of a matcher so simple that it is obviously
//! right, however slow, and what is said of directories holds for all that is below them.

use ignore_rules::Rules;
use proptest::prelude::*;
use proptest::sample::Index as Place;

/// The obvious matcher. A line stands for up to four patterns, as the language's makers define it:
/// `p`, `p/**` and, unless rooted, both after `**/`. Braces are multiplied out beforehand.
mod obvious {
    /// Stands for two stars.
    const DEEP: char = '\u{2}';

    /// Returns the index of the first line that matches, and whether it keeps.
    pub(crate) fn verdict(lines: &[String], path: &str) -> Option<(usize, bool)> {
        let matching = lines.iter().position(|line| line_matches(line, path))?;
        Some((matching, prefixes(&lines[matching]).0))
    }

    pub(crate) fn line_matches(line: &str, path: &str) -> bool {
        let (_, fold, pattern) = prefixes(line);
        let mut pattern = pattern.to_owned();
        while pattern.contains("***") {
            pattern = pattern.replace("***", "**");
        }
        let (pattern, path) = match fold {
            true => (pattern.to_lowercase(), path.to_lowercase()),
            false => (pattern, path.to_owned()),
        };
        let path: Vec<char> = path.chars().collect();
        all_patterns(&pattern).iter().any(|pattern| {
            // Two single stars that only meet when braces are multiplied out stay single.
            let pattern = pattern.replace("**", &DEEP.to_string());
            expand(&pattern).iter().any(|p| matches(&p.chars().collect::<Vec<_>>(), &path))
        })
    }

    /// Returns whether the line keeps, whether it folds, and the rest.
    pub(crate) fn prefixes(line: &str) -> (bool, bool, &str) {
        let (mut keeps, mut fold, mut rest) = (false, false, line);
        loop {
            if let (Some(text), false) = (rest.strip_prefix('!'), keeps) {
                (keeps, rest) = (true, text);
            } else if let (Some(text), false) = (rest.strip_prefix("(?i)"), fold) {
                (fold, rest) = (true, text);
            } else {
                return (keeps, fold, rest);
            }
        }
    }

    fn all_patterns(pattern: &str) -> Vec<String> {
        let mut patterns = match pattern {
            _ if pattern.ends_with("/**") => vec![pattern.to_owned()],
            _ if pattern.ends_with('/') => vec![format!("{pattern}**")],
            _ => vec![pattern.to_owned(), format!("{pattern}/**")],
        };
        for at in 0..patterns.len() {
            let pattern = patterns[at].clone();
            if let Some(rooted) = pattern.strip_prefix('/') {
                patterns[at] = rooted.to_owned();
            } else if let Some(rest) = pattern.strip_prefix("**/") {
                patterns.push(rest.to_owned());
            } else {
                patterns.push(format!("**/{pattern}"));
            }
        }
        patterns
    }

    /// Multiplies out the first pair of braces, then what is left.
    fn expand(pattern: &str) -> Vec<String> {
        let Some(open) = pattern.find('{') else { return vec![pattern.to_owned()] };
        let (mut depth, mut from, mut choices) = (0, open + 1, Vec::new());
        for (at, c) in pattern.char_indices().skip_while(|(at, _)| *at < open) {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if (c == ',' && depth == 1) || (c == '}' && depth == 0) {
                choices.push(&pattern[from..at]);
                from = at + 1;
            }
            if depth == 0 {
                break;
            }
        }
        let (before, after) = (&pattern[..open], &pattern[from..]);
        choices.into_iter().flat_map(|c| expand(&format!("{before}{c}{after}"))).collect()
    }

    fn matches(pattern: &[char], path: &[char]) -> bool {
        let not_slash = path.first().is_some_and(|c| *c != '/');
        match pattern {
            [] => path.is_empty(),
            [DEEP, rest @ ..] => (0..=path.len()).any(|skip| matches(rest, &path[skip..])),
            ['*', rest @ ..] => matches(rest, path) || (not_slash && matches(pattern, &path[1..])),
            ['?', rest @ ..] => not_slash && matches(rest, &path[1..]),
            ['[', '!', low, '-', high, ']', rest @ ..] => {
                not_slash && !(*low..=*high).contains(&path[0]) && matches(rest, &path[1..])
            }
            ['[', low, '-', high, ']', rest @ ..] => {
                not_slash && (*low..=*high).contains(&path[0]) && matches(rest, &path[1..])
            }
            [c, rest @ ..] => path.first() == Some(c) && matches(rest, &path[1..]),
        }
    }
}

/// A piece of a pattern, small letters so that much matches.
fn piece() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        6 => "[abé]",
        2 => "[ab]/[ab]",
        2 => Just("*".to_owned()),
        1 => Just("**".to_owned()),
        1 => Just("**/".to_owned()),
        1 => Just("/**/".to_owned()),
        1 => Just("?".to_owned()),
        1 => Just("[a-b]".to_owned()),
        1 => Just("[!a-a]".to_owned()),
        1 => Just("/".to_owned()),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop::collection::vec(inner, 1..3).prop_map(|choices| format!("{{{}}}", choices.join(",")))
    })
}

/// One line of a rule file.
fn line() -> impl Strategy<Value = String> {
    let body = prop_oneof![
        3 => prop::collection::vec(piece(), 1..5).prop_map(|pieces| pieces.concat()),
        1 => "[abé]{1,2}",
        1 => "\\*[abé]",
        1 => "[abé]\\*",
    ];
    (prop::sample::select(vec!["", "", "", "!", "(?i)", "!(?i)"]), "/?", body, "/?|/\\*\\*")
        .prop_map(|(prefix, root, body, end)| format!("{prefix}{root}{body}{end}"))
}

fn lines() -> impl Strategy<Value = Vec<String>> {
    // A line that begins with two slashes is a comment and would only be a gap.
    prop::collection::vec(line().prop_filter("a comment", |l| !l.starts_with("//")), 1..6)
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec("[abéAB]{1,3}", 1..5).prop_map(|names| names.join("/"))
}

fn rules(lines: &[String]) -> Rules {
    Rules::parse(&[(".stignore", lines.join("\n").as_bytes())], &mut |_: &str| None)
        .unwrap_or_else(|error| panic!("{lines:?}: {error}"))
}

/// Where case never matters, the obvious matcher has to be told.
fn folded_by_the_system(lines: &[String]) -> Vec<String> {
    let fold = cfg!(any(target_os = "macos", windows));
    let mark = |line: &String| match fold && !line.contains("(?i)") {
        true => format!("(?i){line}"),
        false => line.clone(),
    };
    lines.iter().map(mark).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_verdict_is_the_obvious_one(lines in lines(), paths in prop::collection::vec(path(), 8)) {
        let rules = rules(&lines);
        let told = folded_by_the_system(&lines);
        for path in paths {
            let verdict = rules.verdict(path.as_bytes(), false);
            let found = verdict.rule.map(|rule| (rule.line - 1, !verdict.ignored));
            prop_assert_eq!(found, obvious::verdict(&told, &path), "{:?} {}", &lines, path);
        }
    }

    #[test]
    fn rules_that_do_not_widen_keep_nothing_that_was_ignored(
        before in lines(),
        edits in prop::collection::vec((any::<Place>(), prop::option::of(line())), 1..4),
        paths in prop::collection::vec(path(), 12),
    ) {
        let mut after = before.clone();
        for (at, edit) in edits {
            match edit.filter(|line| !line.starts_with("//")) {
                Some(line) => after.insert(at.index(after.len() + 1), line),
                None if after.is_empty() => {}
                None => drop(after.remove(at.index(after.len()))),
            }
        }
        let (old, new) = (rules(&before), rules(&after));
        if !new.widens(&old) {
            for path in paths {
                let was = old.verdict(path.as_bytes(), false).ignored;
                let is = new.verdict(path.as_bytes(), false).ignored;
                prop_assert!(is || !was, "{:?} to {:?}: {}", before, after, path);
            }
        }
    }

    #[test]
    fn what_need_not_be_walked_holds_nothing_synced(
        lines in lines(),
        dir in path(),
        below in prop::collection::vec(path(), 12),
    ) {
        let rules = rules(&lines);
        if !rules.may_hold_synced(dir.as_bytes()) {
            prop_assert!(rules.verdict(dir.as_bytes(), true).ignored);
            for name in below {
                let path = format!("{dir}/{name}");
                prop_assert!(rules.verdict(path.as_bytes(), false).ignored, "{:?} {}", lines, path);
            }
        }
    }

    #[test]
    fn below_an_ignored_directory_only_an_earlier_line_keeps(
        lines in lines(),
        dir in path(),
        name in path(),
    ) {
        let (rules, told) = (rules(&lines), folded_by_the_system(&lines));
        let above = rules.verdict(dir.as_bytes(), true);
        let path = format!("{dir}/{name}");
        if let (true, Some(rule)) = (above.ignored, above.rule) {
            let earlier = &told[..rule.line - 1];
            let kept = earlier.iter().any(|line| {
                obvious::prefixes(line).0 && obvious::line_matches(line, &path)
            });
            let ignored = rules.verdict(path.as_bytes(), false).ignored;
            prop_assert!(kept || ignored, "{:?} {}", lines, path);
        }
    }

    #[test]
    fn no_text_and_no_path_is_too_strange(
        text in prop::collection::vec(any::<u8>(), 0..60),
        git in prop::collection::vec(any::<u8>(), 0..60),
        path in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let text = [b"#gitignore\n", &text[..]].concat();
        let mut source = |_: &str| Some(b"x".to_vec());
        if let Ok(mut rules) = Rules::parse(&[(".stignore", &text)], &mut source) {
            rules.set_gitignore(b"", Some(&git));
            rules.set_gitignore(b"a", Some(&git));
            let verdict = rules.verdict(&path, false);
            prop_assert_eq!(&rules.clone().verdict(&path, false), &verdict);
            prop_assert!(verdict.ignored || rules.may_hold_synced(&path));
        }
    }

    #[test]
    fn strange_patterns_are_refused_or_read(
        text in r"[\[\]{},!^*?/\\a-c(?id)\-]{1,24}",
        path in path(),
    ) {
        match Rules::parse(&[(".stignore", text.as_bytes())], &mut |_: &str| None) {
            Ok(rules) => {
                let rule = rules.verdict(path.as_bytes(), true).rule;
                prop_assert!(rule.is_none_or(|rule| rule.line == 1));
            }
            Err(error) => prop_assert_eq!(error.line, 1),
        }
    }
}
