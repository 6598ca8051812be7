//! From the text of `config.toml` to checked values.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use syncd_core::model::{DeviceId, FolderId};
use toml_edit::Document;

use super::section::{Section, column_of, line_of, read_all};
use super::{
    Config, ConfigError, DeviceConfig, Discovery, FolderConfig, FolderLimits, HttpConfig, Limits,
    Listen, Place, RESCAN_S_MAX, Rates, Role, Topology, VERIFY_DAYS_MAX, keys, values,
};

/// Most days that replaced and deleted files are kept: a hundred years.
const HISTORY_DAYS_MAX: u32 = 36_500;

/// Most earlier versions of one path that are kept.
const HISTORY_VERSIONS_MAX: u32 = 1_000_000;

/// Most of a disk that the history may fill, in percent.
const HISTORY_PERCENT_MAX: u32 = 90;

/// Most that may be left free, in mebibytes: an exbibyte.
const FREE_MIB_MAX: i64 = 1 << 40;

/// Reads and checks everything.
pub(super) fn read(text: &str) -> Result<Config, ConfigError> {
    let document = Document::parse(text).map_err(|error| damaged(text, &error))?;
    let top = Section { text, name: "", table: document.as_table(), span: None };
    top.check_keys(keys::TOP)?;
    let devices = read_all(&top, "device", read_device)?;
    check_devices(&top, &devices)?;
    let folders = read_all(&top, "folder", |section| read_folder(section, &devices))?;
    check_folders(&top, &folders)?;
    Ok(Config {
        name: top.checked_text("name", values::name)?.unwrap_or_else(host_name),
        listen: top
            .checked_list("listen", values::multiaddr)?
            .map_or(Listen::Default, Listen::Given),
        relays: top.checked_list("relays", values::relay)?.unwrap_or_default(),
        discovery: read_discovery(&top)?,
        topology: read_topology(&top, &devices)?,
        confine: read_confine(&top)?,
        http: read_http(&top)?,
        limits: read_limits(&top)?,
        devices,
        folders,
    })
}

/// Returns what the host calls itself, without its domain.
pub(super) fn host_name() -> String {
    let system = rustix::system::uname();
    let full = system.nodename().to_string_lossy().into_owned();
    let name = full.split('.').next().unwrap_or_default().to_owned();
    if values::name(&name).is_ok() { name } else { "device".to_owned() }
}

/// Turns the parser's complaint into one line.
pub(super) fn damaged(text: &str, error: &toml_edit::TomlError) -> ConfigError {
    let at = error.span().map(|span| span.start);
    let (line, column) = (at.map(|at| line_of(text, at)), at.map(|at| column_of(text, at)));
    let what = error.message().split('\n').collect::<Vec<_>>().join(", ");
    ConfigError::Damaged { place: Place { file: None, line, column }, what }
}

fn read_device(section: &Section<'_>) -> Result<DeviceConfig, ConfigError> {
    section.check_keys(keys::DEVICE)?;
    let id = section.required("id", section.checked_text("id", |_| Ok(()))?)?;
    let id = DeviceId::parse(&id).map_err(|error| section.error("id", error.to_string()))?;
    let name = section.checked_text("name", values::name)?.unwrap_or_else(|| id.short());
    let addresses = section.checked_list("addresses", values::device_address)?.unwrap_or_default();
    Ok(DeviceConfig { id, name, addresses, rates: read_rates(section)? })
}

