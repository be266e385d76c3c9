//! Visits: the session of each connection, and the user of each session. Look-ups are sent together, with at most a
//! hundred ids in a question. Every known session is looked up again within the sweep interval, and at once when a
//! control row reports that its user changed. A connection whose identity cannot be determined is a guest.
//!
//! `visitors` stores the state of each connection, `sessions` the state of each session. This file stores the users and
//! decides what an answer means for connections.

mod sessions;
mod visitors;

use std::collections::{BTreeMap, HashMap};

use self::sessions::{Key, Named, Sessions};
pub use self::visitors::{NoProof, Proved, Who};
use self::visitors::{Visit, Visitors};
use super::rights::Rights;
use super::user::User;
use crate::config;
use crate::id::ConnectionId;
use crate::joomla::identity::{self, Judgement, Reason};
use crate::joomla::session;
use crate::joomla::site::{Client, SiteConfig};
use crate::protocol::Verdict;
use crate::protocol::effects::Effect;
use crate::site::access::Visitor;
use crate::store::{Answer, Failure, Question, SessionId, SessionRow, UserRow};
use crate::time::{Now, Time};

/// The close reason if the session is gone.
const ENDED: &str = "the session has ended";

/// The close reason if the account is blocked or gone.
const NO_ACCOUNT: &str = "the account is blocked or gone";

/// The close reason if the user's rights have changed.
const RIGHTS_CHANGED: &str = "your rights have changed";

/// All visits.
#[derive(Debug)]
pub struct Visits {
    visitors: Visitors,
    sessions: Sessions,
    users: BTreeMap<u32, User>,
}

impl Visits {
    /// A state without connections.
    pub fn new(settings: &config::Joomla) -> Self {
        Self {
            visitors: Visitors::new(settings),
            sessions: Sessions::new(settings),
            users: BTreeMap::new(),
        }
    }

    /// Applies new settings.
    pub fn reconfigure(&mut self, settings: &config::Joomla) {
        self.visitors.reconfigure(settings);
        self.sessions.reconfigure(settings);
    }

    // --- connections ---------------------------------------------------------------------------------------------

    /// Adds a connection with this session, or a guest with the reason. Returns whether it may stay: at most `most`
    /// connections may have the same session; 0: any number.
    #[must_use]
    pub fn enter(
        &mut self,
        id: ConnectionId,
        session: Result<(SessionId, Client), Reason>,
        most: u32,
        now: Now,
    ) -> bool {
        let key = session.map(|(session, client)| Key::Cookie(session, client));
        if let Ok(key) = &key
            && most > 0
            && self.sessions.crowd(key) >= most as usize
        {
            return false;
        }
        let wants_token = self.visitors.requires_token();
        let session = key.map(|key| self.sessions.join(key, id, wants_token, now));
        self.visitors.enter(id, session, now);
        true
    }

    /// A connection is closed.
    pub fn leave(&mut self, id: ConnectionId) {
        let session = self.visitors.leave(id).and_then(|visit| visit.session);
        session.into_iter().for_each(|session| self.part(session, id));
    }

    fn part(&mut self, session: usize, id: ConnectionId) {
        let left = self.sessions.part(session, id);
        self.forget_user(left);
    }

    fn detach(&mut self, session: usize) {
        let left = self.sessions.detach(session);
        self.forget_user(left);
    }

    /// Drops a user who has no session left.
    fn forget_user(&mut self, left: Option<u32>) {
        if let Some(user) = left {
            self.users.remove(&user);
        }
    }

    /// A signature proved the user of a connection. The signature takes precedence over a cookie.
    pub fn sign_in(&mut self, id: ConnectionId, user: u32, now: Now) {
        let wants_token = self.visitors.requires_token();
        let Some(visit) = self.visitors.of_mut(id) else { return };
        let session = self.sessions.join(Key::Signed(user), id, wants_token, now);
        visit.who = Who::Asking;
        // A client with a signature for the user needs no other proof.
        visit.is_proved = true;
        let before = visit.session.replace(session);
        self.visitors.wait(id, now);
        // It is not known yet whether this user may have the connection's subscriptions.
        self.sessions.set_doubted(session, true);
        if let Some(before) = before.filter(|before| *before != session) {
            self.part(before, id);
        }
    }

