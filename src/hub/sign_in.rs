//! Sign-in and watchlists (pusher.md section 7), and how a user is read from signed JSON, here and for presence channels.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::app::App;
use super::ask::is_too_deep;
use super::presence::Member;
use super::session::{Door, User};
use super::users::WatchlistEvents;
use crate::id::ConnectionId;
use crate::protocol::actions::Actions;
use crate::protocol::frames::{self, Extra};
use crate::protocol::signature;
use crate::time::Now;

/// Characters of a user id.
const MAX_USER_ID: usize = 128;

/// Users of a watchlist; the rest is left out (error 4302).
const MAX_WATCHLIST: usize = 100;

#[derive(Deserialize)]
pub(super) struct SignIn<'a> {
    #[serde(borrow)]
    auth: Cow<'a, str>,
    #[serde(borrow)]
    user_data: Cow<'a, str>,
}

impl App {
    pub(super) fn sign_in(
        &mut self,
        id: ConnectionId,
        sign_in: &SignIn<'_>,
        door: &mut Door<'_>,
        now: Now,
        actions: &mut Actions,
    ) {
        let (member, mut watchlist) = match self.check_sign_in(id, sign_in, now) {
            Ok(checked) => checked,
            Err(why) => return actions.send(id, frames::error(&why, None)),
        };
        let Some(session) = self.session(id) else { return };
        if let Some(user) = &session.user {
            let same = user.member.user_id == member.user_id;
            return match same {
                true => tell_signed_in(id, &sign_in.user_data, actions),
                false => actions.send(id, frames::error("the connection is signed in as another user", None)),
            };
        }
        tell_signed_in(id, &sign_in.user_data, actions);
        if watchlist.len() > MAX_WATCHLIST {
            watchlist.truncate(MAX_WATCHLIST);
            let why = format!("a watchlist has at most {MAX_WATCHLIST} users; the rest was left out");
            actions.send(id, frames::error(&why, Some(4302)));
        }
        if !self.settings.watchlist {
            watchlist.clear();
        }
        let user_id = member.user_id.clone();
        if let Some(site) = door.site.as_deref_mut() {
            site.signed_in(id, &user_id, now);
        }
        let Some(session) = self.session(id) else { return };
        let hears = session.hears_events();
        let place = self.users.sign_in(&user_id, id, hears);
        let Some(session) = self.session(id) else { return };
        session.authorized = true;
        session.user = Some(Box::new(User {
            member,
            place,
            watchlist: watchlist.clone(),
            subscribed: false,
        }));
        if place == 0 {
            self.tell_watchers("online", &user_id, id, actions);
        }
        for user in &watchlist {
            self.users.watch(user, id);
        }
        let status = self.users.status(&watchlist);
        if !status.is_empty() {
            actions.send(id, watchlist_frame(&status));
        }
    }

