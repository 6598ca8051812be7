//! A desk for tests: answers as if two devices shared a folder, and remembers what it was asked.
//!
//! The folder `work` exists; `gone` does not, `slow` is never flushed in time, and `full` needs a
//! person. Names and texts hold what could harm a terminal.

use std::sync::Mutex;

use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use syncd_api::*;

use super::{Answer, Desk};

/// The other device.
pub const DEVBOX: &str = "CEIRCEI-RCEIRC7-EIRCEIR-CEIRCEB-IRCEIRC-EIRCEIZ-RCEIRCE-IRCEIQV";

/// This device.
pub const LAPTOP: &str = "EIRCEIR-CEIRCEB-IRCEIRC-EIRCEIZ-RCEIRCE-IRCEIRU-CEIRCEI-RCEIRAB";

/// A desk with canned answers.
#[derive(Default)]
pub struct Canned {
    asked: Mutex<Vec<(String, Value)>>,
}

impl Canned {
    /// Returns what was asked since the last call: the method, and its arguments as JSON.
    pub fn asked(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    fn note(&self, method: &str, arguments: impl Serialize) {
        let arguments = serde_json::to_value(arguments).unwrap();
        self.asked.lock().unwrap().push((method.to_owned(), arguments));
    }

    /// Answers about a folder if it is there.
    fn about<T: Send + 'static>(&self, folder: &str, answer: T) -> Answer<'static, T> {
        match folder {
            "gone" => no(ApiError::could_not(
                "there is no folder \"gone\"; see them with: syncctl folder ls",
            )),
            "full" => no(ApiError::needs_person("21 files differ; say --prefer")
                .listing(["a.txt", "b\u{1b}[31m.txt"])),
            _ => yes(answer),
        }
    }
}

fn yes<T: Send + 'static>(answer: T) -> Answer<'static, T> {
    Box::pin(std::future::ready(Ok(answer)))
}

fn no<T: Send + 'static>(error: ApiError) -> Answer<'static, T> {
    Box::pin(std::future::ready(Err(error)))
}

fn time() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn device() -> Device {
    Device {
        device_id: DEVBOX.into(),
        name: "devbox".into(),
        connected: true,
        path: Some(LinkPath::DirectTcp),
        rtt_ms: Some(0.5),
        last_seen: Some(time()),
        addresses: vec!["/ip4/127.0.0.1/tcp/24111".into()],
        clock_ahead_s: Some(0),
    }
}

fn shared_with() -> Vec<FolderDevice> {
    vec![FolderDevice {
        name: "devbox".into(),
        device_id: DEVBOX.into(),
        accepted: true,
        in_sync: false,
        left_out: vec![LeftOut { why: LeftOutWhy::Ignored, files: 2 }],
    }]
}

fn folder(id: &str) -> Folder {
    Folder {
        id: id.into(),
        path: PathText::of(b"/home/u/work"),
        label: id.into(),
        role: Role::SendReceive,
        single_file: false,
        state: FolderState::Idle,
        devices: shared_with(),
    }
}

fn side(device: &str, text: &str) -> Side {
    Side {
        file: Some(PathText::of(b"/home/u/work/notes.txt")),
        device: Some(device.into()),
        time: time(),
        size: text.len() as u64,
        content: Some("7".repeat(64)),
        text: Some(text.into()),
    }
}

fn answer(id: String, approved: bool) -> HeldAnswer {
    HeldAnswer { id, folder: "work".into(), approved, files: 40 }
}

fn event(id: u64) -> Event {
    Event {
        id,
        time: time(),
        kind: "file-settled".into(),
        folder: Some("work".into()),
        path: Some(PathText::of(b"a\x1b[31m\xff")),
        device_id: Some(DEVBOX.into()),
        text: "took a file from devbox".into(),
        data: Map::from_iter([("size".to_owned(), json!(5))]),
    }
}

fn folder_status() -> FolderStatus {
    FolderStatus {
        id: "work".into(),
        path: PathText::of(b"/home/u/work"),
        label: "work".into(),
        role: Role::SendReceive,
        state: FolderState::Syncing,
        files: 100,
        bytes: 5_000_000,
        need_files: 25,
        need_bytes: 1_000_000,
        out_of_sync: 0,
        local_changes: 0,
        conflicts: 1,
        held: 0,
        devices: vec![DeviceSync {
            name: "devbox".into(),
            device_id: DEVBOX.into(),
            connected: true,
            in_sync: false,
            need_files: 3,
            left_out: vec![LeftOut { why: LeftOutWhy::Ignored, files: 2 }],
        }],
        problems: vec![Problem {
            path: PathText::of(b"secret\xff"),
            what: "it cannot be read".into(),
            remedy: "let the user read it: chmod u+r".into(),
        }],
    }
}

impl Desk for Canned {
    fn health(&self) -> Answer<'_, Health> {
        yes(Health {
            version: "0.1.0".into(),
            api: VERSION,
            device_id: LAPTOP.into(),
            name: "laptop".into(),
            pid: std::process::id(),
            started: time(),
            listening: vec!["/ip4/127.0.0.1/tcp/24110".into()],
            watches_used: 12,
        })
    }

