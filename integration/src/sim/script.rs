//! What users do, written down in a line: `a:w p X5` is device a writing content X with
//! modification time 5 to path p.

use syncd_core::model::{Favour, RelPath, Role};

use super::mishaps::Mishap;

/// One act of a user, or of fate, on one device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Op {
    /// Writes a file: path, name of the content, modification time in seconds.
    Write(RelPath, String, i64),
    /// Sets the modification time.
    Touch(RelPath, i64),
    /// Deletes, with what lies below.
    Delete(RelPath),
    /// Renames, with what lies below.
    Rename(RelPath, RelPath),
    /// Makes a directory.
    MakeDir(RelPath),
    /// Deletes the first conflict copy that is there, if any.
    DeleteCopy,
    /// Ignores every path that begins with this one, or nothing any more.
    Ignore(Option<RelPath>),
    /// Loses the index store, keeps the ledger and the files.
    LoseStore,
    /// Loses power: this path holds an earlier content again, and the store is lost.
    Revert(RelPath, String, i64),
    /// Loses power: this path holds an earlier content again, or none (`-`); the store is whole.
    PowerLoss(RelPath, Option<String>, i64),
    /// Kills the process after the next job's disk work, before its index work; starts again.
    CrashAfterSettle,
    /// Kills the process now; what it had not flushed is forgotten. Starts again.
    Crash,
    /// Goes on under a new incarnation, since somebody has spoken of counters of the present one
    /// that it never gave out.
    NewLife,
    /// Ends all sessions, until joined again.
    Cut,
    /// Opens all sessions again.
    Join,
    /// Scans the folder, under the brake.
    Scan,
    /// Says that held deletes are meant.
    Approve,
    /// Says that held deletes are not meant.
    Reject,
    /// Says whether deletes of peers that wait here are meant.
    Decide(bool),
    /// Only sends, only receives, or both, from now on.
    Role(Role),
    /// In a folder that only sends: lets this side win over all that waits.
    Overrule,
    /// In a folder that only receives: gives up what was changed here.
    GiveUp,
    /// Leaves the folder and joins it again with its files, saying who wins.
    Rejoin(Favour),
    /// Something goes wrong with the device.
    Befalls(Mishap),
}

impl Op {
    /// Lists the paths in which it acts, as far as it names them.
    #[must_use]
    pub fn paths(&self) -> Vec<&RelPath> {
        match self {
            Self::Write(path, ..)
            | Self::Touch(path, _)
            | Self::Delete(path)
            | Self::MakeDir(path)
            | Self::Revert(path, ..)
            | Self::PowerLoss(path, ..) => vec![path],
            Self::Rename(from, to) => vec![from, to],
            Self::DeleteCopy
            | Self::Ignore(_)
            | Self::LoseStore
            | Self::CrashAfterSettle
            | Self::Crash
            | Self::NewLife
            | Self::Cut
            | Self::Join
            | Self::Scan
            | Self::Approve
            | Self::Reject
            | Self::Decide(_)
            | Self::Role(_)
            | Self::Overrule
            | Self::GiveUp
            | Self::Rejoin(_)
            | Self::Befalls(_) => Vec::new(),
        }
    }

    /// Tells whether it touches nothing but its own device, and that only by what users do.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        matches!(
            self,
            Self::Write(..)
                | Self::Touch(..)
                | Self::Delete(_)
                | Self::Rename(..)
                | Self::MakeDir(_)
                | Self::DeleteCopy
        )
    }
}

/// As [`script`] reads it.
impl std::fmt::Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Write(path, name, mtime) => write!(f, "w {path} {name} {mtime}"),
            Self::Touch(path, mtime) => write!(f, "t {path} {mtime}"),
            Self::Delete(path) => write!(f, "d {path}"),
            Self::Rename(from, to) => write!(f, "r {from} {to}"),
            Self::MakeDir(path) => write!(f, "m {path}"),
            Self::DeleteCopy => f.write_str("dc"),
            Self::Ignore(None) => f.write_str("i -"),
            Self::Ignore(Some(path)) => write!(f, "i {path}"),
            Self::LoseStore => f.write_str("lose"),
            Self::Revert(path, name, mtime) => write!(f, "revert {path} {name} {mtime}"),
            Self::PowerLoss(path, name, mtime) => {
                write!(f, "power {path} {} {mtime}", name.as_deref().unwrap_or("-"))
            }
            Self::CrashAfterSettle => f.write_str("crash"),
            Self::Crash => f.write_str("kill"),
            Self::NewLife => f.write_str("newlife"),
            Self::Cut => f.write_str("cut"),
            Self::Join => f.write_str("join"),
            Self::Scan => f.write_str("scan"),
            Self::Approve => f.write_str("approve"),
            Self::Reject => f.write_str("reject"),
            Self::Decide(approved) => {
                write!(f, "decide {}", if *approved { "yes" } else { "no" })
            }
            Self::Role(Role::SendReceive) => f.write_str("role both"),
            Self::Role(Role::SendOnly) => f.write_str("role send"),
            Self::Role(Role::ReceiveOnly) => f.write_str("role receive"),
            Self::Overrule => f.write_str("overrule"),
            Self::GiveUp => f.write_str("giveup"),
            Self::Rejoin(Favour::Here) => f.write_str("rejoin here"),
            Self::Rejoin(Favour::There) => f.write_str("rejoin there"),
            Self::Rejoin(Favour::Newer) => f.write_str("rejoin newer"),
            Self::Befalls(mishap) => write!(f, "{mishap}"),
        }
    }
}

