//! The daemon: `syncd` keeps this home's folders identical with those of paired devices.

mod logging;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use syncd::run::Ended;
use syncd_core::model::shown::escaped;
use syncd_home::{Config, Home};

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
    #[arg(long, value_enum, default_value_t = logging::Format::Text)]
    log_format: logging::Format,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if syncd::world::net::keylog_is_set() {
        return again();
    }
    logging::begin(args.log_format);
    take_all_descriptors();
    let home = match Home::resolve(args.home.as_deref()) {
        Ok(home) => home,
        Err(error) => return refuse(&error.into()),
    };
    if let Err(error) = confine(&home) {
        return refuse(&error);
    }
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

/// Confines the process by its settings, while it has one thread. Settings that cannot be read are
/// told of by what reads them next.
fn confine(home: &Home) -> anyhow::Result<()> {
    let Ok(config) = Config::load(home) else { return Ok(()) };
    if !config.confine.is_empty() {
        home.create()?;
    }
    Ok(syncd::world::confine::confine(home, &config)?)
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
    let sentence = escaped(&syncd_api::sentence(error.as_ref()));
    let _ = writeln!(std::io::stderr(), "syncd: {sentence}");
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
