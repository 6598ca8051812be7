//! What people write, and names: settings, rules, paths, ids.

use ignore_rules::Rules;
use syncd_core::flow::plan::conflict;
use syncd_core::model::{DeviceId, FolderId, RelPath};
use syncd_home::Config;

use super::target::{Law, Target};

fn target(name: &'static str, law: Law, room_each: usize) -> Target {
    let (bytes_max, room_always) = (4 << 10, 64 << 10);
    Target { name, law, bytes_max, room_each, room_always, inputs: 2_000 }
}

#[test]
fn settings() {
    // A table of TOML is a map with room to grow, and a key with a typing error is compared with
    // each that there is.
    target("config", Law::Nothing, 16 << 10).run(|bytes| {
        let config = Config::parse(std::str::from_utf8(bytes).ok()?).ok()?;
        let _ = config.device("laptop");
        Some(Vec::new())
    });
}

/// The first part is a rule file, all others are paths; the rules include themselves by any name.
#[test]
fn rules() {
    target("rules", Law::Nothing, 16 << 10).run(|bytes| {
        let mut parts = bytes.split(|byte| *byte == 0);
        let text = parts.next()?;
        let mut source = |_: &str| Some(text.to_vec());
        let mut rules = Rules::parse(&[(".stignore", text)], &mut source).ok()?;
        rules.set_gitignore(b"", Some(text));
        rules.set_gitignore(b"a", Some(text));
        for path in parts {
            let (file, dir) = (rules.verdict(path, false), rules.verdict(path, true));
            // Only lines of git tell directories from files, and then what is below one is out too.
            assert!(dir.ignored || !file.ignored || rules.wants_gitignore());
            let _ = rules.may_hold_synced(path);
        }
        Some(Vec::new())
    });
}

#[test]
fn paths() {
    target("path", Law::Same, 128).run(|bytes| {
        let path = RelPath::parse(bytes).ok()?;
        assert!(path.parts().all(|part| part != b".." && part != b"." && part.len() <= 255));
        let _ = (path.to_string(), conflict::is_copy_name(path.name()));
        let copy = conflict::copy_path_of(&path, i64::MAX, DeviceId::NIL);
        assert_eq!(copy.parent(), path.parent(), "a copy lies beside its original");
        let parts: Vec<&[u8]> = path.parts().collect();
        Some(parts.join(&b'/'))
    });
}

#[test]
fn ids_of_devices() {
    target("device_id", Law::Settled, 64).run(|bytes| {
        let id = DeviceId::parse(std::str::from_utf8(bytes).ok()?).ok()?;
        assert_eq!(DeviceId::parse(&id.peer_id()), Ok(id));
        Some(id.to_string().into_bytes())
    });
}

#[test]
fn ids_of_folders() {
    target("folder_id", Law::Same, 16).run(|bytes| {
        let id = FolderId::parse(std::str::from_utf8(bytes).ok()?).ok()?;
        Some(id.as_str().as_bytes().to_vec())
    });
}