fn read_folder(
    section: &Section<'_>,
    devices: &[DeviceConfig],
) -> Result<FolderConfig, ConfigError> {
    section.check_keys(keys::FOLDER)?;
    let id = section.required("id", section.checked_text("id", |_| Ok(()))?)?;
    let role = section.checked_text("role", |text| match Role::parse(text) {
        Some(_) => Ok(()),
        None => Err(format!("{text:?} is none of sendreceive, sendonly, receiveonly")),
    })?;
    let shared = section
        .checked_list("devices", |text| values::device_ref(text, devices).map(|_| ()))?
        .unwrap_or_default();
    let mut with: Vec<DeviceId> = Vec::new();
    for device in shared.iter().filter_map(|text| values::device_ref(text, devices).ok()) {
        if !with.contains(&device) {
            with.push(device);
        }
    }
    Ok(FolderConfig {
        id: FolderId::parse(&id).map_err(|error| section.error("id", error.to_string()))?,
        label: section.checked_text("label", values::name)?,
        path: read_path(section)?,
        role: role.as_deref().and_then(Role::parse).unwrap_or_default(),
        devices: with,
        paused: section.flag("paused")?,
        in_place: section.checked_list("in_place", values::pattern)?.unwrap_or_default(),
        rescan_s: section
            .number("rescan_s", 1..=i64::from(RESCAN_S_MAX))?
            .and_then(|seconds| u32::try_from(seconds).ok()),
        verify_days: section
            .number("verify_days", 1..=i64::from(VERIFY_DAYS_MAX))?
            .and_then(|days| u32::try_from(days).ok()),
        limits: read_folder_limits(section)?,
    })
}

/// Reads `path`, or `path_bytes`: the hexadecimal bytes of a path that is no UTF-8.
fn read_path(section: &Section<'_>) -> Result<PathBuf, ConfigError> {
    let Some(digits) = section.checked_text("path_bytes", |_| Ok(()))? else {
        let text = section.required("path", section.checked_text("path", |_| Ok(()))?)?;
        return values::folder_path(&text).map_err(|why| section.error("path", why));
    };
    if section.table.get("path").is_some() {
        return Err(section.error("path_bytes", "path is given too; only one can be right"));
    }
    data_encoding::HEXLOWER_PERMISSIVE
        .decode(digits.as_bytes())
        .ok()
        .map(|bytes| PathBuf::from(OsString::from_vec(bytes)))
        .filter(|path| path.is_absolute())
        .ok_or_else(|| section.error("path_bytes", "it is no absolute path in hexadecimal digits"))
}

fn check_devices(top: &Section<'_>, devices: &[DeviceConfig]) -> Result<(), ConfigError> {
    for (at, device) in devices.iter().enumerate() {
        for earlier in &devices[..at] {
            if earlier.id == device.id {
                return Err(top.error("device", format!("{} is there twice", device.id)));
            }
            if earlier.name == device.name {
                return Err(
                    top.error("device", format!("two devices are called {:?}", device.name))
                );
            }
        }
    }
    Ok(())
}

fn check_folders(top: &Section<'_>, folders: &[FolderConfig]) -> Result<(), ConfigError> {
    for (at, folder) in folders.iter().enumerate() {
        for earlier in &folders[..at] {
            if earlier.id == folder.id {
                return Err(top.error("folder", format!("{} is there twice", folder.id)));
            }
            if earlier.path == folder.path {
                let both = format!("{} and {}", earlier.id, folder.id);
                let path = folder.path.display();
                return Err(top.error("folder", format!("{both} are the same place, {path}")));
            }
        }
    }
    Ok(())
}

fn read_discovery(top: &Section<'_>) -> Result<Vec<Discovery>, ConfigError> {
    let words = top.checked_list("discovery", |text| match Discovery::parse(text) {
        Some(_) => Ok(()),
        None => Err(format!("{text:?} is none of mdns, relay")),
    })?;
    let Some(words) = words else { return Ok(vec![Discovery::Mdns, Discovery::Relay]) };
    let mut ways: Vec<Discovery> = words.iter().filter_map(|word| Discovery::parse(word)).collect();
    ways.sort_unstable();
    ways.dedup();
    Ok(ways)
}

