//! Publishing (pusher.md 9.2, 9.3): one event to many channels, or a batch of up to ten. The whole request is checked
//! before anything is passed to the hub, so either all of it is published or nothing.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;
use http::{HeaderName, Response};
use serde::Serialize;
use serde_json::value::RawValue;

use super::body::{self, AtMost, Body, Text};
use super::channels::{Attributes, ByChannel, Wanted, invalid_channel};
use super::parameters::Parameters;
use super::rate::Rates;
use super::reply::{Refusal, json};
use crate::config;
use crate::hub::app::App;
use crate::hub::events::Publication;
use crate::protocol::SocketId;
use crate::protocol::actions::Actions;
use crate::protocol::channel::ChannelName;
use crate::protocol::event::{check_data, check_name, read_socket_id};
use crate::time::Now;

/// The most channels of one event.
pub const MAX_CHANNELS: usize = 100;

/// The most events of a batch.
pub const MAX_BATCH: usize = 10;

/// The header of an answer that says to how many connections the events of the request were sent, if the request has
/// the parameter [`COUNTED`]. The body stays that of the Pusher protocol.
pub const DELIVERIES: HeaderName = HeaderName::from_static("jsocketd-deliveries");

/// The parameter of a request that wants to know it.
pub const COUNTED: &str = "deliveries";

/// A request to publish, not yet checked.
#[derive(Debug)]
pub struct Request<'a> {
    drafts: Vec<Draft<'a>>,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Single,
    Batch,
}

/// An event as the request describes it, not yet checked.
#[derive(Debug, Default)]
struct Draft<'a> {
    name: Option<Cow<'a, str>>,
    channels: Vec<Cow<'a, str>>,
    /// The number of channels above the limit.
    surplus: usize,
    data: Option<Cow<'a, str>>,
    socket_id: Option<Cow<'a, str>>,
    info: Option<Cow<'a, str>>,
}

/// An event that was checked and may be published.
#[derive(Debug)]
struct Event<'a> {
    name: &'a str,
    /// The channels: at least one, none twice.
    channels: Vec<ChannelName<'a>>,
    data: &'a str,
    socket_id: Option<SocketId>,
    info: Option<Wanted>,
}

impl<'a> Request<'a> {
    /// Reads the body of `POST /events`, or the query when the body is empty.
    ///
    /// # Errors
    /// 400 when the request cannot be read.
    pub fn single(body: &'a [u8], query: &'a Parameters<'_>) -> Result<Self, Refusal> {
        let draft = if body.is_empty() {
            Draft::from_query(query)?
        } else {
            let body = Body::read(body)?;
            let channels = body::list::<Text<'a>, MAX_CHANNELS>(body.channels, "channels")?;
            Draft::from_body(&body, channels)?
        };
        Ok(Self {
            drafts: vec![draft],
            form: Form::Single,
        })
    }

    /// Reads the body of `POST /batch_events`.
    ///
    /// # Errors
    /// 400 when the request cannot be read or has too many events.
    pub fn batch(body: &'a [u8]) -> Result<Self, Refusal> {
        let batch = Body::read(body)?.batch;
        let batch = body::list::<&'a RawValue, MAX_BATCH>(batch, "batch")?
            .ok_or_else(|| Refusal::bad("Missing parameter: batch"))?;
        if batch.more > 0 {
            let count = MAX_BATCH + batch.more;
            return Err(Refusal::bad(format!(
                "Batch too large: it has {count} events, {MAX_BATCH} at most are allowed"
            )));
        }
        let drafts = batch.items.iter().enumerate().map(|(n, raw)| {
            Body::parse(raw.get())
                .and_then(|body| Draft::from_body(&body, None))
                .map_err(|refusal| refusal.of(&format!("batch[{n}]")))
        });
        Ok(Self {
            drafts: drafts.collect::<Result<_, _>>()?,
            form: Form::Batch,
        })
    }

    /// A request for one event to one channel.
    pub fn of(channel: &'a str, name: &'a str, data: &'a str) -> Self {
        let draft = Draft {
            name: Some(name.into()),
            channels: vec![channel.into()],
            data: Some(data.into()),
            ..Draft::default()
        };
        Self {
            drafts: vec![draft],
            form: Form::Single,
        }
    }

    /// Publishes all events of the request. Returns the answer, and to how many connections the events were sent, as in
    /// [`DELIVERIES`].
    ///
    /// # Errors
    /// 400 or 413 for an event that may not be published, 429 when the rate limit is exceeded. Then nothing is
    /// published.
    pub fn publish(
        &self,
        app: &mut App,
        rates: &mut Rates,
        now: Now,
        actions: &mut Actions,
    ) -> Result<(Response<Bytes>, usize), Refusal> {
        let events = self.check(&app.settings)?;
        let publishes: usize = events.iter().map(|event| event.channels.len()).sum();
        let allowance = rates.take(&app.settings, publishes, now.at)?;
        if allowance.is_limited()
            && let Some(together) = app.together()
        {
            together.published(publishes, actions);
        }
        let deliveries = events.iter().map(|event| event.publish(app, now, actions)).sum();
        let mut response = match self.form {
            Form::Single => answer_single(app, &events),
            Form::Batch => answer_batch(app, &events),
        };
        allowance.write(response.headers_mut());
        Ok((response, deliveries))
    }

