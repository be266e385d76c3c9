//! What the site says to a connection that wants to subscribe, and what the members of its presence channels are
//! called.

use serde_json::json;

use super::access::{Verdict, pseudonym};
use crate::hub::presence::Member;
use crate::store::UserRow;

/// Whether a connection may subscribe to a channel by the site's rules.
#[derive(Clone, Debug)]
pub enum May {
    /// It may.
    Yes,
    /// It may, as this member of a presence channel.
    As(Member),
    /// It may not, for this reason.
    No(&'static str),
    /// It is not known yet: ask again when the connection is woken.
    NotYet,
    /// The site has no say: only a signature opens the channel.
    NotOurs,
}

impl From<Verdict> for May {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Yes => May::Yes,
            Verdict::No(why) => May::No(why),
            Verdict::NotYet => May::NotYet,
            Verdict::NotOurs => May::NotOurs,
        }
    }
}

/// A user as a member of a presence channel: by real id and names, or by a pseudonym.
pub(super) fn member(pseudonyms: &[u8], channel: &str, user: &UserRow, names: bool) -> Member {
    if names {
        let info = json!({"name": user.name, "username": user.username});
        return Member {
            user_id: user.id.to_string().into(),
            user_info: serde_json::value::to_raw_value(&info).ok(),
        };
    }
    Member {
        user_id: pseudonym(pseudonyms, channel, user.id).into(),
        user_info: None,
    }
}
