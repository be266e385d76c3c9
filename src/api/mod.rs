//! The HTTP API of the Pusher protocol (pusher.md sections 9 and 7.6). This file decides which requests belong to the
//! API, which resource a request is for, and which app it belongs to. Each submodule handles the part that it is named
//! after; the hub carries out an event.
//!
//! A request is refused for the first of these reasons: its app is unknown (404), nothing is at its path (404), its
//! method is not allowed (405), its query cannot be read (400), it is not signed (401), its app is disabled (403).

pub mod auth;
mod body;
mod channels;
pub mod parameters;
pub mod publish;
mod rate;
pub mod reply;
pub mod spellings;

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use self::body::Body;
use self::parameters::Parameters;
use self::rate::Rates;
use self::reply::{Refusal, json};
use crate::config;
use crate::hub::app::App;
use crate::hub::apps::Apps;
use crate::protocol::actions::Actions;
use crate::protocol::effects::Effect;
use crate::time::{Now, Time};

/// The message for an app that is disabled.
const DISABLED: &str = "This app is disabled";

/// Whether the API answers plain requests for this path, also wrong ones.
pub fn is_for(path: &str, config: &config::Pusher) -> bool {
    Target::read(path, config).is_some()
}

/// The result of a request.
#[derive(Debug)]
pub enum Answered {
    /// The response is ready.
    Now(Response<Bytes>),
    /// The request is for the status of the app with this number; the service must gather it.
    Status(usize),
}

/// The API. Between two requests it keeps only how much was published recently.
#[derive(Debug, Default)]
pub struct Api {
    rates: Rates,
}

impl Api {
    /// Publishes an event to one channel with the limits of a request, but without a signature. Returns to how many
    /// connections the event was sent.
    ///
    /// # Errors
    /// Why the event may not be published, as a sentence for people.
    pub fn publish(
        &mut self,
        app: &mut App,
        channel: &str,
        name: &str,
        data: &str,
        now: Now,
        actions: &mut Actions,
    ) -> Result<usize, Cow<'static, str>> {
        if !app.settings.enabled {
            return Err(DISABLED.into());
        }
        let request = publish::Request::of(channel, name, data);
        let published = request.publish(app, &mut self.rates, now, actions);
        published
            .map(|(_, deliveries)| deliveries)
            .map_err(|refusal| refusal.text)
    }

    /// Another process of the cluster published this many events of an app at `now`. They count here too.
    pub fn published_elsewhere(&mut self, app: &config::App, count: u32, now: Time) {
        self.rates.spend(app, count, now);
    }

    /// Answers a request for which `is_for` holds.
    pub fn answer(
        &mut self,
        request: &Request<Bytes>,
        apps: &mut Apps,
        config: &config::Pusher,
        now: Now,
        actions: &mut Actions,
    ) -> Answered {
        self.decide(request, apps, config, now, actions)
            .unwrap_or_else(|refusal| Answered::Now(refusal.into_response()))
    }

    fn decide(
        &mut self,
        request: &Request<Bytes>,
        apps: &mut Apps,
        config: &config::Pusher,
        now: Now,
        actions: &mut Actions,
    ) -> Result<Answered, Refusal> {
        let target = Target::read(request.uri().path(), config).ok_or_else(nothing_there)?;
        let query = || Parameters::parse(request.uri().query().unwrap_or_default());
        let (app, resource, named, parameters) = match target {
            Target::App { id, rest } => {
                let app = find_id(id, apps)?;
                let (resource, named) = Resource::read(rest).ok_or_else(nothing_there)?;
                resource.check_method(request.method())?;
                (app, resource, named, query()?)
            }
            Target::User(user) => {
                let resource = Resource::Terminate;
                resource.check_method(request.method())?;
                let parameters = query()?;
                (find_key(&parameters, apps)?, resource, user, parameters)
            }
        };
        let number = app;
        let app = apps.app_mut(app);
        auth::check(request, &parameters, &app.settings, app.former_secret(now), config, now)?;
        if !app.settings.enabled {
            return Err(Refusal::new(StatusCode::FORBIDDEN, DISABLED));
        }
        let is_counted = parameters.all(publish::COUNTED).any(|value| value == "1");
        let published = |(mut response, deliveries): (Response<Bytes>, usize)| {
            if is_counted {
                response.headers_mut().insert(publish::DELIVERIES, deliveries.into());
            }
            response
        };
        let response = match resource {
            Resource::Status => return Ok(Answered::Status(number)),
            Resource::Events => {
                let request = publish::Request::single(request.body(), &parameters)?;
                request.publish(app, &mut self.rates, now, actions).map(published)
            }
            Resource::BatchEvents => {
                let request = publish::Request::batch(request.body())?;
                request.publish(app, &mut self.rates, now, actions).map(published)
            }
            Resource::Nudge => {
                actions.effect(Effect::Nudge(number));
                Ok(json(&serde_json::json!({})))
            }
            Resource::Channels => channels::list(app, &parameters),
            Resource::Channel => channels::one(app, &segment(named)?, &parameters, now),
            Resource::Users => channels::users(app, &segment(named)?),
            Resource::Connections => Ok(channels::connections(app)),
            Resource::Terminate => {
                // The request needs no body. But a body that was sent must be readable.
                Body::read(request.body())?;
                // Some libraries put the id into the path without encoding it. An id that cannot be decoded was
                // therefore not encoded.
                let user = parameters::decode(named).unwrap_or(Cow::Borrowed(named));
                actions.effect(Effect::TerminateUser(number, user.into_owned()));
                Ok(json(&serde_json::json!({})))
            }
        };
        response.map(Answered::Now)
    }
}

