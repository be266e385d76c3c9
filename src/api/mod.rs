//! The HTTP API of the Pusher protocol (pusher.md sections 9 and 7.6): which requests are its, what a request asks for
//! and who may ask. What follows is decided by the file that is named after it; what an event does, by the hub.
//!
//! A request is refused by the first of: its app is not known (404), there is nothing at its path (404), its method is
//! another (405), its query cannot be read (400), it is not signed (401), its app is disabled (403).

pub mod auth;
mod body;
mod channels;
pub mod parameters;
pub mod publish;
mod rate;
pub mod reply;

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
use crate::time::Now;

/// What is said of an app that must not be used.
const DISABLED: &str = "This app is disabled";

/// Whether a plain request for this path is one for the API, rightly or wrongly.
pub fn is_for(path: &str, config: &config::Pusher) -> bool {
    Target::read(path, config).is_some()
}

/// What a request comes to.
#[derive(Debug)]
pub enum Answered {
    /// The answer.
    Now(Response<Bytes>),
    /// The status of the app with this number, for which facts have to be gathered.
    Status(usize),
}

/// The API: what it remembers between two requests is how much was published lately.
#[derive(Debug, Default)]
pub struct Api {
    rates: Rates,
}

impl Api {
    /// Publishes an event to one channel as a request for it does, with the same limits, but without a signature.
    ///
    /// # Errors
    /// Why it may not be published, for people.
    pub fn publish(
        &mut self,
        app: &mut App,
        channel: &str,
        name: &str,
        data: &str,
        now: Now,
        actions: &mut Actions,
    ) -> Result<(), Cow<'static, str>> {
        if !app.settings.enabled {
            return Err(DISABLED.into());
        }
        let request = publish::Request::of(channel, name, data);
        let published = request.publish(app, &mut self.rates, now, actions);
        published.map(drop).map_err(|refusal| refusal.text)
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
        auth::check(request, &parameters, &app.settings, app.former_secret(now), now)?;
        if !app.settings.enabled {
            return Err(Refusal::new(StatusCode::FORBIDDEN, DISABLED));
        }
        let response = match resource {
            Resource::Status => return Ok(Answered::Status(number)),
            Resource::Events => {
                let request = publish::Request::single(request.body(), &parameters)?;
                request.publish(app, &mut self.rates, now, actions)
            }
            Resource::BatchEvents => {
                let request = publish::Request::batch(request.body())?;
                request.publish(app, &mut self.rates, now, actions)
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
                // Nothing is asked for in the body; but who sends one means it to be read.
                Body::read(request.body())?;
                // Some libraries put the id into the path as it is, so what cannot be decoded was not encoded.
                let user = parameters::decode(named).unwrap_or(Cow::Borrowed(named));
                app.terminate(&user, actions);
                actions.effect(Effect::TerminateVisitor(number, user.into_owned()));
                Ok(json(&serde_json::json!({})))
            }
        };
        response.map(Answered::Now)
    }
}

/// Whose resource a path is: all of it but what one app has.
enum Target<'a> {
    /// `/apps/{id}/…`
    App { id: &'a str, rest: &'a str },
    /// `/users/{id}/terminate_connections`: pusher-http-python leaves the app out, so its key says which one.
    User(&'a str),
}

impl<'a> Target<'a> {
    fn read(path: &'a str, config: &config::Pusher) -> Option<Self> {
        let path = path.strip_prefix(config.path.as_str())?;
        if let Some(rest) = path.strip_prefix("/apps/") {
            let (id, rest) = rest.split_once('/').unwrap_or((rest, ""));
            return Some(Target::App { id, rest });
        }
        let user = path.strip_prefix("/users/")?.strip_suffix("/terminate_connections")?;
        (!user.is_empty()).then_some(Target::User(user))
    }
}

/// What an app has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// To publish one event.
    Events,
    /// To publish several.
    BatchEvents,
    /// The channels that are occupied.
    Channels,
    /// The members of a presence channel.
    Users,
    /// One channel.
    Channel,
    /// How many connections there are.
    Connections,
    /// How the app is.
    Status,
    /// To look at the outbox table now.
    Nudge,
    /// To close a user's connections.
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
    /// By the path behind `/apps/{id}/`, as it was sent (a `%2F` is no slash), with what stands in it for `{}`.
    fn read(path: &str) -> Option<(Self, &str)> {
        RESOURCES.iter().find_map(|(form, _, resource)| {
            let Some((before, behind)) = form.split_once("{}") else {
                return (*form == path).then_some((*resource, ""));
            };
            let part = path.strip_prefix(before)?.strip_suffix(behind)?;
            let fits = match resource {
                // pusher-http-node escapes nothing: what stands between is the id.
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

/// A channel's name in the path.
fn segment(text: &str) -> Result<Cow<'_, str>, Refusal> {
    parameters::decode(text).ok_or_else(|| Refusal::bad("The path holds a percent sign or bytes that mean nothing"))
}

#[cfg(test)]
mod tests;
