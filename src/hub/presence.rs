//! The members of a presence channel (pusher.md section 4): distinct users, each with any number of connections. A user
//! is a member from its first connection to its last. The `user_info` of the first connection counts.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::protocol::Member;

/// All members of a channel.
#[derive(Debug, Default)]
pub struct Members {
    users: BTreeMap<Box<str>, Present>,
}

/// A user who is a member. It is written as its `user_info`.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Present {
    #[serde(skip)]
    connections: usize,
    user_info: Option<Box<RawValue>>,
}

impl Present {
    fn cost(&self, user_id: &str) -> usize {
        let info = self.user_info.as_ref().map_or(0, |info| info.get().len());
        size_of::<Self>() + size_of::<Box<str>>() + user_id.len() + info
    }
}

impl Members {
    /// The number of distinct users.
    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    /// The ids of the users.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(|id| &**id)
    }

    /// The users in order, each with its public data.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Option<&RawValue>)> {
        let all = self.users.iter();
        all.map(|(id, present)| (&**id, present.user_info.as_deref()))
    }

    /// Whether a user is a member.
    pub fn has(&self, user_id: &str) -> bool {
        self.users.contains_key(user_id)
    }

    /// Adds a connection of a user. For the user's first connection, returns the estimated bytes that the member takes.
    pub fn add(&mut self, member: &Member) -> Option<usize> {
        match self.users.get_mut(&member.user_id) {
            Some(present) => {
                present.connections += 1;
                None
            }
            None => {
                let present = Present {
                    connections: 1,
                    user_info: member.user_info.clone(),
                };
                let cost = present.cost(&member.user_id);
                self.users.insert(member.user_id.clone(), present);
                Some(cost)
            }
        }
    }

    /// Removes a connection of a user. For the user's last connection, returns the estimated bytes that the member
    /// took.
    pub fn remove(&mut self, user_id: &str) -> Option<usize> {
        let present = self.users.get_mut(user_id)?;
        present.connections -= 1;
        if present.connections > 0 {
            return None;
        }
        let present = self.users.remove(user_id)?;
        Some(present.cost(user_id))
    }

    /// The data of `subscription_succeeded`.
    pub fn roll(&self) -> impl Serialize + '_ {
        roll(self.ids().collect(), &self.users)
    }
}

/// The data of `subscription_succeeded`: the members' ids, and the public data by id.
pub fn roll<'a>(ids: Vec<&'a str>, hash: impl Serialize + 'a) -> impl Serialize + 'a {
    #[derive(Serialize)]
    struct Roll<'a, H> {
        presence: Presence<'a, H>,
    }
    #[derive(Serialize)]
    struct Presence<'a, H> {
        ids: Vec<&'a str>,
        hash: H,
        count: usize,
    }
    let count = ids.len();
    Roll {
        presence: Presence { ids, hash, count },
    }
}
