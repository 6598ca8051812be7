//! What single values may be. Each check says what would be right.

use std::net::SocketAddr;
use std::path::PathBuf;

use ignore_rules::Rules;
use syncd_core::model::DeviceId;
use syncd_core::model::shown::is_harmful;

use super::DeviceConfig;
use crate::near::{near, near_device};

/// Longest name of a device, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Fewest characters of an id that may stand for it.
const PREFIX_CHARS_MIN: usize = 7;

/// A text this long was meant to be a whole id or PeerId, in bytes.
const ID_LIKE_BYTES_MIN: usize = 50;

/// Checks what a device or folder is called: 1 to 64 bytes that a terminal shows as they are.
pub(super) fn name(text: &str) -> Result<(), String> {
    let plain = !text.chars().any(is_harmful) && text.trim() == text;
    if !text.is_empty() && text.len() <= NAME_BYTES_MAX && plain {
        return Ok(());
    }
    Err("a name has 1 to 64 bytes, no control characters and no blanks at its ends".to_owned())
}

/// Checks that `text` begins like a multiaddress. What the network cannot use it reports.
pub(super) fn multiaddr(text: &str) -> Result<(), String> {
    let parts = text.strip_prefix('/').map(|rest| rest.split('/').all(|part| !part.is_empty()));
    if parts == Some(true) && !text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Ok(());
    }
    Err(format!("{text:?} is no multiaddress like /ip4/192.0.2.1/tcp/24110"))
}

/// Checks that `text` is a multiaddress that names the relay behind it.
pub(super) fn relay(text: &str) -> Result<(), String> {
    multiaddr(text)?;
    let id = text.rsplit_once("/p2p/").map(|(_, id)| DeviceId::parse(id));
    match id {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(format!("{text:?} does not end in a relay's id: {error}")),
        None => Err(format!("{text:?} does not end in /p2p/ and the relay's id")),
    }
}

/// Checks where a device is called: a multiaddress or `ssh://[user@]host[:port]`.
pub(super) fn device_address(text: &str) -> Result<(), String> {
    let Some(target) = text.strip_prefix("ssh://") else {
        return multiaddr(text)
            .map_err(|_| format!("{text:?} is neither a multiaddress nor ssh://user@host"));
    };
    let host = target.rsplit_once('@').map_or(target, |(_, host)| host);
    let clean = !target.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/');
    // A leading dash would be an option to the ssh program.
    let dashed = target.starts_with('-') || host.starts_with('-');
    if clean && !dashed && !host.is_empty() && !host.starts_with(':') && !target.starts_with('@') {
        return Ok(());
    }
    Err(format!("{text:?} is no address like ssh://user@host or ssh://user@host:22"))
}

/// Checks where browsers are served. The token travels in the clear, so it stays on this host.
pub(super) fn http_listen(text: &str) -> Result<(), String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(()),
        Ok(_) => Err(format!(
            "{text} can be reached from other hosts; listen at 127.0.0.1 or [::1] and use \
             ssh -L from elsewhere"
        )),
        Err(_) => Err(format!("{text:?} is no address like 127.0.0.1:8385")),
    }
}

/// Reads a folder's path: absolute, or below the user's home directory with `~/`.
pub(super) fn folder_path(text: &str) -> Result<PathBuf, String> {
    let path = match text.strip_prefix("~/") {
        Some(rest) => etcetera::home_dir()
            .map_err(|_| "HOME is not set, so ~ means nothing".to_owned())?
            .join(rest),
        None => PathBuf::from(text),
    };
    if text.contains('\0') || !path.is_absolute() {
        return Err(format!("{text:?} is no absolute path"));
    }
    Ok(path)
}

/// Checks one line of the ignore file's language. Files cannot be included here.
pub(super) fn pattern(text: &str) -> Result<(), String> {
    let sources = [("in_place", text.as_bytes())];
    let parsed = Rules::parse(&sources, &mut |_: &str| None::<Vec<u8>>);
    let is_one = !text.trim().is_empty() && !text.contains(['\n', '\r']);
    match parsed {
        Ok(_) if is_one => Ok(()),
        Ok(_) => Err(format!("{text:?} is not one pattern")),
        Err(error) => Err(format!("{text:?} is no pattern: {error}")),
    }
}

/// Finds the device that `text` means: a full id or PeerId, else the name of one of `devices`,
/// else the unique beginning of an id, of at least 7 characters.
pub(super) fn device_ref(text: &str, devices: &[DeviceConfig]) -> Result<DeviceId, String> {
    let parsed = match DeviceId::parse(text) {
        Ok(id) => return Ok(id),
        Err(error) => error,
    };
    if let Some(device) = devices.iter().find(|device| device.name == text) {
        return Ok(device.id);
    }
    let wanted = text.replace('-', "").to_uppercase();
    let begins = |device: &&DeviceConfig| {
        device.id.to_string().replace('-', "").starts_with(&wanted)
            || device.id.peer_id().starts_with(text)
    };
    let long_enough = text.chars().count() >= PREFIX_CHARS_MIN;
    let found: Vec<&DeviceConfig> = devices.iter().filter(begins).collect();
    match found.as_slice() {
        [one] if long_enough => Ok(one.id),
        [_, _, ..] if long_enough => Err(format!("{text:?} is the beginning of several ids")),
        [] | [_] | [_, _, ..] if text.len() >= ID_LIKE_BYTES_MIN => {
            Err(with_near(parsed.to_string(), text, devices))
        }
        [] | [_] | [_, _, ..] => Err(match near(text, devices.iter().map(|d| d.name.as_str())) {
            Some(name) => format!("no paired device is called {text:?}; did you mean '{name}'?"),
            None => format!("no paired device is called {text:?}"),
        }),
    }
}

