//! Which keys there are, and which one a typing error meant.

use crate::near::distance;

/// Keys outside any table.
pub(super) const TOP: &[&str] = &[
    "name",
    "listen",
    "relays",
    "discovery",
    "topology",
    "hub",
    "confine",
    "http",
    "limits",
    "device",
    "folder",
];

/// Keys of `[http]`.
pub(super) const HTTP: &[&str] = &["listen"];

/// Keys of `[limits]`.
pub(super) const LIMITS: &[&str] = &[
    "history_days",
    "history_versions",
    "history_percent",
    "free_mib",
    "send_kib_per_s",
    "receive_kib_per_s",
    "limit_lan",
];

/// Keys of one `[[device]]`.
pub(super) const DEVICE: &[&str] =
    &["id", "name", "addresses", "send_kib_per_s", "receive_kib_per_s"];

/// Keys of one `[[folder]]`.
pub(super) const FOLDER: &[&str] = &[
    "id",
    "label",
    "path",
    "path_bytes",
    "role",
    "devices",
    "paused",
    "in_place",
    "rescan_s",
    "verify_days",
    "history_days",
    "history_versions",
    "history_percent",
    "free_mib",
];

/// What a settable key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One text.
    Text,
    /// Any number of texts.
    List,
    /// One whole number.
    Number,
    /// `true` or `false`.
    Flag,
}

/// A key that `config get` and `config set` take.
#[derive(Debug)]
pub(super) struct Key {
    /// The key with its table, dotted.
    pub(super) name: &'static str,
    /// What it holds.
    pub(super) shape: Shape,
    /// What holds when it is not set.
    pub(super) default: fn() -> Vec<String>,
}

/// All settable keys, in the order in which people read about them.
pub(super) const SETTABLE: &[Key] = &[
    Key { name: "name", shape: Shape::Text, default: || vec![super::read::host_name()] },
    Key { name: "listen", shape: Shape::List, default: || texts(&super::LISTEN_DEFAULT) },
    Key { name: "relays", shape: Shape::List, default: Vec::new },
    Key { name: "discovery", shape: Shape::List, default: || texts(&["mdns", "relay"]) },
    Key { name: "topology", shape: Shape::Text, default: || texts(&["mesh"]) },
    Key { name: "hub", shape: Shape::Text, default: Vec::new },
    Key { name: "confine", shape: Shape::List, default: Vec::new },
    Key {
        name: "http.listen",
        shape: Shape::Text,
        default: || texts(&[super::HTTP_LISTEN_DEFAULT]),
    },
    Key {
        name: "limits.history_days",
        shape: Shape::Number,
        default: || vec![super::HISTORY_DAYS_DEFAULT.to_string()],
    },
    Key {
        name: "limits.history_versions",
        shape: Shape::Number,
        default: || vec![super::HISTORY_VERSIONS_DEFAULT.to_string()],
    },
    Key {
        name: "limits.history_percent",
        shape: Shape::Number,
        default: || vec![super::HISTORY_PERCENT_DEFAULT.to_string()],
    },
    Key { name: "limits.free_mib", shape: Shape::Number, default: Vec::new },
    Key { name: "limits.send_kib_per_s", shape: Shape::Number, default: Vec::new },
    Key { name: "limits.receive_kib_per_s", shape: Shape::Number, default: Vec::new },
    Key { name: "limits.limit_lan", shape: Shape::Flag, default: || texts(&["false"]) },
];

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Finds a settable key, or returns the one most like it.
pub(super) fn find(name: &str) -> Result<&'static Key, Option<String>> {
    SETTABLE.iter().find(|key| key.name == name).ok_or_else(|| {
        let names: Vec<&str> = SETTABLE.iter().map(|key| key.name).collect();
        let within = |known: &&&str| known.split_once('.').is_some_and(|(table, _)| table == name);
        names.iter().find(within).map(|known| (*known).to_owned()).or_else(|| nearest(name, &names))
    })
}

/// Returns the one of `known` most like `key`: the fewest wrong, missing, extra or swapped
/// letters, the first of equals. `None` only when `known` is empty.
///
/// A key of a table is also compared without the table's name, for those who forgot it.
pub(super) fn nearest(key: &str, known: &[&str]) -> Option<String> {
    let key = key.to_lowercase();
    let score = |candidate: &&&str| {
        let alone = candidate.rsplit('.').next().unwrap_or(candidate);
        distance(&key, candidate).min(distance(&key, alone))
    };
    known.iter().min_by_key(score).map(|found| (*found).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_key() {
        for (typed, meant, because) in [
            ("lisen", "listen", "a letter missing"),
            ("lsiten", "listen", "two swapped"),
            ("Listen", "listen", "another case"),
            ("relay", "relays", "singular"),
            ("topolgy", "topology", "a letter missing"),
            ("history_days", "limits.history_days", "the table forgotten"),
            ("http.listn", "http.listen", "inside a table"),
            ("limits", "limits.history_days", "a whole table"),
            ("http", "http.listen", "a whole table"),
            ("", "hub", "the shortest is nearest to nothing"),
        ] {
            let found = find(typed).err().flatten();
            assert_eq!(found.as_deref(), Some(meant), "{because}: {typed}");
        }
    }
}
