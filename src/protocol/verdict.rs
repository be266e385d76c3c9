//! Answers that may have to wait until more is known, and the tries at them.

use std::time::Duration;

use serde_json::value::RawValue;

use crate::time::Now;

/// Yes, no and why, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<Y = (), N = &'static str> {
    /// Yes, and what follows.
    Yes(Y),
    /// No, and why.
    No(N),
    /// More must be known first: the same question is asked again later.
    NotYet,
}

/// What a site's rules say of a subscription: it may be, on a presence channel as this member. `None`: the site has no
/// say, and only a signature opens the channel.
pub type Ruling = Option<Verdict<Option<Member>>>;

/// One try to answer what a client asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempt {
    /// How long the client has been waiting; `None`: this is the first try.
    pub waited: Option<Duration>,
    /// The client has waited long enough: what is not known is a no.
    pub is_last: bool,
    /// The clocks.
    pub now: Now,
}

/// A user's own description in `channel_data` or `user_data`.
#[derive(Clone, Debug)]
pub struct Member {
    /// As a string, also when it was signed as a number.
    pub user_id: Box<str>,
    /// Any JSON; `None`: there was none.
    pub user_info: Option<Box<RawValue>>,
}
