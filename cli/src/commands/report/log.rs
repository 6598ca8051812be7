//! The end of a log, without the values in it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::{Value, json};
use syncd_api::ApiError;

use super::unreadable;

/// How much of a log is looked at, from its end.
const LOG_BYTES_MAX: u64 = 256 << 10;

/// Lines that are told, the last.
const LINES_MAX: usize = 300;

/// Levels of a line, as they are written.
const LEVELS: [&str; 5] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"];

/// Fields whose names are told; what else looks like one may be part of a value.
const FIELDS: [&str; 10] =
    ["address", "bytes", "device", "error", "folder", "home", "path", "peer", "session", "why"];

/// Returns the last lines of the log at `path`: when, how bad, where in the program and which
/// fields were said, but none of their values, nor a sentence with anything in it that is not a
/// plain word.
pub(super) fn tail(path: &Path) -> Result<Value, ApiError> {
    let mut text = Vec::new();
    let mut read = || -> std::io::Result<()> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(LOG_BYTES_MAX)))?;
        file.take(LOG_BYTES_MAX).read_to_end(&mut text).map(drop)
    };
    read().map_err(|error| unreadable(path, &error))?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<Value> = text.lines().filter_map(scrubbed).collect();
    Ok(lines[lines.len().saturating_sub(LINES_MAX)..].into())
}

/// Takes a line apart; `None` for one that syncd did not write in this way.
fn scrubbed(line: &str) -> Option<Value> {
    if let Ok(line) = serde_json::from_str::<Value>(line) {
        let fields = line["fields"].as_object()?;
        return told(
            line["timestamp"].as_str()?,
            line["level"].as_str()?,
            line["target"].as_str()?,
            fields.get("message").and_then(Value::as_str).unwrap_or_default(),
            fields.keys().map(String::as_str).filter(|key| *key != "message").collect(),
        );
    }
    let plain = without_colours(line);
    let mut words = plain.split_whitespace();
    let (time, level) = (words.next()?, words.next()?);
    let mut words: Vec<&str> = words.collect();
    let target = words.first().and_then(|word| word.strip_suffix(':'));
    let target = target.filter(|target| target.contains("::") || *target == "syncd");
    if target.is_some() {
        words.remove(0);
    }
    let fields = words.iter().filter_map(|word| Some(word.split_once('=')?.0)).collect();
    let said = words.iter().take_while(|word| !word.contains('=')).copied();
    told(time, level, target.unwrap_or_default(), &said.collect::<Vec<_>>().join(" "), fields)
}

fn told(time: &str, level: &str, target: &str, said: &str, fields: Vec<&str>) -> Option<Value> {
    time.parse::<jiff::Timestamp>().ok()?;
    let ours = target.split("::").all(|part| is_word(part, "_"));
    if !LEVELS.contains(&level) || !ours {
        return None;
    }
    let fields: Vec<&str> = fields.into_iter().filter(|field| FIELDS.contains(field)).collect();
    // Sentences with something put into them show it: quotes, slashes, digits, capitals.
    let is_plain = said.split(' ').all(|word| is_word(word.trim_end_matches([',', ';', ':']), "-"));
    let said = if is_plain { said } else { "(not told)" };
    Some(json!({ "time": time, "level": level, "at": target, "said": said, "fields": fields }))
}

/// Tells whether `text` is small letters and what is `also` allowed, and short.
fn is_word(text: &str, also: &str) -> bool {
    text.len() <= 40 && text.chars().all(|c| c.is_ascii_lowercase() || also.contains(c))
}

fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, code)) = rest.split_once("\x1b[") {
        plain += before;
        rest = code.split_once('m').map_or("", |(_, after)| after);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_its_words_and_loses_its_values() {
        let at = "2026-01-02T03:04:05.678Z";
        for (line, said, fields, because) in [
            (
                format!("{at}  WARN syncd::run::folder: a late write folder=work error=/a/b c"),
                Some("a late write"),
                vec!["folder", "error"],
                "a line of text",
            ),
            (
                format!("\x1b[2m{at}\x1b[0m \x1b[33m WARN\x1b[0m \x1b[2msyncd\x1b[0m: stopping"),
                Some("stopping"),
                vec![],
                "in colours",
            ),
            (
                format!("{at}  INFO syncd: 'laptop' asks to be paired"),
                Some("(not told)"),
                vec![],
                "a name in it",
            ),
            (
                json!({"timestamp": at, "level": "INFO", "target": "syncd::run",
                    "fields": {"message": "listening", "address": "secret"}})
                .to_string(),
                Some("listening"),
                vec!["address"],
                "a line of JSON",
            ),
            ("thread 'main' panicked at secret: no".to_owned(), None, vec![], "not ours"),
            (
                format!("{at}  WARN an address was skipped device=X error=secret=1 x"),
                Some("an address was skipped"),
                vec!["device", "error"],
                "without a place in the program",
            ),
            (format!("{at}  WARN secret::A/b: stop"), None, vec![], "no module is called so"),
        ] {
            let found = scrubbed(&line);
            let found = found.as_ref();
            assert_eq!(found.map(|f| f["said"].as_str().unwrap()), said, "{because}: {line}");
            let told: Value = fields.into();
            assert!(found.is_none_or(|f| f["fields"] == told), "{because}: {found:?}");
        }
    }
}
