//! What lies on a disk that may lie: the store's rows, the ledger, the trash.

use syncd::flow::index::decoders as index;
use syncd::flow::settle::decoders as settle;
use syncd::run::folder;

use super::target::{Law, Target};

fn target(name: &'static str, law: Law, room_each: usize) -> Target {
    let (bytes_max, room_always) = (32 << 10, 16 << 10);
    Target { name, law, bytes_max, room_each, room_always, inputs: 2_500 }
}

#[test]
fn pages() {
    // An entry takes at least 40 bytes there, and some 500 here with its name.
    target("page", Law::Settled, 128).run(index::page);
}

#[test]
fn changes() {
    // A path of 4 KiB may share all but its last byte with the one before.
    target("changes", Law::Settled, 4 << 10).run(index::changes);
}

#[test]
fn holders() {
    target("holders", Law::Same, 8).run(index::holders);
}

#[test]
fn tallies() {
    target("tally", Law::Settled, 8).run(index::tally);
}

#[test]
fn marks() {
    target("marks", Law::Settled, 64).run(index::marks);
}

#[test]
fn block_lists() {
    target("blocks", Law::Settled, 16).run(index::blocks);
}

#[test]
fn ledgers() {
    target("ledger", Law::Settled, 128).run(index::ledger);
}

#[test]
fn lines_of_the_ledger() {
    target("ledger_lines", Law::Settled, 128).run(index::ledger_lines);
}

/// A line of JSON may be any of four kinds, each of which is tried.
#[test]
fn journals_of_the_trash() {
    target("trash_journal", Law::Settled, 512).run(settle::trash_journal);
}

#[test]
fn names_in_the_trash() {
    target("trash_name", Law::Settled, 16).run(settle::trash_name);
}

#[test]
fn names_of_bases() {
    target("base_name", Law::Settled, 16).run(settle::base_name);
}

#[test]
fn confirmed_rules() {
    target("rule_texts", Law::Settled, 64).run(folder::rule_texts_again);
}
