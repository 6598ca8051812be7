//! What waits for a person, and that what they say comes true.

use std::fs;
use std::time::Duration;

use syncd_integration::process::{Device, Fleet, Noise, Topology, eventually, nodes, write};

fn await_held(device: &Device, files: u64) {
    eventually(Duration::from_secs(30), "the deletes are held", || {
        let held = device.json(&["held", "ls"]);
        let found = held[0]["files"].as_u64().unwrap_or_default();
        if found == files { Ok(()) } else { Err(held.to_string()) }
    });
}

#[test]
fn rejected_deletes_come_back_whole_from_whoever_has_them() {
    let mut fleet = Fleet::new(3, Topology::Hub);
    let mut noise = Noise::new(3);
    write(&fleet[0].path("empty"), "");
    fs::create_dir_all(fleet[0].path("bare/dir")).unwrap();
    for at in 0..200 {
        write(&fleet[0].path(format!("d{}/e/{at}", at % 7)), noise.bytes(at * 10));
    }
    write(&fleet[0].path("large"), noise.bytes(3_000_000));
    write(&fleet[0].path("twin-a"), "the same");
    write(&fleet[0].path("twin-b"), "the same");
    std::os::unix::fs::symlink("large", fleet[0].path("link")).unwrap();
    fleet.agree();
    let all = nodes(fleet[0].root());
    // One box holds nothing of it any more, and is asked in vain.
    fleet[0].stop();
    for entry in fs::read_dir(fleet[0].root()).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() && !path.is_symlink() {
            true if path.ends_with(".syncd") => {}
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }
    fleet[0].start();
    fleet[0].await_connected("box1");
    await_held(&fleet[0], 205);
    fleet[0].ok(&["scan"]);
    await_held(&fleet[0], 205);
    eventually(Duration::from_secs(60), "an event says what to do", || {
        let events = fleet[0].ok(&["events"]);
        let is_told = events.contains("if they are meant: syncctl held approve work\n");
        if is_told { Ok(()) } else { Err(events) }
    });
    // Whoever is asked may go away in the middle.
    fleet[0].ok(&["held", "reject", "work"]);
    fleet[1].kill();
    fleet[1].start();
    fleet.agree();
    assert_eq!(nodes(fleet[0].root()), all, "all is back as it was");
    assert_eq!(fleet[0].json(&["held", "ls"]).as_array().unwrap().len(), 0, "nothing waits");
    let again = fleet[0].ctl(&["held", "reject", "work"]);
    assert_eq!(again.code, 1, "there is nothing to decide any more: {}", again.stderr);
}
