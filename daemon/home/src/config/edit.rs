//! Changing the settings without touching what was not asked for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use toml_edit::{Array, DocumentMut, Item, Table, TableLike, Value};

use super::keys::{self, Shape};
use super::{Config, ConfigError, Place, read, values};
use crate::{Home, HomeError, disk};

/// What a new `config.toml` says before its first key.
const TEMPLATE: &str = "\
# Settings of this device. Every key may be left out.
# `syncctl config set KEY VALUE...` changes them too and keeps what is written here.
name = \"device\"
";

/// How often [`ConfigFile::edit`] begins anew when others write in between.
const EDIT_TRIES: u32 = 10;

/// `config.toml` as text with the user's comments and order, open for changes.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    lock_path: PathBuf,
    pub(super) document: DocumentMut,
    /// What the file held when this one last read or wrote it; `None` for no file.
    on_disk: Mutex<Option<String>>,
}

impl ConfigFile {
    /// Reads the settings of `home` for changing. Without a file it begins with an empty one.
    ///
    /// # Errors
    /// [`ConfigError::Disk`] when the file cannot be read; [`ConfigError::Damaged`], with the
    /// line, when it is no TOML. Bad keys and values are left to [`ConfigFile::config`], so that
    /// [`ConfigFile::set`] can mend them.
    pub fn open(home: &Home) -> Result<Self, ConfigError> {
        let path = home.config_path();
        let on_disk = read_text(&path)?;
        let text = on_disk.as_deref().unwrap_or_default();
        let document: DocumentMut = text.parse().map_err(|error| {
            read::damaged(text, &error).placed(|at| at.file = Some(path.clone()))
        })?;
        let lock_path = home.edit_lock_path();
        Ok(Self { path, lock_path, document, on_disk: Mutex::new(on_disk) })
    }