    // --- questions about visitors --------------------------------------------------------------------------------

    /// The identity as which a connection may act. A user without the required proof is a guest.
    pub fn who(&self, id: ConnectionId) -> Who {
        self.visitors.who(id)
    }

    /// The user with this id, if the user has a connection.
    pub fn user(&self, id: u32) -> Option<&User> {
        self.users.get(&id)
    }

    /// A connection as the access rules see it; `None`: not known yet.
    pub fn visitor<'a>(&'a self, id: ConnectionId, rights: &'a Rights) -> Option<Visitor<'a>> {
        self.as_visitor(self.who(id), rights)
    }

    /// A connection as the access rules will see it once it has sent the required form token.
    pub fn unproved<'a>(&'a self, id: ConnectionId, rights: &'a Rights) -> Option<Visitor<'a>> {
        self.as_visitor(self.visitors.of(id)?.who, rights)
    }

    fn as_visitor<'a>(&'a self, who: Who, rights: &'a Rights) -> Option<Visitor<'a>> {
        match who {
            Who::Asking => None,
            Who::Guest(_) | Who::Provisional => Some(rights.guest()),
            Who::User(user) => self.user(user).map(User::visitor),
        }
    }

    /// A connection was denied something. If the connection turns out to be a user's, it must reconnect.
    pub fn was_refused(&mut self, id: ConnectionId) {
        if let Some(visit) = self.visitors.of_mut(id) {
            visit.was_refused = true;
        }
    }

    /// The application whose cookie a connection sent, if it sent one.
    pub fn client(&self, id: ConnectionId) -> Option<Client> {
        match self.sessions.of(self.visitors.of(id)?.session?).key {
            Key::Cookie(_, client) => Some(client),
            Key::Signed(_) => None,
        }
    }

    /// Whether a connection has sent its session's form token, or needs none.
    pub fn is_proved(&self, id: ConnectionId) -> bool {
        self.visitors.of(id).is_some_and(|visit| visit.is_proved)
    }

    /// Handles the form token of a client. With a wrong token the connection is a guest from here on.
    pub fn prove(&mut self, id: ConnectionId, given: &str, now: Now, effects: &mut Vec<Effect>) -> Proved {
        let proved = self.show(id, given, now, effects);
        if proved == Verdict::No(NoProof::Wrong)
            && let Some(visit) = self.visitors.of_mut(id)
            && let Some(session) = visit.session.take()
        {
            if let Who::User(_) = visit.who {
                visit.who = Who::Guest(Reason::WrongFormToken);
                // The connection must not keep the subscriptions of the user.
                effects.push(Effect::Wake(id));
            }
            self.part(session, id);
        }
        proved
    }

    /// Handles a form token. A wrong token has no consequences.
    pub fn show(&mut self, id: ConnectionId, given: &str, now: Now, effects: &mut Vec<Effect>) -> Proved {
        let visit = self.visitors.of_mut(id);
        let Some((index, visit)) = visit.and_then(|visit| Some((visit.session?, visit))) else {
            return Verdict::No(NoProof::Wrong);
        };
        let asked = visit.asks_for_token.take();
        let session = self.sessions.of_mut(index);
        if let Key::Signed(_) = session.key {
            // A client with a signature for the user needs no other proof.
            return Verdict::Yes(());
        }
        session.wants_token = true;
        match (visit.who, &session.token) {
            (Who::Guest(_), _) => Verdict::No(NoProof::Wrong),
            (Who::Asking | Who::Provisional, _) => Verdict::NotYet,
            // The row is read once for each form token that the client sends. Otherwise the client could keep the
            // database busy.
            (Who::User(_), None) if asked.is_some_and(|asked| asked < session.seen) => Verdict::No(NoProof::OutOfReach),
            (Who::User(_), None) => {
                visit.asks_for_token = asked.or(Some(now.at));
                self.sessions.ask_soon(index, now);
                Verdict::NotYet
            }
            (Who::User(_), Some(token)) if session::is_token(given, token) => {
                visit.is_proved = true;
                // Subscriptions as a guest may not be allowed to the user.
                effects.push(Effect::Wake(id));
                Verdict::Yes(())
            }
            (Who::User(_), Some(_)) => Verdict::No(NoProof::Wrong),
        }
    }

