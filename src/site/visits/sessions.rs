//! The site's sessions that have at least one connection: the connections and the user of each session, when its row is
//! read next, and which users must be looked up for it. Other files decide what a user may do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use slab::Slab;

use crate::config;
use crate::id::ConnectionId;
use crate::joomla::identity::Reason;
use crate::joomla::session::{self, SessionText};
use crate::joomla::site::{Client, SiteConfig};
use crate::protocol::refresh::{Place, Refresh};
use crate::protocol::room::give_back;
use crate::site::control::AGAIN;
use crate::store::{Failure, MOST_KEYS, Question, SessionId, SessionRow, Text};
use crate::time::{Now, Time};

/// The pause of look-ups that the database refused (a missing privilege does not appear without an administrator).
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// The pause of look-ups that got no answer. The database may be available and answer no question of this kind for a
/// while; without the pause it would be asked in every tick.
const LOST_PAUSE: Duration = Duration::from_millis(100);

/// The shortest time between two questions about a session, however many new connections it has.
const ASKED_ONCE_IN: Duration = Duration::from_secs(1);

/// A connection's proof of its user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// The cookie of a session of an application.
    Cookie(SessionId, Client),
    /// A signature with the app's secret for this user.
    Signed(u32),
}

/// A session, or a signature in place of one.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) key: Key,
    /// The user; 0: no user is known.
    pub(super) user: u32,
    /// The form token, if a connection needed it.
    pub(super) token: Option<Box<str>>,
    pub(super) wants_token: bool,
    /// When the last answer arrived.
    pub(super) seen: Time,
    /// A control row or a signature reported that the session's user changed, and the session has not been looked up
    /// since.
    pub(super) doubted: bool,
    /// The number of connections with this session.
    connections: usize,
    place: Place,
    /// The user under whom the session stands in the look-ups, or last stood there; 0: none.
    named: u32,
}

impl Session {
    /// Reads the form token from a session row, if a connection needs it and the row's text is present.
    pub(super) fn note_token(&mut self, row: &SessionRow, site: &SiteConfig) {
        let Some(text) = row.text.as_ref().filter(|_| self.wants_token) else {
            return;
        };
        let token = session::read(text).ok().and_then(|text| {
            let user = text.user_id.unwrap_or(0);
            text.token
                .map(|token| session::form_token(&site.secret.0, user, &token.0))
        });
        self.token = token.map(String::into_boxed_str);
    }
}

/// The reason why a user is looked up.
#[derive(Clone, Debug)]
pub(super) enum Named {
    /// The text of a session names the user. A signature counts as such a text.
    By { text: SessionText, client: Option<Client> },
    /// The user's session is gone, for this reason. Blocking a user deletes the sessions too, so only the user's row
    /// distinguishes a block from a log-out.
    Gone(Reason),
}

/// The sessions whose users must be looked up, by user and session.
type Lookups = BTreeMap<(u32, usize), Named>;

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Sessions {
    sessions: Slab<Session>,
    keys: HashMap<Key, usize>,
    /// The connections of each session.
    connections: BTreeSet<(usize, ConnectionId)>,
    /// The sessions of each user.
    of_users: BTreeSet<(u32, usize)>,
    refresh: Refresh<usize>,
    waiting: Lookups,
    asked: Lookups,
    /// The users to look up again, because a control row reported that they changed.
    suspects: BTreeSet<(Time, u32)>,
    /// The number of sessions in doubt.
    doubts: usize,
    /// The pause after a question that got no answer lasts until this time.
    rest: Time,
    /// Each session is looked up again within this interval.
    interval: Duration,
}

impl Sessions {
    /// A state without sessions.
    pub(super) fn new(settings: &config::Joomla) -> Self {
        Self {
            sessions: Slab::new(),
            keys: HashMap::new(),
            connections: BTreeSet::new(),
            of_users: BTreeSet::new(),
            refresh: Refresh::default(),
            waiting: Lookups::new(),
            asked: Lookups::new(),
            suspects: BTreeSet::new(),
            doubts: 0,
            rest: Time::default(),
            interval: Duration::from_secs(settings.sweep_interval),
        }
    }

