//! The log: one line for each thing, on stderr, in which nothing steers a terminal.
//!
//! What is logged names files, folders and devices, and others chose those names. Whatever a line
//! is made of, it is escaped here as a whole, so that no place that logs has to think of it.

use std::io::{self, Write};

use clap::ValueEnum;
use syncd_core::model::shown::{escaped, escaped_json};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// For people and the journal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Begins to log to stderr what `SYNCD_LOG` asks for.
pub(crate) fn begin(format: Format) {
    let filter = EnvFilter::try_from_env("SYNCD_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,libp2p=warn,sled=warn"));
    // A line that the log does not take is lost, and nothing else: to say so on the same full disk
    // would end the thread that had something to tell.
    let logging = tracing_subscriber::fmt().log_internal_errors(false).with_env_filter(filter);
    match format {
        Format::Text => logging
            .with_target(false)
            .with_ansi(false)
            .with_writer(|| Line { to: io::stderr(), escape: escaped })
            .init(),
        Format::Json => {
            logging.json().with_writer(|| Line { to: io::stderr(), escape: escaped_json }).init();
        }
    }
}

/// Takes one line at a time, each in one piece, and writes it escaped.
struct Line<W> {
    to: W,
    escape: fn(&str) -> String,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let mut safe = (self.escape)(text.strip_suffix('\n').unwrap_or(&text));
        safe.push('\n');
        self.to.write_all(safe.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_it_tells() {
        type Escape = fn(&str) -> String;
        for (escape, line, written) in [
            (escaped as Escape, "INFO took a\n", "INFO took a\n"),
            (escaped, "INFO took a\x1b[2J\nERROR b\n", "INFO took a\\u{1b}[2J\\u{a}ERROR b\n"),
            (escaped_json, "{\"a\":\"\u{202e}\"}\n", "{\"a\":\"\\u202e\"}\n"),
        ] {
            let mut to = Vec::new();
            Line { to: &mut to, escape }.write_all(line.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(to).unwrap(), written);
        }
    }
}
