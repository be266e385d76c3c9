//! Answers requests about channels (pusher.md 9.2): which ones are occupied, how many subscriptions and users they
//! have, and who the users are.

use bytes::Bytes;
use http::Response;
use serde::{Serialize, Serializer};

use super::parameters::Parameters;
use super::reply::{Refusal, json};
use crate::hub::app::App;
use crate::hub::channel::Occupancy;
use crate::protocol::channel::{ChannelName, Kind};
use crate::time::Now;

/// The attributes that a request's `info` lists. Unknown names are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    user_count: bool,
    subscription_count: bool,
    cache: bool,
}

impl Wanted {
    /// Reads a list that is separated by commas.
    pub fn read(list: &str) -> Self {
        let has = |name| list.split(',').any(|item| item.trim() == name);
        Self {
            user_count: has("user_count"),
            subscription_count: has("subscription_count"),
            cache: has("cache"),
        }
    }

    fn of(parameters: &Parameters<'_>) -> Result<Self, Refusal> {
        Ok(parameters.one("info")?.map(Self::read).unwrap_or_default())
    }
}

/// The attributes of a channel in an answer.
#[derive(Debug, Default, Serialize)]
pub struct Attributes {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_count: Option<usize>,
}

impl Attributes {
    /// The attributes that are both wanted and available. Only presence channels have users, and the channel of a
    /// signed-in user shows nothing.
    pub fn of(channel: ChannelName<'_>, occupancy: Option<Occupancy>, wanted: Wanted) -> Self {
        if channel.kind() == Kind::ServerToUser {
            return Self::default();
        }
        let users = || occupancy.and_then(|o| o.users).unwrap_or(0);
        let subscriptions = || occupancy.map_or(0, |o| o.subscriptions);
        Self {
            user_count: (wanted.user_count && channel.kind() == Kind::Presence).then(users),
            subscription_count: wanted.subscription_count.then(subscriptions),
        }
    }
}

/// `{"channels":{"name":{…},…}}`. Without channels, the value is an empty object.
#[derive(Debug, Serialize)]
pub struct ByChannel<'a> {
    #[serde(serialize_with = "as_object")]
    pub channels: Vec<(&'a str, Attributes)>,
}

fn as_object<S: Serializer>(pairs: &[(&str, Attributes)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, attributes)| (name, attributes)))
}

/// `GET /channels`
pub fn list(app: &App, parameters: &Parameters<'_>) -> Result<Response<Bytes>, Refusal> {
    let wanted = Wanted::of(parameters)?;
    let prefix = parameters.one("filter_by_prefix")?.unwrap_or_default();
    if wanted.user_count && !prefix.starts_with("presence-") {
        // The misspelling is hosted Pusher's, because people search for this message.
        return Err(Refusal::bad(
            "user_count may only be requested for presence channels - please supply filter_by_prefix begining with \
             presence-",
        ));
    }
    let channels = app
        .visible()
        .occupied(prefix)
        .into_iter()
        .filter_map(|(name, occupancy)| {
            let channel = ChannelName::parse(name).ok()?;
            Some((name, Attributes::of(channel, Some(occupancy), wanted)))
        })
        .collect();
    Ok(json(&ByChannel { channels }))
}

/// `GET /channels/{name}`
pub fn one(app: &App, name: &str, parameters: &Parameters<'_>, now: Now) -> Result<Response<Bytes>, Refusal> {
    #[derive(Serialize)]
    struct State<'a> {
        occupied: bool,
        #[serde(flatten)]
        attributes: Attributes,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache: Option<Option<Cached<'a>>>,
    }
    #[derive(Serialize)]
    struct Cached<'a> {
        data: &'a str,
        ttl: u64,
    }

    let channel = visible(name)?;
    let wanted = Wanted::of(parameters)?;
    if wanted.user_count && channel.kind() != Kind::Presence {
        return Err(Refusal::bad(
            "Cannot retrieve the user count unless the channel is a presence channel",
        ));
    }
    let occupancy = app.visible().occupancy(name);
    let cached = || app.cached(name, now).map(|(data, ttl)| Cached { data, ttl });
    Ok(json(&State {
        occupied: occupancy.is_some(),
        attributes: Attributes::of(channel, occupancy, wanted),
        cache: wanted.cache.then(cached),
    }))
}

/// `GET /channels/{name}/users`
pub fn users(app: &App, name: &str) -> Result<Response<Bytes>, Refusal> {
    #[derive(Serialize)]
    struct Users<'a> {
        users: Vec<User<'a>>,
    }
    #[derive(Serialize)]
    struct User<'a> {
        id: &'a str,
    }

    if visible(name)?.kind() != Kind::Presence {
        return Err(Refusal::bad("Users can only be retrieved for presence channels"));
    }
    let users = app.visible().members(name).into_iter().map(|id| User { id }).collect();
    Ok(json(&Users { users }))
}

/// `GET /connections`, an endpoint of Reverb.
pub fn connections(app: &App) -> Response<Bytes> {
    json(&serde_json::json!({"connections": app.visible().connections()}))
}

/// Parses a channel's name. The channels of signed-in users are refused, because their state is not shown.
fn visible(name: &str) -> Result<ChannelName<'_>, Refusal> {
    let channel = ChannelName::parse(name).map_err(|why| Refusal::bad(invalid_channel(name, why)))?;
    if channel.kind() == Kind::ServerToUser {
        return Err(Refusal::bad("The channels of signed-in users cannot be asked for"));
    }
    Ok(channel)
}

/// A message that names the channel, shortened to the longest length of a name.
pub fn invalid_channel(name: &str, why: &str) -> String {
    match name.char_indices().nth(200) {
        None => format!("Invalid channel name {name:?}: {why}"),
        Some((end, _)) => format!("Invalid channel name {:?}…: {why}", &name[..end]),
    }
}
