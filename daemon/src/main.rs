//! The daemon: `syncd` keeps this home's folders identical with those of paired devices.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use syncd::run::Ended;
use syncd_home::Home;
use tracing_subscriber::EnvFilter;

/// Keeps folders identical between your machines, peer to peer, end to end encrypted.
///
/// Runs in the foreground until it is told to stop; the first start makes an identity and a
/// config file. Everything else is done with syncctl.
#[derive(Debug, Parser)]
#[command(name = "syncd", version)]
struct Args {
    /// Keep everything of this instance in DIR, instead of the usual places [env: SYNCD_HOME]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,

    /// How log lines look on stderr.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people and the journal.
    Text,
    /// One JSON object a line.
    Json,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if syncd::world::net::keylog_is_set() {
        return again();
    }
    begin_logging(args.log_format);
    take_all_descriptors();
    let home = match Home::resolve(args.home.as_deref()) {
        Ok(home) => home,
        Err(error) => return refuse(&error.into()),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error.into()),
    };
    let ended = runtime.block_on(syncd::run::run(home));
    // Workers that wait for a disk must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match ended {
        Ok(Ended::Told) => ExitCode::SUCCESS,
        Ok(Ended::ToBeginAnew) => again(),
        Err(error) => refuse(&error),
    }
}

/// Raises the soft limit of open files to the hard one: the soft one is for programs that wait
/// with `select`. With fewer, files wait for their turn.
fn take_all_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Says in one line why the daemon does not run.
fn refuse(error: &anyhow::Error) -> ExitCode {
    use std::io::Write;
    // Where nobody can be told, as on a full disk, the exit code says it.
    let _ = writeln!(std::io::stderr(), "syncd: {}", syncd_api::sentence(error.as_ref()));
    ExitCode::FAILURE
}

/// Becomes the same program again, without `SSLKEYLOGFILE`: whoever sets a daemon's environment
/// would else get the keys of all its sessions.
fn again() -> ExitCode {
    use std::os::unix::process::CommandExt;
    let again = std::env::current_exe().map(|exe| {
        std::process::Command::new(exe)
            .args(std::env::args_os().skip(1))
            .env_remove("SSLKEYLOGFILE")
            .exec()
    });
    match again {
        Ok(error) | Err(error) => refuse(&anyhow::Error::from(error)),
    }
}

fn begin_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_env("SYNCD_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,libp2p=warn,sled=warn"));
    // A line that the log does not take is lost, and nothing else: to say so on the same full disk
    // would end the thread that had something to tell.
    let logging = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logging.with_target(false).with_ansi(false).init(),
        LogFormat::Json => logging.json().init(),
    }
}
