//! The paths of the server, and the sentences for requests that are rejected.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};

use super::accept;
use super::caller::Call;
use super::metrics::{self, Format};
use super::page::Page;
use super::snapshot::Snapshot;
use crate::api::reply;
use crate::config::Config;
use crate::flight::SAMPLE;
use crate::protocol::actions::LoopView;
use crate::site::{CONSOLE, MONITOR};

/// An answer that rejects a request, with a status and a sentence.
pub type Refusal = Box<Response<Bytes>>;

/// The targets of plain requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The console: its page and its WebSocket.
    Console,
    /// A line that says what is here, for everybody who does not want the console's page.
    Greeting,
    /// A WebSocket that echoes every message.
    Echo,
    /// Whether the server is alive.
    Health,
    /// Whether the server accepts new connections.
    Ready,
    /// The state of the server in numbers.
    Status,
    /// The records of the loop.
    Loop,
    /// The state of the server for Prometheus.
    Metrics,
}

/// The answer of `/ready` while the server drains.
pub const DRAINING: &str = "draining: new connections are turned away";

/// The answer of `/ready` until this process knows what the others of the cluster hold, at most two seconds.
pub const JOINING: &str = "joining the cluster: ready in a moment";

/// Every path that has an answer, except those of the Pusher protocol.
pub const PATHS: [(&str, Place); 8] = [
    ("/", Place::Console),
    ("/echo", Place::Echo),
    ("/health", Place::Health),
    ("/up", Place::Health),
    ("/ready", Place::Ready),
    ("/debug/status", Place::Status),
    ("/debug/loop", Place::Loop),
    ("/metrics", Place::Metrics),
];

impl Place {
    /// The target at a path.
    fn at(path: &str) -> Option<Self> {
        let (_, place) = PATHS.iter().find(|(known, _)| *known == path)?;
        Some(*place)
    }

    /// The target of a plain request; `None`: there is none, or it is switched off. `OPTIONS *` is for the server as a
    /// whole and useful as a ping only (RFC 9110 section 9.3.7), so it gets the answer of `/`.
    fn of(call: &Call<'_>, config: &Config) -> Option<Self> {
        let is_for_all = call.path() == "*";
        match Self::at(if is_for_all { "/" } else { call.path() })? {
            Place::Console if !config.console.enabled || !wants_page(call) => Some(Place::Greeting),
            Place::Echo if !config.echo.enabled => None,
            place => Some(place),
        }
    }

    /// The methods that the target answers. Health checks use OPTIONS too: HAProxy's default is `OPTIONS /`.
    fn methods(self) -> &'static str {
        match self {
            Place::Console | Place::Greeting | Place::Health => "GET, HEAD, OPTIONS",
            Place::Echo | Place::Ready | Place::Status | Place::Loop | Place::Metrics => "GET, HEAD",
        }
    }

    /// The permission on com_websockets with which a user of the site may read a guarded place; `None`: everybody may
    /// read the place.
    fn permission(self) -> Option<&'static str> {
        match self {
            Place::Console => Some(CONSOLE),
            Place::Status | Place::Loop | Place::Metrics => Some(MONITOR),
            Place::Greeting | Place::Echo | Place::Health | Place::Ready => None,
        }
    }
}

/// Whether the request is a browser's, which names the type of a page. Health checks, load balancers and command lines
/// do not.
fn wants_page(call: &Call<'_>) -> bool {
    accept::weight(call.request.headers(), |name, _| name == "text/html") > 0.0
}

/// A WebSocket protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/`
    Console,
    /// `/echo`
    Echo,
}

/// The answer to a plain request.
#[derive(Debug)]
pub enum Answer {
    /// The response is ready.
    Now(Box<Response<Bytes>>),
    /// The caller may see this; the service must gather it.
    State(State),
    /// The caller may see the records of the loop.
    Loop(LoopView),
}

/// A view of the server's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All numbers, as JSON.
    Status,
    /// All numbers, for Prometheus.
    Metrics(Format),
}

impl State {
    /// The response that shows it.
    pub fn show(self, snapshot: &Snapshot) -> Response<Bytes> {
        match self {
            State::Status => reply::json(snapshot),
            State::Metrics(format) => metrics::response(snapshot, format),
        }
    }
}

