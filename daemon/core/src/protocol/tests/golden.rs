//! The bytes of each frame as released: a change of the format fails here.
//!
//! A vector is never edited. A new shape is a new variant with a vector of its own.

use super::samples::one_of_each;
use super::*;

#[test]
fn the_format_stays() {
    for ((name, frame), (golden, hex)) in one_of_each().into_iter().zip(GOLDEN) {
        assert_eq!(name, golden);
        let hex: String = hex.split_whitespace().collect();
        assert_eq!(data_encoding::HEXLOWER.encode(&encode(&frame)), hex, "{name}");
        let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
        assert_eq!(decode(&bytes), Ok(frame), "{name}");
    }
    assert_eq!(one_of_each().len(), GOLDEN.len());
}

const GOLDEN: [(&str, &str); 7] = [
    (
        "hello",
        "0001066c6170746f70fd08070605040302010901010101010101010101010101010101010202
         0202020202020202020202020202",
    ),
    ("ready", "0104776f726b04576f726b00040501064d0101fb2c01"),
    ("unready", "0204776f726b"),
    (
        "offer",
        "0304776f726b0102030102010101010101010101010101010101010101010101010101010101
         0101010101010202020202020202020202020202020202020202020202020202020202020202
         020207612f622e7478740005fd0200546cfc392f2ffba40101ea8f163db38682925e4491c5e5
         8d4bb3506ef8c14eb78a86e908c5624a67200f0185052e9aab1b67b600fb2c010200fb2c0101
         07000203626f740104676f6e65030000000000010801010801010001fc01001000010200fb2c
         0101080101ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f05
         68656c6c6f",
    ),
    ("ack", "0404776f726b0102020103050502"),
    (
        "want",
        "050904776f726b03016100ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5
         624a67200f00016200ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a
         67200f01016300ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a6720
         0f0201fc70110100c8",
    ),
    (
        "have",
        "06040900000568656c6c6f090101fb0080020101010101010101010101010101010101010101
         010101010101010101010101fc70110100020202020202020202020202020202020202020202
         0202020202020202020202c8090202fc7011010003070707090303",
    ),
];
