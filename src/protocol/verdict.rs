//! Answers that may have to wait for facts, and the attempts to give them.

use std::time::Duration;

use serde_json::value::RawValue;

use crate::time::Now;

/// Yes, no with a reason, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<Y = (), N = &'static str> {
    /// Yes, with a value.
    Yes(Y),
    /// No, with a reason.
    No(N),
    /// A fact is missing: ask the same question again later.
    NotYet,
}

/// The verdict of a site's rules on a subscription. `Yes` carries the member on a presence channel. `None`: the site
/// has no rule for the channel, and only a signature opens it.
pub type Ruling = Option<Verdict<Option<Member>>>;

/// One attempt to answer a client's request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempt {
    /// How long the client has waited; `None`: this is the first attempt.
    pub waited: Option<Duration>,
    /// The client has waited long enough: an unknown fact counts as a no.
    pub is_last: bool,
    /// The clocks.
    pub now: Now,
}

/// The user in `channel_data` or `user_data`.
#[derive(Clone, Debug)]
pub struct Member {
    /// The id as a string, also if it was signed as a number.
    pub user_id: Box<str>,
    /// Any JSON; `None`: there is none.
    pub user_info: Option<Box<RawValue>>,
}
