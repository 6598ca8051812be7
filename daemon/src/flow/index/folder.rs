//! One folder's index, read and written through its store.

use std::sync::Arc;

use syncd_core::flow::index::{Batch, Index, IndexError, Known, Marks};
use syncd_core::model::{ContentId, Entry, FolderId, RelPath, Seq};

use super::codec::Malformed;
use super::commit::commit;
use super::fault::Fault;
use super::holders::holders;
use super::keys::FolderNumber;
use super::pages::{Page, PageCache, PageReader};
use super::rows::decode_marks;
use super::store::Store;
use super::summary::Summary;
use super::trees::{Trees, marks_key};

/// The index of one folder. Clones see the same folder; a batch is there for all of them at once.
#[derive(Debug, Clone)]
pub struct FolderIndex {
    store: Store,
    folder: FolderId,
}

impl FolderIndex {
    /// Makes a view of `folder` in `store`.
    pub(super) fn new(store: Store, folder: FolderId) -> Self {
        Self { store, folder }
    }

    /// Returns how much the folder holds, without looking at its entries.
    ///
    /// # Errors
    /// [`IndexError`] when the store cannot be read.
    pub fn summary(&self) -> Result<Summary, IndexError> {
        self.read(|trees, _, number| Ok(trees.tally(number)?.summary))
    }

