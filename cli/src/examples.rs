//! An example for each command that has none of its own in its help, and what comes next.

use clap::Command;

/// A command's words, what an example gives it, and what to do next; empty for nothing.
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("config get", "listen", "to change it: syncctl config set"),
    ("config set", "limits.history_days 90", "a running syncd takes it at once"),
    ("config unset", "limits.history_days", ""),
    ("conflicts ls", "", "then: syncctl conflicts show FILE"),
    ("conflicts show", "notes.txt", "then: syncctl conflicts resolve FILE"),
    ("conflicts resolve", "notes.txt --keep mine", "what is not kept: syncctl trash ls"),
    ("devices", "", "who is not connected, and why: syncctl doctor"),
    ("devices address", "devbox /ip4/192.0.2.7/tcp/24110", ""),
    ("folder add", "~/work --with devbox", "then there: syncctl folder accept"),
    ("folder ls", "", "what others offer: syncctl folder ls --offered"),
    ("folder rm", "work", "to take it again: syncctl folder accept"),
    ("folder share", "work --with devbox", "then there: syncctl folder accept"),
    ("folder unshare", "work --with devbox", ""),
    ("folder pause", "work", "to go on: syncctl folder resume work"),
    ("folder resume", "work", "how far it is: syncctl status"),
    ("folder move", "work ~/projects", "after: mv ~/work ~/projects; nothing is sent again"),
    ("folder adopt", "work", "what became of it: syncctl status"),
    ("held ls", "", "then: syncctl held approve ID, or reject ID"),
    ("held approve", "work", ""),
    ("held reject", "work", ""),
    ("ignore check", "--rules .stignore target/app src/main.rs", ""),
    ("scan", "--folder work", "how it stands then: syncctl status"),
    ("trash ls", "", "then: syncctl trash restore PATH"),
    ("trash restore", "~/work/notes.txt", ""),
    ("trash empty", "--older-than 7d", ""),
    ("unpair", "devbox", "to trust it again: syncctl pair"),
];

/// Puts the examples into the help of those commands.
pub(crate) fn put_into(command: Command) -> Command {
    EXAMPLES.iter().fold(command, |command, (words, given, next)| {
        let next = if next.is_empty() { String::new() } else { format!("\n\n({next})") };
        let example = typed(words, given);
        let words: Vec<&str> = words.split(' ').collect();
        at(command, &words, &format!("Example:\n  {example}{next}"))
    })
}

fn typed(words: &str, given: &str) -> String {
    format!("syncctl {words} {given}").trim_end().to_owned()
}

fn at(command: Command, words: &[&str], help: &str) -> Command {
    match words {
        [] => command.after_long_help(help.to_owned()),
        [word, rest @ ..] => command.mut_subcommand(word, |command| at(command, rest, help)),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::args::Cli;

    /// Lists the commands that can be run, with their words and what their help says at its end.
    fn leaves(command: &Command, words: &str, found: &mut Vec<(String, String)>) {
        for sub in command.get_subcommands() {
            let words = format!("{words} {}", sub.get_name()).trim().to_owned();
            if !sub.has_subcommands() || !sub.is_subcommand_required_set() {
                let help = sub.get_after_long_help().map(ToString::to_string);
                found.push((words.clone(), help.unwrap_or_default()));
            }
            leaves(sub, &words, found);
        }
    }

    #[test]
    fn every_command_has_an_example_that_can_be_typed() {
        let mut found = Vec::new();
        leaves(&put_into(Cli::command()), "", &mut found);
        assert!(found.len() > 40, "{found:?}");
        let lacks = |(words, help): &&(String, String)| {
            !help.contains("Example") || !help.contains(&format!("syncctl {words}"))
        };
        let lacking: Vec<_> = found.iter().filter(lacks).collect();
        assert!(lacking.is_empty(), "{lacking:#?}");
    }

    #[test]
    fn the_examples_are_lawful_and_stand_where_there_was_none() {
        let plain = Cli::command();
        let mut before = Vec::new();
        leaves(&plain, "", &mut before);
        for (words, given, _) in EXAMPLES {
            let own = before.iter().find(|(known, _)| known == words);
            let (_, help) = own.unwrap_or_else(|| panic!("there is no command '{words}'"));
            assert!(help.is_empty(), "{words} has examples of its own");
            let typed = typed(words, given);
            let parsed = Cli::try_parse_from(typed.split(' '));
            assert!(parsed.is_ok(), "{typed}: {:?}", parsed.err());
        }
    }
}
