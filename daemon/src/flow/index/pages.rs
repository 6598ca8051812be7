//! Pages in memory: found by name, and kept decoded for a while.
//!
//! A scan lists a directory and then asks for each of its names: the cache makes that one
//! decoding. A commit forgets every page it wrote.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use syncd_core::model::{Entry, RelPath};

use super::fault::Fault;
use super::format::{Named, decode_page};
use super::keys::{self, FolderNumber};

/// A page is split above this many entries. sled writes up to 16 pages at a time, so that
/// smaller pages cost less to change.
pub(super) const PAGE_RECORDS_MAX: usize = 128;

/// A page of more than one entry is split above this many bytes.
pub(super) const PAGE_BYTES_MAX: usize = 24 << 10;

/// Decoded entries kept in memory, about 400 bytes each.
const CACHED_ENTRIES_MAX: usize = 8192;

/// One decoded page.
#[derive(Debug)]
pub(super) struct Page {
    /// Where it lies in the tree.
    pub(super) key: Vec<u8>,
    /// What it holds, sorted by name.
    pub(super) entries: Vec<Named>,
    /// The fence of the directory's next page; `None` if this is its last.
    pub(super) upper: Option<Box<[u8]>>,
}

impl Page {
    /// Looks up a name.
    pub(super) fn find(&self, name: &[u8]) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(&self.entries[at].1)
    }

    /// Tells whether `name`, which is not below the page's fence, belongs to this page.
    pub(super) fn reaches(&self, name: &[u8]) -> bool {
        self.upper.as_ref().is_none_or(|upper| name < &**upper)
    }
}

#[derive(Debug)]
struct Slot {
    page: Arc<Page>,
    used: u64,
}

#[derive(Debug, Default)]
struct Slots {
    by_key: BTreeMap<Vec<u8>, Slot>,
    entry_count: usize,
    clock: u64,
}

/// Pages decoded lately.
#[derive(Debug, Default)]
pub(super) struct PageCache {
    slots: Mutex<Slots>,
}

impl PageCache {
    fn slots(&self) -> std::sync::MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the page that holds `name` of the directory with the key prefix `pages_of`.
    fn covering(&self, pages_of: &[u8], name: &[u8]) -> Option<Arc<Page>> {
        let target = [pages_of, name].concat();
        let mut slots = self.slots();
        slots.clock += 1;
        let clock = slots.clock;
        let range = (Bound::Included(pages_of), Bound::Included(&target[..]));
        let (_, slot) = slots.by_key.range_mut::<[u8], _>(range).next_back()?;
        slot.used = clock;
        slot.page.reaches(name).then(|| Arc::clone(&slot.page))
    }

    fn at(&self, key: &[u8]) -> Option<Arc<Page>> {
        let mut slots = self.slots();
        slots.clock += 1;
        let clock = slots.clock;
        let slot = slots.by_key.get_mut(key)?;
        slot.used = clock;
        Some(Arc::clone(&slot.page))
    }

    fn keep(&self, page: &Arc<Page>) {
        let mut slots = self.slots();
        slots.clock += 1;
        let slot = Slot { page: Arc::clone(page), used: slots.clock };
        slots.entry_count += page.entries.len();
        if let Some(old) = slots.by_key.insert(page.key.clone(), slot) {
            slots.entry_count -= old.page.entries.len();
        }
        while slots.entry_count > CACHED_ENTRIES_MAX && slots.by_key.len() > 1 {
            let oldest = slots.by_key.iter().min_by_key(|(_, slot)| slot.used);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else { break };
            if let Some(old) = slots.by_key.remove(&key) {
                slots.entry_count -= old.page.entries.len();
            }
        }
    }

    /// Forgets a page that was written or removed.
    pub(super) fn forget(&self, key: &[u8]) {
        let mut slots = self.slots();
        if let Some(old) = slots.by_key.remove(key) {
            slots.entry_count -= old.page.entries.len();
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        *self.slots() = Slots::default();
    }
}

/// Reads pages of one folder.
#[derive(Clone, Copy)]
pub(super) struct PageReader<'a> {
    /// The tree of pages.
    pub(super) tree: &'a sled::Tree,
    /// Where decoded ones are kept.
    pub(super) cache: &'a PageCache,
    /// Whose pages.
    pub(super) folder: FolderNumber,
}

