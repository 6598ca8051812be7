//! How answers look: tables and colours for people, the API's own JSON for programs.

use std::io::{IsTerminal, Write as _};

use jiff::Timestamp;
use syncd_api::{ApiError, PathText};
pub(crate) use syncd_core::model::shown::escaped;
use syncd_core::model::shown::escaped_json;

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// Wants attention.
    Warn,
    /// Is wrong.
    Bad,
    /// Of less interest.
    Dim,
    /// Nothing.
    Plain,
}

/// One cell of a table.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell in the colour of `tone`.
    pub(crate) fn toned(tone: Tone, text: impl AsRef<str>) -> Self {
        Self { text: escaped(text.as_ref()), tone }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(Tone::Plain, text)
    }
}

/// Tells whether stdout may have colours.
pub(crate) fn colours() -> bool {
    let asked_not = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stdout().is_terminal() && !asked_not && !dumb
}

/// Puts `text` into the colour of `tone`, if colours are wanted.
pub(crate) fn painted(tone: Tone, text: &str, colours: bool) -> String {
    let code = match tone {
        Tone::Good => "32",
        Tone::Warn => "33",
        Tone::Bad => "31",
        Tone::Dim => "2",
        Tone::Plain => return text.to_owned(),
    };
    if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Tells how many columns the terminal has; `None` when stdout is none.
pub(crate) fn columns() -> Option<usize> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let asked = || rustix::termios::tcgetwinsize(&stdout).ok().map(|size| size.ws_col.into());
    said.or_else(asked).filter(|columns| *columns > 0)
}

/// What the further lines of one thing begin with.
const INDENT: usize = 4;

/// Lays out rows under their heads, columns aligned. No rows, no heads, and no column of which no
/// row says anything. Where a row would be wider
/// than `columns`, it goes on in a further, indented line; nothing is cut off.
pub(crate) fn table(
    heads: &[&str],
    rows: &[Vec<Cell>],
    colours: bool,
    columns: Option<usize>,
) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut widths: Vec<usize> = heads.iter().map(|head| width(head)).collect();
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(&cell.text));
        }
    }
    let heads: Vec<Cell> = heads.iter().map(|head| Cell::toned(Tone::Dim, head)).collect();
    let is_told = |place: usize| {
        let mut cells = rows.iter().filter_map(|row| row.get(place));
        cells.any(|cell| !cell.text.is_empty())
    };
    let told: Vec<bool> = (0..heads.len()).map(is_told).collect();
    let mut text = String::new();
    for row in std::iter::once(&heads).chain(rows) {
        let mut line = String::new();
        let (mut gap, mut at) = (0, 0);
        let cells = row.iter().zip(&widths).zip(&told).filter(|(_, told)| **told);
        for (place, ((cell, widest), _)) in cells.enumerate() {
            if place > 0 && columns.is_some_and(|columns| at + 2 + widest > columns) {
                end(&mut text, &mut line);
                (gap, at) = (INDENT, INDENT);
            } else if place > 0 {
                (gap, at) = (gap + 2, at + 2);
            }
            // Spaces are written only before something, so that no line ends in spaces.
            if !cell.text.is_empty() {
                line.extend(std::iter::repeat_n(' ', gap));
                line += &painted(cell.tone, &cell.text, colours);
                gap = 0;
            }
            gap += widest - width(&cell.text);
            at += widest;
        }
        end(&mut text, &mut line);
    }
    text
}

/// Counts the columns that text takes.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// Puts a line to the others, unless nothing is in it.
fn end(text: &mut String, line: &mut String) {
    if !line.is_empty() {
        *text += line;
        text.push('\n');
        line.clear();
    }
}

/// Breaks prose between words, so that each line fits into `columns` after `indent` spaces, which
/// all lines but the first begin with.
pub(crate) fn wrapped(text: &str, indent: usize, columns: Option<usize>) -> String {
    let mut lines = String::new();
    let mut at = indent;
    for word in text.split(' ') {
        let fits = columns.is_none_or(|columns| at + 1 + width(word) <= columns);
        if at == indent {
            lines += word;
        } else if fits {
            (lines, at) = (lines + " " + word, at + 1);
        } else {
            (lines, at) = (format!("{lines}\n{:indent$}{word}", ""), indent);
        }
        at += width(word);
    }
    lines
}

/// Writes a path for people.
pub(crate) fn shown(path: &PathText) -> String {
    escaped(&path.path)
}

/// Makes an answer of JSON harmless for a terminal without changing what it says.
pub(crate) fn safe_json(json: &str) -> String {
    escaped_json(json.trim_end())
}

/// Writes what went wrong: the sentence, then what it speaks of.
pub(crate) fn refusal(error: &ApiError) -> String {
    let mut text = format!("syncctl: {}\n", escaped(&error.error));
    for item in &error.items {
        text += &format!("  {}\n", escaped(item));
    }
    text
}

/// Writes `text` to stdout. Whoever reads it may have had enough: then there is nothing left to
/// do, and nothing went wrong.
pub(crate) fn print(text: &str) -> Result<(), ApiError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(ApiError::could_not(format!("cannot write the answer: {error}"))),
    }
}