fn read_topology(top: &Section<'_>, devices: &[DeviceConfig]) -> Result<Topology, ConfigError> {
    let hub = top.checked_text("hub", |text| values::device_ref(text, devices).map(|_| ()))?;
    match top.checked_text("topology", |_| Ok(()))?.as_deref() {
        None | Some("mesh") => Ok(Topology::Mesh),
        Some("hub") => {
            let missing = || top.error("topology", "\"hub\" needs to know which device: set hub");
            let hub = values::device_ref(&hub.ok_or_else(missing)?, devices);
            hub.map(|hub| Topology::Hub { hub }).map_err(|why| top.error("hub", why))
        }
        Some(other) => Err(top.error("topology", format!("{other:?} is none of mesh, hub"))),
    }
}

fn read_confine(top: &Section<'_>) -> Result<Vec<PathBuf>, ConfigError> {
    let check = |text: &str| values::folder_path(text).map(drop);
    let texts = top.checked_list("confine", check)?.unwrap_or_default();
    Ok(texts.iter().filter_map(|text| values::folder_path(text).ok()).collect())
}

fn read_http(top: &Section<'_>) -> Result<HttpConfig, ConfigError> {
    let Some(section) = top.section("http")? else { return Ok(HttpConfig::default()) };
    section.check_keys(keys::HTTP)?;
    Ok(HttpConfig { listen: section.checked_text("listen", values::http_listen)? })
}

fn read_limits(top: &Section<'_>) -> Result<Limits, ConfigError> {
    let Some(section) = top.section("limits")? else { return Ok(Limits::default()) };
    section.check_keys(keys::LIMITS)?;
    let all = Limits {
        rates: read_rates(&section)?,
        limit_lan: section.flag("limit_lan")?,
        ..Limits::default()
    };
    Ok(read_folder_limits(&section)?.within(&all))
}

/// Reads the limits that a folder may have of its own.
fn read_folder_limits(section: &Section<'_>) -> Result<FolderLimits, ConfigError> {
    Ok(FolderLimits {
        history_days: section.small("history_days", HISTORY_DAYS_MAX)?,
        history_versions: section.small("history_versions", HISTORY_VERSIONS_MAX)?,
        history_percent: section.small("history_percent", HISTORY_PERCENT_MAX)?,
        free_mib: section.number("free_mib", 0..=FREE_MIB_MAX)?,
    })
}

