//! The wire's laws: what is written is read, and what nobody wrote does no harm.

mod golden;
mod hostile;
mod samples;

use proptest::prelude::*;

use super::peer::{PROTOCOL_VERSION, PROTOCOL_VERSION_MIN};
use super::*;
use samples::frames;

#[test]
fn two_versions_agree_on_the_lower() {
    for (theirs, spoken, because) in [
        (PROTOCOL_VERSION, Some(PROTOCOL_VERSION), "equals"),
        (PROTOCOL_VERSION + 1, Some(PROTOCOL_VERSION), "the newer one speaks the older's"),
        (u16::MAX, Some(PROTOCOL_VERSION), "as long as it can"),
        (PROTOCOL_VERSION_MIN - 1, None, "forgotten here"),
    ] {
        assert_eq!(agreed(theirs), spoken, "{because}");
    }
}

proptest! {
    #[test]
    fn a_frame_is_read_as_it_was_written(frame in frames()) {
        prop_assert_eq!(decode(&encode(&frame)), Ok(frame));
    }

    #[test]
    fn a_frame_that_is_cut_short_is_none(frame in frames(), cut: prop::sample::Index) {
        let bytes = encode(&frame);
        prop_assert_eq!(decode(&bytes[..cut.index(bytes.len())]), Err(DecodeError::Bytes));
    }

    #[test]
    fn what_follows_a_frame_is_noticed(frame in frames(), more in 1usize..9) {
        let bytes = [encode(&frame), vec![0; more]].concat();
        prop_assert_eq!(decode(&bytes), Err(DecodeError::Surplus(more)));
    }

    /// Whatever is taken from a peer is a frame that can be told on.
    #[test]
    fn a_frame_with_wrong_bytes_is_another_frame_or_none(
        frame in frames(),
        wrong in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encode(&frame);
        for (at, byte) in wrong {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(other) = decode(&bytes)
            && !matches!(&other, Frame::Hello(hello) if hello.version > PROTOCOL_VERSION)
        {
            prop_assert_eq!(decode(&encode(&other)), Ok(other));
        }
    }

    #[test]
    fn any_bytes_are_a_frame_or_none(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(frame) = decode(&bytes) {
            prop_assert_eq!(decode(&encode(&frame)), Ok(frame));
        }
    }
}
