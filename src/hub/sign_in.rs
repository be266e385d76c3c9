//! Sign-in and watchlists (pusher.md section 7).

use std::borrow::Cow;

use serde::Deserialize;

use super::ask::Asked;
use super::credentials::{Credentials, read_id, read_member};
use super::notices::{Notices, watchlist_frame};
use super::roster::Roster;
use super::session::User;
use super::users::status;
use super::visible::Visible;
use crate::id::ConnectionId;
use crate::protocol::actions::Actions;
use crate::protocol::frames;
use crate::protocol::{Member, SocketId};

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
    /// Signs a connection in, or informs it why not.
    pub(super) fn answer(
        &self,
        id: ConnectionId,
        roster: &mut Roster,
        credentials: &Credentials<'_>,
        notices: &Notices,
        actions: &mut Actions,
    ) -> Asked {
        let Some(session) = roster.sessions.get_mut(id) else {
            return Asked::Done;
        };
        let checked = match credentials.settings.user_authentication {
            true => self.check(session.socket, credentials),
            false => Err("user authentication is not enabled for this app".into()),
        };
        let (member, mut watchlist) = match checked {
            Ok(checked) => checked,
            Err(why) => {
                // A reason that was made at run time may repeat a signature or the data of the user.
                match &why {
                    Cow::Borrowed(why) => log::debug!("{id} is not signed in: {why}"),
                    Cow::Owned(_) => log::debug!("{id} is not signed in: the key or the signature is wrong"),
                }
                actions.send(id, frames::error(&why, None));
                return Asked::Done;
            }
        };
        if let Some(user) = &session.user {
            match user.member.user_id == member.user_id {
                true => tell_signed_in(id, &self.user_data, actions),
                false => actions.send(id, frames::error("the connection is signed in as another user", None)),
            }
            return Asked::Done;
        }
        log::debug!("{id} is signed in as user {}", member.user_id);
        tell_signed_in(id, &self.user_data, actions);
        if watchlist.len() > MAX_WATCHLIST {
            watchlist.truncate(MAX_WATCHLIST);
            let why = format!("a watchlist has at most {MAX_WATCHLIST} users; the rest was left out");
            actions.send(id, frames::error(&why, Some(4302)));
        }
        if !credentials.settings.watchlist {
            watchlist.clear();
        }
        let user_id = member.user_id.clone();
        let place = roster.users.sign_in(&user_id, id, session.hears_events());
        session.authorized = true;
        session.user = Some(Box::new(User {
            member,
            place,
            watchlist: watchlist.clone(),
            subscribed: false,
        }));
        if place == 0 {
            notices.user(true, &user_id, id, &roster.users, actions);
        }
        for user in &watchlist {
            roster.users.watch(user, id);
        }
        let visible = Visible::of(roster, notices);
        let status = status(&watchlist, |user| visible.is_online(user));
        if !status.is_empty() {
            actions.send(id, watchlist_frame(&status));
        }
        Asked::SignedIn(user_id)
    }

    /// Checks the signature. Returns the user and its watchlist.
    fn check(
        &self,
        socket: SocketId,
        credentials: &Credentials<'_>,
    ) -> Result<(Member, Vec<Box<str>>), Cow<'static, str>> {
        let signed = format!("{socket}::user::{}", self.user_data);
        let expected = format_args!("{socket}::user::{{user_data}}");
        credentials.check(&self.auth, &[&signed], "sign-in", expected)?;
        let member = read_member(&self.user_data, "id")?;
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

/// A connection that was signed in as this user ends.
pub(super) fn sign_out(id: ConnectionId, user: &User, roster: &mut Roster, notices: &Notices, actions: &mut Actions) {
    for watched in &user.watchlist {
        roster.users.unwatch(watched, id);
    }
    let user_id = &*user.member.user_id;
    let moved = roster.users.sign_out(user_id, user.place);
    if let Some(moved) = moved.and_then(|id| roster.session(id)?.user.as_mut()) {
        moved.place = user.place;
    }
    if roster.users.connections(user_id).is_empty() {
        notices.user(false, user_id, id, &roster.users, actions);
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
