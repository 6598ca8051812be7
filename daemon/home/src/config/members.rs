//! Adding and removing devices and folders in the settings' text.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use data_encoding::HEXLOWER;
use syncd_core::model::{DeviceId, FolderId};
use toml_edit::{Array, ArrayOfTables, Item, Table, Value};

use super::edit::put;
use super::{ConfigFile, DeviceConfig, FolderConfig, FolderLimits, Role, values};

impl ConfigFile {
    /// Adds `device`, or brings the entry with its id up to date.
    pub fn put_device(&mut self, device: &DeviceConfig) {
        let Some(tables) = self.tables("device") else { return };
        let Some(table) = entry(tables, |table| holds_device(table, device.id)) else { return };
        if !holds_device(table, device.id) {
            put(table, "id", Some(device.id.to_string().into()));
        }
        put(table, "name", Some(device.name.as_str().into()));
        put(table, "addresses", list_unless_empty(&device.addresses));
    }

    /// Removes the device `id` and its share in all folders; returns whether it was there.
    pub fn remove_device(&mut self, id: DeviceId) -> bool {
        let devices = self.config().map(|config| config.devices).unwrap_or_default();
        if let Some(folders) = self.tables("folder") {
            for folder in folders.iter_mut() {
                if let Some(shared) = folder.get_mut("devices").and_then(Item::as_array_mut) {
                    shared.retain(|text| {
                        let text = text.as_str().unwrap_or_default();
                        values::device_ref(text, &devices) != Ok(id)
                    });
                }
            }
        }
        self.remove("device", |table| holds_device(table, id))
    }

    /// Adds `folder`, or brings the entry with its id up to date.
    pub fn put_folder(&mut self, folder: &FolderConfig) {
        let earlier = self
            .config()
            .ok()
            .and_then(|config| config.folders.into_iter().find(|earlier| earlier.id == folder.id));
        let Some(tables) = self.tables("folder") else { return };
        let Some(table) = entry(tables, |table| holds_folder(table, &folder.id)) else { return };
        put(table, "id", Some(folder.id.as_str().into()));
        put(table, "label", folder.label.as_deref().map(Value::from));
        if earlier.as_ref().is_none_or(|earlier| earlier.path != folder.path) {
            put_path(table, &folder.path);
        }
        if earlier.as_ref().is_none_or(|earlier| earlier.devices != folder.devices) {
            let ids: Vec<String> = folder.devices.iter().map(DeviceId::to_string).collect();
            put(table, "devices", list_unless_empty(&ids));
        }
        let role = Some(folder.role).filter(|role| *role != Role::default());
        put(table, "role", role.map(|role| role.as_str().into()));
        put(table, "paused", folder.paused.then(|| true.into()));
        put(table, "in_place", list_unless_empty(&folder.in_place));
        let FolderLimits { history_days, history_versions, history_percent, free_mib } =
            folder.limits;
        let free_mib = free_mib.and_then(|mebibytes| i64::try_from(mebibytes).ok());
        for (key, number) in [
            ("rescan_s", folder.rescan_s.map(i64::from)),
            ("verify_days", folder.verify_days.map(i64::from)),
            ("history_days", history_days.map(i64::from)),
            ("history_versions", history_versions.map(i64::from)),
            ("history_percent", history_percent.map(i64::from)),
            ("free_mib", free_mib),
        ] {
            put(table, key, number.map(Value::from));
        }
    }

    /// Removes the folder `id`; returns whether it was there.
    pub fn remove_folder(&mut self, id: &FolderId) -> bool {
        self.remove("folder", |table| holds_folder(table, id))
    }

    fn remove(&mut self, key: &str, wanted: impl Fn(&Table) -> bool) -> bool {
        let Some(tables) = self.tables(key) else { return false };
        let before = tables.len();
        tables.retain(|table| !wanted(table));
        tables.len() < before
    }

