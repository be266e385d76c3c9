//! The words of clients: their requests, and what they read from frames.

use bytes::Bytes;
use http::Request;
use serde_json::Value;

use crate::service::caller::Caller;

/// The channel of a user's own events.
pub fn user_event(user: &str) -> String {
    format!("#server-to-user-{user}")
}

/// The names and data of events, without those of the protocol.
pub fn events(frames: &[Value]) -> Vec<(&str, &str)> {
    let named = frames
        .iter()
        .filter_map(|frame| Some((frame["event"].as_str()?, frame["data"].as_str()?)));
    named.filter(|(name, _)| !name.starts_with("pusher")).collect()
}

/// The members that came and went.
pub fn members(frames: &[Value]) -> Vec<(&str, String)> {
    let named = frames.iter().filter_map(|frame| {
        let name = frame["event"].as_str()?.strip_prefix("pusher_internal:")?;
        let data: Value = serde_json::from_str(frame["data"].as_str()?).ok()?;
        name.starts_with("member_")
            .then(|| (name, data["user_id"].as_str().unwrap_or_default().to_owned()))
    });
    named.collect()
}

/// A frame as JSON.
pub fn frame(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Where all clients are.
pub fn caller() -> Caller {
    Caller {
        address: Some([203, 0, 113, 1].into()),
        admin: false,
        surplus: false,
        secure: false,
    }
}

/// A request without a body, or with this one.
pub fn request(method: &str, target: &str, body: &str) -> Request<Bytes> {
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "example.org");
    request.body(body.to_owned().into()).expect("a request")
}