    fn status(&self) -> Answer<'_, Status> {
        let folders = vec![folder_status()];
        yes(Status {
            device_id: LAPTOP.into(),
            name: "laptop".into(),
            folders,
            problems: Vec::new(),
        })
    }

    fn devices(&self) -> Answer<'_, Vec<Device>> {
        yes(vec![device()])
    }

    fn pending(&self) -> Answer<'_, Vec<PendingDevice>> {
        yes(vec![PendingDevice {
            device_id: DEVBOX.into(),
            name: "evil\u{1b}]0;title\u{7}".into(),
            address: Some("/ip4/192.0.2.1/tcp/5".into()),
            first_seen: time(),
            last_seen: time(),
        }])
    }

    fn pair(&self, request: PairRequest) -> Answer<'_, Device> {
        self.note("pair", &request);
        let name = request.name.unwrap_or_else(|| "devbox".into());
        yes(Device { device_id: request.device_id, name, ..device() })
    }

    fn unpair(&self, device: String) -> Answer<'_, Unpaired> {
        self.note("unpair", &device);
        yes(Unpaired { device_id: DEVBOX.into(), name: device, folders: vec!["work".into()] })
    }

    fn set_addresses(&self, name: String, request: AddressesRequest) -> Answer<'_, Device> {
        self.note("set_addresses", (&name, &request));
        yes(Device { addresses: request.addresses, ..device() })
    }

    fn rename_device(&self, id: String, request: RenameRequest) -> Answer<'_, Device> {
        self.note("rename_device", (id, &request));
        yes(Device { name: request.name, ..device() })
    }

    fn folders(&self) -> Answer<'_, Vec<Folder>> {
        yes(vec![folder("work")])
    }

    fn offers(&self) -> Answer<'_, Vec<OfferedFolder>> {
        yes(vec![OfferedFolder {
            id: "photos".into(),
            label: "Photos".into(),
            single_file: false,
            files: Some(3),
            bytes: Some(3_000_000),
            devices: shared_with(),
        }])
    }

    fn folder_add(&self, request: FolderAdd) -> Answer<'_, FolderAdded> {
        self.note("folder_add", &request);
        let id = request.id.unwrap_or_else(|| "work".into());
        let folder = Folder { path: request.path, role: request.role, ..folder(&id) };
        yes(FolderAdded { folder, suggested_ignores: vec!["node_modules".into()] })
    }

    fn folder_accept(&self, folder: String, request: AcceptRequest) -> Answer<'_, AcceptReport> {
        self.note("folder_accept", (&folder, &request));
        let report = AcceptReport {
            id: folder.clone(),
            path: request.path,
            accepted: !request.dry_run,
            equal: 1,
            only_here: 2,
            only_there: 3,
            different: 4,
            examples: vec![PathText::of(b"a\xff.txt")],
            examples_here: Vec::new(),
            examples_there: Vec::new(),
        };
        self.about(&folder, report)
    }

    fn folder_remove(&self, id: String) -> Answer<'_, FolderRemoved> {
        self.note("folder_remove", &id);
        let removed = FolderRemoved { id: id.clone(), path: PathText::of(b"/home/u/work") };
        self.about(&id, removed)
    }

    fn folder_share(&self, id: String, request: ShareRequest) -> Answer<'_, Folder> {
        self.note("folder_share", (&id, &request));
        self.about(&id, folder(&id))
    }

    fn folder_unshare(&self, id: String, request: ShareRequest) -> Answer<'_, Folder> {
        self.note("folder_unshare", (&id, &request));
        self.about(&id, folder(&id))
    }

    fn folder_pause(&self, id: String) -> Answer<'_, Folder> {
        self.note("folder_pause", &id);
        self.about(&id, Folder { state: FolderState::Paused, ..folder(&id) })
    }

    fn folder_resume(&self, id: String) -> Answer<'_, Folder> {
        self.note("folder_resume", &id);
        self.about(&id, folder(&id))
    }

    fn folder_set(&self, id: String, request: FolderChange) -> Answer<'_, Folder> {
        self.note("folder_set", (&id, &request));
        let label = request.label.unwrap_or_else(|| id.clone());
        let role = request.role.unwrap_or_default();
        self.about(&id, Folder { label, role, ..folder(&id) })
    }

    fn folder_override(&self, id: String) -> Answer<'_, Decided> {
        self.note("folder_override", &id);
        self.about(&id, Decided { id: id.clone(), items: 3 })
    }

    fn folder_revert(&self, id: String) -> Answer<'_, Decided> {
        self.note("folder_revert", &id);
        self.about(&id, Decided { id: id.clone(), items: 1 })
    }

    fn folder_adopt(&self, id: String) -> Answer<'_, Folder> {
        self.note("folder_adopt", &id);
        self.about(&id, folder(&id))
    }

    fn folder_move(&self, id: String, request: FolderMove) -> Answer<'_, Folder> {
        self.note("folder_move", (&id, &request));
        self.about(&id, Folder { path: request.path, ..folder(&id) })
    }

    fn scan(&self, request: ScanRequest) -> Answer<'_, ScanReport> {
        self.note("scan", &request);
        let id = request.folder.unwrap_or_else(|| "work".into());
        let folders = vec![ScannedFolder { id: id.clone(), files: 100, changed: 2 }];
        self.about(&id, ScanReport { folders, took_ms: 42 })
    }

    fn verify(&self, request: VerifyRequest) -> Answer<'_, VerifyReport> {
        self.note("verify", &request);
        let id = request.folder.unwrap_or_else(|| "work".into());
        let one = VerifiedFolder {
            id: id.clone(),
            whole: 99,
            bytes: 6144,
            changed: 0,
            rotten: vec![PathText::of(b"/home/u/work/a")],
            unread: Vec::new(),
        };
        self.about(&id, VerifyReport { folders: vec![one], took_ms: 42 })
    }

    fn flush(&self, request: FlushRequest) -> Answer<'_, FlushReport> {
        self.note("flush", &request);
        let id = request.folder.unwrap_or_else(|| "work".into());
        if id == "slow" {
            return no(ApiError::timed_out("devbox did not hold everything within 1 ms")
                .listing(["devbox: 3 files to go"]));
        }
        let devices = vec![FlushedDevice { name: "devbox".into(), device_id: DEVBOX.into() }];
        let folders = vec![FlushedFolder { id: id.clone(), files: 100, devices }];
        self.about(&id, FlushReport { folders, took_ms: 1234 })
    }

    fn conflicts(&self, query: FolderQuery) -> Answer<'_, Vec<Conflict>> {
        self.note("conflicts", &query);
        yes(vec![Conflict {
            folder: "work".into(),
            path: PathText::of(b"notes.txt"),
            copy: PathText::of(b"notes.sync-conflict-20260102-030405-CEIRCEI.txt"),
            device: Some("devbox".into()),
            time: time(),
            size: 6,
        }])
    }

    fn conflict(&self, path: PathText) -> Answer<'_, ConflictView> {
        self.note("conflict", &path);
        yes(ConflictView {
            folder: "work".into(),
            path: PathText::of(b"notes.txt"),
            copy: PathText::of(b"notes.sync-conflict-20260102-030405-CEIRCEI.txt"),
            base: Some(side("laptop", "one\ntwo\n")),
            mine: side("laptop", "one\nTWO\n"),
            theirs: side("devbox", "one\ntwo\x1b[31m\n"),
        })
    }

    fn resolve(&self, request: ResolveRequest) -> Answer<'_, Resolved> {
        self.note("resolve", &request);
        let path = PathText::of(b"notes.txt");
        yes(Resolved { folder: "work".into(), path, kept: request.keep, left: 0 })
    }

    fn trash(&self, query: FolderQuery) -> Answer<'_, Vec<Trashed>> {
        self.note("trash", &query);
        yes(vec![Trashed {
            id: "t1".into(),
            folder: "work".into(),
            path: PathText::of(b"old.txt"),
            size: 2048,
            time: time(),
            reason: TrashReason::Replaced,
            device: Some("devbox".into()),
        }])
    }

    fn restore(&self, request: RestoreRequest) -> Answer<'_, Restored> {
        self.note("restore", &request);
        let path = request.to.or(request.from).unwrap_or_default();
        yes(Restored { id: request.id.unwrap_or_else(|| "t1".into()), path, size: 2048 })
    }

    fn empty_trash(&self, request: EmptyRequest) -> Answer<'_, Emptied> {
        self.note("empty_trash", &request);
        yes(Emptied { files: 3, bytes: 6144 })
    }

    fn why(&self, path: PathText) -> Answer<'_, Why> {
        self.note("why", &path);
        let reason = Reason {
            kind: ReasonKind::Ignored,
            what: "a rule ignores it".into(),
            remedy: Some("take the rule out".into()),
            file: Some(".stignore".into()),
            line: Some(3),
            device: None,
            time: "2026-11-20T19:24:02Z".parse().ok(),
        };
        yes(Why { folder: Some("work".into()), path, reasons: vec![reason] })
    }

    fn held(&self, query: FolderQuery) -> Answer<'_, Vec<Held>> {
        self.note("held", &query);
        yes(vec![Held {
            id: "h1".into(),
            folder: "work".into(),
            kind: HeldKind::Deletes,
            device: None,
            files: 40,
            of_files: 50,
            since: time(),
            what: "40 of 50 files are gone".into(),
            remedy: "approve if you deleted them, reject to bring them back".into(),
            examples: vec![PathText::of(b"a.txt")],
            lines: Vec::new(),
        }])
    }

    fn approve(&self, id: String) -> Answer<'_, HeldAnswer> {
        self.note("approve", &id);
        yes(answer(id, true))
    }

    fn reject(&self, id: String) -> Answer<'_, HeldAnswer> {
        self.note("reject", &id);
        yes(answer(id, false))
    }

    fn events(&self, query: EventsQuery) -> Answer<'_, BoxStream<'static, Event>> {
        self.note("events", query);
        let known = (1..=3).map(event).filter(move |e| Some(e.id) > query.since);
        let known = futures::stream::iter(known.collect::<Vec<_>>());
        yes(match query.follow {
            true => known.chain(futures::stream::pending()).boxed(),
            false => known.boxed(),
        })
    }
}