    /// Returns the tables under `key`, made from an inline list where the user wrote one; `None`
    /// where something else stands there, which [`ConfigFile::save`] then reports.
    fn tables(&mut self, key: &str) -> Option<&mut ArrayOfTables> {
        let item = self.document.entry(key).or_insert_with(|| ArrayOfTables::new().into());
        if let Some(array) = item.as_array() {
            let made = match array.is_empty() {
                true => Ok(ArrayOfTables::new()),
                false => item.clone().into_array_of_tables(),
            };
            *item = made.map_or_else(|item| item, Item::ArrayOfTables);
        }
        item.as_array_of_tables_mut()
    }
}

/// Returns the table that is `wanted`, a new last one if there is none; never `None`.
fn entry(tables: &mut ArrayOfTables, wanted: impl Fn(&Table) -> bool) -> Option<&mut Table> {
    let found = tables.iter().position(wanted);
    if found.is_none() {
        tables.push(Table::new());
    }
    let last = tables.len() - 1;
    tables.get_mut(found.unwrap_or(last))
}

fn holds_device(table: &Table, id: DeviceId) -> bool {
    let text = table.get("id").and_then(Item::as_str).unwrap_or_default();
    DeviceId::parse(text) == Ok(id)
}

fn holds_folder(table: &Table, id: &FolderId) -> bool {
    table.get("id").and_then(Item::as_str) == Some(id.as_str())
}

fn put_path(table: &mut Table, path: &Path) {
    let text = path.to_str().map(Value::from);
    let bytes = text.is_none().then(|| HEXLOWER.encode(path.as_os_str().as_bytes()).into());
    put(table, "path", text);
    put(table, "path_bytes", bytes);
}

