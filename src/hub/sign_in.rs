//! Sign-in and watchlists (pusher.md section 7).

use std::borrow::Cow;

use serde::Deserialize;

use super::app::App;
use super::ask::Asked;
use super::credentials::{Credentials, Ids, read_id, read_member};
use super::session::User;
use super::users::WatchlistEvents;
use crate::id::ConnectionId;
use crate::protocol::actions::Actions;
use crate::protocol::frames::{self, Extra};
use crate::protocol::{Member, SocketId};
use crate::time::Now;

/// The most users of a watchlist; the rest is left out (error 4302).
const MAX_WATCHLIST: usize = 100;

#[derive(Deserialize)]
pub(super) struct SignIn<'a> {
    #[serde(borrow)]
    auth: Cow<'a, str>,
    #[serde(borrow)]
    user_data: Cow<'a, str>,
}

impl SignIn<'_> {
    /// Checks the signature. Returns the user and its watchlist.
    fn check(
        &self,
        socket: SocketId,
        credentials: &Credentials<'_>,
    ) -> Result<(Member, Vec<Box<str>>), Cow<'static, str>> {
        let socket = socket.to_string();
        let Some((key, given)) = self.auth.split_once(':') else {
            return Err("`auth` has the form key:signature".into());
        };
        if key != credentials.key {
            return Err(format!("Invalid key in sign-in auth data: '{key}'").into());
        }
        let signed: [&[u8]; 3] = [socket.as_bytes(), b"::user::", self.user_data.as_bytes()];
        if !credentials.matches(&signed, given) {
            return Err(format!(
                "Invalid signature: Expected HMAC SHA256 hex digest of {socket}::user::{{user_data}}, but got {given}"
            )
            .into());
        }
        let member = read_member(&self.user_data, "id", Ids::Strings)?;
        #[derive(Deserialize)]
        struct Watching {
            #[serde(default)]
            watchlist: Option<Vec<serde_json::Value>>,
        }
        let watching: Watching =
            serde_json::from_str(&self.user_data).map_err(|_| "`watchlist` in user_data is not a list")?;
        let mut watchlist: Vec<Box<str>> = Vec::new();
        for entry in watching.watchlist.unwrap_or_default() {
            match read_id(&entry) {
                Some(id) if !watchlist.contains(&id) => watchlist.push(id),
                Some(_) => {}
                None => return Err("`watchlist` in user_data is a list of user ids".into()),
            }
            // One user more than the limit is enough to detect that the list is too long.
            if watchlist.len() > MAX_WATCHLIST {
                break;
            }
        }
        Ok((member, watchlist))
    }
}

impl App {
    pub(super) fn sign_in(&mut self, id: ConnectionId, sign_in: &SignIn<'_>, now: Now, actions: &mut Actions) -> Asked {
        let checked = match self.roster.find(id) {
            _ if !self.settings.user_authentication => Err("user authentication is not enabled for this app".into()),
            None => Err("the connection is gone".into()),
            Some(session) => sign_in.check(session.socket, &self.credentials(now)),
        };
        let (member, mut watchlist) = match checked {
            Ok(checked) => checked,
            Err(why) => {
                actions.send(id, frames::error(&why, None));
                return Asked::Done;
            }
        };
        let Some(session) = self.roster.session(id) else {
            return Asked::Done;
        };
        if let Some(user) = &session.user {
            let same = user.member.user_id == member.user_id;
            match same {
                true => tell_signed_in(id, &sign_in.user_data, actions),
                false => actions.send(id, frames::error("the connection is signed in as another user", None)),
            }
            return Asked::Done;
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
        let Some(session) = self.roster.session(id) else {
            return Asked::Done;
        };
        let hears = session.hears_events();
        let place = self.roster.users.sign_in(&user_id, id, hears);
        let Some(session) = self.roster.session(id) else {
            return Asked::Done;
        };
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
            self.roster.users.watch(user, id);
        }
        let status = self.roster.users.status(&watchlist);
        if !status.is_empty() {
            actions.send(id, watchlist_frame(&status));
        }
        Asked::SignedIn(user_id)
    }

    pub(super) fn sign_out(&mut self, id: ConnectionId, user: &User, actions: &mut Actions) {
        for watched in &user.watchlist {
            self.roster.users.unwatch(watched, id);
        }
        let user_id = &*user.member.user_id;
        let moved = self.roster.users.sign_out(user_id, user.place);
        if let Some(moved) = moved.and_then(|id| self.roster.session(id)?.user.as_mut()) {
            moved.place = user.place;
        }
        if self.roster.users.connections(user_id).is_empty() {
            self.tell_watchers("offline", user_id, id, actions);
        }
    }

    fn tell_watchers(&self, change: &'static str, user_id: &str, but: ConnectionId, actions: &mut Actions) {
        let watchers = self.roster.users.watchers(user_id).filter(|watcher| *watcher != but);
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