/// Writes a count of bytes with three digits or so.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    // In tenths of a unit, so that no floating point rounds 999.95 up to 1000.0.
    let (mut tenths, mut unit) = (count / 100, 0);
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    let (whole, tenth) = (tenths / 10, tenths % 10);
    if whole < 100 {
        format!("{whole}.{tenth} {}", UNITS[unit])
    } else {
        format!("{whole} {}", UNITS[unit])
    }
}

/// Writes how long ago something was.
pub(crate) fn ago(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(time.as_second());
    match seconds {
        ..0 => "in the future".into(),
        0..5 => "just now".into(),
        5..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// Writes a time in this machine's time zone.
pub(crate) fn local(time: Timestamp) -> String {
    let zoned = time.to_zoned(jiff::tz::TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Writes a duration of milliseconds.
pub(crate) fn took(ms: u64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { format!("{}.{} s", ms / 1000, ms % 1000 / 100) }
}

/// Writes `1 file`, `2 files`.
pub(crate) fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_is_harmless_says_the_same() {
        let json = serde_json::to_string("a\u{7f}\u{9b}\u{202e}\n").unwrap();
        let safe = safe_json(&json);
        assert!(safe.is_ascii(), "{safe}");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), "a\u{7f}\u{9b}\u{202e}\n");
    }

    #[test]
    fn columns_align_and_lines_do_not_end_in_spaces() {
        let rows = [
            vec![Cell::from("work"), Cell::toned(Tone::Good, "idle"), Cell::from("")],
            vec![Cell::from("\u{fc}ber\n"), Cell::from(""), Cell::from("x")],
        ];
        let plain = table(&["FOLDER", "STATE", "NOTE"], &rows, false, None);
        assert_eq!(plain, "FOLDER     STATE  NOTE\nwork       idle\n\u{fc}ber\\u{a}         x\n");
        let coloured = table(&["FOLDER", "STATE", "NOTE"], &rows, true, Some(80));
        assert!(coloured.contains("\x1b[32midle\x1b[0m"), "{coloured:?}");
        assert_eq!(table(&["FOLDER"], &[], true, None), "", "no rows, no heads");
    }

    #[test]
    fn what_is_wider_than_the_terminal_goes_on_below() {
        let row = |by| {
            vec![Cell::from("work"), Cell::from(by), Cell::from("a-long-name"), Cell::from("x")]
        };
        let rows = [row(""), row("b")];
        let told = [vec![Cell::from("work"), Cell::from(""), Cell::from("a")]];
        let plain = table(&["FOLDER", "BY", "COPY"], &told, false, None);
        assert_eq!(plain, "FOLDER  COPY\nwork    a\n", "nobody says who");
        let heads = ["FOLDER", "BY", "COPY", "WHY"];
        let whole = "FOLDER  BY  COPY         WHY\n\
                     work        a-long-name  x\n\
                     work    b   a-long-name  x\n";
        for (columns, laid_out, because) in [
            (None, whole, "for a program"),
            (Some(28), whole, "fits"),
            (
                Some(27),
                "FOLDER  BY  COPY\n    WHY\nwork        a-long-name\n    x\n\
                 work    b   a-long-name\n    x\n",
                "one less",
            ),
            (
                Some(9),
                "FOLDER\n    BY\n    COPY\n    WHY\nwork\n    a-long-name\n    x\n\
                 work\n    b\n    a-long-name\n    x\n",
                "nothing is cut off, and what is empty takes no line",
            ),
        ] {
            assert_eq!(table(&heads, &rows, false, columns), laid_out, "{because}");
        }
    }

    #[test]
    fn prose_is_broken_between_words() {
        for (text, columns, lines, because) in [
            ("one two three", None, "one two three", "for a program"),
            ("one two three", Some(15), "one two three", "fits"),
            ("one two three", Some(14), "one two\n  three", "goes on below its beginning"),
            (
                "/ip4/192.0.2.7/tcp/1 a",
                Some(9),
                "/ip4/192.0.2.7/tcp/1\n  a",
                "a long word is whole",
            ),
            ("", Some(9), "", "nothing"),
        ] {
            assert_eq!(wrapped(text, 2, columns), lines, "{because}");
        }
    }

    #[test]
    fn numbers_are_for_people() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (99_999, "99.9 kB"),
            (100_000, "100 kB"),
            (999_999, "999 kB"),
            (1_000_000, "1.0 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        for (time, text) in [
            ("2026-01-02T00:00:01Z", "in the future"),
            ("2026-01-02T00:00:00Z", "just now"),
            ("2026-01-01T23:58:01Z", "119 s ago"),
            ("2026-01-01T23:00:00Z", "60 min ago"),
            ("2026-01-01T00:00:00Z", "24 h ago"),
            ("2025-12-03T00:00:00Z", "30 days ago"),
        ] {
            assert_eq!(ago(time.parse().unwrap(), now), text);
        }
        assert_eq!([took(0), took(999), took(1234)], ["0 ms", "999 ms", "1.2 s"]);
        assert_eq!(
            [counted(1, "file", "files"), counted(0, "file", "files")],
            ["1 file", "0 files"]
        );
    }
}