/// Writes a script down, as [`script`] reads it.
#[must_use]
pub fn written(ops: &[(usize, Op)]) -> String {
    let act = |(at, op): &(usize, Op)| format!("{}:{op}", super::diary::letter(*at));
    ops.iter().map(act).collect::<Vec<_>>().join("; ")
}

/// Reads a script: acts separated by `;`, each `device:act`. Acts are `w PATH NAME MTIME`,
/// `t PATH MTIME`, `d PATH`, `r FROM TO`, `m PATH`, `dc`, `i PATH` or `i -`, `lose`,
/// `revert PATH NAME MTIME`, `power PATH NAME MTIME` or `power PATH - MTIME`, `crash` (after the
/// next job), `kill`, `newlife`, `cut`, `join`, `scan`, `approve`, `reject`, `decide yes` or
/// `decide no`, `role both` or `role send` or `role receive`, `overrule`, `giveup`, `rejoin here`
/// or `rejoin there` or `rejoin newer`, `unmount` or `empty` or `mount`, `fail full` or `broken`
/// or `exhausted` or `flush`, `deaf`, `clock SECONDS`, `backup`, `rollback`, `setback`,
/// `loseledger`, `loseboth`, `halfopen`, `repeat`, `leave`, `return`.
///
/// # Panics
/// When the script has a mistake: scripts are written in tests.
#[must_use]
pub fn script(text: &str) -> Vec<(usize, Op)> {
    text.split(';').map(str::trim).filter(|act| !act.is_empty()).map(act).collect()
}

fn act(text: &str) -> (usize, Op) {
    let (device, act) = text.split_once(':').expect("device:act");
    let device = usize::from(device.trim().as_bytes()[0] - b'a');
    let words: Vec<&str> = act.split_whitespace().collect();
    let path = |word: &str| RelPath::parse(word).expect("a path");
    let number = |word: &str| word.parse::<i64>().expect("a number");
    let op = match words.as_slice() {
        ["w", at, name, mtime] => Op::Write(path(at), (*name).to_owned(), number(mtime)),
        ["t", at, mtime] => Op::Touch(path(at), number(mtime)),
        ["d", at] => Op::Delete(path(at)),
        ["r", from, to] => Op::Rename(path(from), path(to)),
        ["m", at] => Op::MakeDir(path(at)),
        ["dc"] => Op::DeleteCopy,
        ["i", "-"] => Op::Ignore(None),
        ["i", at] => Op::Ignore(Some(path(at))),
        ["lose"] => Op::LoseStore,
        ["revert", at, name, mtime] => Op::Revert(path(at), (*name).to_owned(), number(mtime)),
        ["power", at, "-", mtime] => Op::PowerLoss(path(at), None, number(mtime)),
        ["power", at, name, mtime] => {
            Op::PowerLoss(path(at), Some((*name).to_owned()), number(mtime))
        }
        ["crash"] => Op::CrashAfterSettle,
        ["kill"] => Op::Crash,
        ["newlife"] => Op::NewLife,
        ["cut"] => Op::Cut,
        ["join"] => Op::Join,
        ["scan"] => Op::Scan,
        ["approve"] => Op::Approve,
        ["reject"] => Op::Reject,
        ["decide", "yes"] => Op::Decide(true),
        ["decide", "no"] => Op::Decide(false),
        ["role", "both"] => Op::Role(Role::SendReceive),
        ["role", "send"] => Op::Role(Role::SendOnly),
        ["role", "receive"] => Op::Role(Role::ReceiveOnly),
        ["overrule"] => Op::Overrule,
        ["giveup"] => Op::GiveUp,
        ["rejoin", "here"] => Op::Rejoin(Favour::Here),
        ["rejoin", "there"] => Op::Rejoin(Favour::There),
        ["rejoin", "newer"] => Op::Rejoin(Favour::Newer),
        other => {
            let mishap = Mishap::read(other);
            Op::Befalls(mishap.unwrap_or_else(|| panic!("no such act: {text}")))
        }
    };
    (device, op)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_reads_the_same() {
        let all = "a:w p X 5; b:t p 2; a:d d; c:r p d/q; a:m d; b:dc; a:i -; a:i d/e; b:lose; \
                   a:revert p X 1; b:power p X 2; b:power p - 2; a:crash; a:kill; b:cut; b:join; \
                   a:scan; a:approve; a:reject; a:decide yes; a:decide no; a:role both; \
                   a:role send; a:role receive; a:overrule; a:giveup; a:rejoin here; \
                   a:rejoin there; a:rejoin newer; a:mount; a:unmount; a:empty; a:fail full; \
                   a:fail broken; a:fail exhausted; a:fail flush; a:deaf; a:clock -5; a:backup; \
                   a:rollback; a:setback; a:loseledger; a:loseboth; a:halfopen; a:repeat; \
                   a:leave; a:return";
        assert_eq!(script(&written(&script(all))), script(all));
        assert_eq!(written(&script(all)).replace(' ', ""), all.replace(' ', ""));
    }
}
