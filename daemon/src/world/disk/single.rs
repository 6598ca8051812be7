//! A single file that is shared: under which names it and its conflict copies lie here.
//!
//! All devices speak of such a file as [`NAME`], so that it may have another name on each. Its
//! conflict copies lie beside it, named after the name that it has here.

use syncd_core::flow::plan::conflict::{MARK, inserted, is_copy_name};
use syncd_core::model::RelPath;

/// What every device calls the one file of a single-file folder.
const NAME: &[u8] = b"file";

/// The names of one single file. Its own name is no conflict copy's: [`Single::new`] refuses one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Single {
    here: Vec<u8>,
}

impl Single {
    /// Makes the names of a file that is called `here` on this device; `None` when that is no
    /// name, or one of a conflict copy: another file's copies would have it too.
    #[must_use]
    pub fn new(here: &[u8]) -> Option<Self> {
        let is_name = RelPath::root().join(here).is_ok_and(|path| !path.is_reserved());
        (is_name && !is_copy_name(here)).then(|| Self { here: here.to_vec() })
    }

    /// Returns the name of the file itself on this device.
    #[must_use]
    pub fn here(&self) -> &[u8] {
        &self.here
    }

    /// Returns the name that `path` has here; `None` for a path that is neither the file nor a
    /// conflict copy of it.
    #[must_use]
    pub fn name_here(&self, path: &RelPath) -> Option<Vec<u8>> {
        let middle = path.as_bytes().strip_prefix(NAME)?;
        if middle.is_empty() {
            return Some(self.here.clone());
        }
        let is_copy = middle.starts_with(MARK.as_bytes()) && is_copy_name(middle);
        (is_copy && path.depth() == 1).then(|| inserted(&self.here, middle))
    }

    /// Returns the path of what is called `name` here; `None` for what is neither the file nor a
    /// conflict copy of it.
    #[must_use]
    pub fn path_of(&self, name: &[u8]) -> Option<RelPath> {
        if name == self.here {
            return RelPath::parse(NAME).ok();
        }
        // What stands between stem and extension is tried out: a long stem is cut to make room.
        let mark = MARK.as_bytes();
        let begins = name.windows(mark.len()).enumerate().filter(|(_, window)| *window == mark);
        let dot = self.here.iter().rposition(|byte| *byte == b'.').unwrap_or(0);
        let extension = if dot > 0 { self.here.len() - dot } else { 0 };
        let ends = [name.len().saturating_sub(extension), name.len()];
        let middles =
            begins.flat_map(|(at, _)| ends.iter().filter_map(move |end| name.get(at..*end)));
        let mut paths = middles.filter_map(|middle| RelPath::parse([NAME, middle].concat()).ok());
        paths.find(|path| self.name_here(path).as_deref() == Some(name))
    }
}

#[cfg(test)]
mod tests {
    use syncd_core::flow::plan::conflict::{copy_path_of, numbered, tell_apart};
    use syncd_core::model::{ContentId, DeviceId};

    use super::*;

    /// 2026-11-20 19:24:02 UTC.
    const THEN: i64 = 1_795_202_642_000_000_000;

    fn copies() -> Vec<RelPath> {
        let file = RelPath::parse(NAME).unwrap();
        let copy = copy_path_of(&file, THEN, DeviceId([7; 32]));
        let again = copy_path_of(&copy, THEN, DeviceId([9; 32]));
        let apart = tell_apart(&copy, ContentId::of(b"x"), 4);
        vec![file, numbered(&copy, 2), copy, apart, again]
    }

    #[test]
    fn a_file_and_its_copies_have_the_names_of_here() {
        let who = DeviceId([7; 32]).short();
        for (here, copy, because) in [
            ("notes.txt", format!("notes.sync-conflict-20261120-192402-{who}.txt"), "as anywhere"),
            ("README", format!("README.sync-conflict-20261120-192402-{who}"), "no extension"),
            (".bashrc", format!(".bashrc.sync-conflict-20261120-192402-{who}"), "hidden"),
            ("a.tar.gz", format!("a.tar.sync-conflict-20261120-192402-{who}.gz"), "the last dot"),
            ("file", format!("file.sync-conflict-20261120-192402-{who}"), "the shared name"),
        ] {
            let single = Single::new(here.as_bytes()).unwrap();
            let [file, _, shared, ..] = &copies()[..] else { unreachable!() };
            assert_eq!(single.name_here(file).unwrap(), here.as_bytes(), "{because}");
            let named = single.name_here(shared).unwrap();
            assert_eq!(String::from_utf8(named).unwrap(), copy, "{because}");
        }
    }

    #[test]
    fn every_name_leads_back_to_its_path() {
        let long = "x".repeat(255);
        let long_ext = format!("a.{}", "e".repeat(250));
        let umlauts = format!("{}.txt", "ü".repeat(120));
        let odd = ["a.sync-conflict-b.txt", "x.", "..a", "a b\n", "file.txt"];
        for here in odd.into_iter().chain([&long[..], &long_ext, &umlauts]) {
            let single = Single::new(here.as_bytes()).unwrap();
            for path in copies() {
                let name = single.name_here(&path).unwrap();
                assert!(name.len() <= 255, "{here:?}: {path}");
                assert_eq!(single.path_of(&name), Some(path), "{here:?}");
            }
        }
    }

    #[test]
    fn nothing_else_belongs_to_it() {
        let single = Single::new(b"notes.txt").unwrap();
        for name in ["file", "notes", "notes.txt~", ".notes.txt.swp", "notes.sync-conflict-1.txt"] {
            assert_eq!(single.path_of(name.as_bytes()), None, "{name}");
        }
        let copy = &copies()[2].to_string();
        assert_eq!(single.path_of(copy.as_bytes()), None, "a copy of a file called 'file'");
        for path in
            ["notes.txt", "file/x", "file.txt", ".stignore", ".syncd", "file.sync-conflict-"]
        {
            assert_eq!(single.name_here(&RelPath::parse(path).unwrap()), None, "{path}");
        }
        let below = RelPath::parse(format!("{copy}/x")).unwrap();
        assert_eq!(single.name_here(&below), None, "{below}");
    }

    #[test]
    fn some_names_are_no_single_files() {
        for (name, because) in [
            (&b""[..], "none"),
            (b"a/b", "two"),
            (b"..", "no name of a file"),
            (b".syncd", "syncd's own"),
            (b"a.sync-conflict-20261120-192402-EIRCEIR.txt", "a copy of another"),
        ] {
            assert_eq!(Single::new(name), None, "{because}");
        }
    }
}
