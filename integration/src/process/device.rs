//! One device: its home, its `syncd`, and `syncctl` asking it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{binary, eventually, is_long};

/// How long a daemon may take to answer after it was started. An unoptimised build on a busy
/// machine that reads its index again takes seconds.
const START_MAX: Duration = Duration::from_secs(30);

/// How long any command may take. The longest flush asked for here is shorter.
const COMMAND_MAX: Duration = Duration::from_secs(1_500);

/// How much of a log is shown when a test fails.
const LOG_BYTES_MAX: u64 = 12_000;

/// Where a device listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// At a free TCP port of this machine.
    Port,
    /// Nowhere: it only dials.
    Nowhere,
}

/// One device with its home and, while it runs, its daemon.
#[derive(Debug)]
pub struct Device {
    name: String,
    home: PathBuf,
    root: PathBuf,
    id: String,
    port: Option<u16>,
    /// What the daemon is started by, if not by us.
    under: Vec<OsString>,
    /// What it is told beyond its home.
    words: Vec<String>,
    child: Option<Child>,
    boot: Option<String>,
    log: PathBuf,
}

/// What a command said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its exit code; -1 if a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Device {
    /// Makes the home of a device under `dir`, with mDNS and relays off, not running yet.
    ///
    /// # Panics
    /// When `syncctl init` or `config set` fail.
    #[must_use]
    pub fn init(dir: &Path, name: &str, listen: Listen) -> Self {
        let home = dir.join(name);
        let mut device = Self {
            name: name.to_owned(),
            root: dir.join(format!("{name}-work")),
            log: home.join("syncd.log"),
            home,
            id: String::new(),
            port: (listen == Listen::Port).then(free_port),
            under: Vec::new(),
            words: Vec::new(),
            child: None,
            boot: None,
        };
        device.ok(&["init", "--name", name]);
        device.id = device.ok(&["id"]).trim().to_owned();
        let address = device.port.map_or_else(|| "[]".to_owned(), |_| device.address());
        device.ok(&["config", "set", "listen", &address]);
        device.ok(&["config", "set", "discovery", "[]"]);
        device
    }

    /// Lets its daemon take the machine, from its next start on, for one that was booted as `id`.
    pub fn boots_as(&mut self, id: &str) {
        self.boot = Some(id.to_owned());
    }

    /// Returns the device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its home.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Returns the root of its folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a path in its folder.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// Returns its full id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the first group of its id.
    #[must_use]
    pub fn short_id(&self) -> &str {
        self.id.split('-').next().unwrap_or_default()
    }

    /// Returns the port at which it listens.
    ///
    /// # Panics
    /// When it listens nowhere.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.expect("this device was made to listen")
    }

    /// Returns where it listens, as a multiaddress.
    ///
    /// # Panics
    /// When it listens nowhere.
    #[must_use]
    pub fn address(&self) -> String {
        format!("/ip4/127.0.0.1/tcp/{}", self.port())
    }

    /// Returns its daemon's process id.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the daemon runs").id()
    }

    /// Starts the daemon, and returns when it answers.
    ///
    /// # Panics
    /// When it runs already, stops again, or does not answer within 30 s.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(self.log_path());
        let child = self
            .daemon()
            .env_remove("SYNCD_HOME")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log can be made in the home"))
            .spawn()
            .expect("syncd can be started");
        self.child = Some(child);
        eventually(START_MAX, &format!("{} answers", self.name), || {
            let child = self.child.as_mut().expect("it was just started");
            if let Ok(Some(status)) = child.try_wait() {
                let end = self.log_end();
                panic!("{} stopped at once: {status}\n{end}", self.name);
            }
            let answer = self.ctl(&["status", "--json"]);
            if answer.code == 0 { Ok(()) } else { Err(answer.stderr) }
        });
    }

    /// Lets the daemon be started by `program` from now on, which must become it: such as
    /// `prlimit --nofile=64`.
    pub fn run_under(&mut self, program: &[impl AsRef<OsStr>]) {
        self.under = program.iter().map(|word| word.as_ref().to_owned()).collect();
    }

    /// Gives the daemon more words from its next start on.
    pub fn with_words(&mut self, words: &[&str]) {
        self.words = words.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Starts the daemon, which must end by itself, and returns what it said.
    ///
    /// # Panics
    /// When it runs already, or has not ended after 30 s.
    #[track_caller]
    #[must_use]
    pub fn refuses(&self) -> Answer {
        assert!(self.child.is_none(), "{} runs already", self.name);
        run(&mut self.daemon(), START_MAX)
    }

    /// Returns what starts the daemon.
    fn daemon(&self) -> Command {
        let syncd = binary("syncd").into_os_string();
        let mut words = self.under.iter().chain([&syncd]);
        let mut command = Command::new(words.next().expect("syncd is one"));
        command.args(words).arg("--home").arg(&self.home).args(&self.words);
        command.envs(self.boot.as_ref().map(|id| ("SYNCD_BOOT_ID", id)));
        command
    }

    /// Ends the daemon as a power cut would: at once, without asking it.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the daemon runs");
        child.kill().expect("one's own child can be ended");
        child.wait().expect("one's own child can be waited for");
    }

    /// Holds the daemon still, as a debugger would, until [`Device::thaw`].
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self) {
        let pid = Pid::from_child(self.child.as_ref().expect("the daemon runs"));
        kill_process(pid, Signal::STOP).expect("one's own child can be signalled");
    }

    /// Lets a frozen daemon go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn thaw(&self) {
        let pid = Pid::from_child(self.child.as_ref().expect("the daemon runs"));
        kill_process(pid, Signal::CONT).expect("one's own child can be signalled");
    }

    /// Asks the daemon to stop with SIGTERM, and returns how it ended and how long that took.
    ///
    /// # Panics
    /// When it does not run or does not end within 30 s.
    pub fn stop(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let pid = Pid::from_child(self.child.as_ref().expect("the daemon runs"));
        kill_process(pid, Signal::TERM).expect("one's own child can be signalled");
        let status = eventually(START_MAX, &format!("{} stops", self.name), || {
            let child = self.child.as_mut().expect("it runs");
            child.try_wait().ok().flatten().ok_or_else(|| "it still runs".to_owned())
        });
        self.child = None;
        (status, began.elapsed())
    }

    /// Runs `syncctl` with `arguments` for this home.
    ///
    /// # Panics
    /// When it does not end within 25 minutes.
    #[track_caller]
    pub fn ctl(&self, arguments: &[impl AsRef<OsStr>]) -> Answer {
        let mut command = Command::new(binary("syncctl"));
        command.arg("--home").arg(&self.home).args(arguments);
        run(&mut command, COMMAND_MAX)
    }

    /// Runs `syncctl`, which must succeed, and returns what it printed.
    ///
    /// # Panics
    /// When it does not exit with 0.
    #[track_caller]
    pub fn ok(&self, arguments: &[impl AsRef<OsStr>]) -> String {
        let answer = self.ctl(arguments);
        let words: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
        let words = words.join(" ");
        assert_eq!(answer.code, 0, "{}: syncctl {words}: {}", self.name, answer.stderr);
        answer.stdout
    }

    /// Runs `syncctl` with `--json`, and returns what it printed.
    ///
    /// # Panics
    /// When it does not exit with 0 or prints no JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!(
                "{}: syncctl {} printed no JSON ({error}): {text}",
                self.name,
                arguments.join(" ")
            )
        })
    }

    /// Returns how a folder stands, as `status --json` has it.
    ///
    /// # Panics
    /// When there is no such folder.
    #[track_caller]
    #[must_use]
    pub fn status(&self, folder: &str) -> Value {
        let status = self.json(&["status"]);
        let folders = status["folders"].as_array().expect("status has folders");
        let found = folders.iter().find(|found| found["id"] == folder);
        found.unwrap_or_else(|| panic!("{} has no folder {folder}: {status}", self.name)).clone()
    }

    /// Tells whether this device is connected to the one that it calls `name`.
    #[must_use]
    pub fn is_connected_to(&self, name: &str) -> bool {
        let devices = self.json(&["devices"]);
        let mut devices = devices.as_array().into_iter().flatten();
        devices.any(|device| device["name"] == name && device["connected"] == true)
    }

    /// Waits until this device is connected to the one that it calls `name`.
    ///
    /// # Panics
    /// When that takes more than 30 s.
    #[track_caller]
    pub fn await_connected(&self, name: &str) {
        eventually(START_MAX, &format!("{} is connected to {name}", self.name), || {
            if self.is_connected_to(name) { Ok(()) } else { Err(self.ok(&["devices"])) }
        });
    }

    /// Waits until all that lies here now is durable on the connected devices.
    ///
    /// # Panics
    /// When `syncctl flush` says no or does not return within 2 minutes, or 20 of a long run.
    #[track_caller]
    pub fn flush(&self) {
        let seconds = if is_long() { 1_200 } else { 120 };
        self.ok(&["flush", "--timeout", &format!("{seconds}s")]);
    }

    /// Returns the most memory that the daemon ever had resident since it was started, in bytes.
    ///
    /// # Panics
    /// When it does not run, or the kernel does not tell.
    #[must_use]
    pub fn resident_bytes_max(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(path).expect("the daemon runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        1024 * kib.and_then(|kib| kib.parse::<u64>().ok()).expect("the kernel tells VmHWM")
    }

    /// Lets the daemon write its log elsewhere than into its home, from its next start on.
    pub fn logs_to(&mut self, path: PathBuf) {
        self.log = path;
    }

    /// Returns where the daemon's log is written.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Returns the end of the daemon's log.
    #[must_use]
    pub fn log_end(&self) -> String {
        let mut text = Vec::new();
        if let Ok(mut log) = File::open(self.log_path()) {
            let size = log.metadata().map_or(0, |meta| meta.len());
            // A log that cannot be read is shown as far as it can.
            let _ = log.seek(SeekFrom::Start(size.saturating_sub(LOG_BYTES_MAX)));
            let _ = log.read_to_end(&mut text);
        }
        format!("--- log of {}\n{}", self.name, String::from_utf8_lossy(&text))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Ended already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            eprintln!("{}", self.log_end());
        }
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started, or does not end within `wait_max`; it is ended then.
#[track_caller]
pub fn run(command: &mut Command, wait_max: Duration) -> Answer {
    command.env_remove("SYNCD_HOME").stdin(Stdio::null());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command can be started");
    // Read while it runs: a full pipe would stop it.
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let began = Instant::now();
    let mut pause = Duration::from_micros(500);
    let status = loop {
        if let Some(status) = child.try_wait().expect("one's own child can be waited for") {
            break status;
        }
        if began.elapsed() > wait_max {
            child.kill().expect("one's own child can be ended");
            child.wait().expect("one's own child can be waited for");
            panic!("{command:?} did not end within {} s", wait_max.as_secs());
        }
        // Nothing tells when a child ends; asked often at first, since most end at once.
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    Answer {
        code: status.code().unwrap_or(-1),
        stdout: stdout.join().expect("reading does not panic"),
        stderr: stderr.join().expect("reading does not panic"),
    }
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read until it broke is what there is.
            let _ = pipe.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// Returns a TCP port that nobody uses now. They lie below those that the system gives to
/// outgoing connections, and each process begins elsewhere, far from one that was started right
/// before it, so that a daemon finds its port still free, also when it is started again.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u16::try_from(u64::from(std::process::id()) * 251 % 11_000).unwrap_or_default();
    for _ in 0..11_000 {
        let port = 20_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed) % 11_000) % 11_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no TCP port is free between 20000 and 31000");
}
