//! Folders that only send or only receive: a person's word on who wins.

use syncd_api::{ApiError, Decided, Role};
use syncd_core::engine::Event;
use syncd_core::flow::index::Index;

use super::folders::shown_role;
use super::{FrontDesk, ask, at_work, stopped};
use crate::run::folder::Folder;

impl FrontDesk {
    /// Makes this device's state of a folder that only sends win everywhere.
    pub(super) async fn overrule(self, id: String) -> Result<Decided, ApiError> {
        let _turn = self.editing.lock().await;
        let folder = self.folder_as(&id, Role::SendOnly, "override")?;
        let items = ask(&folder, |thread| {
            let waiting = thread.engine.refused();
            thread.tell(Event::Overruled);
            waiting
        });
        let items = items.await.ok_or_else(|| stopped(&folder))?;
        Ok(Decided { id, items: items as u64 })
    }

    /// Gives up what was changed here in a folder that only receives.
    pub(super) async fn revert(self, id: String) -> Result<Decided, ApiError> {
        let _turn = self.editing.lock().await;
        let folder = self.folder_as(&id, Role::ReceiveOnly, "revert")?;
        let shared = folder.config().devices;
        let peers: Vec<_> = self.daemon.peers();
        let mut peers = peers.into_iter().filter(|peer| shared.contains(&peer.device)).peekable();
        if peers.peek().is_none() {
            return Err(ApiError::could_not(format!(
                "no device that shares the folder '{id}' is connected, and what they have is \
                 needed; connect one and say it again"
            )));
        }
        let peers: Vec<_> = peers.collect();
        for peer in &peers {
            peer.withdraw(folder.id()).await;
        }
        let items = ask(&folder, |thread| {
            let withheld = thread.index().withheld().unwrap_or_default();
            thread.tell(Event::Reverted);
            withheld
        });
        let items = items.await;
        for peer in peers {
            // A peer that is gone tells all in its next session.
            let _ = peer.announce(&self.daemon, &folder).await;
        }
        let items = items.ok_or_else(|| stopped(&folder))?;
        Ok(Decided { id, items: items as u64 })
    }

    /// Returns a folder that is at work in `role`, for a command that makes sense only there.
    fn folder_as(&self, id: &str, role: Role, command: &str) -> Result<Folder, ApiError> {
        let folder = self.folder(id)?;
        let now = shown_role(folder.config().role);
        if now != role {
            return Err(ApiError::could_not(format!(
                "'{command}' is for folders that are {}, and '{id}' is {}; see: syncctl folder ls",
                word(role),
                word(now)
            )));
        }
        at_work(&folder)?;
        Ok(folder)
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::SendReceive => "sendreceive",
        Role::SendOnly => "sendonly",
        Role::ReceiveOnly => "receiveonly",
    }
}
