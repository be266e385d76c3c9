//! The credentials that signatures are checked against, and how a signed member is read.

use std::borrow::Cow;
use std::fmt::Display;

use serde_json::value::RawValue;

use super::ask::is_too_deep;
use crate::config;
use crate::protocol::Member;
use crate::protocol::signature::{self, FormerSecret};
use crate::time::Now;

/// The most characters of a user id.
pub(super) const MAX_USER_ID: usize = 128;

/// The settings of an app with its key and secret, and the former secret while it is valid.
pub(super) struct Credentials<'a> {
    pub(super) settings: &'a config::App,
    pub(super) former: Option<&'a str>,
}

impl<'a> Credentials<'a> {
    /// The credentials of an app as they are valid now.
    pub(super) fn of(settings: &'a config::App, former: Option<&'a FormerSecret>, now: Now) -> Self {
        Self {
            settings,
            former: former.and_then(|former| former.at(now)),
        }
    }

    /// Checks `auth`, which has the form key:signature. Each of the messages may be signed. `request` and `expected`
    /// name the request and the message in errors.
    pub(super) fn check(
        &self,
        auth: &str,
        messages: &[&str],
        request: &str,
        expected: impl Display,
    ) -> Result<(), Cow<'static, str>> {
        let Some((key, given)) = auth.split_once(':') else {
            return Err("`auth` has the form key:signature".into());
        };
        if key != self.settings.key {
            return Err(format!("Invalid key in {request} auth data: '{key}'").into());
        }
        let is_of = |message: &&str| {
            signature::matches_either(&self.settings.secret, self.former, &[message.as_bytes()], given)
        };
        match messages.iter().any(is_of) {
            true => Ok(()),
            false => {
                Err(format!("Invalid signature: Expected HMAC SHA256 hex digest of {expected}, but got {given}").into())
            }
        }
    }
}

/// Reads a member from JSON. `key` is the name of the field with the user id, which is a string or a number: the
/// example of `channel_data` in the documentation has a number (pusher.md 4.1), and so have hand-written sign-ins
/// (section 17).
pub(super) fn read_member(json: &str, key: &str) -> Result<Member, &'static str> {
    if is_too_deep(json) {
        return Err("user data is nested too deeply");
    }
    let data: std::collections::BTreeMap<Cow<'_, str>, Box<RawValue>> =
        serde_json::from_str(json).map_err(|_| "user data is not a JSON object")?;
    let id: Option<serde_json::Value> = data.get(key).and_then(|raw| serde_json::from_str(raw.get()).ok());
    let Some(user_id) = id.as_ref().and_then(read_id) else {
        return Err("the user's id is a string that is not empty, or a number");
    };
    if user_id.chars().count() > MAX_USER_ID {
        return Err("the user's id has at most 128 characters");
    }
    let user_info = data.get("user_info").filter(|info| info.get() != "null").cloned();
    Ok(Member { user_id, user_info })
}

/// A user id as a string: 10 and "10" are the same user.
pub(super) fn read_id(value: &serde_json::Value) -> Option<Box<str>> {
    match value {
        serde_json::Value::String(id) if !id.is_empty() => Some(id.as_str().into()),
        serde_json::Value::Number(id) => Some(id.to_string().into()),
        _ => None,
    }
}
