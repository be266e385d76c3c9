//! One app: its settings and its parts. This file handles the frames of connections and passes each frame to the part
//! that decides. Joining and leaving a channel concern all parts, so they stand here.

use std::borrow::Cow;
use std::time::Duration;

use super::ask::{Ask, Asked, Incoming, Shown, unwrapped};
use super::authorization::Unauthorized;
use super::client_event::ClientEvent;
use super::credentials::Credentials;
use super::events::{Events, Publication, close_for_gap};
use super::notices::{Change, Notices};
use super::recovery::Absence;
use super::replays::Replays;
use super::roster::{Reviewed, Roster};
use super::session::{Replay, Session, greeting};
use super::sign_in::{SignIn, sign_out};
use super::subscribe::{Refusal, Subscribe, Ticket, Unsubscribe, WITHDRAWN};
use super::together::Together;
use super::visible::Visible;
use crate::config;
use crate::id::ConnectionId;
use crate::protocol::actions::{Action, Actions, Message};
use crate::protocol::channel::{ChannelName, Kind};
use crate::protocol::frames::{self, Extra};
use crate::protocol::position::Position;
use crate::protocol::rows::{Missed, Reach, Seen, Wanted};
use crate::protocol::shared::{ProcessId, Shared};
use crate::protocol::signature::FormerSecret;
use crate::protocol::{Attempt, Member, Ruling, SocketId, Verdict, event};
use crate::time::{Now, Time};

/// One app.
#[derive(Debug)]
pub struct App {
    /// The app's section of the configuration. The site's component may have given the app another id, key and secret.
    pub settings: config::App,
    /// The id that the configuration gives it.
    pub configured: String,
    /// The secret that was valid before the one in the settings, with the time at which it ends.
    pub former: Option<FormerSecret>,
    /// The connections, the channels and the signed-in users.
    pub roster: Roster,
    events: Events,
    replays: Replays,
    pub(super) notices: Notices,
    pub(super) unauthorized: Unauthorized,
}

impl App {
    /// An app without connections. `number`: its index among all apps. `start`: differs between runs of the server.
    pub fn new(number: usize, settings: config::App, start: u32) -> Self {
        Self {
            configured: settings.id.clone(),
            settings,
            former: None,
            roster: Roster::default(),
            events: Events::new(start),
            replays: Replays::default(),
            notices: Notices::new(number),
            unauthorized: Unauthorized::default(),
        }
    }

    /// From here on the app's connections are visitors of a site, whose outbox table keeps rows for `retention`.
    pub fn belong_to_site(&mut self, retention: Duration) {
        self.events.set_rows_kept(retention);
        self.notices.belong_to_site();
    }

    /// From here on this process is one of a cluster, with this id. The app has no connections yet.
    pub fn join_cluster(&mut self, me: ProcessId) {
        self.notices.join_cluster(me);
    }