/// Adds to a refusal which of `devices` was meant, if `text` is almost its id.
pub(super) fn with_near(what: String, text: &str, devices: &[DeviceConfig]) -> String {
    match near_device(text, devices) {
        Some(device) => format!("{what}; did you mean '{}'?", device.name),
        None => what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    #[test]
    fn addresses_are_told_from_typing_errors() {
        type Check = fn(&str) -> Result<(), String>;
        let (multi, device): (Check, Check) = (multiaddr, device_address);
        let (http, named): (Check, Check) = (http_listen, name);
        for (check, text, good, because) in [
            (multi, "/ip4/127.0.0.1/tcp/24111", true, "the usual one"),
            (multi, "/ip6/::/udp/24110/quic-v1", true, "IPv6 keeps its colons"),
            (multi, "127.0.0.1:24111", false, "no multiaddress at all"),
            (multi, "", false, "nothing"),
            (multi, "/", false, "nothing in it"),
            (multi, "/ip4//tcp/1", false, "an empty part"),
            (multi, "/ip4/1.2.3.4 /tcp/1", false, "a blank"),
            (device, "/dns/box.example/tcp/24110", true, "a multiaddress"),
            (device, "ssh://user@host", true, "by ssh"),
            (device, "ssh://host:2222", true, "with a port, without a user"),
            (device, "ssh://", false, "no host"),
            (device, "ssh://user@", false, "a user without a host"),
            (device, "ssh://@host", false, "an empty user"),
            (device, "ssh://:22", false, "a port alone"),
            (device, "ssh://-oProxyCommand=x", false, "an option to ssh"),
            (device, "ssh://user@-x", false, "an option in the host"),
            (device, "ssh://host/dir", false, "no path belongs there"),
            (device, "http://host", false, "another protocol"),
            (http, "127.0.0.1:8385", true, "the default"),
            (http, "[::1]:0", true, "any free port on IPv6"),
            (http, "0.0.0.0:8385", false, "open to the network"),
            (http, "localhost:8385", false, "a name is no address"),
            (http, "8385", false, "a port alone"),
            (pattern, "*.log", true, "a plain pattern"),
            (pattern, "!keep.log", true, "an exception"),
            (pattern, "src/[a", false, "an open bracket"),
            (pattern, " ", false, "nothing"),
            (pattern, "a\nb", false, "two at once"),
            (pattern, "#include rules", false, "no file is read for it"),
            (named, "devbox", true, "a plain name"),
            (named, "Björn's box", true, "letters and a blank inside"),
            (named, "", false, "nothing"),
            (named, " a", false, "a blank in front"),
            (named, "a\u{1b}[2J", false, "it would steer the terminal"),
            (named, "a\u{202e}b", false, "it would be read from the right"),
        ] {
            assert_eq!(check(text).is_ok(), good, "{because}: {text:?}");
        }
        assert!(named(&"x".repeat(64)).is_ok() && named(&"x".repeat(65)).is_err());
    }

    #[test]
    fn a_relay_says_whose_it_is() {
        for (text, good, because) in [
            (format!("/ip4/192.0.2.1/tcp/443/p2p/{PEER}"), true, "as the relay prints it"),
            ("/ip4/192.0.2.1/tcp/443".to_owned(), false, "no id"),
            ("/ip4/192.0.2.1/tcp/443/p2p/12D3KooX".to_owned(), false, "no whole id"),
            (format!("192.0.2.1/p2p/{PEER}"), false, "no multiaddress"),
        ] {
            assert_eq!(relay(&text).is_ok(), good, "{because}: {text}");
        }
    }

    #[test]
    fn a_device_is_found_by_all_its_names() {
        let device = |key: u8, name: &str| DeviceConfig {
            id: DeviceId([key; 32]),
            name: name.to_owned(),
            addresses: Vec::new(),
            rates: Default::default(),
        };
        let mut twin = device(7, "twin");
        twin.id.0[31] = 0;
        let devices = [device(7, "laptop"), device(200, "devbox"), twin];
        let id = devices[1].id;
        let stranger = DeviceId([99; 32]);
        for (text, found, because) in [
            ("devbox".to_owned(), Some(id), "the name"),
            (id.to_string(), Some(id), "the id"),
            (id.peer_id(), Some(id), "the PeerId"),
            (id.short(), Some(id), "seven characters"),
            (id.short().to_lowercase(), Some(id), "in any case"),
            (id.peer_id()[..20].to_owned(), Some(id), "the beginning of the PeerId"),
            (id.to_string()[..6].to_owned(), None, "six characters are too few"),
            (devices[0].id.short(), None, "the beginning of two"),
            (stranger.to_string(), Some(stranger), "a full id needs no pairing"),
            (stranger.short(), None, "nobody known"),
            ("nobody".to_owned(), None, "no such name"),
        ] {
            assert_eq!(device_ref(&text, &devices).ok(), found, "{because}: {text}");
        }
        for (text, said, because) in [
            (&id.to_string()[1..], "this has 55; did you mean 'devbox'?", "a digit is missing"),
            (&stranger.to_string()[1..], "this has 55", "a digit of a stranger is missing"),
        ] {
            let refusal = device_ref(text, &devices).unwrap_err();
            assert!(refusal.ends_with(said), "{because}: {refusal}");
        }
    }
}
