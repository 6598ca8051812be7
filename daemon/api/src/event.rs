//! What happened, as it happens.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::PathText;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Grows with every event, also over restarts of the daemon.
    pub id: u64,
    /// When it happened.
    pub time: Timestamp,
    /// What kind, in lower case with dashes, such as `folder-state` or `file-settled`.
    pub kind: String,
    /// The folder's id, if it concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// The path inside the folder, if it concerns one.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathText>,
    /// The full id of the other device, if it concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// What happened, in one sentence.
    pub text: String,
    /// What more there is to say of this kind.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub data: Map<String, Value>,
}

/// Which events to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// Only events with a greater id. If not given: all that are still known or, when following,
    /// only those to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Whether to go on as server-sent events, until the asker hangs up. `Accept:
    /// text/event-stream` says the same.
    #[serde(default)]
    pub follow: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_object() {
        let mut event = Event {
            id: 7,
            time: "2026-01-02T03:04:05Z".parse().unwrap(),
            kind: "file-settled".into(),
            folder: Some("work".into()),
            path: Some(PathText::of(b"a\xff")),
            device_id: None,
            text: "took a".into(),
            data: Map::new(),
        };
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(
            json,
            concat!(
                r#"{"id":7,"time":"2026-01-02T03:04:05Z","kind":"file-settled","folder":"work","#,
                r#""path":"a\\xff","path_hex":"61ff","text":"took a"}"#
            )
        );
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
        event.path = None;
        let json = serde_json::to_string(&event).unwrap();
        assert!(!json.contains("path"), "{json}");
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }
}
