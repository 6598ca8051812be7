//! Which known word, or which known device's id, a typing error meant.

use syncd_core::model::DeviceId;

use crate::config::DeviceConfig;

/// Wrong characters in an id that leave no doubt which one was meant. Few, because whoever pairs
/// trusts what is proposed: nobody can make a key whose id is this much like another.
const ID_EDITS_MAX: usize = 2;

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

/// Returns the one of `known` that `typed` is but for two characters that are wrong, missing, extra
/// or swapped. Dashes, blanks and case do not count; a PeerId is compared with PeerIds.
#[must_use]
pub fn near_id(typed: &str, known: impl IntoIterator<Item = DeviceId>) -> Option<DeviceId> {
    let is_peer_id = typed.trim().starts_with("12D3Koo");
    let plain = |text: &str| -> String {
        let digits = text.chars().filter(|c| !matches!(c, '-' | ' '));
        if is_peer_id { digits.collect() } else { digits.flat_map(char::to_uppercase).collect() }
    };
    let typed = plain(typed.trim());
    let edits = |id: &DeviceId| match is_peer_id {
        true => distance(&typed, &id.peer_id()),
        false => distance(&typed, &plain(&id.to_string())),
    };
    known.into_iter().find(|id| edits(id) <= ID_EDITS_MAX)
}

/// Returns the one of `devices` whose id `typed` almost is, as [`near_id`] finds it.
#[must_use]
pub fn near_device<'a>(typed: &str, devices: &'a [DeviceConfig]) -> Option<&'a DeviceConfig> {
    let meant = near_id(typed, devices.iter().map(|device| device.id))?;
    devices.iter().find(|device| device.id == meant)
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

    #[test]
    fn an_id_is_known_again_but_for_two_characters() {
        let [id, other] = [DeviceId([7; 32]), DeviceId([200; 32])];
        let shown = id.to_string();
        let swap = |at: usize| {
            let mut text = shown.clone().into_bytes();
            text.swap(at, at + 1);
            String::from_utf8(text).unwrap()
        };
        let with = |places: &[usize]| -> String {
            let wrong = |(at, c): (usize, char)| match places.contains(&at) {
                true => {
                    if c == 'X' {
                        'Y'
                    } else {
                        'X'
                    }
                }
                false => c,
            };
            shown.chars().enumerate().map(wrong).collect()
        };
        let peer_id = id.peer_id();
        for (typed, found, because) in [
            (with(&[0]), Some(id), "one is wrong"),
            (with(&[3, 60]), Some(id), "two are wrong, far from each other"),
            (with(&[3, 30, 60]), None, "three are wrong"),
            (swap(9), Some(id), "two are swapped"),
            (shown[1..].to_owned(), Some(id), "the first is missing"),
            (format!("{shown}A"), Some(id), "one too many"),
            (with(&[0]).to_lowercase().replace('-', " "), Some(id), "blanks, another case"),
            (peer_id[..peer_id.len() - 1].to_owned(), Some(id), "a PeerId without its end"),
            (peer_id.to_uppercase(), None, "upper and lower case differ in a PeerId"),
            (shown[..55].to_owned(), None, "a beginning"),
            (String::new(), None, "nothing"),
        ] {
            assert_eq!(near_id(&typed, [other, id]), found, "{because}: {typed}");
        }
        assert_eq!(near_id(&shown, [other]), None, "another device's");
    }
}