fn read_rates(section: &Section<'_>) -> Result<Rates, ConfigError> {
    Ok(Rates {
        send_kib_per_s: section.number("send_kib_per_s", 1..=1 << 30)?,
        receive_kib_per_s: section.number("receive_kib_per_s", 1..=1 << 30)?,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn id(key: u8) -> DeviceId {
        DeviceId([key; 32])
    }

    #[test]
    fn nothing_set_means_the_defaults() {
        let config = read("# only a comment\n").unwrap();
        assert_eq!(config.name, host_name());
        assert_eq!(config.listen, Listen::Default);
        assert_eq!(config.listen.addresses(), super::super::LISTEN_DEFAULT);
        assert_eq!(config.discovery, [Discovery::Mdns, Discovery::Relay]);
        assert_eq!(config.topology, Topology::Mesh);
        assert_eq!((config.http, config.limits), (HttpConfig::default(), Limits::default()));
        assert!(config.relays.is_empty() && config.devices.is_empty() && config.folders.is_empty());
    }

    #[test]
    fn everything_set_is_read() {
        let (hub, peer) = (id(1), id(2));
        let text = format!(
            "name = 'box'\nlisten = []\nrelays = ['/ip4/192.0.2.1/tcp/1/p2p/{}']\n\
             discovery = ['relay', 'relay']\ntopology = 'hub'\nhub = 'laptop'\n\
             http = {{ listen = '[::1]:0' }}\n[limits]\nhistory_days = 1\nfree_mib = 0\n\
             send_kib_per_s = 64\nlimit_lan = true\n\
             [[device]]\nid = '{hub}'\nname = 'laptop'\naddresses = ['ssh://me@host']\n\
             [[device]]\nid = '{}'\n\
             [[folder]]\nid = 'work'\nlabel = 'My work'\npath = '/w'\nrole = 'sendonly'\n\
             devices = ['laptop', '{hub}', '{}']\npaused = true\nfree_mib = 7\nhistory_days = 2\n\
             [[folder]]\nid = 'odd'\npath_bytes = '2fff'\n",
            peer.peer_id(),
            peer.peer_id(),
            peer.short(),
        );
        let config = read(&text).unwrap();
        assert_eq!(config.listen, Listen::Given(Vec::new()));
        assert_eq!(config.discovery, [Discovery::Relay]);
        assert_eq!(config.topology, Topology::Hub { hub });
        assert_eq!(config.http.listen.as_deref(), Some("[::1]:0"));
        let rates = Rates { send_kib_per_s: Some(64), receive_kib_per_s: None };
        let limits = Limits { history_days: 1, free_mib: Some(0), ..Limits::default() };
        assert_eq!(config.limits, Limits { rates, limit_lan: true, ..limits });
        assert_eq!((limits.floor_bytes(1 << 40), config.limits.floor_bytes(1 << 40)), (0, 0));
        let (small, large) = (Limits::default().floor_bytes(1000), 1 << 30);
        assert_eq!((small, Limits::default().floor_bytes(1 << 50)), (10, large), "1 % or 1 GiB");
        assert_eq!(config.devices[0].addresses, ["ssh://me@host"]);
        assert_eq!(config.devices[1].name, peer.short(), "an unnamed device is called by its id");
        let folder = &config.folders[0];
        assert_eq!(folder.devices, [hub, peer], "each once, however named");
        assert_eq!((folder.role, folder.paused), (Role::SendOnly, true));
        let within = folder.limits.within(&config.limits);
        assert_eq!(within, Limits { free_mib: Some(7), history_days: 2, ..config.limits });
        assert_eq!(config.folders[1].path.as_os_str().as_bytes(), b"/\xff");
        assert_eq!(config.device("laptop").unwrap().id, hub);
    }

    #[test]
    fn lists_of_devices_may_stand_inline() {
        let text = format!("device = [{{ id = '{}', name = 'a' }}]\nfolder = []", id(1));
        assert_eq!(read(&text).unwrap().devices[0].name, "a");
    }

    /// Rows are: what stands there; what is said of it; because.
    fn assert_told(rows: &[(String, &str, &str)]) {
        for (text, said, because) in rows {
            let error = read(text).expect_err(because).to_string();
            assert!(error.contains(said), "{because}: {text:?} says {error}");
            assert!(!error.contains('\n'), "one line: {error}");
        }
    }

    #[test]
    fn a_mistake_in_a_setting_is_named_with_its_line() {
        assert_told(&[
            ("name = ".into(), "damaged in line 1, column 8", "no value"),
            ("\nname = 'a'\nname = 'b'".into(), "damaged in line 3", "a key twice"),
            ("[limits".into(), "damaged in line 1, column 8", "an unclosed bracket"),
            ("\n\nlisen = []".into(), "'lisen' in line 3; did you mean 'listen'?", "a typo"),
            (
                "[http]\nliste = 1".into(),
                "'http.liste' in line 2; did you mean 'http.listen'?",
                "a typo in a table",
            ),
            ("[limit]".into(), "'limit' in line 1; did you mean 'limits'?", "a mistyped table"),
            ("name = 1".into(), "'name' in line 1: it is text in quotes", "a number as name"),
            ("name = ''".into(), "'name' in line 1: a name has", "an empty name"),
            ("[name]".into(), "'name' in line 1: it is a value, not a table", "a table as name"),
            ("listen = '/ip4/1.1.1.1/tcp/1'".into(), "'listen' in line 1: it is a list", "no list"),
            ("listen = [1]".into(), "'listen' in line 1: it is a list", "numbers in the list"),
            ("listen = ['localhost']".into(), "\"localhost\" is no multiaddress", "a host name"),
            ("relays = ['/ip4/1.1.1.1/tcp/1']".into(), "the relay's id", "whose relay?"),
            ("discovery = ['dns']".into(), "none of mdns, relay", "an unknown way"),
            ("topology = 'star'".into(), "none of mesh, hub", "an unknown shape"),
            ("topology = 'hub'".into(), "'topology' in line 1: \"hub\" needs", "no hub"),
            ("topology = 'hub'\nhub = 'x'".into(), "'hub' in line 2: no paired device", "who?"),
            ("http = 1".into(), "'http' in line 1: it is a table", "no table"),
            (
                "[http]\nlisten = '0.0.0.0:1'".into(),
                "'http.listen' in line 2: 0.0.0.0:1 can be",
                "open to the network",
            ),
            ("[limits]\nhistory_days = -1".into(), "from 0 to 36500", "before today"),
            ("[limits]\nhistory_percent = 91".into(), "from 0 to 90", "nearly the whole disk"),
            ("[limits]\nfree_mib = 1.5".into(), "'limits.free_mib' in line 2", "no whole number"),
        ]);
    }

    #[test]
    fn a_mistake_in_a_device_or_folder_is_named_with_its_line() {
        let (a, b) = (id(1), id(2));
        let peer = format!("[[device]]\nid = '{a}'\nname = 'a'\n");
        let folder = |rest: &str| format!("[[folder]]\nid = 'w'\npath = '/w'\n{rest}");
        assert_told(&[
            (
                format!("{peer}nam = 1"),
                "'device.nam' in line 4; did you mean 'device.name'?",
                "a typo in a device",
            ),
            (folder("rôle = 1").replace('ô', "oo"), "did you mean 'folder.role'?", "in a folder"),
            ("[device]\nid = 'x'".into(), "under its own [[device]]", "one bracket too few"),
            ("device = [1]".into(), "under its own [[device]]", "no table"),
            ("\n[[device]]\nname = 'a'".into(), "'device.id' in line 2: it is missing", "whose?"),
            ("[[device]]\nid = 'x'".into(), "'device.id' in line 2: ", "no id"),
            (
                format!("[[device]]\nid = '{}'", b.to_string().replacen('A', "B", 1)),
                "typing error",
                "a wrong digit",
            ),
            (format!("{peer}addresses = ['host:1']"), "'device.addresses' in line 4", "no address"),
            (format!("{peer}{peer}"), "is there twice", "a device twice"),
            (
                format!("{peer}[[device]]\nid = '{b}'\nname = 'a'"),
                "two devices are called \"a\"",
                "a name twice",
            ),
            ("[[folder]]\nid = 'w'".into(), "'folder.path' in line 1: it is missing", "where?"),
            ("[[folder]]\npath = '/w'".into(), "'folder.id' in line 1: it is missing", "which?"),
            ("[[folder]]\nid = 'a b'\npath = '/w'".into(), "'folder.id' in line 2", "a blank"),
            ("[[folder]]\nid = 'w'\npath = 'w'".into(), "no absolute path", "from where?"),
            (folder("path_bytes = '2f'"), "only one can be right", "two paths"),
            ("[[folder]]\nid = 'w'\npath_bytes = '2'".into(), "hexadecimal", "half a byte"),
            (folder("role = 'both'"), "'folder.role' in line 4: \"both\" is none", "no role"),
            (folder("paused = 1"), "'folder.paused' in line 4: it is true or false", "no flag"),
            (folder("free_mib = -1"), "'folder.free_mib' in line 4", "no room at all"),
            (folder("devices = ['b']"), "no paired device is called \"b\"", "with whom?"),
            (folder(&folder("").replace("'/w'", "'/x'")), "w is there twice", "an id twice"),
            (
                folder(&folder("").replace("'w'", "'v'")),
                "w and v are the same place",
                "a path twice",
            ),
        ]);
    }
}
