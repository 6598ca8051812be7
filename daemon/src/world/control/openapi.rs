//! The document at `/v1/openapi.json`: every route, what it takes and what it answers.
//!
//! Written by hand beside the routes, and held against them and against real answers by tests.

use serde_json::{Map, Value, json};

use super::routes::Verb::{self, Delete, Get, Patch, Post, Put};
use super::schemas;

/// One route, as the document tells it. Types are written as in [`schemas`].
pub(super) struct Operation {
    pub(super) verb: Verb,
    pub(super) path: &'static str,
    summary: &'static str,
    query: &'static [(&'static str, &'static str)],
    /// The schema of the body; empty for none.
    body: &'static str,
    /// The schema of the answer.
    pub(super) answer: &'static str,
}

const fn op(
    verb: Verb,
    path: &'static str,
    summary: &'static str,
    body: &'static str,
    answer: &'static str,
) -> Operation {
    Operation { verb, path, summary, query: &[], body, answer }
}

const fn asking(
    path: &'static str,
    summary: &'static str,
    query: &'static [(&'static str, &'static str)],
    answer: &'static str,
) -> Operation {
    Operation { verb: Get, path, summary, query, body: "", answer }
}

const FOLDER: &[(&str, &str)] = &[("folder", "text?")];
const PATH: &[(&str, &str)] = &[("path", "text"), ("path_hex", "text?")];
const EVENTS: &[(&str, &str)] = &[("since", "integer?"), ("follow", "boolean?")];

/// Every route, sorted by path and method.
pub(super) const OPERATIONS: &[Operation] = &[
    asking("/v1/conflicts", "Lists conflict copies", FOLDER, "[Conflict]"),
    op(Post, "/v1/conflicts/resolve", "Ends a conflict", "ResolveRequest", "Resolved"),
    asking("/v1/conflicts/show", "Shows both versions and their base", PATH, "ConflictView"),
    op(Get, "/v1/devices", "Lists trusted devices", "", "[Device]"),
    op(Post, "/v1/devices", "Trusts a device", "PairRequest", "Device"),
    op(Delete, "/v1/devices/{device}", "Trusts a device no longer", "", "Unpaired"),
    op(
        Put,
        "/v1/devices/{device}/addresses",
        "Replaces a device's addresses",
        "AddressesRequest",
        "Device",
    ),
    op(Put, "/v1/devices/{device}/name", "Renames a device", "RenameRequest", "Device"),
    asking("/v1/events", "Lists events, or follows them as server-sent events", EVENTS, "[Event]"),
    op(Post, "/v1/flush", "Waits until all is durable elsewhere", "FlushRequest", "FlushReport"),
    op(Get, "/v1/folders", "Lists folders", "", "[Folder]"),
    op(Post, "/v1/folders", "Shares a directory or a file", "FolderAdd", "FolderAdded"),
    op(Delete, "/v1/folders/{folder}", "Shares a folder no longer", "", "FolderRemoved"),
    op(Patch, "/v1/folders/{folder}", "Changes a folder's settings", "FolderChange", "Folder"),
    op(
        Post,
        "/v1/folders/{folder}/accept",
        "Takes an offered folder",
        "AcceptRequest",
        "AcceptReport",
    ),
    op(Post, "/v1/folders/{folder}/adopt", "Takes a halted root back", "", "Folder"),
    op(Post, "/v1/folders/{folder}/move", "Says where a root lies now", "FolderMove", "Folder"),
    op(Post, "/v1/folders/{folder}/override", "Makes this side win", "", "Decided"),
    op(Post, "/v1/folders/{folder}/pause", "Stops a folder", "", "Folder"),
    op(Post, "/v1/folders/{folder}/resume", "Lets a paused folder go on", "", "Folder"),
    op(Post, "/v1/folders/{folder}/revert", "Gives up what was changed here", "", "Decided"),
    op(Post, "/v1/folders/{folder}/share", "Adds devices to a folder", "ShareRequest", "Folder"),
    op(
        Post,
        "/v1/folders/{folder}/unshare",
        "Takes devices from a folder",
        "ShareRequest",
        "Folder",
    ),
    op(Get, "/v1/health", "Tells that the daemon is there", "", "Health"),
    asking("/v1/held", "Lists changes that wait for a person", FOLDER, "[Held]"),
    op(Post, "/v1/held/{id}/approve", "Lets held changes go on", "", "HeldAnswer"),
    op(Post, "/v1/held/{id}/reject", "Undoes held changes", "", "HeldAnswer"),
    op(Get, "/v1/offers", "Lists offered folders", "", "[OfferedFolder]"),
    op(Get, "/v1/openapi.json", "This document", "", "object"),
    op(Get, "/v1/pending", "Lists devices that ask to be trusted", "", "[PendingDevice]"),
    op(Post, "/v1/scan", "Scans now", "ScanRequest", "ScanReport"),
    op(Get, "/v1/status", "Tells how all folders stand", "", "Status"),
    asking("/v1/trash", "Lists what was displaced or deleted", FOLDER, "[Trashed]"),
    op(Post, "/v1/trash/empty", "Deletes it for good", "EmptyRequest", "Emptied"),
    op(Post, "/v1/trash/restore", "Brings something back", "RestoreRequest", "Restored"),
    op(Post, "/v1/verify", "Reads all files again", "VerifyRequest", "VerifyReport"),
    asking("/v1/why", "Tells why a path is as it is", PATH, "Why"),
];

