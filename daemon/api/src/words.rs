//! Words that the daemon and the command line share.

/// Writes a span of time in seconds as people say it, by its greatest unit, rounded down:
/// `3 days`.
#[must_use]
pub fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 5] =
        [(365 * 86_400, "year"), (86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let fits = |(unit_s, _): &&(u64, &str)| seconds >= *unit_s;
    let (unit_s, name) = UNITS.iter().find(fits).unwrap_or(&UNITS[4]);
    let count = seconds / unit_s;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_by_their_greatest_unit() {
        for (seconds, said) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "1 minute"),
            (7_300, "2 hours"),
            (86_400 * 364, "364 days"),
            (86_400 * 365 * 7, "7 years"),
        ] {
            assert_eq!(span(seconds), said);
        }
    }
}
