//! The shapes of requests and answers, as the OpenAPI document tells them.
//!
//! A type is written in one word: `text`, `integer`, `number`, `boolean`, `time`, `object`, the
//! name of another shape, or one of these in brackets for a list. With `?` a field may be missing
//! or null.

use serde_json::{Map, Value, json};

/// Shapes that are one of some words.
const WORDS: &[(&str, &[&str])] = &[
    ("FolderState", &["idle", "scanning", "syncing", "held", "halted", "error", "paused"]),
    ("HeldKind", &["deletes", "rules"]),
    ("Keep", &["mine", "theirs", "both", "merged"]),
    ("LeftOutWhy", &["ignored", "unsupported", "not-taken"]),
    ("LinkPath", &["direct-tcp", "direct-quic", "relay", "ssh"]),
    ("Prefer", &["here", "there", "newer", "copies"]),
    (
        "ReasonKind",
        &[
            "synced",
            "ignored",
            "waiting",
            "held",
            "conflict",
            "open-for-writing",
            "no-room",
            "quiet",
            "unsupported",
            "unreadable",
            "deleted",
            "missing",
            "not-in-folder",
            "folder-stopped",
            "local-change",
        ],
    ),
    ("Role", &["sendreceive", "sendonly", "receiveonly"]),
    ("TrashReason", &["replaced", "deleted", "joined", "resolved"]),
];

/// Shapes with fields, each with its type.
const OBJECTS: &[(&str, &str)] = &[
    (
        "AcceptReport",
        "id text, path text, path_hex text?, accepted boolean, equal integer, only_here integer, \
         only_there integer, different integer, examples [PathText], examples_here [PathText], \
         examples_there [PathText]",
    ),
    ("AcceptRequest", "path text, path_hex text?, prefer Prefer?, dry_run boolean?"),
    ("AddressesRequest", "addresses [text]"),
    ("ApiError", "error text, exit integer, items [text]?"),
    (
        "Conflict",
        "folder text, path text, path_hex text?, copy PathText, device text?, time time, \
         size integer",
    ),
    (
        "ConflictView",
        "folder text, path text, path_hex text?, copy PathText, base Side?, mine Side, \
         theirs Side",
    ),
    ("Decided", "id text, items integer"),
    (
        "Device",
        "device_id text, name text, connected boolean, path LinkPath?, rtt_ms number?, \
         last_seen time?, addresses [text], clock_ahead_s integer?",
    ),
    (
        "DeviceSync",
        "name text, device_id text, connected boolean, in_sync boolean, need_files integer, \
         left_out [LeftOut]",
    ),
    ("Emptied", "files integer, bytes integer"),
    ("EmptyRequest", "folder text?, older_than_ms integer?"),
    (
        "Event",
        "id integer, time time, kind text, folder text?, path text?, path_hex text?, \
         device_id text?, text text, data object?",
    ),
    ("FlushReport", "folders [FlushedFolder], took_ms integer"),
    ("FlushRequest", "folder text?, devices [text]?, all boolean?, timeout_ms integer?"),
    ("FlushedDevice", "name text, device_id text"),
    ("FlushedFolder", "id text, files integer, devices [FlushedDevice]"),
    (
        "Folder",
        "id text, path text, path_hex text?, label text, role Role, single_file boolean, \
         state FolderState, devices [FolderDevice]",
    ),
    (
        "FolderAdd",
        "path text, path_hex text?, id text?, label text?, with [text]?, role Role?, \
         ignore [text]?, starter_ignores boolean?",
    ),
    (
        "FolderAdded",
        "id text, path text, path_hex text?, label text, role Role, single_file boolean, \
         state FolderState, devices [FolderDevice], suggested_ignores [text]",
    ),
    (
        "FolderChange",
        "label text?, role Role?, paused boolean?, rescan_s integer?, \
         verify_days integer?, in_place [text]?, history_days integer?, \
         history_versions integer?, history_percent integer?, \
         free_mib integer?, ignore [text]?, starter_ignores boolean?",
    ),
    (
        "FolderDevice",
        "name text, device_id text, accepted boolean, in_sync boolean, left_out [LeftOut]",
    ),
    ("FolderMove", "path text, path_hex text?"),
    ("FolderRemoved", "id text, path text, path_hex text?"),
    (
        "FolderStatus",
        "id text, path text, path_hex text?, label text, role Role, state FolderState, \
         files integer, bytes integer, need_files integer, need_bytes integer, \
         out_of_sync integer, local_changes integer, conflicts integer, held integer, \
         devices [DeviceSync], problems [Problem]",
    ),
    (
        "Health",
        "version text, api integer, device_id text, name text, pid integer, started time, \
         listening [text], watches_used integer",
    ),
    (
        "Held",
        "id text, folder text, kind HeldKind, device text?, files integer, of_files integer, \
         since time, what text, do text, examples [PathText], lines [text]",
    ),
    ("HeldAnswer", "id text, folder text, approved boolean, files integer"),
    (
        "OfferedFolder",
        "id text, label text, single_file boolean, files integer?, bytes integer?, \
         devices [FolderDevice]",
    ),
    ("LeftOut", "why LeftOutWhy, files integer"),
    ("PairRequest", "device_id text, name text?, addresses [text]?"),
    ("PathText", "path text, path_hex text?"),
    ("PendingDevice", "device_id text, name text, address text?, first_seen time, last_seen time"),
    ("Problem", "path text, path_hex text?, what text, do text"),
    (
        "Reason",
        "kind ReasonKind, what text, do text?, file text?, line integer?, device text?, \
         time time?",
    ),
    ("RenameRequest", "name text"),
    ("ResolveRequest", "path text, path_hex text?, keep Keep, with PathText?"),
    ("Resolved", "folder text, path text, path_hex text?, kept Keep, left integer"),
    ("RestoreRequest", "id text?, from PathText?, to PathText?"),
    ("Restored", "id text, path text, path_hex text?, size integer"),
    ("ScanReport", "folders [ScannedFolder], took_ms integer"),
    ("ScanRequest", "folder text?"),
    ("ScannedFolder", "id text, files integer, changed integer"),
    ("ShareRequest", "with [text]"),
    ("Side", "file PathText?, device text?, time time, size integer, content text?, text text?"),
    ("Status", "device_id text, name text, folders [FolderStatus], problems [Problem]"),
    (
        "Trashed",
        "id text, folder text, path text, path_hex text?, size integer, time time, \
         reason TrashReason, device text?",
    ),
    ("Unpaired", "device_id text, name text, folders [text]"),
    (
        "VerifiedFolder",
        "id text, whole integer, bytes integer, changed integer, rotten [PathText], \
         unread [PathText]",
    ),
    ("VerifyReport", "folders [VerifiedFolder], took_ms integer"),
    ("VerifyRequest", "folder text?, repair boolean?"),
    ("Why", "folder text?, path text, path_hex text?, reasons [Reason]"),
];

