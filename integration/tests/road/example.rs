//! The first minutes of a newcomer: the example that the documentation shows, word for word.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use syncd_integration::process::{Scratch, binary, differences, run, write};

/// Two instances on one machine, as documented.
const EXAMPLE: &str = r#"
syncctl --home "$A" init --name laptop
syncctl --home "$B" init --name devbox
syncctl --home "$B" config set listen /ip4/127.0.0.1/tcp/24111
syncd --home "$A" & syncd --home "$B" &
syncctl --home "$A" pair "$(syncctl --home "$B" id)" --name devbox --address /ip4/127.0.0.1/tcp/24111
syncctl --home "$B" pair "$(syncctl --home "$A" id)" --name laptop
syncctl --home "$A" folder add ~/work --id work --with devbox
syncctl --home "$B" folder accept work ~/work-copy
syncctl --home "$A" flush --timeout 60s
"#;

/// What a person does without being told: asks again while the daemon starts (exit 3) or the
/// offer is on its way (exit 1 of `folder accept`). Ends both daemons at the end.
const BEFORE: &str = r#"
set -eu
ip link set lo up
trap 'kill $(jobs -p)' EXIT
syncctl() {
    local tries code
    for tries in $(seq 100); do
        code=0
        command syncctl "$@" || code=$?
        case "$code $*" in
            3\ *|1*folder\ accept*) sleep 0.1 ;;
            *) return "$code" ;;
        esac
    done
    return "$code"
}
"#;

/// Tells whether networks of one's own can be made here: the example's ports may be in use.
fn has_namespaces() -> bool {
    let mut probe = Command::new("unshare");
    probe.args(["-rn", "ip", "link", "set", "lo", "up"]);
    probe.output().is_ok_and(|done| done.status.success())
}

#[test]
fn the_documented_example_works_word_for_word() {
    if !has_namespaces() {
        eprintln!("left out: no network namespaces here");
        return;
    }
    let scratch = Scratch::new();
    let user = scratch.path().join("user");
    write(&user.join("work/notes.txt"), "hello\n");
    write(&user.join("work/src/main.rs"), "fn main() {}\n");
    let programs = binary("syncd").parent().map(Path::to_path_buf).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("unshare");
    shell
        .args(["-rn", "bash", "-c"])
        .arg(format!("{BEFORE}{EXAMPLE}"))
        .env("HOME", &user)
        .env("A", scratch.path().join("a"))
        .env("B", scratch.path().join("b"))
        .env("PATH", format!("{}:{path}:/usr/sbin:/sbin", programs.display()));
    let answer = run(&mut shell, Duration::from_secs(120));
    assert_eq!(answer.code, 0, "{}\n{}", answer.stdout, answer.stderr);
    assert!(answer.stdout.contains("flushed"), "{}", answer.stdout);
    let found = differences(&user.join("work"), &user.join("work-copy"));
    assert!(found.is_empty(), "{found:#?}");
    assert_eq!(fs::read_to_string(user.join("work-copy/notes.txt")).unwrap(), "hello\n");
}
