//! This process in its cluster: carries what the rooms share to the log, and what the log says to the rooms. `cluster`
//! decides about the log; the apps, the HTTP API, the webhooks and the site decide what an entry means.
//!
//! News are handled in the order of the log. Each one is carried out with all its effects before the next one.

use std::collections::VecDeque;
use std::time::Duration;

use super::crowds::Crowds;
use super::home::Home;
use crate::api::Api;
use crate::cluster::{Cluster, News, Phase, State};
use crate::config::Config;
use crate::hub::app::App;
use crate::hub::apps::Apps;
use crate::hub::together::Together;
use crate::id::ConnectionId;
use crate::protocol::actions::Actions;
use crate::protocol::effects::Effect;
use crate::protocol::engine::{Command, Fault, Line, LineState, Reply};
use crate::protocol::keys::{Seed, of_cluster};
use crate::protocol::shared::{Holding, ProcessId, Shared};
use crate::time::{Now, Time};
use crate::webhooks::Webhooks;

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Link {
    cluster: Cluster,
    /// News that are not handled yet.
    news: VecDeque<News>,
    /// News are being handled.
    is_hearing: bool,
    /// The news of one call, reused.
    fresh: Vec<News>,
    /// The epoch of the positions, and the last position that is unknown; `None`: the log was not read yet.
    epoch: Option<(u32, u64)>,
    /// The position up to which the apps know that the log was read.
    advanced: u64,
    /// The WebSockets of each session of the site.
    crowds: Crowds,
}

/// The rooms that news may concern.
pub(super) struct Rooms<'a> {
    pub(super) apps: &'a mut Apps,
    pub(super) api: &'a mut Api,
    pub(super) webhooks: &'a mut Webhooks,
    pub(super) home: &'a Home,
    pub(super) now: Now,
    pub(super) actions: &'a mut Actions,
}

impl Link {
    /// A process that comes to its cluster, with these apps.
    pub(super) fn new(config: &Config, apps: &mut Apps, seed: &Seed, now: Now) -> Self {
        let lease = Duration::from_secs(config.engine.lease);
        let mut link = Self {
            cluster: Cluster::new(lease, &names(apps), of_cluster(seed), now),
            news: VecDeque::new(),
            is_hearing: false,
            fresh: Vec::new(),
            epoch: None,
            advanced: 0,
            crowds: Crowds::default(),
        };
        link.adopt(apps, &mut Actions::default());
        link
    }

    /// The configuration has been read again. New apps join the cluster.
    pub(super) fn set_apps(&mut self, apps: &mut Apps, actions: &mut Actions) {
        self.adopt(apps, actions);
        self.cluster.set_apps(&names(apps));
    }

    fn adopt(&mut self, apps: &mut Apps, actions: &mut Actions) {
        let me = self.cluster.me();
        for app in apps.iter_mut() {
            if app.together().is_some() {
                continue;
            }
            app.join_cluster(me);
            if let (Some((start, after)), Some(mut together)) = (self.epoch, app.together()) {
                together.set_epoch(start, after.max(self.advanced), actions);
            }
        }
    }

    // --- what the rooms share ------------------------------------------------------------------------------------

    /// Takes an effect that concerns all processes. Returns any other one.
    pub(super) fn take(&mut self, effect: Effect, now: Now) -> Option<Effect> {
        match effect {
            Effect::Share(app, shared) => self.share(app, shared, now),
            Effect::TerminateUser(app, user) => self.share(app, Shared::Terminate(user.into()), now),
            Effect::Nudge(app) => self.share(app, Shared::Nudge, now),
            Effect::LogHook(app, event) => self.call(|cluster, news| cluster.hook(app, event, news)),
            effect => return Some(effect),
        }
        None
    }

    /// Tells all processes something about an app.
    pub(super) fn share(&mut self, app: usize, shared: Shared, now: Now) {
        self.call(|cluster, news| cluster.share(app, shared, now, news));
    }

    fn call(&mut self, call: impl FnOnce(&mut Cluster, &mut Vec<News>)) {
        call(&mut self.cluster, &mut self.fresh);
        self.news.extend(self.fresh.drain(..));
    }

    // --- sessions ------------------------------------------------------------------------------------------------

    /// A connection with this session of the site has come; `app`: that of the site. Returns whether it may stay: at
    /// most `most` connections may have the same session in the whole cluster; 0: any number.
    pub(super) fn enter(
        &mut self,
        id: ConnectionId,
        session: u64,
        (number, app): (usize, &App),
        most: u32,
        actions: &mut Actions,
    ) -> bool {
        let all = self.crowds.count(session) as usize + app.visible().sockets_elsewhere(session);
        if most > 0 && all >= most as usize {
            return false;
        }
        let holding = self.crowds.enter(id, session);
        actions.effect(Effect::Share(number, Shared::Holds(holding)));
        true
    }

    /// A connection is closed; `app`: that of the site.
    pub(super) fn left(&mut self, id: ConnectionId, app: Option<usize>, actions: &mut Actions) {
        if let (Some(holding), Some(app)) = (self.crowds.leave(id), app) {
            actions.effect(Effect::Share(app, Shared::Holds(holding)));
        }
    }

    // --- the engine ----------------------------------------------------------------------------------------------

    /// The next command for a connection to the engine.
    pub(super) fn command(&mut self, line: Line, now: Now) -> Option<Command> {
        self.cluster.command(line, now)
    }

    /// The engine answered the last command of this connection.
    pub(super) fn reply(&mut self, line: Line, reply: Result<Reply, Fault>, now: Now) {
        self.call(|cluster, news| cluster.reply(line, reply, now, news));
    }

