//! One daemon to a home.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::fs::FlockOperation;

use crate::{Home, HomeError};

/// How often, and in what distance, the holder's pid is looked for: it writes it right after it
/// has the lock.
const PID_TRIES: u32 = 20;
const PID_WAIT: Duration = Duration::from_millis(10);

/// The right to work in a home. The kernel takes it back when the process ends in any way.
#[derive(Debug)]
#[must_use = "the home is free again as soon as this is dropped"]
pub struct HomeLock {
    home: Home,
    _file: File,
}

impl HomeLock {
    /// Returns the home that is held.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }
}

impl Home {
    /// Takes the home for this process, making its directories first.
    ///
    /// # Errors
    /// [`HomeError::Busy`] naming the process that has it; else as [`Home::create`].
    pub fn lock(&self) -> Result<HomeLock, HomeError> {
        self.create()?;
        let path = self.lock_path();
        let trouble = |action, source| HomeError::Disk { action, path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| trouble("open", source))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let home = self.dir().to_path_buf();
                return Err(HomeError::Busy { pid: holder_of(&mut file), home });
            }
            Err(errno) => return Err(trouble("lock", errno.into())),
        }
        file.set_len(0)
            .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()))
            .map_err(|source| trouble("write", source))?;
        Ok(HomeLock { home: self.clone(), _file: file })
    }
}

/// Reads the holder's pid. A pid left by an earlier holder is gone before the next one writes
/// its own, except between its lock and its truncation.
fn holder_of(file: &mut File) -> Option<u32> {
    for _ in 0..PID_TRIES {
        let mut text = String::new();
        let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut text));
        match text.strip_suffix('\n').map(str::parse) {
            Some(Ok(pid)) if read.is_ok() => return Some(pid),
            Some(_) | None => std::thread::sleep(PID_WAIT),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Tells a copy of this test program that it is one, and which home to hold.
    const HELD_VARIABLE: &str = "SYNCD_TEST_HELD_HOME";

    fn busy_pid(home: &Home) -> Option<u32> {
        match home.lock() {
            Err(HomeError::Busy { pid, .. }) => pid,
            other => panic!("the home is not busy: {other:?}"),
        }
    }

    /// Starts this very test in a process of its own, where it holds `home` until it is killed.
    fn spawn_holder(home: &Path) -> Child {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lock::tests::another_process_is_named_and_its_death_frees_the_home"])
            .arg("--nocapture")
            .env(HELD_VARIABLE, home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let held = lines.map(Result::unwrap).any(|line| line.ends_with("the home is held"));
        assert!(held, "the other process did not get the home");
        child
    }

    #[test]
    fn another_process_is_named_and_its_death_frees_the_home() {
        if let Some(held) = std::env::var_os(HELD_VARIABLE) {
            let _lock = Home::at(Path::new(&held)).lock().unwrap();
            println!("the home is held");
            // Ends when the parent ends, at the latest.
            std::io::stdin().read_line(&mut String::new()).unwrap();
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(root.path());
        let mut child = spawn_holder(root.path());
        assert_eq!(busy_pid(&home), Some(child.id()));
        let text = home.lock().unwrap_err().to_string();
        assert!(text.contains(&format!("in use by process {}", child.id())), "{text}");
        child.kill().unwrap();
        child.wait().unwrap();
        let _lock = home.lock().expect("a killed process holds nothing");
    }

    #[test]
    fn a_home_is_held_once_even_within_a_process() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(&root.path().join("new"));
        let lock = home.lock().unwrap();
        assert_eq!(busy_pid(&home), Some(std::process::id()));
        drop(lock);
        // A longer pid of an earlier holder must not shine through.
        std::fs::write(home.lock_path(), "4000000000\n").unwrap();
        let lock = home.lock().unwrap();
        assert_eq!(busy_pid(&home), Some(std::process::id()));
        assert_eq!(lock.home(), &home);
    }

    #[test]
    fn a_holder_that_says_nothing_is_still_a_holder() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(root.path());
        let file = File::create(home.lock_path()).unwrap();
        rustix::fs::flock(&file, FlockOperation::LockExclusive).unwrap();
        assert_eq!(busy_pid(&home), None);
        assert!(home.lock().unwrap_err().to_string().contains("another process"));
    }
}
