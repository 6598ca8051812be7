//! A daemon that is told to stop finishes what it has begun.

use std::fs;
use std::time::Duration;

use syncd_integration::process::{Noise, Pair, eventually, write};

const FILES: usize = 1_200;

#[test]
fn a_stop_in_the_middle_of_many_files_leaves_nothing_half_done() {
    let mut pair = Pair::new();
    let mut noise = Noise::new(3);
    for at in 0..FILES {
        write(&pair.laptop.path(format!("{}/{at}", at % 20)), noise.bytes(2_000));
    }
    for some in [100, 500] {
        eventually(Duration::from_secs(60), "some files are there", || {
            let dirs =
                (0..20).filter_map(|at| fs::read_dir(pair.devbox.path(format!("{at}"))).ok());
            let files: usize = dirs.map(Iterator::count).sum();
            if files > some { Ok(()) } else { Err(format!("{files} files")) }
        });
        let (ended, took) = pair.devbox.stop();
        assert!(ended.success() && took < Duration::from_secs(5), "{ended} after {took:?}");
        pair.devbox.start();
        let log = fs::read_to_string(pair.devbox.log_path()).unwrap();
        assert!(!log.contains("cut short"), "at {some} files: {log}");
    }
    pair.agree();
    let status = pair.devbox.status("work");
    assert_eq!((&status["files"], &status["conflicts"]), (&FILES.into(), &0.into()), "{status}");
}