impl PageReader<'_> {
    /// Returns what is kept of `path`.
    pub(super) fn get(self, path: &RelPath) -> Result<Option<Entry>, Fault> {
        let Some(dir) = path.parent() else { return Ok(None) };
        let page = self.covering(&dir, path.name())?;
        Ok(page.and_then(|page| page.find(path.name()).cloned()))
    }

    /// Returns the page that holds `name` of `dir`, or would.
    pub(super) fn covering(self, dir: &RelPath, name: &[u8]) -> Result<Option<Arc<Page>>, Fault> {
        let pages_of = keys::pages_of(self.folder, dir);
        if let Some(page) = self.cache.covering(&pages_of, name) {
            return Ok(Some(page));
        }
        let target = [&pages_of[..], name].concat();
        match self.tree.range(&pages_of[..]..=&target[..]).next_back() {
            None => Ok(None),
            Some(found) => {
                let (key, value) = found?;
                self.page(dir, &key, &value).map(Some)
            }
        }
    }

    /// Returns the first page of `dir` whose fence is `fence` or greater.
    pub(super) fn at_fence(self, dir: &RelPath, fence: &[u8]) -> Result<Option<Arc<Page>>, Fault> {
        let key = keys::page(self.folder, dir, fence);
        if let Some(page) = self.cache.at(&key) {
            return Ok(Some(page));
        }
        match self.tree.range(key..pages_end(self.folder, dir)).next() {
            None => Ok(None),
            Some(found) => {
                let (key, value) = found?;
                self.page(dir, &key, &value).map(Some)
            }
        }
    }

    /// Returns the page that follows `page` in `dir`.
    pub(super) fn after(self, dir: &RelPath, page: &Page) -> Result<Option<Arc<Page>>, Fault> {
        match &page.upper {
            None => Ok(None),
            Some(upper) => self.at_fence(dir, upper),
        }
    }

    /// Returns the first name after `after` under which something lies below `dir/name`;
    /// `None` for `after` begins at the first.
    pub(super) fn directory_after(
        self,
        dir: &RelPath,
        after: Option<&[u8]>,
    ) -> Result<Option<Box<[u8]>>, Fault> {
        let below = keys::below(self.folder, dir);
        let mut from = [&below[..], after.unwrap_or_default()].concat();
        from.push(1);
        let Some(found) = self.tree.range(from..).next() else { return Ok(None) };
        let (key, _) = found?;
        let Some(rest) = key.strip_prefix(&below[..]) else { return Ok(None) };
        Ok(rest.split(|byte| *byte == 0).next().filter(|name| !name.is_empty()).map(Box::from))
    }

    fn page(self, dir: &RelPath, key: &[u8], value: &[u8]) -> Result<Arc<Page>, Fault> {
        if let Some(page) = self.cache.at(key) {
            return Ok(page);
        }
        let entries = decode_page(value).map_err(|malformed| Fault::of(dir, malformed))?;
        let fence = &key[keys::pages_of(self.folder, dir).len()..];
        let damaged = |what: &str| Fault::Damaged { dir: dir.clone(), what: what.to_owned() };
        if entries.first().is_none_or(|(name, _)| &**name < fence) {
            return Err(damaged("a page holds names that are not its own"));
        }
        let later = (Bound::Excluded(key.to_vec()), Bound::Excluded(pages_end(self.folder, dir)));
        let upper = match self.tree.range(later).next() {
            None => None,
            Some(found) => Some(Box::from(&found?.0[key.len() - fence.len()..])),
        };
        let page = Arc::new(Page { key: key.to_vec(), entries, upper });
        self.cache.keep(&page);
        Ok(page)
    }
}

/// The first key behind all pages of `dir`.
fn pages_end(folder: FolderNumber, dir: &RelPath) -> Vec<u8> {
    let mut end = keys::below(folder, dir);
    end.push(1);
    end
}