    // --- doubts --------------------------------------------------------------------------------------------------

    /// A control row reports that a user changed: the user's sessions are looked up now, and again a little later.
    pub fn suspect(&mut self, user: u32, now: Now) {
        self.sessions.doubt_user(user, now);
    }

    /// Any user may have changed: all sessions are looked up again and are in doubt until then.
    pub fn suspect_all(&mut self, now: Now) {
        self.sessions.doubt_all(now);
    }

    /// Whether the user of a connection is being looked up again.
    pub fn is_doubted(&self, id: ConnectionId) -> bool {
        let session = self.visitors.of(id).and_then(|visit| visit.session);
        session.is_some_and(|session| self.sessions.of(session).doubted)
    }

    /// Whether the user of any connection is being looked up again.
    pub fn has_doubts(&self) -> bool {
        self.sessions.has_doubts()
    }

    /// Closes all connections of a user at once.
    pub fn terminate(&mut self, user: u32, why: &'static str, effects: &mut Vec<Effect>) {
        self.end_user(user, Reason::Blocked, 4009, why, effects);
    }

    /// The rights were read again and differ. Connections of users whose own rights changed are closed; the clients
    /// reconnect with the new rights.
    pub fn rights_changed(&mut self, rights: &Rights, effects: &mut Vec<Effect>) {
        let users = self.users.iter_mut();
        let changed = users.filter_map(|(id, user)| user.update_rights(rights).then_some(*id));
        for user in changed.collect::<Vec<u32>>() {
            self.end_user(user, Reason::RightsChanged, 4200, RIGHTS_CHANGED, effects);
        }
    }

    fn end_user(&mut self, user: u32, reason: Reason, code: u16, why: &'static str, effects: &mut Vec<Effect>) {
        let sessions: Vec<usize> = self.sessions.of_user(user).collect();
        for session in sessions {
            self.end(session, reason, code, why, effects);
        }
    }

    /// A session has no user any more, and its connections are closed.
    fn end(&mut self, index: usize, reason: Reason, code: u16, why: &'static str, effects: &mut Vec<Effect>) {
        self.detach(index);
        self.sessions.set_doubted(index, false);
        self.sessions.of_mut(index).token = None;
        for id in self.sessions.connections(index) {
            if let Some(visit) = self.visitors.of_mut(id) {
                visit.who = Who::Guest(reason);
                effects.push(Effect::Close(id, code, why));
            }
        }
    }

    // --- questions to the store ----------------------------------------------------------------------------------

    /// The next question, if one is due. `metadata`: whether session rows contain their users.
    pub fn question(&mut self, metadata: bool, now: Now) -> Option<Question> {
        self.sessions.question(metadata, now)
    }

    /// When the next question is due.
    pub fn question_due(&self) -> Time {
        self.sessions.question_due()
    }

    /// Handles the store's answer about sessions.
    pub fn sessions(
        &mut self,
        ids: &[SessionId],
        answer: &Result<Answer, Failure>,
        (site, rights, joomla3): (&SiteConfig, &Rights, bool),
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let asked = self.sessions.asked_by(ids);
        let rows = match answer {
            Ok(Answer::Sessions(rows)) => rows.as_slice(),
            Ok(_) => &[],
            Err(failure) => {
                asked.into_iter().for_each(|index| self.sessions.hurry(index));
                return self.sessions.pause(failure, now);
            }
        };
        let rows: HashMap<&SessionId, &SessionRow> = rows.iter().map(|row| (&row.id, row)).collect();
        for index in asked {
            self.sessions.seen(index, now);
            let session = self.sessions.of_mut(index);
            let Key::Cookie(id, client) = &session.key else {
                continue;
            };
            let judgement = match rows.get(id) {
                None => Judgement::Guest(Reason::NoRow),
                Some(row) => {
                    let judgement = identity::judge(row, *client, site, joomla3, now.unix());
                    session.note_token(row, site);
                    judgement
                }
            };
            self.judged(index, judgement, rights, effects);
        }
    }