/// The permission that a user of the site needs for a request that reads a guarded place; `None`: it does not.
pub fn permission(call: &Call<'_>, config: &Config) -> Option<&'static str> {
    let place = Place::of(call, config).filter(|_| reads(call));
    place.and_then(Place::permission)
}

/// The ticks that `?since=N&limit=M` asks for: all of them without these parameters.
fn ticks(call: &Call<'_>) -> Result<LoopView, &'static str> {
    let value = |name| call.query().split('&').find_map(|pair| pair.strip_prefix(name));
    let since = value("since=").map_or(Ok(0), str::parse);
    let limit = value("limit=").map_or(Ok(SAMPLE), str::parse).ok();
    Ok(LoopView::Json {
        since: since.map_err(|_| "since must be the number of a tick")?,
        limit: limit
            .filter(|limit| (1..=SAMPLE).contains(limit))
            .ok_or("limit must be a number from 1 to 1024")?,
    })
}

fn reads(call: &Call<'_>) -> bool {
    matches!(*call.request.method(), Method::GET | Method::HEAD)
}

/// Answers a plain request. `may`: the request's session belongs to a user with the [`permission`] for it. `unready`:
/// why no traffic should come.
pub fn answer(call: &Call<'_>, may: bool, config: &Config, page: &Page, unready: Option<&'static str>) -> Answer {
    let response = match open(call, may, config) {
        Err(refusal) => refusal,
        Ok(place) if *call.request.method() == Method::OPTIONS => Box::new(options(place)),
        Ok(Place::Greeting) => Box::new(greeting(config)),
        Ok(Place::Console) => Box::new(page.response(call.request.headers())),
        Ok(Place::Status) => return Answer::State(State::Status),
        Ok(Place::Metrics) => return Answer::State(State::Metrics(Format::of(call.request.headers()))),
        Ok(Place::Loop) => match ticks(call) {
            Ok(view) => return Answer::Loop(view),
            Err(why) => Box::new(sentence(StatusCode::BAD_REQUEST, why)),
        },
        Ok(Place::Echo) => Box::new(upgrade_required("/echo speaks WebSocket only")),
        Ok(Place::Health) => Box::new(sentence(StatusCode::OK, "alive")),
        Ok(Place::Ready) => Box::new(match unready {
            Some(why) => sentence(StatusCode::SERVICE_UNAVAILABLE, why),
            None => sentence(StatusCode::OK, "ready"),
        }),
    };
    Answer::Now(response)
}

/// The place that a request may read. This alone decides who may read a guarded place: a caller who may see the
/// server's state, or a user of the site with the place's permission (`may`).
fn open(call: &Call<'_>, may: bool, config: &Config) -> Result<Place, Refusal> {
    named_right(call, config)?;
    let refuse = |status, why| Err(Box::new(sentence(status, why)));
    let Some(place) = Place::of(call, config) else {
        return refuse(StatusCode::NOT_FOUND, "there is nothing at this path");
    };
    let (method, methods) = (call.request.method(), place.methods());
    if !methods.split(", ").any(|known| known == method.as_str()) {
        let mut refusal = sentence(StatusCode::METHOD_NOT_ALLOWED, "this path answers GET and HEAD only");
        let allowed = HeaderValue::from_static(methods);
        refusal.headers_mut().insert(header::ALLOW, allowed);
        return Err(Box::new(refusal));
    }
    let is_free = place.permission().is_none() || *method == Method::OPTIONS;
    match is_free || may || call.may_see_state(config) {
        true => Ok(place),
        false => Err(Box::new(for_the_administrator(call, place, config))),
    }
}

/// Finds the protocol of a handshake.
///
/// # Errors
/// The rejection: nothing at this path, another site's page, or a foreign host name.
pub fn upgrade(call: &Call<'_>, config: &Config) -> Result<Route, Refusal> {
    named_right(call, config)?;
    let route = match Place::at(call.path()) {
        Some(Place::Console) if config.console.enabled => Route::Console,
        Some(Place::Echo) if config.echo.enabled => Route::Echo,
        _ => {
            return Err(Box::new(sentence(
                StatusCode::NOT_FOUND,
                "there is no WebSocket at this path",
            )));
        }
    };
    if (config.embedded_defaults || call.caller.admin) && call.is_foreign(config) {
        return Err(Box::new(sentence(
            StatusCode::FORBIDDEN,
            "pages of other sites may not connect here",
        )));
    }
    Ok(route)
}

/// 503: there is no room for another connection.
pub fn full() -> Refusal {
    closing(try_later(
        StatusCode::SERVICE_UNAVAILABLE,
        "the server is full, try again in a moment",
    ))
}

/// 429: this address has too many connections or opens them too fast, so this connection is closed.
pub fn too_many(why: &'static str) -> Refusal {
    closing(try_later(StatusCode::TOO_MANY_REQUESTS, why))
}

/// 429: this address sends too many requests. The connection is a proxy's and stays open for other clients.
pub fn too_often() -> Refusal {
    try_later(
        StatusCode::TOO_MANY_REQUESTS,
        "too many requests from your address, try again in a moment",
    )
}

fn try_later(status: StatusCode, why: &'static str) -> Refusal {
    let mut response = sentence(status, why);
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    Box::new(response)
}

fn closing(mut refusal: Refusal) -> Refusal {
    let close = HeaderValue::from_static("close");
    refusal.headers_mut().insert(header::CONNECTION, close);
    refusal
}

/// The refusal of a guarded place.
fn for_the_administrator(call: &Call<'_>, place: Place, config: &Config) -> Response<Bytes> {
    let (closed, asks) = match place {
        Place::Console => (
            "the page is for the administrator: set admin_token, or admin_listen and come by it",
            "the page asks for the admin token as the password",
        ),
        _ => (
            "the server's state is for the administrator: set admin_token, or admin_listen and come by it",
            "the server's state needs the admin token, as a Bearer token or as the password",
        ),
    };
    if config.server.admin_token.is_empty() {
        return sentence(StatusCode::FORBIDDEN, closed);
    }
    let mut response = sentence(StatusCode::UNAUTHORIZED, asks);
    // Browsers ask their users for a password by the first one. Prometheus and scripts use the second one.
    for challenge in [
        "Basic realm=\"jsocketd\", charset=\"UTF-8\"",
        "Bearer realm=\"jsocketd\"",
    ] {
        let challenge = HeaderValue::from_static(challenge);
        response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
    }
    if call.request.headers().contains_key(header::AUTHORIZATION) {
        // Each guess costs a connection, and connections are counted and limited.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
        log::debug!("{} shows a wrong admin token", call.id);
    }
    response
}

/// Under the embedded defaults the credentials are public, so a request must name this machine. A page on the internet
/// whose name resolves to 127.0.0.1 names another host. A request that names none is not a browser's: health checks
/// with HTTP/1.0 have no `Host`.
pub fn named_right(call: &Call<'_>, config: &Config) -> Result<(), Refusal> {
    let is_nameless = call.request.version() == Version::HTTP_10 && !call.request.headers().contains_key(header::HOST);
    if config.embedded_defaults && !call.names_loopback() && !is_nameless {
        let why = "without a configuration file only requests for localhost, 127.0.0.1 or [::1] are served";
        return Err(Box::new(sentence(StatusCode::MISDIRECTED_REQUEST, why)));
    }
    Ok(())
}

/// Under the embedded defaults the secret is public, so a page of another site could publish: browsers send simple
/// requests without a preflight.
pub fn from_own_page(call: &Call<'_>, config: &Config) -> Result<(), Refusal> {
    if config.embedded_defaults && call.is_foreign(config) {
        return Err(Box::new(sentence(
            StatusCode::FORBIDDEN,
            "pages of other sites may not publish here",
        )));
    }
    Ok(())
}

/// The answer to OPTIONS: the methods, and no more. Other origins get no permission by it (CORS).
fn options(place: Place) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let allowed = HeaderValue::from_static(place.methods());
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

/// What is here, for everybody: nothing that the page would guard.
fn greeting(config: &Config) -> Response<Bytes> {
    let text = match config.console.enabled {
        true => "jsocketd serves WebSockets here. Browsers get its page at this address.",
        false => "jsocketd serves WebSockets here.",
    };
    let mut response = sentence(StatusCode::OK, text);
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn upgrade_required(why: &'static str) -> Response<Bytes> {
    let mut response = sentence(StatusCode::UPGRADE_REQUIRED, why);
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(
        HeaderName::from_static("sec-websocket-version"),
        HeaderValue::from_static("13"),
    );
    response
}

fn sentence(status: StatusCode, text: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{text}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