    fn check(&self, settings: &config::App) -> Result<Vec<Event<'_>>, Refusal> {
        let events = self.drafts.iter().enumerate().map(|(n, draft)| {
            draft.check(settings).map_err(|refusal| match self.form {
                Form::Single => refusal,
                Form::Batch => refusal.of(&format!("batch[{n}]")),
            })
        });
        events.collect()
    }
}

impl<'a> Draft<'a> {
    fn from_body(body: &Body<'a>, channels: Option<AtMost<Text<'a>, MAX_CHANNELS>>) -> Result<Self, Refusal> {
        let (mut channels, surplus) = channels.map_or((Vec::new(), 0), |list| (list.items, list.more));
        channels.extend(body::text(body.channel, "channel")?.map(Text));
        let data = match body.data {
            Some(raw) if raw.get().starts_with('"') => body::text(Some(raw), "data")?,
            // Data that is not text is published as the JSON that was written, so numbers keep all their digits.
            raw => raw.map(|raw| Cow::Borrowed(raw.get())),
        };
        Ok(Self {
            name: body::text(body.name, "name")?,
            channels: channels.into_iter().map(|text| text.0).collect(),
            surplus,
            data,
            socket_id: body::text(body.socket_id, "socket_id")?,
            info: body::text(body.info, "info")?,
        })
    }

    fn from_query(query: &'a Parameters<'_>) -> Result<Self, Refusal> {
        let one = |name| query.one(name).map(|value| value.map(Cow::Borrowed));
        let mut channels = query
            .all("channel")
            .chain(query.all("channels[]"))
            .chain(query.all("channels"))
            .map(Cow::Borrowed);
        Ok(Self {
            name: one("name")?,
            channels: channels.by_ref().take(MAX_CHANNELS).collect(),
            surplus: channels.count(),
            data: one("data")?,
            socket_id: one("socket_id")?,
            info: one("info")?,
        })
    }

    fn check(&self, settings: &config::App) -> Result<Event<'_>, Refusal> {
        Ok(Event {
            name: check_name(self.name.as_deref())?,
            channels: self.check_channels()?,
            socket_id: self.socket_id.as_deref().map(read_socket_id).transpose()?,
            data: check_data(self.data.as_deref(), settings.max_event_size)?,
            info: self
                .info
                .as_deref()
                .filter(|list| !list.trim().is_empty())
                .map(Wanted::read),
        })
    }

    fn check_channels(&self) -> Result<Vec<ChannelName<'_>>, Refusal> {
        let count = self.channels.len() + self.surplus;
        if count == 0 {
            return Err(Refusal::bad("Missing parameter: channels or channel"));
        }
        if count > MAX_CHANNELS {
            return Err(Refusal::bad(format!(
                "The event has {count} channels, {MAX_CHANNELS} at most are allowed"
            )));
        }
        let mut channels = Vec::with_capacity(count);
        let mut known = HashSet::with_capacity(count);
        for name in &self.channels {
            let channel = ChannelName::parse(name).map_err(|why| Refusal::bad(invalid_channel(name, why)))?;
            if known.insert(channel) {
                channels.push(channel);
            }
        }
        Ok(channels)
    }
}

/// Only the server itself sends events of the protocol, so their names are refused. Other names may have any
/// characters: Laravel's are names of PHP classes.
impl Event<'_> {
    /// Returns to how many connections the event is sent now. One that subscribed to two of the channels counts twice.
    fn publish(&self, app: &mut App, now: Now, actions: &mut Actions) -> usize {
        let channels = self.channels.iter().map(|&channel| {
            let publication = Publication {
                channel,
                event: self.name,
                data: self.data,
                socket_id: self.socket_id,
            };
            app.publish(&publication, now, actions)
        });
        channels.sum()
    }
}

fn attributes(app: &App, channel: ChannelName<'_>, wanted: Wanted) -> Attributes {
    Attributes::of(channel, app.visible().occupancy(channel.as_str()), wanted)
}

fn answer_single(app: &App, events: &[Event<'_>]) -> Response<Bytes> {
    let Some((event, wanted)) = events.iter().find_map(|event| Some((event, event.info?))) else {
        return done();
    };
    let channels = event.channels.iter();
    json(&ByChannel {
        channels: channels
            .map(|&channel| (channel.as_str(), attributes(app, channel, wanted)))
            .collect(),
    })
}

fn answer_batch(app: &App, events: &[Event<'_>]) -> Response<Bytes> {
    #[derive(Serialize)]
    struct Batch {
        batch: Vec<Attributes>,
    }

    if events.iter().all(|event| event.info.is_none()) {
        return done();
    }
    let of_event = |event: &Event<'_>| match (event.info, event.channels.first()) {
        (Some(wanted), Some(&channel)) => attributes(app, channel, wanted),
        _ => Attributes::default(),
    };
    json(&Batch {
        batch: events.iter().map(of_event).collect(),
    })
}

fn done() -> Response<Bytes> {
    json(&serde_json::json!({}))
}