    /// Handles the store's answer about users whom sessions name.
    pub fn users(
        &mut self,
        asked: &[u32],
        answer: &Result<Answer, Failure>,
        rights: &Rights,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let rows = answer.as_ref().map(|answer| match answer {
            Answer::Users(rows) => rows.as_slice(),
            _ => &[],
        });
        for ((user, index), named) in self.sessions.take_lookups(asked) {
            let row = rows.map(|rows| rows.iter().find(|row| row.id == user));
            match (named, row) {
                (named @ Named::By { .. }, Err(_)) => self.sessions.name(index, user, named),
                (Named::By { text, client }, Ok(row)) => {
                    if let Key::Signed(_) = self.sessions.of(index).key {
                        self.sessions.seen(index, now);
                    }
                    self.judged(index, identity::judge_user(user, client, &text, row), rights, effects);
                }
                (Named::Gone(_), Ok(row)) if row.is_none_or(|row| row.blocked) => {
                    self.end(index, Reason::Blocked, 4009, NO_ACCOUNT, effects);
                }
                // The session is known to be gone, also without the user's row.
                (Named::Gone(reason), _) => self.end(index, reason, 4200, ENDED, effects),
            }
        }
        if let Err(failure) = rows {
            self.sessions.pause(failure, now);
        }
    }

    fn judged(&mut self, index: usize, judgement: Judgement, rights: &Rights, effects: &mut Vec<Effect>) {
        match judgement {
            Judgement::AskUser(user, client, text) => {
                self.sessions.name(index, user, Named::By { text, client });
            }
            Judgement::User(row, _) => {
                self.sessions.set_doubted(index, false);
                self.is_user(index, row, rights, effects);
            }
            Judgement::Guest(reason) => self.is_guest(index, reason, effects),
        }
    }

    fn is_user(&mut self, index: usize, row: UserRow, rights: &Rights, effects: &mut Vec<Effect>) {
        let user = row.id;
        let session = self.sessions.of(index);
        if session.user != 0 && session.user != user {
            // The user of an open connection never changes.
            return self.end(index, Reason::NoRow, 4200, "the session is another user's now", effects);
        }
        if session.wants_token && session.token.is_none() && self.visitors.requires_token() {
            log::debug!("the session text of user {user} has no token");
        }
        let changed = match self.users.get_mut(&user) {
            Some(known) => known.update(row, rights),
            None => {
                self.users.insert(user, User::new(row, rights));
                false
            }
        };
        self.sessions.attach(index, user);
        for id in self.sessions.connections(index) {
            match self.visitors.of(id).is_some_and(Visit::is_refused_guest) {
                true => effects.push(Effect::Close(id, 4200, "you are known now")),
                false => self.visitors.becomes(id, Who::User(user), effects),
            }
        }
        if changed {
            self.end_user(user, Reason::RightsChanged, 4200, RIGHTS_CHANGED, effects);
        }
    }

    fn is_guest(&mut self, index: usize, reason: Reason, effects: &mut Vec<Effect>) {
        // A session with one of these reasons never gets a user: a log-in creates a new session. Other sessions may get
        // a user at any time.
        if let Reason::NoRow | Reason::Expired | Reason::GuestSession | Reason::OtherClient = reason {
            self.sessions.is_final(index);
        }
        let user = self.sessions.of(index).user;
        if user != 0 {
            let (code, why) = match reason {
                Reason::Blocked | Reason::NoUser => (4009, NO_ACCOUNT),
                Reason::Expired => (4200, "the session has expired"),
                Reason::NoRow | Reason::GuestSession => {
                    return self.sessions.name(index, user, Named::Gone(reason));
                }
                _ => (4200, "the session is not logged in any more"),
            };
            return self.end(index, reason, code, why, effects);
        }
        self.sessions.set_doubted(index, false);
        for id in self.sessions.connections(index) {
            self.visitors.becomes(id, Who::Guest(reason), effects);
        }
    }

    /// When `due` must be called next.
    pub fn deadline(&self) -> Time {
        self.visitors.deadline()
    }

    /// A connection that has waited long enough for its identity becomes a guest for now.
    pub fn due(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.visitors.due(now, effects);
    }

    /// The numbers of sessions and users, for the statistics.
    pub fn counts(&self) -> (usize, usize) {
        (self.sessions.len(), self.users.len())
    }
}