    fn check_sign_in(
        &mut self,
        id: ConnectionId,
        sign_in: &SignIn<'_>,
        now: Now,
    ) -> Result<(Member, Vec<Box<str>>), Cow<'static, str>> {
        if !self.settings.user_authentication {
            return Err("user authentication is not enabled for this app".into());
        }
        let Some(socket) = self.session(id).map(|session| session.socket.to_string()) else {
            return Err("the connection is gone".into());
        };
        let Some((key, given)) = sign_in.auth.split_once(':') else {
            return Err("`auth` has the form key:signature".into());
        };
        if key != self.settings.key {
            return Err(format!("Invalid key in sign-in auth data: '{key}'").into());
        }
        let signed: [&[u8]; 3] = [socket.as_bytes(), b"::user::", sign_in.user_data.as_bytes()];
        if !signature::matches_either(&self.settings.secret, self.former_secret(now), &signed, given) {
            return Err(format!(
                "Invalid signature: Expected HMAC SHA256 hex digest of {socket}::user::{{user_data}}, but got {given}"
            )
            .into());
        }
        let member = read_member(&sign_in.user_data, "id", Ids::Strings)?;
        #[derive(Deserialize)]
        struct Watching {
            #[serde(default)]
            watchlist: Option<Vec<serde_json::Value>>,
        }
        let watching: Watching =
            serde_json::from_str(&sign_in.user_data).map_err(|_| "`watchlist` in user_data is not a list")?;
        let mut watchlist: Vec<Box<str>> = Vec::new();
        for entry in watching.watchlist.unwrap_or_default() {
            match read_id(&entry) {
                Some(id) if !watchlist.contains(&id) => watchlist.push(id),
                Some(_) => {}
                None => return Err("`watchlist` in user_data is a list of user ids".into()),
            }
            // One more than is taken is enough to know that there were too many.
            if watchlist.len() > MAX_WATCHLIST {
                break;
            }
        }
        Ok((member, watchlist))
    }

    pub(super) fn sign_out(&mut self, id: ConnectionId, user: &User, actions: &mut Actions) {
        for watched in &user.watchlist {
            self.users.unwatch(watched, id);
        }
        let user_id = &*user.member.user_id;
        let moved = self.users.sign_out(user_id, user.place);
        if let Some(moved) = moved.and_then(|id| self.session(id)?.user.as_mut()) {
            moved.place = user.place;
        }
        if self.users.connections(user_id).is_empty() {
            self.tell_watchers("offline", user_id, id, actions);
        }
    }

    fn tell_watchers(&self, change: &'static str, user_id: &str, but: ConnectionId, actions: &mut Actions) {
        let watchers = self.users.watchers(user_id).filter(|watcher| *watcher != but);
        actions.fan_out(
            watchers,
            watchlist_frame(&WatchlistEvents::change(change, user_id)).into(),
        );
    }
}

fn tell_signed_in(id: ConnectionId, user_data: &str, actions: &mut Actions) {
    #[derive(serde::Serialize)]
    struct SignedIn<'a> {
        user_data: &'a str,
    }
    actions.send(
        id,
        frames::plain("pusher:signin_success", None, &SignedIn { user_data }),
    );
}

fn watchlist_frame(events: &WatchlistEvents<'_>) -> String {
    frames::protocol("pusher_internal:watchlist_events", None, events, Extra::default())
}

/// What a user id may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    /// A sign-in (pusher.md 7.2).
    Strings,
    /// `channel_data`, where the documentation's own example has a number (4.1).
    StringsAndNumbers,
}

/// A member from its JSON; `key` is what its id is called there.
pub(super) fn read_member(json: &str, key: &str, ids: Ids) -> Result<Member, &'static str> {
    if is_too_deep(json) {
        return Err("user data is nested too deeply");
    }
    let data: std::collections::BTreeMap<Cow<'_, str>, Box<RawValue>> =
        serde_json::from_str(json).map_err(|_| "user data is not a JSON object")?;
    let id: Option<serde_json::Value> = data.get(key).and_then(|raw| serde_json::from_str(raw.get()).ok());
    if ids == Ids::Strings && id.as_ref().is_some_and(serde_json::Value::is_number) {
        return Err("the user's id is a string that is not empty");
    }
    let Some(user_id) = id.as_ref().and_then(read_id) else {
        return Err("the user's id is a string that is not empty, or a number");
    };
    if user_id.chars().count() > MAX_USER_ID {
        return Err("the user's id has at most 128 characters");
    }
    let user_info = data.get("user_info").filter(|info| info.get() != "null").cloned();
    Ok(Member { user_id, user_info })
}

/// A user id as a string: 10 and "10" are one user.
fn read_id(value: &serde_json::Value) -> Option<Box<str>> {
    match value {
        serde_json::Value::String(id) if !id.is_empty() => Some(id.as_str().into()),
        serde_json::Value::Number(id) => Some(id.to_string().into()),
        _ => None,
    }
}
