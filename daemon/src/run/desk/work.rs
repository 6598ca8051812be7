//! Scans and checks now.

use std::time::Instant;

use syncd_api::{
    ApiError, PathText, ScanReport, ScanRequest, ScannedFolder, VerifiedFolder, VerifyReport,
    VerifyRequest, sentence,
};
use syncd_core::engine::Event;
use syncd_core::flow::index::{Index, Known};

use super::places::absolute;
use super::{FrontDesk, at_work, blocking, stopped, unreadable};
use crate::flow::detect::Rotten;
use crate::flow::index::FolderIndex;
use crate::run::Daemon;
use crate::run::folder::{Folder, Here, Note, Parts};
use crate::run::scrub::scrub;

impl FrontDesk {
    pub(super) async fn scan_now(&self, request: ScanRequest) -> Result<ScanReport, ApiError> {
        let began = Instant::now();
        let mut folders = self.chosen(request.folder.as_deref())?;
        if request.folder.is_none() {
            // Of all folders, those are scanned whose roots are there.
            folders.retain(|folder| folder.parts().is_some());
        }
        let scans = folders.iter().map(scan_one);
        let folders = futures::future::try_join_all(scans).await?;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(ScanReport { folders, took_ms })
    }

    pub(super) async fn verify_now(self, request: VerifyRequest) -> Result<VerifyReport, ApiError> {
        let began = Instant::now();
        let mut chosen = self.chosen(request.folder.as_deref())?;
        if request.folder.is_none() {
            chosen.retain(|folder| folder.parts().is_some());
        }
        let mut folders = Vec::with_capacity(chosen.len());
        for folder in &chosen {
            folders.push(verify_one(&self.daemon, folder, request.repair).await?);
        }
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(VerifyReport { folders, took_ms })
    }
}

async fn scan_one(folder: &Folder) -> Result<ScannedFolder, ApiError> {
    let index = at_work(folder)?.index;
    let before = {
        let index = index.clone();
        blocking(move || index.last_seq()).await?.map_err(|error| unreadable(&error))?
    };
    let report = folder.scan().await.ok_or_else(|| stopped(folder))?;
    if report.broken_off {
        return Err(ApiError::could_not(format!(
            "the scan of the folder '{}' broke off; see: syncctl status",
            folder.id()
        )));
    }
    blocking(move || counted(&index, before))
        .await?
        .map(|(files, changed)| ScannedFolder { id: folder.id().to_string(), files, changed })
        .map_err(|error| unreadable(&error))
}

/// Reads the files of a folder again, one folder after the other: there is one disk.
async fn verify_one(
    daemon: &Daemon,
    folder: &Folder,
    repair: bool,
) -> Result<VerifiedFolder, ApiError> {
    let parts = at_work(folder)?;
    let found = scrub(daemon, folder).await.map_err(|error| {
        let (why, id) = (sentence(&error), folder.id());
        ApiError::could_not(format!(
            "the folder '{id}' was not verified: {why}; see: syncctl status"
        ))
    })?;
    let told = |path| PathText::of_file(&absolute(folder, path));
    let verified = VerifiedFolder {
        id: folder.id().to_string(),
        whole: found.whole,
        bytes: found.bytes,
        changed: found.changed,
        rotten: found.rotten.iter().map(|one| told(&one.path)).collect(),
        unread: found.problems.iter().map(|one| told(&one.path)).collect(),
    };
    if repair {
        let asked = folder.clone();
        blocking(move || mend(&asked, &parts, found.rotten)).await?;
    }
    Ok(verified)
}

/// Has the right bytes of damaged files put back: those that lie here too, or in the history, at
/// once, others when a device gives them. Blocks.
fn mend(folder: &Folder, parts: &Parts, rotten: Vec<Rotten>) {
    for Rotten { path, stat, content } in rotten {
        let entry = parts.index.get(&path).ok().flatten();
        let right = entry.map(|entry| entry.record.content);
        let staged = right.is_some_and(|right| parts.stage_from_here(right) == Here::Staged);
        folder.note(Note::Event(Event::Rotten { path, stat, content, staged }));
    }
}

/// Counts the files and the paths that changed after `before`.
fn counted(
    index: &FolderIndex,
    before: u64,
) -> Result<(u64, u64), syncd_core::flow::index::IndexError> {
    let changed = index.changes(before, usize::MAX)?.len() as u64;
    Ok((index.summary()?.files, changed))
}