    /// Opens, changes and saves, and begins anew when another process wrote in between. `change`
    /// may therefore run several times.
    ///
    /// # Errors
    /// What `change` returns; else as [`ConfigFile::open`] and [`ConfigFile::save`].
    pub fn edit<T>(
        home: &Home,
        mut change: impl FnMut(&mut Self) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        let mut tries = 1;
        loop {
            let mut file = Self::open(home)?;
            let made = change(&mut file)?;
            match file.save() {
                Ok(()) => return Ok(made),
                Err(ConfigError::Changed { .. }) if tries < EDIT_TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes the file where it is missing and writes `name` into it if given.
    pub(crate) fn begin(home: &Home, name: Option<&str>) -> Result<(), HomeError> {
        if let Some((name, Err(why))) = name.map(|name| (name, values::name(name))) {
            return Err(HomeError::Name { name: name.to_owned(), why });
        }
        Self::edit(home, |file| {
            let is_new = file.disk_text().is_none();
            if is_new {
                file.document = TEMPLATE.parse().unwrap_or_default();
            }
            let host = is_new.then(read::host_name);
            match name.map(str::to_owned).or(host) {
                Some(name) => file.set("name", &[name]),
                None => Ok(()),
            }
        })?;
        Ok(())
    }

    /// Returns the checked settings as they would be after [`ConfigFile::save`].
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn config(&self) -> Result<Config, ConfigError> {
        read::read(&self.document.to_string())
            .map_err(|error| error.placed(|at| at.file = Some(self.path.clone())))
    }

    /// Returns the values of `key`, the defaults where nothing is set. A key without either has
    /// no value.
    ///
    /// # Errors
    /// [`ConfigError::UnknownKey`]; else as [`ConfigFile::config`].
    pub fn get(&self, key: &str) -> Result<Vec<String>, ConfigError> {
        let known = find(key)?;
        self.config()?;
        let (table, last) = split(key);
        let item = match table {
            Some(table) => self.document.get(table).and_then(|item| item.get(last)),
            None => self.document.get(last),
        };
        Ok(item.and_then(Item::as_value).map_or_else(known.default, shown))
    }

    /// Sets `key` to `values`: a list takes any number of them, and `[]` alone for none; other
    /// keys take exactly one.
    ///
    /// # Errors
    /// [`ConfigError::UnknownKey`], or [`ConfigError::Value`] when `key` cannot have these
    /// values; then nothing has changed.
    pub fn set(&mut self, key: &str, values: &[String]) -> Result<(), ConfigError> {
        let value = encode(key, find(key)?.shape, values)?;
        self.change(key, Some(value))
    }

    /// Forgets what `key` was set to, so that its default holds.
    ///
    /// # Errors
    /// As [`ConfigFile::set`].
    pub fn unset(&mut self, key: &str) -> Result<(), ConfigError> {
        find(key)?;
        self.change(key, None)
    }

    fn change(&mut self, key: &str, value: Option<Value>) -> Result<(), ConfigError> {
        let before = self.document.clone();
        let (table, last) = split(key);
        match table {
            None => {
                if self.document.is_empty() {
                    self.lead_with_comments(last);
                }
                put(self.document.as_table_mut(), last, value);
            }
            Some(table) => {
                let item = self.document.entry(table).or_insert_with(|| Table::new().into());
                if let Some(table) = item.as_table_like_mut() {
                    put(table, last, value);
                }
            }
        }
        let Err(error) = self.config() else { return Ok(()) };
        self.document = before;
        // What was wrong before is reported where it stands. What is wrong now stands nowhere.
        match self.config() {
            Err(earlier) if earlier.key() != Some(key) => Err(earlier),
            Ok(_) | Err(_) => Err(error.placed(|at| *at = Place::default())),
        }
    }

    /// A file of nothing but comments keeps them in front of its first key.
    fn lead_with_comments(&mut self, key: &str) {
        let comments = self.document.trailing().as_str().unwrap_or_default().to_owned();
        self.document.set_trailing("");
        self.document.insert(key, toml_edit::value(""));
        if let Some(mut key) = self.document.key_mut(key) {
            key.leaf_decor_mut().set_prefix(comments);
        }
    }

    /// Writes the file, durably and whole, if anything changed.
    ///
    /// # Errors
    /// As [`ConfigFile::config`] when the settings are bad, with nothing written;
    /// [`ConfigError::Changed`] when another process wrote the file since it was read;
    /// [`ConfigError::Disk`] when the disk refuses.
    pub fn save(&self) -> Result<(), ConfigError> {
        self.config()?;
        let text = self.document.to_string();
        if let Some(dir) = self.lock_path.parent() {
            disk::make_private_dir(dir).map_err(disk_error("make", dir))?;
        }
        let _held = disk::hold(&self.lock_path).map_err(disk_error("lock", &self.lock_path))?;
        let mut on_disk = self.on_disk.lock().unwrap_or_else(PoisonError::into_inner);
        if read_text(&self.path)? != *on_disk {
            return Err(ConfigError::Changed { path: self.path.clone() });
        }
        if on_disk.as_ref() != Some(&text) {
            let mode = disk::mode_of(&self.path).unwrap_or(0o600);
            disk::replace(&self.path, text.as_bytes(), mode)
                .map_err(disk_error("write", &self.path))?;
            *on_disk = Some(text);
        }
        Ok(())
    }

    fn disk_text(&self) -> Option<String> {
        self.on_disk.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn find(key: &str) -> Result<&'static keys::Key, ConfigError> {
    keys::find(key).map_err(|nearest| ConfigError::UnknownKey {
        key: key.to_owned(),
        place: Place::default(),
        nearest,
    })
}

/// Cuts `http.listen` into its table and its last part.
fn split(key: &str) -> (Option<&str>, &str) {
    key.split_once('.').map_or((None, key), |(table, last)| (Some(table), last))
}

fn encode(key: &str, shape: Shape, values: &[String]) -> Result<Value, ConfigError> {
    let wrong = |why: &str| {
        let (key, why) = (key.to_owned(), why.to_owned());
        ConfigError::Value { key, place: Place::default(), why }
    };
    match (shape, values) {
        (Shape::List, [none]) if none == "[]" => Ok(Array::new().into()),
        (Shape::List, _) => Ok(values.iter().collect::<Array>().into()),
        (Shape::Text, [one]) => Ok(one.as_str().into()),
        (Shape::Number, [one]) => {
            one.parse::<i64>().map(Value::from).map_err(|_| wrong("it is a whole number"))
        }
        (Shape::Flag, [one]) => {
            one.parse::<bool>().map(Value::from).map_err(|_| wrong("it is true or false"))
        }
        (Shape::Text | Shape::Number | Shape::Flag, []) => Err(wrong("it needs a value")),
        (Shape::Text | Shape::Number | Shape::Flag, [_, ..]) => Err(wrong("it takes one value")),
    }
}

/// Returns what `config get` prints of a value, one entry a line.
fn shown(value: &Value) -> Vec<String> {
    match value {
        Value::Array(array) => array.iter().flat_map(shown).collect(),
        Value::String(text) => vec![text.value().clone()],
        Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::InlineTable(_) => vec![value.to_string().trim().to_owned()],
    }
}

/// Writes `value` under `key`, or removes the key, and keeps the comment behind an old value.
pub(super) fn put(table: &mut dyn TableLike, key: &str, value: Option<Value>) {
    let Some(mut value) = value else {
        table.remove(key);
        return;
    };
    match table.get_mut(key) {
        Some(Item::Value(old))
            if shown(old) == shown(&value) && old.type_name() == value.type_name() => {}
        Some(Item::Value(old)) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        Some(Item::None | Item::Table(_) | Item::ArrayOfTables(_)) | None => {
            table.insert(key, Item::Value(value));
        }
    }
}

fn read_text(path: &Path) -> Result<Option<String>, ConfigError> {
    match fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = Some(1 + before.iter().filter(|byte| **byte == b'\n').count());
            let place = Place { file: Some(path.to_path_buf()), line, column: None };
            ConfigError::Damaged { place, what: "it is no UTF-8 text".to_owned() }
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(disk_error("read", path)(source)),
    }
}

fn disk_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ConfigError {
    let path = path.to_path_buf();
    move |source| ConfigError::Disk { action, path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn home_with(text: &str) -> (tempfile::TempDir, Home) {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(root.path());
        fs::write(home.config_path(), text).unwrap();
        (root, home)
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    const COMMENTED: &str = "\
# On top.
listen = [ \"/ip4/127.0.0.1/tcp/1\" ] # loopback only
name = \"box\"     # short

# About limits.
[limits]
history_days = 7
";

    #[test]
    fn a_change_touches_nothing_else() {
        for (key, values, from, to) in [
            ("name", &["tower"][..], "\"box\"", "\"tower\""),
            (
                "listen",
                &["/ip4/127.0.0.1/tcp/2"],
                "[ \"/ip4/127.0.0.1/tcp/1\" ]",
                "[\"/ip4/127.0.0.1/tcp/2\"]",
            ),
            ("listen", &["[]"], "[ \"/ip4/127.0.0.1/tcp/1\" ]", "[]"),
            ("listen", &[], "[ \"/ip4/127.0.0.1/tcp/1\" ]", "[]"),
            ("listen", &["/ip4/127.0.0.1/tcp/1"], "", ""),
            ("limits.history_days", &["8"], "= 7", "= 8"),
            ("limits.free_mib", &["5"], "= 7\n", "= 7\nfree_mib = 5\n"),
            ("topology", &["mesh"], "# short\n", "# short\ntopology = \"mesh\"\n"),
            ("http.listen", &["[::1]:1"], "= 7\n", "= 7\n\n[http]\nlisten = \"[::1]:1\"\n"),
        ] {
            let (_root, home) = home_with(COMMENTED);
            let mut file = ConfigFile::open(&home).unwrap();
            file.set(key, &words(values)).unwrap();
            file.save().unwrap();
            let text = fs::read_to_string(home.config_path()).unwrap();
            assert_eq!(text, COMMENTED.replacen(from, to, 1), "{key} {values:?}");
        }
    }

    #[test]
    fn a_bad_value_changes_nothing() {
        for (key, values, said) in [
            ("lisen", &["x"][..], "unknown key 'lisen'; did you mean 'listen'?"),
            ("device", &["x"], "unknown key 'device'; did you mean 'name'?"),
            ("listen", &["x"], "bad value of 'listen': \"x\" is no multiaddress"),
            ("listen", &["/ip4/1.1.1.1/tcp/1", ""], "bad value of 'listen': \"\" is no"),
            ("name", &[], "bad value of 'name': it needs a value"),
            ("name", &["a", "b"], "bad value of 'name': it takes one value"),
            ("topology", &["hub"], "bad value of 'topology': \"hub\" needs"),
            ("hub", &["nobody"], "bad value of 'hub': no paired device"),
            ("limits.history_days", &["x"], "bad value of 'limits.history_days': it is a whole"),
            ("limits.history_days", &["-1"], "bad value of 'limits.history_days': it is a whole"),
            ("http.listen", &["0.0.0.0:1"], "bad value of 'http.listen': 0.0.0.0:1 can be"),
        ] {
            let (_root, home) = home_with(COMMENTED);
            let mut file = ConfigFile::open(&home).unwrap();
            let error = file.set(key, &words(values)).unwrap_err().to_string();
            assert!(error.contains(said), "{key} {values:?}: {error}");
            file.save().unwrap();
            assert_eq!(fs::read_to_string(home.config_path()).unwrap(), COMMENTED, "{key}");
        }
    }

    #[test]
    fn get_shows_what_is_set_and_else_the_default() {
        let (_root, home) = home_with(COMMENTED);
        let mut file = ConfigFile::open(&home).unwrap();
        for (key, shown) in [
            ("name", &["box"][..]),
            ("listen", &["/ip4/127.0.0.1/tcp/1"]),
            ("relays", &[]),
            ("discovery", &["mdns", "relay"]),
            ("topology", &["mesh"]),
            ("hub", &[]),
            ("http.listen", &["127.0.0.1:8385"]),
            ("limits.history_days", &["7"]),
            ("limits.history_versions", &["100"]),
            ("limits.history_percent", &["10"]),
            ("limits.free_mib", &[]),
        ] {
            assert_eq!(file.get(key).unwrap(), shown, "{key}");
        }
        for key in keys::SETTABLE {
            file.unset(key.name).unwrap();
            assert_eq!(file.get(key.name).unwrap(), (key.default)(), "{}", key.name);
        }
        assert_eq!(file.config().unwrap(), Config::parse("").unwrap(), "all forgotten");
        assert!(file.get("limits").is_err() && file.get("").is_err(), "no keys of their own");
    }

    #[test]
    fn the_defaults_shown_are_the_defaults_that_hold() {
        let parsed = Config::parse("").unwrap();
        for key in keys::SETTABLE.iter().filter(|key| key.name != "hub") {
            let mut file = ConfigFile::open(&Home::at(Path::new("/nowhere/at/all"))).unwrap();
            let default = (key.default)();
            if default.is_empty() && key.shape != Shape::List {
                continue;
            }
            file.set(key.name, &default).unwrap();
            let mut set = file.config().unwrap();
            if key.name == "listen" {
                set.listen = super::super::Listen::Default;
            }
            if key.name == "http.listen" {
                set.http.listen = None;
            }
            assert_eq!(set, parsed, "{}", key.name);
        }
    }

    #[test]
    fn a_file_of_comments_keeps_them_on_top() {
        let (_root, home) = home_with("# mine\n# still mine\n");
        ConfigFile::edit(&home, |file| file.set("name", &words(&["a"]))).unwrap();
        let text = fs::read_to_string(home.config_path()).unwrap();
        assert_eq!(text, "# mine\n# still mine\nname = \"a\"\n");
    }

    #[test]
    fn a_bad_value_can_be_mended_and_another_ones_fault_is_named() {
        let (_root, home) = home_with("name = 5\n[limits]\nhistory_days = 1\n");
        let mut file = ConfigFile::open(&home).unwrap();
        let error = file.set("limits.history_days", &words(&["2"])).unwrap_err().to_string();
        let place = format!("'name' in line 1 of {}", home.config_path().display());
        assert!(error.contains(&place), "{error}");
        assert!(file.save().is_err(), "what is bad is not written again");
        file.set("name", &words(&["a"])).unwrap();
        file.save().unwrap();
        assert_eq!(Config::load(&home).unwrap().name, "a");
    }

    #[test]
    fn a_damaged_file_is_named_and_left_alone() {
        for (bytes, said) in [
            (&b"name = 'a'\n[oops\n"[..], "damaged in line 2"),
            (b"name = 'a'\n# \xff\n", "damaged in line 2"),
        ] {
            let (_root, home) = home_with("");
            fs::write(home.config_path(), bytes).unwrap();
            let errors = [
                ConfigFile::open(&home).map(|_| ()).unwrap_err().to_string(),
                Config::load(&home).map(|_| ()).unwrap_err().to_string(),
                home.init(Some("x")).map(|_| ()).unwrap_err().to_string(),
            ];
            for error in errors {
                assert!(error.contains(said) && error.contains("config.toml"), "{error}");
            }
            assert_eq!(fs::read(home.config_path()).unwrap(), bytes);
        }
    }

    #[test]
    fn two_who_write_at_once_do_not_lose_each_other() {
        let (_root, home) = home_with("");
        let (first, mut second) =
            (ConfigFile::open(&home).unwrap(), ConfigFile::open(&home).unwrap());
        second.set("name", &words(&["second"])).unwrap();
        second.save().unwrap();
        second.save().expect("its own write is no surprise");
        assert!(matches!(first.save(), Err(ConfigError::Changed { .. })));

        let keys = ["history_days", "history_versions", "history_percent", "free_mib"];
        std::thread::scope(|scope| {
            for key in keys {
                let home = &home;
                scope.spawn(move || {
                    let key = format!("limits.{key}");
                    ConfigFile::edit(home, |file| file.set(&key, &words(&["3"]))).unwrap();
                });
            }
        });
        let file = ConfigFile::open(&home).unwrap();
        for key in keys {
            assert_eq!(file.get(&format!("limits.{key}")).unwrap(), ["3"], "{key}");
        }
    }

    #[test]
    fn mode_and_link_of_the_file_stay() {
        let (root, home) = home_with("");
        let real = root.path().join("dotfiles.toml");
        fs::rename(home.config_path(), &real).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o644)).unwrap();
        symlink(&real, home.config_path()).unwrap();
        ConfigFile::edit(&home, |file| file.set("name", &words(&["a"]))).unwrap();
        assert!(fs::symlink_metadata(home.config_path()).unwrap().is_symlink());
        assert_eq!(disk::mode_of(&real), Some(0o644));
        assert_eq!(Config::load(&home).unwrap().name, "a");
    }
}
