//! What settle displaced or deleted, and getting it back.

use jiff::Timestamp;
use syncd_api::{
    ApiError, Emptied, EmptyRequest, FolderQuery, PathText, RestoreRequest, Restored, TrashReason,
    Trashed,
};
use syncd_core::model::RelPath;

use super::places::{self, absolute};
use super::{FrontDesk, at_work, blocking, chain, look_at};
use crate::flow::settle::{TrashEntry, TrashError, Why};
use crate::run::folder::Folder;
use crate::run::now_unix_ms;

impl FrontDesk {
    pub(super) async fn list_trash(&self, query: FolderQuery) -> Result<Vec<Trashed>, ApiError> {
        let mut trashed = Vec::new();
        for folder in self.with_roots(query.folder.as_deref())? {
            let hands = at_work(&folder)?.hands;
            let entries = blocking(move || hands.trash_list()).await?;
            let mut entries = entries.map_err(|error| said(&error))?;
            // Later displacements have greater ids.
            entries.sort_by(|a, b| (&a.path, b.id).cmp(&(&b.path, a.id)));
            trashed.extend(entries.into_iter().map(|entry| shown(&folder, &entry)));
        }
        Ok(trashed)
    }

    /// Returns the folder that `id` names, or all those whose roots are there.
    fn with_roots(&self, id: Option<&str>) -> Result<Vec<Folder>, ApiError> {
        let mut folders = self.chosen(id)?;
        if id.is_none() {
            folders.retain(|folder| folder.parts().is_some());
        }
        Ok(folders)
    }

    pub(super) async fn bring_back(self, request: RestoreRequest) -> Result<Restored, ApiError> {
        let (folder, id, from) = match (&request.id, &request.from) {
            (Some(text), _) => {
                let (folder, id) = self.version_named(text)?;
                (folder, Some(id), None)
            }
            (None, Some(path)) => {
                let spot = self.located(path).await?;
                (spot.folder, None, Some(spot.rel))
            }
            (None, None) => return Err(ApiError::usage("say which: an id or a path")),
        };
        let to = match &request.to {
            Some(path) => Some(self.target_in(&folder, path).await?),
            None => None,
        };
        let hands = at_work(&folder)?.hands;
        let restored = blocking(move || {
            let entry = match (id, &from) {
                (Some(id), _) => hands.trash_list()?.into_iter().find(|entry| entry.id == id),
                (None, Some(path)) => hands.trash_newest(path)?,
                (None, None) => None,
            };
            let Some(entry) = entry else { return Ok(None) };
            let path = hands.trash_restore(entry.id, to.as_ref())?;
            Ok::<_, TrashError>(Some((entry, path)))
        });
        let Some((entry, path)) = restored.await?.map_err(|error| said(&error))? else {
            return Err(ApiError::could_not(
                "the trash holds no such version; see what it holds with: syncctl trash ls",
            ));
        };
        look_at(&folder, vec![path.clone()]).await;
        Ok(Restored {
            id: id_of(&folder, entry.id),
            path: PathText::of_file(&absolute(&folder, &path)),
            size: entry.size,
        })
    }

    /// Reads an id that [`id_of`] wrote.
    fn version_named(&self, text: &str) -> Result<(Folder, u64), ApiError> {
        let parts = text.rsplit_once(':').and_then(|(id, n)| Some((id, n.parse().ok()?)));
        let Some((folder, id)) = parts else {
            return Err(ApiError::could_not(format!(
                "{text:?} is no id of the trash; see them with: syncctl trash ls"
            )));
        };
        Ok((self.folder(folder)?, id))
    }

    async fn target_in(&self, folder: &Folder, path: &PathText) -> Result<RelPath, ApiError> {
        let spot = self.locate(path).await?;
        let inside = spot.filter(|spot| spot.folder.id() == folder.id() && !spot.rel.is_root());
        inside.map(|spot| spot.rel).ok_or_else(|| {
            ApiError::could_not(format!(
                "{:?} does not lie in the folder '{}'; restore to a path in it and move it from \
                 there",
                path.path,
                folder.id()
            ))
        })
    }

    pub(super) async fn end_trash(self, request: EmptyRequest) -> Result<Emptied, ApiError> {
        let before = request.older_than_ms.map(|age| now_unix_ms().saturating_sub(age));
        let mut emptied = Emptied { files: 0, bytes: 0 };
        for folder in self.with_roots(request.folder.as_deref())? {
            let hands = at_work(&folder)?.hands;
            let ended = blocking(move || hands.empty(before)).await?;
            let ended = ended.map_err(|error| said(&error))?;
            emptied.files += ended.files as u64;
            emptied.bytes += ended.bytes;
        }
        Ok(emptied)
    }
}

fn shown(folder: &Folder, entry: &TrashEntry) -> Trashed {
    let time = i64::try_from(entry.displaced_at_ms).unwrap_or(i64::MAX);
    Trashed {
        id: id_of(folder, entry.id),
        folder: folder.id().to_string(),
        path: match &entry.path {
            Some(path) => places::shown(folder, path),
            None => PathText::of(b""),
        },
        size: entry.size,
        time: Timestamp::from_millisecond(time).unwrap_or(Timestamp::UNIX_EPOCH),
        reason: match entry.why {
            Why::Deleted => TrashReason::Deleted,
            Why::Replaced | Why::Found => TrashReason::Replaced,
        },
        device: None,
    }
}

fn id_of(folder: &Folder, id: u64) -> String {
    format!("{}:{id}", folder.id())
}

fn said(error: &TrashError) -> ApiError {
    ApiError::could_not(chain(error))
}
