//! Which known word a typing error meant.

/// Returns the one of `known` that `typed` was probably meant to be: at most a third of its
/// letters are wrong, missing, extra or swapped, upper and lower case not told apart.
#[must_use]
pub fn near<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.trim().to_lowercase();
    let length = typed.chars().count();
    let known = known.into_iter().map(|word| (distance(&typed, &word.to_lowercase()), word));
    let (edits, word) = known.min()?;
    (edits < length && edits <= (length / 3).max(1)).then_some(word)
}

/// Counts the edits from `a` to `b`; two swapped neighbours count as one.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted_from_both_sides() {
        for (a, b, edits) in
            [("", "", 0), ("a", "", 1), ("ab", "ba", 1), ("kitten", "sitting", 3), ("id", "id", 0)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (edits, edits), "{a} {b}");
        }
    }

    #[test]
    fn only_what_is_near_is_proposed() {
        for (typed, meant, because) in [
            ("devbx", Some("devbox"), "a letter is missing"),
            ("DEVBOX", Some("devbox"), "another case"),
            ("wrok", Some("work"), "two swapped"),
            ("work ", Some("work"), "a blank too many"),
            ("printer", None, "nothing like it"),
            ("x", None, "one letter could be anything"),
            ("", None, "nothing"),
        ] {
            assert_eq!(near(typed, ["work", "devbox", "y"]), meant, "{because}");
        }
        assert_eq!(near("work", []), None, "nothing is known");
    }
}