    /// A connection to the engine is there, or is not.
    pub(super) fn line(&mut self, line: Line, state: LineState, now: Now) {
        let state = match state {
            LineState::Up { .. } => Ok(()),
            LineState::Down { why } => Err(why.into_string()),
        };
        self.call(|cluster, news| cluster.engine(line, state, now, news));
    }

    /// When `due` must be called next.
    pub(super) fn deadline(&self) -> Time {
        self.cluster.deadline()
    }

    /// Does what is due.
    pub(super) fn due(&mut self, now: Now) {
        if self.cluster.deadline() <= now.at {
            self.call(|cluster, news| cluster.due(now, news));
        }
    }

    /// This process ends: tells the others.
    pub(super) fn leave(&mut self) {
        self.cluster.leave();
    }

    /// Whether the others know that this process ends, or cannot be told.
    pub(super) fn has_left(&self) -> bool {
        self.cluster.has_left()
    }

    /// Whether so much waits for the engine that no more messages of clients should be read.
    pub(super) fn is_crowded(&self) -> bool {
        self.cluster.is_crowded()
    }

    /// The state of the cluster.
    pub(super) fn state(&self, now: Now) -> State {
        self.cluster.state(now)
    }

    /// Whether this process does not know yet what the others hold.
    pub(super) fn is_joining(&self, now: Now) -> bool {
        let state = self.cluster.state(now);
        state.phase == Phase::Joining && !state.complete
    }

    // --- news ----------------------------------------------------------------------------------------------------

    /// Whether there are news that nobody handles yet. The effects of news lead to further news, which have their turn
    /// when those before them are done.
    pub(super) fn begin_to_hear(&mut self) -> bool {
        let begins = !self.is_hearing && !self.news.is_empty();
        self.is_hearing |= begins;
        begins
    }

    /// The next news to hand to `hear`. If none are left, the apps get to know how far the log was read.
    pub(super) fn next(&mut self, apps: &mut Apps) -> Option<News> {
        let next = self.news.pop_front();
        let read = self.cluster.read_to();
        if next.is_none() {
            self.is_hearing = false;
            if read > self.advanced {
                self.advanced = read;
                in_each(apps, |together| together.advance(read));
            }
        }
        next
    }

    /// Handles news. Returns an effect to carry out here, on this process.
    pub(super) fn hear(&mut self, news: News, rooms: Rooms<'_>) -> Option<Effect> {
        let Rooms {
            apps,
            api,
            webhooks,
            home,
            now,
            actions,
        } = rooms;
        match news {
            News::Shared {
                from,
                mine,
                app,
                what,
                n,
                ..
            } => return heard(Entry { from, mine, app, n }, what, apps, api, now, actions),
            News::Past { app, event, n, age } => {
                if let Some(mut together) = apps.app_mut(app).together() {
                    together.keep_past(&event, n, age, now);
                }
            }
            News::Epoch { start, after } => {
                (self.epoch, self.advanced) = (Some((start, after)), 0);
                in_each(apps, |together| together.set_epoch(start, after, actions));
            }
            News::Gap => in_each(apps, |together| together.gap(actions)),
            News::Stale { of } => in_each(apps, |together| together.stale(of)),
            News::Fresh { of } => in_each(apps, |together| together.fresh(of, now, actions)),
            News::Gone { of } => in_each(apps, |together| together.gone(of, now, actions)),
            News::TellAll { with_cache } => self.tell_all(with_cache, apps, home, now),
            News::Hook { app, event } => webhooks.note(&apps.app(app).settings.id, event, now),
        }
        None
    }

    fn tell_all(&mut self, with_cache: bool, apps: &mut Apps, home: &Home, now: Now) {
        for (number, app) in apps.iter_mut().enumerate() {
            let holdings = app.together().map(|together| together.holdings(with_cache, now));
            for shared in holdings.into_iter().flatten() {
                self.cluster.snapshot(number, shared);
            }
        }
        if let Some(app) = home.app() {
            for (hash, sockets) in self.crowds.iter() {
                let session = Holding::Session { hash, sockets };
                self.cluster.snapshot(app, Shared::Holds(session));
            }
        }
        self.cluster.told();
    }
}

/// An entry of the log.
struct Entry {
    from: ProcessId,
    mine: bool,
    app: usize,
    n: u64,
}

fn heard(
    Entry { from, mine, app, n }: Entry,
    what: Shared,
    apps: &mut Apps,
    api: &mut Api,
    now: Now,
    actions: &mut Actions,
) -> Option<Effect> {
    let number = app;
    let app = apps.app_mut(number);
    match what {
        // All processes terminate and poll at the same place of the log, so after the same events.
        Shared::Terminate(user) => return Some(Effect::TerminateUser(number, user.into_string())),
        Shared::Nudge => return Some(Effect::Nudge(number)),
        Shared::Published(_) if mine => {}
        Shared::Published(count) => api.published_elsewhere(&app.settings, count, now.at),
        what => {
            let mut together = app.together()?;
            match what {
                Shared::Event(event) => {
                    together.deliver(&event, n, now, actions);
                }
                Shared::Holds(holding) => together.heard(from, &holding, now, actions),
                Shared::Cached(cached) => together.keep_cached(&cached, now),
                Shared::CacheMiss(channel) => together.cache_missed(&channel, actions),
                Shared::Terminate(_) | Shared::Nudge | Shared::Published(_) => {}
            }
        }
    }
    None
}

fn in_each(apps: &mut Apps, mut each: impl FnMut(&mut Together<'_>)) {
    for app in apps.iter_mut() {
        if let Some(mut together) = app.together() {
            each(&mut together);
        }
    }
}

/// The ids of the apps, as the log names them: those that the configuration gives them.
fn names(apps: &Apps) -> Vec<&str> {
    apps.iter().map(|app| app.configured.as_str()).collect()
}
