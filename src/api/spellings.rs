//! The paths over which the signature of a request may be made. They name the same resource, and the libraries differ
//! in the one that they sign (pusher.md section 17):
//!
//! - pusher-http-php signs the path without its option `path`, which is the prefix here, and sends it with the prefix;
//! - it signs the id of a user as it is, and sends it percent-encoded;
//! - a proxy may decode or encode unreserved characters on the way.
//!
//! A text that is signed must not mean two different requests. So the path with the decoded id counts only if a request
//! for exactly this path would mean the same user.

use std::borrow::Cow;

use bytes::Bytes;
use http::Request;

use super::Target;
use super::parameters::decode;
use crate::config;
use crate::protocol::percent::AsSent;

/// The end of the path that closes a user's connections.
pub(super) const TERMINATE: &str = "/terminate_connections";

/// All these paths, the one that was sent first. Usually there is one.
pub fn of<'a>(request: &'a Request<Bytes>, config: &config::Pusher) -> Vec<Cow<'a, str>> {
    let path = request.uri().path();
    let sent = request.extensions().get::<AsSent>();
    let mut spellings = Vec::with_capacity(2);
    spellings.extend(sent.map(|AsSent(path)| Cow::Borrowed(path.as_str())));
    spellings.push(Cow::Borrowed(path));
    spellings.extend(with_decoded_user(path).map(Cow::Owned));
    if !config.path.is_empty() {
        let others: Vec<_> = spellings.iter().filter_map(|path| other_prefix(path, config)).collect();
        spellings.extend(others.into_iter().map(Cow::Owned));
    }
    spellings
}

/// The path without the prefix that it has, or with the prefix that it does not have.
fn other_prefix(path: &str, config: &config::Pusher) -> Option<String> {
    match path.strip_prefix(config.path.as_str()).filter(|rest| Target::is(rest)) {
        Some(rest) => Some(rest.to_owned()),
        None => Target::is(path).then(|| format!("{}{path}", config.path)),
    }
}

/// The path with the user's id as the library got it.
fn with_decoded_user(path: &str) -> Option<String> {
    let (before, user) = path.strip_suffix(TERMINATE)?.split_once("/users/")?;
    let decoded = decode(user)?;
    let means_the_same = decode(&decoded).is_none_or(|again| again == decoded);
    (decoded != user && means_the_same).then(|| format!("{before}/users/{decoded}{TERMINATE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spellings(prefix: &str, path: &str, sent: Option<&str>) -> Vec<String> {
        let config = config::Pusher {
            path: prefix.to_owned(),
            ..config::Pusher::default()
        };
        let mut request = Request::get(path).body(Bytes::new()).unwrap();
        if let Some(sent) = sent {
            request.extensions_mut().insert(AsSent(sent.to_owned()));
        }
        of(&request, &config).into_iter().map(Cow::into_owned).collect()
    }

    #[test]
    fn usually_there_is_one() {
        for path in [
            "/apps/1/events",
            "/apps/1/users/7/terminate_connections",
            "/apps/1/channels/a%2Cb",
        ] {
            assert_eq!(spellings("", path, None), [path]);
        }
    }

    #[test]
    fn the_prefix_is_there_or_not() {
        assert_eq!(
            spellings("/live", "/live/apps/1/events", None),
            ["/live/apps/1/events", "/apps/1/events"]
        );
        assert_eq!(
            spellings("/live", "/apps/1/events", None),
            ["/apps/1/events", "/live/apps/1/events"]
        );
        // A prefix that looks like a part of the API.
        assert_eq!(
            spellings("/apps", "/apps/apps/1/x", None),
            ["/apps/apps/1/x", "/apps/1/x"]
        );
        assert_eq!(
            spellings("/apps", "/apps/1/events", None),
            ["/apps/1/events", "/apps/apps/1/events"]
        );
    }

    #[test]
    fn the_path_as_it_was_sent_comes_first() {
        let (path, sent) = ("/live/apps/1/events", "/live/apps/1/ev%65nts");
        assert_eq!(
            spellings("/live", path, Some(sent)),
            [sent, path, "/apps/1/ev%65nts", "/apps/1/events"]
        );
        // An encoded prefix is not taken away.
        let sent = "/%6Cive/apps/1/events";
        assert_eq!(spellings("/live", path, Some(sent)), [sent, path, "/apps/1/events"]);
    }

    #[test]
    fn the_id_of_a_user_is_encoded_or_not() {
        let user = |user: &str| format!("/apps/1/users/{user}/terminate_connections");
        for (encoded, raw) in [
            ("a%20b", "a b"),
            ("%C3%A9", "é"),
            ("a%2Fb", "a/b"),
            ("100%25", "100%"),
            ("a%3Fb", "a?b"),
        ] {
            assert_eq!(spellings("", &user(encoded), None), [user(encoded), user(raw)]);
        }
        let prefixed = format!("/live{}", user("a%20b"));
        assert_eq!(
            spellings("/live", &prefixed, None),
            [
                prefixed.clone(),
                format!("/live{}", user("a b")),
                user("a%20b"),
                user("a b")
            ]
        );
        let bare = "/users/a%40b/terminate_connections";
        assert_eq!(spellings("", bare, None), [bare, "/users/a@b/terminate_connections"]);
        // The signed text `/apps/1/users/%41/…` means the user A, and not the user %41.
        assert_eq!(spellings("", &user("%2541"), None), [user("%2541")]);
        // Only this path has the id of a user.
        assert_eq!(
            spellings("", "/apps/1/channels/a%40b", None),
            ["/apps/1/channels/a%40b"]
        );
    }
}