    /// Lists up to `limit` names directly in `dir` that come after `after`, sorted; from the
    /// first for `None`. A directory of any width is read a page at a time.
    ///
    /// # Errors
    /// [`IndexError`] when the store cannot be read.
    pub fn children_from(
        &self,
        dir: &RelPath,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(RelPath, Entry)>, IndexError> {
        self.read(|trees, cache, folder| {
            let reader = PageReader { tree: &trees.pages, cache, folder };
            let mut page = first_page(reader, dir, after)?;
            let mut found = Vec::new();
            while let Some(now) = page {
                for (name, entry) in &now.entries {
                    if found.len() == limit {
                        return Ok(found);
                    }
                    if after.is_none_or(|after| &**name > after) {
                        found.push((path_of(dir, name)?, entry.clone()));
                    }
                }
                page = reader.after(dir, &now)?;
            }
            Ok(found)
        })
    }

    /// Shows `see` everything below `dir`, sorted by path, until it returns `false`.
    ///
    /// Other commits may come in between; what they change is seen or not.
    ///
    /// # Errors
    /// [`IndexError`] when the store cannot be read.
    pub fn walk(
        &self,
        dir: &RelPath,
        see: &mut dyn FnMut(&RelPath, &Entry) -> bool,
    ) -> Result<(), IndexError> {
        let mut open = vec![self.enter(dir.clone())?];
        while let Some(level) = open.last_mut() {
            let entry = level.page.as_ref().and_then(|page| page.entries.get(level.at));
            let Some((name, entry)) = entry else {
                if level.page.is_some() {
                    self.turn(level)?;
                } else if let Some(name) = level.below.take() {
                    let inner = self.descend(level, &name)?;
                    open.push(inner);
                } else {
                    open.pop();
                }
                continue;
            };
            // Something below a name that has no entry of its own, or below the one just seen.
            if let Some(below) = level.below.take_if(|below| **below < **name) {
                let inner = self.descend(level, &below)?;
                open.push(inner);
                continue;
            }
            level.at += 1;
            let path = path_of(&level.dir, name)?;
            if !see(&path, entry) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn enter(&self, dir: RelPath) -> Result<Level, IndexError> {
        let (page, below) = self.read(|trees, cache, folder| {
            let reader = PageReader { tree: &trees.pages, cache, folder };
            Ok((reader.at_fence(&dir, &[])?, reader.directory_after(&dir, None)?))
        })?;
        Ok(Level { dir, page, at: 0, below })
    }

    fn turn(&self, level: &mut Level) -> Result<(), IndexError> {
        level.page = self.read(|trees, cache, folder| {
            let reader = PageReader { tree: &trees.pages, cache, folder };
            match &level.page {
                Some(page) => reader.after(&level.dir, page),
                None => Ok(None),
            }
        })?;
        level.at = 0;
        Ok(())
    }

    fn descend(&self, level: &mut Level, name: &[u8]) -> Result<Level, IndexError> {
        level.below = self.read(|trees, cache, folder| {
            let reader = PageReader { tree: &trees.pages, cache, folder };
            reader.directory_after(&level.dir, Some(name))
        })?;
        self.enter(path_of(&level.dir, name)?)
    }

    /// Reads; a folder without rows gives the default.
    fn read<T: Default>(
        &self,
        act: impl FnOnce(&Trees, &PageCache, FolderNumber) -> Result<T, Fault>,
    ) -> Result<T, IndexError> {
        let read = self.store.read(|trees, cache| match trees.number(&self.folder) {
            Some(number) => act(trees, cache, number),
            None => Ok(T::default()),
        });
        Ok(read?)
    }
}

/// One directory on the way of a walk.
struct Level {
    dir: RelPath,
    /// The page that is being shown, or `None` behind the last one.
    page: Option<Arc<Page>>,
    /// The entry to show next.
    at: usize,
    /// The next name under which there is something below.
    below: Option<Box<[u8]>>,
}

impl Known for FolderIndex {
    fn get(&self, path: &RelPath) -> Result<Option<Entry>, IndexError> {
        self.read(|trees, cache, folder| PageReader { tree: &trees.pages, cache, folder }.get(path))
    }

    fn children(&self, dir: &RelPath) -> Result<Vec<(RelPath, Entry)>, IndexError> {
        self.children_from(dir, None, usize::MAX)
    }
}

impl Index for FolderIndex {
    fn changes(&self, after: Seq, limit: usize) -> Result<Vec<(Seq, RelPath)>, IndexError> {
        self.read(|trees, _, folder| trees.changes_after(folder, after, limit))
    }

    /// Of more than `limit` holders the ones that changed longest ago are returned, by path.
    fn holders(&self, content: ContentId, limit: usize) -> Result<Vec<RelPath>, IndexError> {
        self.read(|trees, cache, folder| {
            let reader = PageReader { tree: &trees.pages, cache, folder };
            holders(trees, reader, content, limit)
        })
    }

    fn live_files(&self) -> Result<usize, IndexError> {
        let count = self.read(|trees, _, folder| Ok(trees.tally(folder)?.live_files))?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn withheld(&self) -> Result<usize, IndexError> {
        let count = self.read(|trees, _, folder| Ok(trees.tally(folder)?.summary.withheld))?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn marks(&self) -> Result<Marks, IndexError> {
        self.read(|trees, _, folder| match trees.marks.get(marks_key(folder))? {
            Some(row) => decode_marks(&row).map_err(Fault::of_row),
            None => Ok(Marks::default()),
        })
    }

    fn last_seq(&self) -> Result<Seq, IndexError> {
        self.read(|trees, _, folder| Ok(trees.tally(folder)?.last_seq))
    }

    fn commit(&mut self, batch: Batch) -> Result<(), IndexError> {
        Ok(self.store.write(|trees, cache| commit(trees, cache, &self.folder, batch))?)
    }
}

/// Returns the page of `dir` on which the names after `after` begin.
fn first_page(
    reader: PageReader<'_>,
    dir: &RelPath,
    after: Option<&[u8]>,
) -> Result<Option<Arc<Page>>, Fault> {
    if let Some(after) = after
        && let Some(page) = reader.covering(dir, after)?
    {
        return Ok(Some(page));
    }
    reader.at_fence(dir, &[])
}

fn path_of(dir: &RelPath, name: &[u8]) -> Result<RelPath, Fault> {
    dir.join(name).map_err(|_| Fault::of(dir, Malformed::Wrong("it holds an impossible name")))
}
