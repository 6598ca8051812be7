//! Device ids: the ed25519 key behind a device's TLS certificate.
//!
//! Shown as 52 base32 digits (RFC 4648) cut into four runs of 13, each followed by a check digit,
//! all in eight groups of seven. The check digit is Luhn's algorithm modulo 32, the form that
//! Syncthing made known, so that one wrong digit or two swapped neighbours are noticed.

use std::fmt;

/// The 32 bytes of a device's ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub [u8; 32]);

/// Why a text is no device id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceIdError {
    /// Neither 56 digits nor a PeerId.
    #[error("a device id has 56 letters and digits in groups of seven; this has {0}")]
    Length(usize),
    /// Something that is no base32 digit.
    #[error("{0:?} does not occur in a device id")]
    Digit(char),
    /// A check digit does not fit; it stands for this group and the one before it.
    #[error("group {before} or {0} of the device id has a typing error", before = .0 - 1)]
    Check(usize),
    /// Looks like a PeerId but is none of an ed25519 key.
    #[error("this is not the whole PeerId of a device")]
    PeerId,
}

/// RFC 4648's base32 digits.
const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// What stands before the key in the identity multihash of a libp2p PeerId (the libp2p peer id
/// specification: identity hash, 36 bytes, key type ed25519, 32 bytes).
const PEER_ID_HEAD: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// Digits between two check digits.
const RUN: usize = 13;

impl DeviceId {
    /// No device: the writer of derived conflict copies.
    pub const NIL: Self = Self([0; 32]);

    /// Reads a device id as shown by [`fmt::Display`], with or without its dashes and in any
    /// case, or a libp2p PeerId (`12D3Koo...`).
    ///
    /// # Errors
    /// [`DeviceIdError`] saying what is wrong; a typing error names its group.
    pub fn parse(text: &str) -> Result<Self, DeviceIdError> {
        let text = text.trim();
        if text.starts_with("12D3Koo") {
            return Self::parse_peer_id(text);
        }
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| !matches!(c, '-' | ' '))
            .map(|c| digit_value(c).ok_or(DeviceIdError::Digit(c)))
            .collect::<Result<_, _>>()?;
        if digits.len() != 4 * (RUN + 1) {
            return Err(DeviceIdError::Length(digits.len()));
        }
        let mut plain = String::with_capacity(4 * RUN);
        for (at, run) in digits.chunks(RUN + 1).enumerate() {
            if check_digit(&run[..RUN]) != run[RUN] {
                return Err(DeviceIdError::Check(at * 2 + 2));
            }
            plain.extend(run[..RUN].iter().map(|d| DIGITS[usize::from(*d)] as char));
        }
        let key = data_encoding::BASE32_NOPAD
            .decode(plain.as_bytes())
            .map_err(|_| DeviceIdError::Check(8))?;
        key.try_into().map(Self).map_err(|_| DeviceIdError::Check(8))
    }

    fn parse_peer_id(text: &str) -> Result<Self, DeviceIdError> {
        let bytes = bs58::decode(text).into_vec().map_err(|_| DeviceIdError::PeerId)?;
        let key = bytes.strip_prefix(&PEER_ID_HEAD).ok_or(DeviceIdError::PeerId)?;
        key.try_into().map(Self).map_err(|_| DeviceIdError::PeerId)
    }

    /// Returns the same id as libp2p writes it.
    #[must_use]
    pub fn peer_id(&self) -> String {
        bs58::encode([&PEER_ID_HEAD[..], &self.0].concat()).into_string()
    }

    /// Returns the first group of seven, enough to tell one's own devices apart.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..7].to_owned()
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = data_encoding::BASE32_NOPAD.encode(&self.0);
        let mut shown = Vec::with_capacity(56);
        for run in plain.as_bytes().chunks(RUN) {
            let values: Vec<u8> =
                run.iter().map(|d| digit_value(*d as char).unwrap_or_default()).collect();
            shown.extend_from_slice(run);
            shown.push(DIGITS[usize::from(check_digit(&values))]);
        }
        for (at, group) in shown.chunks(7).enumerate() {
            if at > 0 {
                f.write_str("-")?;
            }
            f.write_str(&String::from_utf8_lossy(group))?;
        }
        Ok(())
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NIL { f.write_str("nil") } else { f.write_str(&self.short()) }
    }
}

/// Returns what a digit stands for; people's 0, 1 and 8 are read as O, I and B.
fn digit_value(c: char) -> Option<u8> {
    let c = match c.to_ascii_uppercase() {
        '0' => 'O',
        '1' => 'I',
        '8' => 'B',
        other => other,
    };
    let at = DIGITS.iter().position(|d| char::from(*d) == c)?;
    u8::try_from(at).ok()
}

/// Luhn modulo 32: every second digit counts double, with the digits of the product added up.
fn check_digit(run: &[u8]) -> u8 {
    let sum: u32 = run
        .iter()
        .enumerate()
        .map(|(at, digit)| {
            let product = u32::from(*digit) * if at % 2 == 0 { 1 } else { 2 };
            product / 32 + product % 32
        })
        .sum();
    u8::try_from((32 - sum % 32) % 32).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_is_read_back_in_each_of_its_forms() {
        let id = DeviceId([7; 32]);
        let shown = id.to_string();
        assert_eq!(shown.split('-').map(str::len).collect::<Vec<_>>(), [7; 8]);
        for text in [
            shown.clone(),
            shown.to_lowercase(),
            shown.replace('-', ""),
            shown.replace('-', " "),
            format!(" {shown}\n"),
            id.peer_id(),
        ] {
            assert_eq!(DeviceId::parse(&text), Ok(id), "{text}");
        }
        assert!(id.peer_id().starts_with("12D3Koo"));
    }

    #[test]
    fn what_is_no_id_says_why() {
        let shown = DeviceId([7; 32]).to_string();
        for (text, why) in [
            (String::new(), DeviceIdError::Length(0)),
            (shown[..55].to_owned(), DeviceIdError::Length(49)),
            (shown.replacen('A', "!", 1), DeviceIdError::Digit('!')),
            ("12D3KooXYZ".to_owned(), DeviceIdError::PeerId),
        ] {
            assert_eq!(DeviceId::parse(&text), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn one_wrong_digit_is_noticed(key: [u8; 32], at in 0usize..56, by in 1usize..32) {
            let mut digits: Vec<char> =
                DeviceId(key).to_string().chars().filter(|c| *c != '-').collect();
            let value = usize::from(digit_value(digits[at]).unwrap());
            digits[at] = char::from(DIGITS[(value + by) % 32]);
            let text: String = digits.into_iter().collect();
            prop_assert!(matches!(DeviceId::parse(&text), Err(DeviceIdError::Check(_))));
        }

        #[test]
        fn every_key_is_read_back(key: [u8; 32]) {
            let id = DeviceId(key);
            prop_assert_eq!(DeviceId::parse(&id.to_string()), Ok(id));
            prop_assert_eq!(DeviceId::parse(&id.peer_id()), Ok(id));
        }
    }
}