/// The app that a path names, and the rest of the path.
enum Target<'a> {
    /// `/apps/{id}/…`
    App { id: &'a str, rest: &'a str },
    /// `/users/{id}/terminate_connections`: pusher-http-python leaves the app out of the path, so `auth_key` names the
    /// app.
    User(&'a str),
}

impl<'a> Target<'a> {
    /// Reads a path. The prefix may be left out: libraries without an option for it cannot send it.
    fn read(path: &'a str, config: &config::Pusher) -> Option<Self> {
        let behind = path.strip_prefix(config.path.as_str());
        behind.and_then(Self::read_bare).or_else(|| Self::read_bare(path))
    }

    /// Whether a path without a prefix is of the API.
    fn is(path: &str) -> bool {
        Target::read_bare(path).is_some()
    }

    fn read_bare(path: &'a str) -> Option<Self> {
        if let Some(rest) = path.strip_prefix("/apps/") {
            let (id, rest) = rest.split_once('/').unwrap_or((rest, ""));
            return Some(Target::App { id, rest });
        }
        let user = path.strip_prefix("/users/")?.strip_suffix(spellings::TERMINATE)?;
        (!user.is_empty()).then_some(Target::User(user))
    }
}

/// The resources of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Publish one event.
    Events,
    /// Publish several events.
    BatchEvents,
    /// List the occupied channels.
    Channels,
    /// List the members of a presence channel.
    Users,
    /// Show one channel.
    Channel,
    /// Count the connections.
    Connections,
    /// Show the status of the app.
    Status,
    /// Poll the outbox table now.
    Nudge,
    /// Close a user's connections.
    Terminate,
}

const GET: &str = "GET, HEAD";
const POST: &str = "POST";

/// Every resource by its path behind `/apps/{id}/`, with the methods that it answers. `{}` stands for the name of a
/// channel, which has no slash, or for the id of a user, which may have any character.
pub const RESOURCES: [(&str, &str, Resource); 9] = [
    ("events", POST, Resource::Events),
    ("batch_events", POST, Resource::BatchEvents),
    ("channels", GET, Resource::Channels),
    ("channels/{}/users", GET, Resource::Users),
    ("channels/{}", GET, Resource::Channel),
    ("connections", GET, Resource::Connections),
    ("status", GET, Resource::Status),
    ("nudge", POST, Resource::Nudge),
    ("users/{}/terminate_connections", POST, Resource::Terminate),
];

impl Resource {
    /// Finds the resource by the path behind `/apps/{id}/`, undecoded (a `%2F` is no slash). Also returns the part of
    /// the path that stands in place of `{}`.
    fn read(path: &str) -> Option<(Self, &str)> {
        RESOURCES.iter().find_map(|(form, _, resource)| {
            let Some((before, behind)) = form.split_once("{}") else {
                return (*form == path).then_some((*resource, ""));
            };
            let part = path.strip_prefix(before)?.strip_suffix(behind)?;
            let fits = match resource {
                // pusher-http-node escapes nothing, so the whole part in between is the id.
                Resource::Terminate => !part.is_empty(),
                _ => !part.contains('/'),
            };
            fits.then_some((*resource, part))
        })
    }

    fn check_method(self, method: &Method) -> Result<(), Refusal> {
        let own = RESOURCES.iter().find(|(.., resource)| *resource == self);
        let allowed = own.map_or("", |(_, allowed, _)| *allowed);
        if allowed.split(", ").any(|allowed| allowed == method.as_str()) {
            return Ok(());
        }
        let text = format!("This path answers {}, not {method}", allowed.replace(", ", " and "));
        Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, text).with(header::ALLOW, HeaderValue::from_static(allowed)))
    }
}

fn nothing_there() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "There is nothing at this path")
}

fn find_id(id: &str, apps: &Apps) -> Result<usize, Refusal> {
    parameters::decode(id)
        .and_then(|id| apps.find_id(&id))
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, format!("There is no app with the id {id:?}")))
}

fn find_key(parameters: &Parameters<'_>, apps: &Apps) -> Result<usize, Refusal> {
    let key = parameters.one("auth_key")?.ok_or_else(auth::no_key)?;
    apps.find_key(key)
        .ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, format!("Unknown auth_key {key:?}")))
}

/// Decodes a channel's name from the path.
fn segment(text: &str) -> Result<Cow<'_, str>, Refusal> {
    parameters::decode(text).ok_or_else(|| Refusal::bad("The path holds a percent sign or bytes that mean nothing"))
}

#[cfg(test)]
mod tests;
