//! A hub and boxes that know only the hub.

use std::fs;

use syncd_integration::process::{Fleet, Topology, set_mtime, write};

#[test]
fn boxes_that_know_only_the_hub_hold_the_same() {
    let fleet = Fleet::new(3, Topology::Hub);
    for (at, name) in ["hub", "one", "two"].into_iter().enumerate() {
        write(&fleet[at].path(format!("{name}/file")), name);
    }
    fleet.agree();
    write(&fleet[1].path("two/file"), "edited by one");
    fleet.agree();
    assert_eq!(fs::read_to_string(fleet[2].path("two/file")).unwrap(), "edited by one");
    fs::rename(fleet[2].path("hub"), fleet[2].path("renamed")).unwrap();
    fleet.agree();
    assert!(fleet[1].path("renamed/file").exists() && !fleet[1].path("hub").exists());
    for at in 0..3 {
        assert_eq!(fleet[at].status("work")["conflicts"], 0, "nobody wrote against anybody");
    }
    for at in 1..3 {
        let devices = fleet[at].json(&["devices"]);
        assert_eq!(devices.as_array().unwrap().len(), 1, "a box knows only the hub: {devices}");
    }
}

#[test]
fn boxes_that_wrote_against_each_other_show_the_same_copy() {
    let mut fleet = Fleet::new(3, Topology::Hub);
    write(&fleet[0].path("f.txt"), "base");
    fleet.agree();
    fleet[0].stop();
    for (at, time) in [(1, 1_700_000_000), (2, 1_700_000_001)] {
        write(&fleet[at].path("f.txt"), format!("box {at}"));
        set_mtime(&fleet[at].path("f.txt"), time, 0);
    }
    fleet[0].start();
    fleet.agree();
    let copy = format!("f.sync-conflict-20231114-221320-{}.txt", fleet[1].short_id());
    for at in 0..3 {
        assert_eq!(fs::read_to_string(fleet[at].path("f.txt")).unwrap(), "box 2");
        assert_eq!(fs::read_to_string(fleet[at].path(&copy)).unwrap(), "box 1");
        assert_eq!(fleet[at].status("work")["conflicts"], 1);
    }
}

#[test]
fn a_mesh_of_three_holds_the_same_without_the_first() {
    let mut fleet = Fleet::new(3, Topology::Mesh);
    write(&fleet[1].path("f"), "one");
    fleet.agree();
    fleet[0].stop();
    write(&fleet[2].path("f"), "two");
    fleet[2].flush();
    assert_eq!(fs::read_to_string(fleet[1].path("f")).unwrap(), "two", "straight from 2 to 1");
    fleet[0].start();
    fleet.agree();
}
