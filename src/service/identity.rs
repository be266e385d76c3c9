//! What a connection is to the apps and to the site, for the logs. It has ids only, never a name.

use std::fmt;

use super::home::Home;
use super::members::{Member, Speaks};
use crate::hub::apps::Apps;
use crate::id::ConnectionId;

/// The app and the user of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity<'a> {
    /// The id of the app, if this is a connection of the Pusher protocol.
    pub app: Option<&'a str>,
    /// The id of the user, by a sign-in or by the session of the site; `None`: a guest, or not known.
    pub user: Option<String>,
}

impl<'a> Identity<'a> {
    /// The identity of a connection now.
    pub(super) fn of(id: ConnectionId, member: &Member, apps: &'a Apps, home: &Home) -> Self {
        let (app, site) = match member.speaks {
            Speaks::Pusher(app) => (Some(apps.app(app)), home.of(app)),
            Speaks::Console(_) => (None, home.site()),
            Speaks::Http | Speaks::Echo => (None, None),
        };
        let signed_in = app.and_then(|app| app.roster.user_of(id)).map(str::to_owned);
        let known = || site?.describe(id, false)["user_id"].as_u64();
        Self {
            app: app.map(|app| app.settings.id.as_str()),
            user: signed_in.or_else(|| known().map(|user| user.to_string())),
        }
    }
}

/// The end of a sentence: ` as user 42 of the app joomla`, or nothing.
impl fmt::Display for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.user, self.app) {
            (Some(user), Some(app)) => write!(f, " as user {user} of the app {app}"),
            (Some(user), None) => write!(f, " as user {user}"),
            (None, Some(app)) => write!(f, " as a guest of the app {app}"),
            (None, None) => Ok(()),
        }
    }
}
