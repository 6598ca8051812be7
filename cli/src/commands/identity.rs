//! `init` and `id`: who this device is. Work on the home directly.

use clap::Args;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::json;
use syncd_api::ApiError;
use syncd_core::model::DeviceId;
use syncd_home::{Config, Home};

use super::{Outcome, Session, config_error, has_person, home_error, print_json};
use crate::render;

/// Make this device's identity and settings, and print its id
///
/// May be repeated: what is there already stays. With --name the device gets that name.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  syncctl init --name laptop")]
pub(crate) struct Init {
    /// What to call this device; the host's name if not given
    #[arg(long)]
    name: Option<String>,
}

impl Init {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let identity =
            session.home.init(self.name.as_deref()).map_err(|error| home_error(&error))?;
        show(session, identity.device_id)?;
        if !session.json && has_person() && session.columns.is_some() {
            let start = session.home.command("syncd", "");
            eprintln!(
                "\nThis id is what your other devices are told, by: syncctl pair ID\n\
                 Now start syncd, unless it runs: {start}"
            );
        }
        Ok(())
    }
}

/// Print this device's id, which other devices need to pair with it
///
/// The id is no secret. Pairing needs both sides: each must be told the other's id.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  syncctl pair \"$(ssh devbox syncctl id)\" --name devbox")]
pub(crate) struct Id {
    /// Show it as a QR code too, to be read by a camera
    #[arg(long)]
    qr: bool,
}

impl Id {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let id = session.home.identity().map_err(|error| home_error(&error))?.device_id;
        if self.qr && !session.json {
            render::print(&picture(id)?)?;
        }
        show(session, id)
    }
}

fn show(session: &Session, id: DeviceId) -> Outcome {
    if session.json {
        let name = name(&session.home)?;
        let id = json!({ "device_id": id.to_string(), "peer_id": id.peer_id(), "name": name });
        return print_json(&id);
    }
    render::print(&format!("{id}\n"))
}

fn name(home: &Home) -> Result<String, ApiError> {
    Ok(Config::load(home).map_err(|error| config_error(&error))?.name)
}

fn picture(id: DeviceId) -> Result<String, ApiError> {
    let code = QrCode::new(id.to_string())
        .map_err(|error| ApiError::could_not(format!("cannot draw the id: {error}")))?;
    // Most terminals are dark: light blocks are what is drawn.
    let drawn =
        code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    Ok(format!("{drawn}\n"))
}
