//! A database that is being written while it is synced.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use syncd_integration::process::{Pair, eventually, is_long};

use super::{agree_without_conflict, done};

/// Lets the program work on a database.
#[track_caller]
fn sqlite(path: &Path, statements: &str) -> String {
    done(Command::new("sqlite3").arg(path).arg(statements))
}

/// Many small transactions, one after the other, by one connection.
fn transactions(journal: &str, count: usize) -> String {
    let begin = format!(
        "pragma journal_mode = {journal}; pragma synchronous = off;\n\
         create table if not exists t (id integer primary key, text text);\n"
    );
    let one = |at| format!("insert into t (text) values (hex(randomblob({})));\n", 10 + at % 400);
    (0..count).fold(begin, |all, at| all + &one(at))
}

#[test]
fn a_database_is_consistent_once_its_writer_is_done() {
    let count = if is_long() { 20_000 } else { 2_000 };
    let pair = Pair::new();
    for (here, there) in pair.sides() {
        for journal in ["delete", "wal"] {
            let name = format!("{}-{journal}.db", here.name());
            let script = pair.aside(&format!("{name}.sql"));
            std::fs::write(&script, transactions(journal, count)).unwrap();
            let mut writer = Command::new("sqlite3")
                .arg(here.path(&name))
                .stdin(std::fs::File::open(&script).unwrap())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let limit = Duration::from_secs(300);
            let status = eventually(limit, "the database is written", || {
                writer.try_wait().unwrap().ok_or_else(|| "the writer still runs".to_owned())
            });
            assert!(status.success(), "{journal}: {status}");
            agree_without_conflict(&pair, journal);
            for side in [here, there] {
                let check = sqlite(&side.path(&name), "pragma integrity_check;");
                assert_eq!(check, "ok\n", "{journal}, on {}", side.name());
                let rows = sqlite(&side.path(&name), "select count(*) from t;");
                assert_eq!(rows, format!("{count}\n"), "{journal}, on {}", side.name());
            }
            // What a reader leaves or takes away is settled before the next one begins.
            agree_without_conflict(&pair, journal);
        }
    }
}