fn list_unless_empty(texts: &[String]) -> Option<Value> {
    (!texts.is_empty()).then(|| texts.iter().collect::<Array>().into())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;

    use proptest::prelude::*;
    use syncd_core::model::FolderId;

    use super::super::Rates;
    use super::*;
    use crate::Home;

    fn file_of(text: &str) -> ConfigFile {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(root.path());
        std::fs::write(home.config_path(), text).unwrap();
        ConfigFile::open(&home).unwrap()
    }

    fn device(key: u8, name: &str) -> DeviceConfig {
        DeviceConfig {
            id: DeviceId([key; 32]),
            name: name.to_owned(),
            addresses: Vec::new(),
            rates: Rates::default(),
        }
    }

    fn folder(id: &str, path: &str, devices: &[DeviceId]) -> FolderConfig {
        let id = FolderId::parse(id).unwrap();
        FolderConfig { devices: devices.to_vec(), ..FolderConfig::new(id, path.into()) }
    }

    #[test]
    fn entries_are_changed_in_place_with_their_comments() {
        let (a, b) = (device(1, "laptop"), device(2, "devbox"));
        let text = format!(
            "# head\n[[device]]\nname = \"old\" # before the id\nid = \"{}\" # as a PeerId\n\n\
             # the folder\n[[folder]]\nid = \"work\"\npath = \"/w\" # here\n\
             devices = [ \"old\" ]\n",
            a.id.peer_id(),
        );
        let mut file = file_of(&text);
        file.put_device(&a);
        let named = text.replace("\"old\" #", "\"laptop\" #");
        assert_eq!(file.document.to_string(), named, "the id was right already");

        file.put_device(&b);
        let added = format!("\n[[device]]\nid = \"{}\"\nname = \"devbox\"\n", b.id);
        assert!(file.document.to_string().contains(&added), "{}", file.document);
        assert!(file.config().is_err(), "the folder is still shared with 'old'");
        file.put_folder(&folder("work", "/w", &[a.id, b.id]));
        let config = file.config().unwrap();
        assert_eq!(config.devices, [a.clone(), b.clone()]);
        assert_eq!(config.folders, [folder("work", "/w", &[a.id, b.id])]);
        assert!(file.document.to_string().contains("path = \"/w\" # here"));

        assert!(file.remove_device(b.id));
        assert_eq!(file.config().unwrap().folders[0].devices, [a.id], "gone from the folder too");
        assert!(!file.remove_device(b.id), "only once");
        assert!(file.remove_folder(&FolderId::parse("work").unwrap()));
        assert!(!file.remove_folder(&FolderId::parse("work").unwrap()));
        assert!(file.remove_device(a.id));
        let config = file.config().unwrap();
        assert!(config.devices.is_empty() && config.folders.is_empty());
    }

    #[test]
    fn a_folder_keeps_the_names_by_which_it_is_shared() {
        let a = device(1, "laptop");
        let text = format!(
            "[[device]]\nid = \"{}\"\nname = \"laptop\"\n[[folder]]\nid = \"w\"\n\
             path = \"/w\"\ndevices = [ \"laptop\" ] # by name\n",
            a.id
        );
        let mut file = file_of(&text);
        file.put_folder(&FolderConfig { paused: true, ..folder("w", "/w", &[a.id]) });
        assert_eq!(file.document.to_string(), text.clone() + "paused = true\n");
        file.put_folder(&folder("w", "/w", &[a.id]));
        assert_eq!(file.document.to_string(), text, "and back");
        file.remove_device(a.id);
        assert!(file.config().unwrap().folders[0].devices.is_empty(), "found by its name");
    }

    #[test]
    fn inline_lists_are_taken_over() {
        let a = device(1, "laptop");
        for text in ["device = []\n".to_owned(), format!("device = [{{ id = '{}' }}]\n", a.id)] {
            let mut file = file_of(&text);
            file.put_device(&a);
            assert_eq!(file.config().unwrap().devices, std::slice::from_ref(&a), "{text}");
        }
        let mut file = file_of("device = 5\n");
        file.put_device(&a);
        assert!(file.save().is_err(), "what is no list is reported");
    }

    fn names() -> impl Strategy<Value = String> {
        "[^\\s\\p{C}]([^\\p{C}\\p{Zl}\\p{Zp}]{0,10}[^\\s\\p{C}])?"
            .prop_filter("short", |n| n.len() <= 64)
    }

    fn paths() -> impl Strategy<Value = PathBuf> {
        prop::collection::vec(1u8.., 0..20)
            .prop_map(|bytes| PathBuf::from(OsString::from_vec([b"/".as_slice(), &bytes].concat())))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_put_is_read_and_what_is_removed_is_gone(
            names in prop::collection::btree_set(names(), 1..4),
            labels in prop::option::of(names()),
            path in paths(),
            role in 0usize..3,
            paused: bool,
        ) {
            let mut file = file_of("# mine\nname = \"me\" # and mine\n");
            let before = file.document.to_string();
            let devices: Vec<DeviceConfig> =
                names.iter().zip(1u8..).map(|(name, key)| device(key, name)).collect();
            let shared = FolderConfig {
                id: FolderId::parse("f").unwrap(),
                label: labels,
                path,
                role: [Role::SendReceive, Role::SendOnly, Role::ReceiveOnly][role],
                devices: devices.iter().map(|device| device.id).collect(),
                paused,
                in_place: vec!["*.log".to_owned(); usize::from(paused)],
                rescan_s: paused.then_some(60),
                verify_days: paused.then_some(30),
                limits: FolderLimits {
                    free_mib: paused.then_some(1),
                    history_days: Some(7).filter(|_| role == 1),
                    ..FolderLimits::default()
                },
            };
            for device in &devices {
                file.put_device(device);
            }
            file.put_folder(&shared);
            let once = file.document.to_string();
            let config = file.config().unwrap();
            prop_assert_eq!(&config.devices, &devices);
            prop_assert_eq!(&config.folders, std::slice::from_ref(&shared));
            file.put_folder(&shared);
            file.put_device(&devices[0]);
            prop_assert_eq!(file.document.to_string(), once, "putting again changes nothing");
            for device in &devices {
                prop_assert!(file.remove_device(device.id));
            }
            prop_assert!(file.remove_folder(&shared.id));
            prop_assert_eq!(file.document.to_string(), before);
        }
    }
}
