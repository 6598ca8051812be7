//! What a person at a terminal is asked, and shown: commands run on a terminal of their own.

use std::process::Command;
use std::time::Duration;

use syncd_integration::process::{Answer, Device, FOLDER, Pair, binary, run, write};

use crate::joins::{MANY, copies, offered, read};

/// How long a command on a terminal may take.
const COMMAND_MAX: Duration = Duration::from_secs(300);

/// Columns of the terminal.
const COLUMNS: usize = 80;

/// Runs `syncctl` on a terminal, at which a person types `answer`. What it says to the person
/// comes as one text, without colours.
fn at_terminal(pair: &Pair, device: &Device, words: &str, answer: &str) -> Answer {
    let typed = pair.aside("typed");
    write(&typed, answer);
    let (ctl, home) = (binary("syncctl"), device.home().display());
    let line = format!("stty cols {COLUMNS}; '{}' --home '{home}' {words}", ctl.display());
    let mut command = Command::new("sh");
    // `script` gives it a terminal, types what it reads, and ends as the command does.
    command.args(["-c", "script -qec \"$1\" /dev/null <\"$2\"", "sh", &line]).arg(&typed);
    command.env("NO_COLOR", "1").env("TERM", "xterm").env_remove("COLUMNS");
    let mut said = run(&mut command, COMMAND_MAX);
    said.stdout = said.stdout.replace('\r', "");
    said
}

#[test]
fn many_that_differ_are_asked_about_and_nothing_said_changes_nothing() {
    let pair = offered(MANY);
    let words = format!("folder accept {FOLDER} '{}'", pair.devbox.root().display());
    for (answer, because) in [("\n", "nothing said"), ("maybe\n", "no such answer")] {
        let said = at_terminal(&pair, &pair.devbox, &words, answer);
        assert_eq!(said.code, 5, "{because}: {}", said.stdout);
        assert!(said.stdout.contains("which shall win"), "{because}: {}", said.stdout);
        assert!(said.stdout.contains("differs-00"), "{because}: {}", said.stdout);
        assert_eq!(read(&pair.devbox.path("differs-00")), "here", "{because}");
        let folders = pair.devbox.json(&["folder", "ls"]);
        assert_eq!(folders.as_array().map(Vec::len), Some(0), "{because}");
    }
    let said = at_terminal(&pair, &pair.devbox, &words, "there\n");
    assert_eq!(said.code, 0, "{}", said.stdout);
    assert!(said.stdout.contains(&format!("{FOLDER} is taken")), "{}", said.stdout);
    pair.agree();
    assert_eq!(read(&pair.devbox.path("differs-00")), "there", "the answer counts");
    assert_eq!(copies(&pair), 0, "and makes no copies");
}

#[test]
fn what_is_listed_fits_the_terminal() {
    let mut pair = Pair::new();
    let name = "a-report-with-a-name-of-its-own.txt";
    write(&pair.laptop.path(name), "first\n");
    pair.laptop.flush();
    pair.devbox.stop();
    write(&pair.laptop.path(name), "laptop\n");
    write(&pair.devbox.path(name), "devbox\n");
    pair.devbox.start();
    pair.agree();
    std::fs::remove_file(pair.laptop.path(name)).unwrap();
    pair.agree();
    for words in ["conflicts ls", "trash ls", "status", "devices", "held ls", "pending"] {
        for device in [&pair.laptop, &pair.devbox] {
            let said = at_terminal(&pair, device, words, "");
            assert_eq!(said.code, 0, "{words}: {}", said.stdout);
            let wide: Vec<&str> =
                said.stdout.lines().filter(|line| line.chars().count() > COLUMNS).collect();
            // What is one word cannot be broken.
            let words_too_long = wide.iter().filter(|line| line.trim().contains(' ')).count();
            assert_eq!(words_too_long, 0, "{words} on {}: {wide:#?}", device.name());
        }
    }
    let listed = at_terminal(&pair, &pair.devbox, "conflicts ls", "");
    assert!(listed.stdout.contains("sync-conflict-"), "nothing is cut off: {}", listed.stdout);
    let doctor = at_terminal(&pair, &pair.laptop, "doctor", "");
    for line in doctor.stdout.lines().filter(|line| line.chars().count() > COLUMNS) {
        let prose = line.get(18..).unwrap_or(line);
        assert!(!prose.trim().contains(' '), "the doctor breaks between words: {line}");
    }
}
