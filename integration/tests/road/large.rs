//! A large file takes little memory. Minutes: only when `SYNCD_LONG` is set.

use syncd_integration::process::{Pair, is_long, write_sparse};

#[test]
fn a_file_of_4_gib_takes_less_than_200_mib_of_memory_on_each_side() {
    if !is_long() {
        eprintln!("left out: set SYNCD_LONG=1");
        return;
    }
    let pair = Pair::new();
    write_sparse(&pair.laptop.path("large"), 11, 4 << 30);
    pair.laptop.ok(&["flush", "--timeout", "15m"]);
    pair.assert_equal("4 GiB");
    for side in [&pair.laptop, &pair.devbox] {
        let resident = side.resident_bytes_max();
        assert!(resident < 200 << 20, "{} took {} MiB", side.name(), resident >> 20);
    }
}