    pub(super) fn reconfigure(&mut self, settings: &config::Joomla) {
        self.interval = Duration::from_secs(settings.sweep_interval);
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn of(&self, index: usize) -> &Session {
        &self.sessions[index]
    }

    pub(super) fn of_mut(&mut self, index: usize) -> &mut Session {
        &mut self.sessions[index]
    }

    // --- connections and users -----------------------------------------------------------------------------------

    /// The number of connections with a session.
    pub(super) fn crowd(&self, key: &Key) -> usize {
        self.keys.get(key).map_or(0, |index| self.sessions[*index].connections)
    }

    /// Adds a connection to a session. The session is looked up again: its id may belong to another user by now.
    pub(super) fn join(&mut self, key: Key, id: ConnectionId, wants_token: bool, now: Now) -> usize {
        let index = match self.keys.get(&key) {
            Some(&index) => {
                self.ask_soon(index, now);
                index
            }
            None => {
                let index = self.sessions.insert(Session {
                    key: key.clone(),
                    user: 0,
                    token: None,
                    wants_token,
                    seen: Time::default(),
                    doubted: false,
                    connections: 0,
                    place: Place::Idle,
                    named: 0,
                });
                self.keys.insert(key, index);
                self.hurry(index);
                index
            }
        };
        self.sessions[index].connections += usize::from(self.connections.insert((index, id)));
        index
    }

    /// Removes a connection from a session. A session without connections is dropped. If its user then has no session
    /// left, the user is returned.
    pub(super) fn part(&mut self, index: usize, id: ConnectionId) -> Option<u32> {
        self.connections.remove(&(index, id));
        self.sessions[index].connections -= 1;
        if self.sessions[index].connections > 0 {
            return None;
        }
        let left = self.detach(index);
        self.set_doubted(index, false);
        self.unname(index);
        self.refresh.remove(index, &mut self.sessions[index].place);
        let session = self.sessions.remove(index);
        self.keys.remove(&session.key);
        give_back(&mut self.sessions);
        give_back(&mut self.keys);
        left
    }

    pub(super) fn connections(&self, index: usize) -> impl Iterator<Item = ConnectionId> {
        let first = (index, ConnectionId::new(0, 1));
        let own = self.connections.range(first..);
        own.map_while(move |(session, id)| (*session == index).then_some(*id))
    }

    /// Sets the user of the session.
    pub(super) fn attach(&mut self, index: usize, user: u32) {
        self.sessions[index].user = user;
        self.of_users.insert((user, index));
    }

    /// Removes the user of the session. If the user has no session left, the user is returned.
    pub(super) fn detach(&mut self, index: usize) -> Option<u32> {
        let user = std::mem::take(&mut self.sessions[index].user);
        let had = self.of_users.remove(&(user, index));
        (had && self.of_user(user).next().is_none()).then_some(user)
    }

    pub(super) fn of_user(&self, user: u32) -> impl Iterator<Item = usize> {
        of(&self.of_users, user)
    }

    // --- doubts --------------------------------------------------------------------------------------------------

    pub(super) fn has_doubts(&self) -> bool {
        self.doubts > 0
    }

    pub(super) fn set_doubted(&mut self, index: usize, doubted: bool) {
        let before = std::mem::replace(&mut self.sessions[index].doubted, doubted);
        self.doubts = self.doubts - usize::from(before) + usize::from(doubted);
    }

    /// A user may have changed: earlier answers about the user's sessions do not count any more. The sessions are
    /// looked up now, and again a little later.
    pub(super) fn doubt_user(&mut self, user: u32, now: Now) {
        self.suspects.extend(AGAIN.map(|wait| (now.at + wait, user)));
        let named = self
            .waiting
            .range((user, 0)..=(user, usize::MAX))
            .map(|((_, index), _)| *index);
        let sessions: Vec<usize> = named.chain(self.of_user(user)).collect();
        sessions.into_iter().for_each(|index| self.doubt(index));
        self.hurry_user(user);
    }

    /// All users may have changed: all known sessions are looked up now.
    pub(super) fn doubt_all(&mut self, now: Now) {
        let sessions = self.sessions.iter().filter(|(_, session)| session.user != 0);
        let sessions: Vec<usize> = sessions.map(|(index, _)| index).collect();
        sessions.into_iter().for_each(|index| self.doubt(index));
        let due: Vec<usize> = self.refresh.due(Time::NEVER).collect();
        for index in due {
            self.refresh.due_at(index, &mut self.sessions[index].place, now.at);
        }
    }

    /// Earlier answers about the session's user do not count any more.
    fn doubt(&mut self, index: usize) {
        self.set_doubted(index, true);
        if self.unname(index) {
            self.refresh.hurry_first(index, &mut self.sessions[index].place);
        }
    }

    // --- the schedule of the look-ups ----------------------------------------------------------------------------

    /// The session is looked up soon, but at most once a second, however many connections it has.
    pub(super) fn ask_soon(&mut self, index: usize, now: Now) {
        let session = &mut self.sessions[index];
        let soon = now.at.max(session.seen + ASKED_ONCE_IN);
        let is_later = match session.place {
            Place::Idle => true,
            Place::Due(at) => soon < at,
            Place::Urgent(_) | Place::Asked => false,
        };
        if is_later {
            self.refresh.due_at(index, &mut session.place, soon);
        }
    }

    /// The session is looked up as soon as its turn comes.
    pub(super) fn hurry(&mut self, index: usize) {
        self.refresh.hurry(index, &mut self.sessions[index].place);
    }

    /// The user's sessions are looked up before all new ones: the user may have subscriptions that are not allowed any
    /// more.
    fn hurry_user(&mut self, user: u32) {
        for index in of(&self.of_users, user) {
            let place = &mut self.sessions[index].place;
            if let Place::Idle | Place::Due(_) = place {
                self.refresh.hurry_first(index, place);
            }
        }
    }

    /// The row of the session, or of its user, was just looked up.
    pub(super) fn seen(&mut self, index: usize, now: Now) {
        let session = &mut self.sessions[index];
        session.seen = now.at;
        self.refresh.seen(index, &mut session.place, now.at, self.interval);
    }

    /// The answer about the session is final: the session is looked up again only for another connection.
    pub(super) fn is_final(&mut self, index: usize) {
        let place = &mut self.sessions[index].place;
        if let Place::Due(_) = place {
            self.refresh.remove(index, place);
        }
    }

    // --- questions -----------------------------------------------------------------------------------------------

    /// The next question, if one is due. `metadata`: whether session rows contain their users.
    pub(super) fn question(&mut self, metadata: bool, now: Now) -> Option<Question> {
        if self.rest > now.at {
            return None;
        }
        if let Some(question) = self.users_question() {
            return Some(question);
        }
        while let Some((at, user)) = self.suspects.first().copied().filter(|(at, _)| *at <= now.at) {
            self.suspects.remove(&(at, user));
            self.hurry_user(user);
        }
        let (ids, text) = self.next_ids(metadata, now);
        match ids.is_empty() {
            true => self.users_question(),
            false => Some(Question::Sessions { ids, text }),
        }
    }

    /// When the next question is due.
    pub(super) fn question_due(&self) -> Time {
        let due = match self.refresh.has_urgent() || !self.waiting.is_empty() {
            true => Time::default(),
            false => self.refresh.first_due(),
        };
        let suspect = self.suspects.first().map_or(Time::NEVER, |(at, _)| *at);
        due.min(suspect).max(self.rest)
    }

    /// A question failed: the next one waits for a while.
    pub(super) fn pause(&mut self, failure: &Failure, now: Now) {
        let pause = match failure {
            Failure::Unavailable(_) => LOST_PAUSE,
            _ => REFUSED_PAUSE,
        };
        self.rest = now.at + pause;
    }

    /// The ids for the next question, and which part of their texts it needs.
    fn next_ids(&mut self, metadata: bool, now: Now) -> (Vec<SessionId>, Text) {
        let (mut ids, mut text) = (Vec::new(), Text::IfNeeded);
        while ids.len() < MOST_KEYS {
            let urgent = self.refresh.urgent().next();
            let Some(index) = urgent.or_else(|| self.refresh.due(now.at).next()) else {
                break;
            };
            let session = &mut self.sessions[index];
            self.refresh.asked(index, &mut session.place);
            let id = match &session.key {
                Key::Cookie(id, _) => id,
                Key::Signed(user) => {
                    let user = *user;
                    // The signature counts as the session and as both of its factors.
                    let text = SessionText {
                        user_id: Some(user),
                        mfa_checked: true,
                        ..SessionText::default()
                    };
                    self.name(index, user, Named::By { text, client: None });
                    continue;
                }
            };
            // Only the text contains whether a second factor must still be set up. For a known user it was set up.
            if session.wants_token || session.user == 0 {
                text = if metadata { Text::OfUsers } else { Text::Always };
            }
            // A browser may send the same id as the cookie of both applications.
            if !ids.contains(id) {
                ids.push(id.clone());
            }
        }
        (ids, text)
    }

    /// The sessions that were asked for by these ids and have no answer yet.
    pub(super) fn asked_by(&self, ids: &[SessionId]) -> Vec<usize> {
        let keys = ids
            .iter()
            .flat_map(|id| [Client::Site, Client::Administrator].map(|client| Key::Cookie(id.clone(), client)));
        keys.filter_map(|key| self.keys.get(&key).copied())
            .filter(|index| self.sessions[*index].place == Place::Asked)
            .collect()
    }

    // --- look-ups of users ---------------------------------------------------------------------------------------

    /// Requests a look-up of the session's user.
    pub(super) fn name(&mut self, index: usize, user: u32, named: Named) {
        self.unname(index);
        self.sessions[index].named = user;
        self.waiting.insert((user, index), named);
    }

    /// Cancels the look-up of the session's user. Returns whether there was one.
    fn unname(&mut self, index: usize) -> bool {
        let key = (std::mem::take(&mut self.sessions[index].named), index);
        let was_asked = self.asked.remove(&key).is_some();
        self.waiting.remove(&key).is_some() || was_asked
    }

    /// The question about users whom session texts or signatures name.
    fn users_question(&mut self) -> Option<Question> {
        let mut users: Vec<u32> = Vec::new();
        while let Some(entry) = self.waiting.first_entry() {
            let user = entry.key().0;
            if users.last() != Some(&user) {
                if users.len() == MOST_KEYS {
                    break;
                }
                users.push(user);
            }
            let (key, named) = entry.remove_entry();
            self.asked.insert(key, named);
        }
        (!users.is_empty()).then_some(Question::Users(users))
    }

    /// The sessions that wait for these users.
    pub(super) fn take_lookups(&mut self, users: &[u32]) -> Lookups {
        let asked = std::mem::take(&mut self.asked).into_iter();
        let (found, others) = asked.partition(|((user, _), _)| users.contains(user));
        self.asked = others;
        found
    }
}

/// The sessions of a user.
fn of(of_users: &BTreeSet<(u32, usize)>, user: u32) -> impl Iterator<Item = usize> + use<'_> {
    of_users.range((user, 0)..=(user, usize::MAX)).map(|(_, index)| *index)
}