/// Makes the document.
pub(super) fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let of_path = paths.entry(operation.path).or_insert_with(|| json!({}));
        of_path[operation.verb.name()] = described(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "syncd control API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "On the home's control.sock, and on [http] listen with the token of \
                            http.token. Refusals are ApiError; its exit is syncctl's exit code.",
        },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas::all(),
        },
    })
}

fn described(operation: &Operation) -> Value {
    let in_path = operation.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(json!({
            "name": name, "in": "path", "required": true, "schema": { "type": "string" },
        }))
    });
    let in_query = operation.query.iter().map(|(name, kind)| {
        let required = !kind.ends_with('?');
        let schema = schemas::of(kind.trim_end_matches('?'));
        json!({ "name": name, "in": "query", "required": required, "schema": schema })
    });
    let mut described = json!({
        "summary": operation.summary,
        "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "responses": {
            "200": { "description": "done", "content": answered(operation) },
            "default": {
                "description": "refused",
                "content": { "application/json": { "schema": schemas::of("ApiError") } },
            },
        },
    });
    if !operation.body.is_empty() {
        described["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": schemas::of(operation.body) } },
        });
    }
    described
}

fn answered(operation: &Operation) -> Value {
    let mut content = json!({ "application/json": { "schema": schemas::of(operation.answer) } });
    if operation.path == "/v1/events" {
        content["text/event-stream"] = json!({ "schema": { "type": "string" } });
    }
    content
}

#[cfg(test)]
mod tests {
    use super::super::routes;
    use super::*;

    #[test]
    fn every_route_is_told_and_nothing_else() {
        let mut routes = routes::table().listed;
        routes.sort_by_key(|(verb, path)| (*path, *verb));
        let mut told: Vec<_> = OPERATIONS.iter().map(|op| (op.verb, op.path)).collect();
        let sorted = told.is_sorted_by_key(|(_, path)| *path);
        assert!(sorted, "the list is sorted by path");
        told.sort_by_key(|(verb, path)| (*path, *verb));
        assert_eq!(told, routes);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let text = document.to_string();
        let mut seen = 0;
        for piece in text.split("#/components/schemas/").skip(1) {
            let name = piece.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name} is not there");
            seen += 1;
        }
        assert!(seen > OPERATIONS.len(), "every route refers to at least ApiError");
    }
}