/// Makes the schema of a type written in one word.
pub(super) fn of(kind: &str) -> Value {
    if let Some(inner) = kind.strip_suffix('?') {
        return json!({ "anyOf": [of(inner), { "type": "null" }] });
    }
    if let Some(inner) = kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']')) {
        return json!({ "type": "array", "items": of(inner) });
    }
    match kind {
        "text" => json!({ "type": "string" }),
        "time" => json!({ "type": "string", "format": "date-time" }),
        "integer" | "number" | "boolean" | "object" => json!({ "type": kind }),
        name => json!({ "$ref": format!("#/components/schemas/{name}") }),
    }
}

/// Makes all shapes, by name.
pub(super) fn all() -> Map<String, Value> {
    let words = WORDS
        .iter()
        .map(|(name, words)| ((*name).to_owned(), json!({ "type": "string", "enum": words })));
    let objects = OBJECTS.iter().map(|(name, fields)| {
        let fields = || fields.split(", ").filter_map(|field| field.split_once(' '));
        let required = fields().filter(|(_, kind)| !kind.ends_with('?')).map(|(name, _)| name);
        let properties: Map<String, Value> =
            fields().map(|(name, kind)| (name.to_owned(), of(kind))).collect();
        let required: Vec<&str> = required.collect();
        let shape = json!({ "type": "object", "properties": properties, "required": required });
        ((*name).to_owned(), shape)
    });
    words.chain(objects).collect()
}

/// Tells where `value` is not of the type `kind`: a field too many, too few, or of another type.
#[cfg(test)]
pub(super) fn differs(value: &Value, kind: &str, at: &str) -> Vec<String> {
    if let Some(inner) = kind.strip_suffix('?') {
        return if value.is_null() { Vec::new() } else { differs(value, inner, at) };
    }
    if let Some(inner) = kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']')) {
        let Some(items) = value.as_array() else { return vec![format!("{at}: no list")] };
        return items.iter().flat_map(|item| differs(item, inner, &format!("{at}[]"))).collect();
    }
    let fits = match kind {
        "text" => value.is_string(),
        "time" => value.as_str().is_some_and(|t| t.parse::<jiff::Timestamp>().is_ok()),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        name => {
            if let Some((_, words)) = WORDS.iter().find(|(known, _)| *known == name) {
                value.as_str().is_some_and(|word| words.contains(&word))
            } else {
                let (_, fields) = OBJECTS.iter().find(|(known, _)| *known == name).unwrap();
                return object_differs(value, fields, at);
            }
        }
    };
    if fits { Vec::new() } else { vec![format!("{at}: {value} is no {kind}")] }
}

#[cfg(test)]
fn object_differs(value: &Value, fields: &str, at: &str) -> Vec<String> {
    let Some(object) = value.as_object() else { return vec![format!("{at}: no object")] };
    let fields: std::collections::BTreeMap<&str, &str> =
        fields.split(", ").map(|field| field.split_once(' ').unwrap()).collect();
    let unknown = object.keys().filter(|name| !fields.contains_key(name.as_str()));
    let mut differing: Vec<String> = unknown.map(|name| format!("{at}.{name}: untold")).collect();
    for (name, kind) in &fields {
        match object.get(*name) {
            Some(value) => differing.extend(differs(value, kind, &format!("{at}.{name}"))),
            None if kind.ends_with('?') => {}
            None => differing.push(format!("{at}.{name}: missing")),
        }
    }
    differing
}