    /// The app in its cluster; `None`: this process is alone.
    pub fn together(&mut self) -> Option<Together<'_>> {
        self.notices.is_together().then_some(Together {
            roster: &mut self.roster,
            events: &mut self.events,
            notices: &mut self.notices,
            settings: &self.settings,
        })
    }

    /// What the clients and the HTTP API see.
    pub fn visible(&self) -> Visible<'_> {
        Visible::of(&self.roster, &self.notices)
    }

    /// The former secret, while signatures made with it are accepted.
    pub fn former_secret(&self, now: Now) -> Option<&str> {
        self.former.as_ref().and_then(|former| former.at(now))
    }

    // --- publishing ----------------------------------------------------------------------------------------------

    /// Delivers an event, and keeps it for clients that come later. Returns the number of connections that get it now.
    /// In a cluster the event goes to the log, and all processes deliver it when they read it there; the number is that
    /// of the recipients here.
    pub fn publish(&mut self, publication: &Publication<'_>, now: Now, actions: &mut Actions) -> usize {
        if self.notices.is_together() {
            self.notices.share(Shared::Event(publication.shared()), actions);
            return publication.recipients().count(&self.roster);
        }
        self.events
            .publish(publication, None, &self.roster, &self.settings, now, actions)
    }

    /// Publishes a row of the outbox table, or closes connections after a gap. The table keeps the events for recovery.
    /// `is_doubted`: whether the site checks again whether a connection may get the row; such a connection gets it
    /// later. Its second argument is true if the site's rules admitted the connection, and false if a signature did.
    pub fn publish_row(
        &mut self,
        row: &Seen,
        is_doubted: Option<impl Fn(ConnectionId, bool) -> bool>,
        now: Now,
        actions: &mut Actions,
    ) {
        let (roster, settings) = (&mut self.roster, &self.settings);
        match row {
            Seen::Event(event) => {
                let Some(publication) = Publication::of(event) else {
                    return;
                };
                if let Some(is_doubted) = is_doubted {
                    self.replays
                        .hold(publication.channel, event.logged.seq, is_doubted, roster, now);
                }
                self.events
                    .publish(&publication, Some(&event.logged), roster, settings, now, actions);
            }
            Seen::Past(event, age) => {
                if let Some(publication) = Publication::of(event) {
                    self.events
                        .keep(&publication, Duration::from_millis(*age), settings, now);
                }
            }
            Seen::Gap => close_for_gap(roster, actions),
            Seen::Control(_) => {}
        }
    }

    /// Sets the position in the outbox table; `None`: the app's site has no table.
    pub fn set_table(&mut self, position: Option<Position>, actions: &mut Actions) {
        self.events.set_table(position, &self.roster, actions);
    }

    /// The cached data of a channel, and for how many seconds it is still kept.
    pub fn cached(&self, channel: &str, now: Now) -> Option<(&str, u64)> {
        let cached = self.events.cache.find(channel, now)?;
        Some((cached.data(), cached.seconds_left(now)))
    }

    // --- connections ---------------------------------------------------------------------------------------------

    /// Greets a connection. `socket` is new and random. `recovery`: the client requested recovery.
    pub fn connect(
        &mut self,
        id: ConnectionId,
        socket: SocketId,
        recovery: bool,
        settings: &config::Pusher,
        now: Now,
        actions: &mut Actions,
    ) {
        self.roster.connect(id, Session::new(socket, recovery));
        self.unauthorized.push(id, settings.authorization_timeout, now.at);
        if recovery {
            self.events.arm_round(&self.settings, now.at);
        }
        self.notices.connections(self.roster.connections(), actions);
        actions.send(id, greeting(socket, settings.activity_timeout));
    }

    /// Removes a connection from the app: its subscriptions, its user and its session.
    pub fn disconnect(&mut self, id: ConnectionId, now: Now, actions: &mut Actions) {
        while let Some(session) = self.roster.find(id)
            && let Some(last) = session.subscriptions.len().checked_sub(1)
        {
            self.drop_subscription(id, last, now, actions);
        }
        let session = self.roster.disconnect(id);
        if let Some(user) = session.and_then(|session| session.user) {
            sign_out(id, &user, &mut self.roster, &self.notices, actions);
        }
        self.notices.connections(self.roster.connections(), actions);
    }

    /// Closes every connection that is signed in as this user (pusher.md 7.6).
    pub fn terminate(&mut self, user_id: &str, actions: &mut Actions) {
        for connection in self.roster.users.connections(user_id) {
            let why = "You got disconnected by the app.";
            actions.push(Action::Close(connection.id, 4009, why.into()));
        }
    }

    // --- frames --------------------------------------------------------------------------------------------------

    /// Handles a message. Returns what the hub cannot answer alone. No message closes its connection: a bad frame gets
    /// an error frame with code null or 43xx, and the connection stays open.
    pub fn message(&mut self, id: ConnectionId, message: &Message, now: Now, actions: &mut Actions) -> Asked {
        let asked = match message {
            Message::Text(text) => Incoming::read(text).and_then(|frame| self.frame(id, &frame, now, actions)),
            Message::Binary(_) => Err("binary frames are not supported".into()),
        };
        asked.unwrap_or_else(|why| {
            actions.send(id, frames::error(&why, None));
            Asked::Done
        })
    }

    /// Handles a parsed frame. An error is sent to the client.
    fn frame(
        &mut self,
        id: ConnectionId,
        frame: &Incoming<'_>,
        now: Now,
        actions: &mut Actions,
    ) -> Result<Asked, Cow<'static, str>> {
        let data = frame.data.map(unwrapped);
        let data = data.as_deref().unwrap_or("{}");
        let ask = Ask::of(&frame.event);
        if ask.is_some_and(Ask::is_order) {
            actions.push(Action::Charge(id));
        }
        match ask {
            Some(Ask::Ping) => self.pong(id, actions),
            Some(Ask::Pong) => {}
            Some(Ask::Subscribe) => return frame.read_data(data, "a string `channel`").map(Asked::Subscribe),
            Some(Ask::FormToken) => {
                let Shown { form_token } = frame.read_data(data, "a string `form_token`")?;
                return Ok(Asked::FormToken(form_token));
            }
            Some(Ask::Unsubscribe) => {
                let Unsubscribe { channel } = frame.read_data(data, "a string `channel`")?;
                self.unsubscribe(id, &channel, now, actions);
            }
            Some(Ask::SignIn) => {
                let sign_in: SignIn<'_> = frame.read_data(data, "the strings `auth` and `user_data`")?;
                let credentials = Credentials::of(&self.settings, self.former.as_ref(), now);
                return Ok(sign_in.answer(id, &mut self.roster, &credentials, &self.notices, actions));
            }
            Some(Ask::ClientEvent) => self.client_event(id, frame, now, actions),
            None => {
                let name: String = frame.event.chars().take(event::MAX_NAME).collect();
                return Err(format!("unknown event `{name}`").into());
            }
        }
        Ok(Asked::Done)
    }

    fn pong(&self, id: ConnectionId, actions: &mut Actions) {
        let Some(session) = self.roster.find(id) else { return };
        match session.recovery && session.replays.is_empty() {
            true => actions.send(id, self.events.position_frame("pusher:pong")),
            false => actions.send(id, frames::PONG),
        }
    }

    fn client_event(&mut self, id: ConnectionId, frame: &Incoming<'_>, now: Now, actions: &mut Actions) {
        let (roster, settings) = (&mut self.roster, &self.settings);
        let event = match ClientEvent::check(frame, id, roster, settings, now) {
            Ok(event) => event,
            Err(refused) => return actions.send(id, refused),
        };
        if self.notices.is_together() {
            return self.notices.share(Shared::Event(event.into_shared()), actions);
        }
        let encode = |extra: Extra<'_>| event.encode(extra);
        self.events
            .deliver(event.recipients(), encode, roster, settings, now, actions);
        self.notices.client_event(settings, actions, || event.hook());
    }

    // --- subscriptions -------------------------------------------------------------------------------------------

    /// Whether a connection may subscribe. If not, the connection gets the reason. A valid signature is always enough.
    /// Without a signature, `rule` gives the verdict of the site's rules.
    pub fn admit<'a>(
        &self,
        id: ConnectionId,
        subscribe: &'a Subscribe,
        rule: impl FnOnce(ChannelName<'_>) -> Ruling,
        now: Now,
        actions: &mut Actions,
    ) -> Verdict<Ticket<'a>, ()> {
        let credentials = Credentials::of(&self.settings, self.former.as_ref(), now);
        subscribe.admit(id, self.visible(), &credentials, rule, actions)
    }

    /// The answer to a client that was away from a channel; `None`: the table must be read first. `reach`: whether the
    /// table still has everything after one of its positions.
    pub fn absence(
        &mut self,
        id: ConnectionId,
        ticket: &Ticket<'_>,
        attempt: &Attempt,
        reach: impl FnMut(Position) -> Reach,
    ) -> Option<Absence> {
        match self.roster.session(id).filter(|session| session.recovery) {
            Some(session) => Absence::of(session, ticket, &self.events, attempt, reach),
            None => Some(Absence::default()),
        }
    }

    /// Adds a connection to a channel. The connection gets the confirmation first, then the cached event or the events
    /// that it missed. After that the other subscribers get `member_added`. `table` returns the next rows of a channel.
    pub fn join(
        &mut self,
        id: ConnectionId,
        ticket: Ticket<'_>,
        absence: &Absence,
        table: impl FnMut(&Wanted<'_>) -> Missed,
        now: Now,
        actions: &mut Actions,
    ) {
        let Ticket {
            name, member, by_rule, ..
        } = ticket;
        let Some(session) = self.roster.session(id) else { return };
        session.authorized |= name.kind() != Kind::Public;
        let is_replaying = session.is_replaying();
        let (mut channel, mut newcomer) = (None, None);
        if name.kind() == Kind::ServerToUser {
            // The user's events are sent with or without this subscription, so it only gets an answer.
            if let Some(user) = &mut session.user {
                user.subscribed = true;
            }
        } else {
            let user_id = member.as_ref().map(|member| member.user_id.clone());
            let (entered, is_new) = self.roster.enter(id, name, by_rule, user_id);
            if is_new {
                self.notices.occupied(name.as_str(), &self.settings, actions);
            }
            self.notices.subscriptions(&self.roster.channels[entered], actions);
            newcomer = member.filter(|member| self.roster.add_member(entered, member));
            channel = Some(entered);
        }
        let found = channel.map(|channel| &self.roster.channels[channel]);
        actions.send(id, self.notices.confirmation(name.as_str(), found, absence.extra()));
        for from in &absence.replays {
            let channel = channel.map(|channel| channel as u32);
            let replay = Replay::new(channel, from.stream(), from.number());
            self.roster.add_replay(id, replay);
        }
        if !is_replaying {
            self.flushed(id, table, now, actions);
        }
        let wants_cached = absence.replays.is_empty() && name.is_cache();
        if wants_cached && !self.events.send_cached(id, name.as_str(), now, actions) {
            self.notices.cache_miss(id, name.as_str(), &self.settings, actions);
        }
        let Some(channel) = channel else { return };
        let found = &mut self.roster.channels[channel];
        if let Some(member) = newcomer {
            self.notices
                .member(Change::Added, member, found, id, &self.settings, actions);
        }
        self.notices.send_count(found, &self.settings, now.at, actions);
    }

    fn unsubscribe(&mut self, id: ConnectionId, name: &str, now: Now, actions: &mut Actions) {
        let Some(session) = self.roster.session(id) else { return };
        session.unsubscribe_user(name);
        self.leave(id, name, now, actions);
    }

    /// Checks again the subscriptions that the site's rules admitted. Ends the subscriptions that the rules no longer
    /// allow, and informs their clients in the only form that names the channel.
    pub fn review(
        &mut self,
        which: Reviewed<'_>,
        judge: impl FnMut(ConnectionId, ChannelName<'_>) -> Ruling,
        now: Now,
        actions: &mut Actions,
    ) {
        for (id, name, why) in self.roster.review(which, judge) {
            Refusal::new(WITHDRAWN, why).tell(id, &name, actions);
            self.leave(id, &name, now, actions);
        }
    }

    /// Ends a connection's subscription to a channel. An unknown channel gets no answer (pusher.md 3.3).
    fn leave(&mut self, id: ConnectionId, name: &str, now: Now, actions: &mut Actions) {
        let channel = self.roster.channel_index(name);
        let session = self.roster.find(id);
        if let Some(index) = session.and_then(|session| session.find(channel?)) {
            self.drop_subscription(id, index, now, actions);
        }
    }

    /// Ends the subscription at `index` of a connection's list. The last subscription of the list moves to `index`.
    fn drop_subscription(&mut self, id: ConnectionId, index: usize, now: Now, actions: &mut Actions) {
        let Some((channel, gone)) = self.roster.take_member(id, index) else {
            return;
        };
        if let Some(user_id) = gone {
            let member = Member {
                user_id,
                user_info: None,
            };
            let channel = &self.roster.channels[channel];
            self.notices
                .member(Change::Removed, member, channel, id, &self.settings, actions);
        }
        match self.roster.leave(id, index) {
            Some(name) => self.notices.vacated(name, &self.settings, actions),
            None => self
                .notices
                .count(&mut self.roster.channels[channel], &self.settings, now.at, actions),
        }
    }

    // --- replays -------------------------------------------------------------------------------------------------

    /// The send queue is nearly empty: sends the next part of the replays.
    pub fn flushed(
        &mut self,
        id: ConnectionId,
        table: impl FnMut(&Wanted<'_>) -> Missed,
        now: Now,
        actions: &mut Actions,
    ) {
        self.replays
            .go_on(id, &mut self.roster, &self.events.history, table, now, actions);
    }

    /// The site has new answers: subscriptions that are no longer in doubt go on.
    pub fn release(&mut self, table: impl FnMut(&Wanted<'_>) -> Missed, now: Now, actions: &mut Actions) {
        self.replays
            .release(&mut self.roster, &self.events.history, table, now, actions);
    }

    // --- time ----------------------------------------------------------------------------------------------------

    /// When `due` must be called next.
    pub fn deadline(&self) -> Time {
        let events = self.events.deadline().min(self.notices.deadline());
        self.unauthorized.deadline().min(self.replays.deadline()).min(events)
    }

    /// Does what is due.
    pub fn due(&mut self, now: Now, actions: &mut Actions) {
        self.notices.due(&mut self.roster, &self.settings, now.at, actions);
        self.unauthorized.due(&self.roster, now.at, actions);
        self.replays.give_up(&self.roster, now.at, actions);
        self.events.due(&self.roster, &self.settings, now, actions);
    }
}
