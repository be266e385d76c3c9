//! Visits: which connection belongs to which session of the site, and whose session that is. Look-ups go out together, at
//! most a hundred ids in a question; every known session is looked at again within the sweep's interval, and at once when
//! somebody says that it changed. What cannot be known is a guest, never somebody.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use slab::Slab;

use super::rights::Rights;
use super::user::User;
use crate::id::ConnectionId;
use crate::joomla::identity::{self, Judgement, Reason};
use crate::joomla::session::{self, SessionText};
use crate::joomla::site::{Client, Site};
use crate::protocol::effects::Effect;
use crate::room::{give_back, give_back_slots};
use crate::site::access::Visitor;
use crate::store::{Failure, MOST_KEYS, Question, SessionId, SessionRow, Text, UserRow};
use crate::time::{Now, Time};

/// When a user is looked at again after somebody said that it changed: Joomla destroys some sessions only after its events.
const AGAIN: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

/// How long a look-up waits that the database refused (a missing privilege does not go away by itself).
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// How long a session's answer is good for whoever shows it anew: nobody can have it asked more often than that.
const ASKED_ONCE_IN: Duration = Duration::from_secs(1);

/// How long one waits that got no answer: the database may be there and leave this kind of question alone for a while, and
/// then it would be asked in every tick as often as there is time.
const LOST_PAUSE: Duration = Duration::from_millis(100);

/// What those are told whose session is gone …
const ENDED: &str = "the session has ended";

/// … or whose account is.
const NO_ACCOUNT: &str = "the account is blocked or gone";

/// Who a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The question is on its way.
    Asking,
    /// Nobody in particular.
    Guest(Reason),
    /// A guest for the time being: the question waits for the database.
    Provisional,
    /// A user.
    User(u32),
}

#[derive(Debug)]
struct Visit {
    id: ConnectionId,
    seat: Option<Seat>,
    who: Who,
    proof: Proof,
    /// When the session was asked for its token on this connection's behalf, if it was.
    asks_for_token: Option<Time>,
    /// It was refused something that it might have got as somebody else.
    refused: bool,
}

/// A connection's place in a session: both know it, so that a connection leaves a crowd as quickly as it leaves nobody.
#[derive(Clone, Copy, Debug)]
struct Seat {
    /// The index of the session.
    session: usize,
    /// The index in the session's list of connections.
    place: usize,
}

/// Whether the page has shown that it belongs to the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    None,
    Given,
}

/// What became of a form token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proved {
    /// It is the session's.
    Right,
    /// It is not. The connection is a guest from here on.
    Wrong,
    /// The session's is not known yet.
    NotYet,
    /// The session's is not known, although the database was asked: its text is out of reach, or has none.
    OutOfReach,
}

/// How a connection shows whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// By the cookie of this session of that application.
    Cookie(SessionId, Client),
    /// By a signature of the app's secret: as this user.
    Signed(u32),
}

/// A session, or what stands for one, that at least one connection belongs to.
#[derive(Debug)]
struct Session {
    key: Key,
    connections: Vec<ConnectionId>,
    /// 0: not known to be anybody's.
    user: u32,
    /// The index in the user's list of sessions, if it has a user.
    place: usize,
    /// As which user it stands in `named`, or stood there last; 0: as none.
    named: u32,
    /// The form token, once somebody asked for it.
    token: Option<Box<str>>,
    wants_token: bool,
    stage: Stage,
    /// When the last answer came.
    seen: Time,
    /// Somebody said that its user changed, and it has not been looked at since.
    doubted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It stands in the queue.
    Queued,
    /// The question is with the database.
    Asked,
    /// Its row was seen; it is looked at again at this time.
    Seen(Time),
}

/// Why a user is to be looked up.
#[derive(Clone, Debug)]
enum Named {
    /// A session's text names it, or a signature, which stands for such a text.
    By { text: SessionText, client: Option<Client> },
    /// Its session is gone, for this reason. A block takes the sessions with it, so only the user's row tells it from a
    /// log-out.
    Gone(Reason),
}

/// A user who is there.
#[derive(Debug)]
struct Present {
    user: User,
    sessions: Vec<usize>,
}

/// All visits.
#[derive(Debug)]
pub struct Visits {
    /// By slot of the connection.
    visits: Vec<Option<Visit>>,
    sessions: Slab<Session>,
    keys: HashMap<Key, usize>,
    users: HashMap<u32, Present>,
    /// Sessions that nobody has looked at yet, in the order in which they came.
    queue: VecDeque<usize>,
    /// The others, by when they are looked at again.
    looks: BTreeSet<(Time, usize)>,
    /// Users that are looked at again, because somebody said that they changed.
    suspects: BTreeSet<(Time, u32)>,
    /// Sessions of users who are to be looked up, with the text that names them: by the user and the session.
    named: BTreeMap<(u32, usize), Named>,
    named_asked: BTreeMap<(u32, usize), Named>,
    /// Who waits for an identity, oldest first.
    patience: VecDeque<(Time, ConnectionId)>,
    /// Connections whose waiting frames may go on.
    /// How many sessions are in doubt.
    doubts: usize,
    /// After a question that got no answer the next one rests until then.
    rest: Time,
    /// For the spread of the sweep.
    spread: u64,
    interval: Duration,
    timeout: Duration,
    require_token: bool,
}

impl Visits {
    /// Nobody is there.
    pub fn new(interval: Duration, timeout: Duration, require_token: bool) -> Self {
        Self {
            visits: Vec::new(),
            sessions: Slab::new(),
            keys: HashMap::new(),
            users: HashMap::new(),
            queue: VecDeque::new(),
            looks: BTreeSet::new(),
            suspects: BTreeSet::new(),
            named: BTreeMap::new(),
            named_asked: BTreeMap::new(),
            patience: VecDeque::new(),
            doubts: 0,
            rest: Time::default(),
            spread: 0,
            interval,
            timeout,
            require_token,
        }
    }

    /// Obeys other settings from here on.
    pub fn reconfigure(&mut self, interval: Duration, timeout: Duration, require_token: bool) {
        (self.interval, self.timeout, self.require_token) = (interval, timeout, require_token);
    }

    // --- coming and going ----------------------------------------------------------------------------------------

    /// A connection came with this session, or is a guest for a reason. Whether it may: not with a session that `most` show
    /// already; 0: any number may.
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
            && let Some(index) = self.keys.get(key).filter(|_| most > 0)
            && self.sessions[*index].connections.len() >= most as usize
        {
            return false;
        }
        let slot = id.slot();
        if self.visits.len() <= slot {
            self.visits.resize_with(slot + 1, || None);
        }
        debug_assert!(
            self.visits[slot].is_none(),
            "the last owner of the slot was not said to be gone"
        );
        let (who, seat) = match key {
            Err(reason) => (Who::Guest(reason), None),
            Ok(key) => (Who::Asking, Some(self.session_of(key, id, now))),
        };
        if who == Who::Asking {
            self.patience.push_back((now.at + self.timeout, id));
        }
        self.visits[slot] = Some(Visit {
            id,
            seat,
            who,
            proof: Proof::None,
            asks_for_token: None,
            refused: false,
        });
        true
    }

    /// One more connection of a session. The session is asked anew: an id may be another's by now.
    fn session_of(&mut self, key: Key, id: ConnectionId, now: Now) -> Seat {
        if let Some(&session) = self.keys.get(&key) {
            let connections = &mut self.sessions[session].connections;
            connections.push(id);
            let place = connections.len() - 1;
            self.ask_soon(session, now);
            return Seat { session, place };
        }
        let index = self.sessions.insert(Session {
            key: key.clone(),
            connections: vec![id],
            user: 0,
            place: 0,
            named: 0,
            token: None,
            wants_token: self.require_token,
            stage: Stage::Queued,
            seen: Time::default(),
            doubted: false,
        });
        self.keys.insert(key, index);
        self.queue.push_back(index);
        Seat {
            session: index,
            place: 0,
        }
    }

    /// Asks a session anew, but not twice in a second, however many show it.
    fn ask_soon(&mut self, index: usize, now: Now) {
        let session = &mut self.sessions[index];
        let Stage::Seen(at) = session.stage else { return };
        let soon = now.at.max(session.seen + ASKED_ONCE_IN);
        if soon < at {
            self.looks.remove(&(at, index));
            session.stage = Stage::Seen(soon);
            self.looks.insert((soon, index));
        }
    }

    /// A connection is gone.
    pub fn leave(&mut self, id: ConnectionId) {
        let Some(visit) = self
            .visits
            .get_mut(id.slot())
            .and_then(|visit| visit.take_if(|visit| visit.id == id))
        else {
            return;
        };
        give_back_slots(&mut self.visits);
        if let Some(seat) = visit.seat {
            self.part(seat);
        }
    }

    /// A connection does not belong to a session any more. The session's last one takes its place, and is told.
    fn part(&mut self, Seat { session, place }: Seat) {
        let connections = &mut self.sessions[session].connections;
        connections.swap_remove(place);
        let moved = connections.get(place).copied();
        if connections.is_empty() {
            self.forget(session);
        }
        let moved = moved.and_then(|id| self.visit(id));
        if let Some(seat) = moved.and_then(|visit| visit.seat.as_mut()) {
            seat.place = place;
        }
    }

    /// A connection proved by a signature that it is this user's: that counts more than any cookie.
    pub fn sign_in(&mut self, id: ConnectionId, user: u32, now: Now) {
        let seat = self.session_of(Key::Signed(user), id, now);
        let Some(visit) = self.visit(id) else {
            return self.part(seat);
        };
        visit.who = Who::Asking;
        // Who can sign for the user needs no other proof.
        visit.proof = Proof::Given;
        let before = visit.seat.replace(seat);
        // Whether it may hear what it hears as this user is not known yet.
        self.set_doubted(seat.session, true);
        if let Some(before) = before {
            self.part(before);
        }
        self.patience.push_back((now.at + self.timeout, id));
    }

    fn forget(&mut self, index: usize) {
        self.detach(index);
        self.set_doubted(index, false);
        let session = self.sessions.remove(index);
        self.keys.remove(&session.key);
        give_back(&mut self.sessions);
        give_back(&mut self.keys);
        match session.stage {
            Stage::Seen(at) => {
                self.looks.remove(&(at, index));
            }
            // Its place in the queue is passed over when its turn comes, or taken by the session that has its index then.
            Stage::Queued | Stage::Asked => {}
        }
        self.named.remove(&(session.named, index));
    }

    /// A session's user is to be looked up.
    fn name(&mut self, index: usize, user: u32, named: Named) {
        self.unname(index);
        self.sessions[index].named = user;
        self.named.insert((user, index), named);
    }

    /// It is not; whether it was.
    fn unname(&mut self, index: usize) -> bool {
        let user = std::mem::take(&mut self.sessions[index].named);
        self.named.remove(&(user, index)).is_some()
    }

    /// Takes a session away from its user.
    fn detach(&mut self, index: usize) {
        let (user, place) = (
            std::mem::take(&mut self.sessions[index].user),
            self.sessions[index].place,
        );
        if let Some(present) = self.users.get_mut(&user) {
            present.sessions.swap_remove(place);
            match present.sessions.get(place) {
                Some(moved) => self.sessions[*moved].place = place,
                None if present.sessions.is_empty() => {
                    self.users.remove(&user);
                    give_back(&mut self.users);
                }
                None => {}
            }
        }
    }

    // --- questions about visitors -----------------------------------------------------------------------------------

    fn visit(&mut self, id: ConnectionId) -> Option<&mut Visit> {
        self.visits.get_mut(id.slot())?.as_mut().filter(|visit| visit.id == id)
    }

    fn visit_of(&self, id: ConnectionId) -> Option<&Visit> {
        self.visits.get(id.slot())?.as_ref().filter(|visit| visit.id == id)
    }

    /// Who a connection is, and may act as: without the proof that is asked for, a user is a guest.
    pub fn who(&self, id: ConnectionId) -> Who {
        match self.visit_of(id) {
            None => Who::Guest(Reason::NoCookie),
            Some(visit) => match visit.who {
                Who::User(_) if self.require_token && visit.proof == Proof::None => Who::Guest(Reason::NoFormToken),
                who => who,
            },
        }
    }

    /// The user of this id, if it is there.
    pub fn user(&self, id: u32) -> Option<&User> {
        self.users.get(&id).map(|present| &present.user)
    }

    /// A connection as the access rules see it; `None`: not known yet.
    pub fn visitor<'a>(&'a self, id: ConnectionId, rights: &'a Rights) -> Option<Visitor<'a>> {
        self.as_visitor(self.who(id), rights)
    }

    /// The same of whom it will be when it has shown the form token that is asked for.
    pub fn unproved<'a>(&'a self, id: ConnectionId, rights: &'a Rights) -> Option<Visitor<'a>> {
        self.as_visitor(self.visit_of(id)?.who, rights)
    }

    fn as_visitor<'a>(&'a self, who: Who, rights: &'a Rights) -> Option<Visitor<'a>> {
        match who {
            Who::Asking => None,
            Who::Guest(_) | Who::Provisional => Some(rights.guest()),
            Who::User(user) => self.user(user).map(User::visitor),
        }
    }

    /// A connection was refused something; if it turns out to be somebody, it must come back.
    pub fn was_refused(&mut self, id: ConnectionId) {
        if let Some(visit) = self.visit(id) {
            visit.refused = true;
        }
    }

    /// Its client, if it is a user's.
    pub fn client(&self, id: ConnectionId) -> Option<Client> {
        match self.sessions[self.visit_of(id)?.seat?.session].key {
            Key::Cookie(_, client) => Some(client),
            Key::Signed(_) => None,
        }
    }

    /// Whether a connection has shown its session's form token, or needs none.
    pub fn is_proved(&self, id: ConnectionId) -> bool {
        self.visit_of(id).is_some_and(|visit| visit.proof == Proof::Given)
    }

    /// The client shows the form token of its page, and is a guest from here on if it is wrong.
    pub fn prove(&mut self, id: ConnectionId, given: &str, now: Now, effects: &mut Vec<Effect>) -> Proved {
        let proved = self.show(id, given, now, effects);
        if proved == Proved::Wrong
            && let Some(visit) = self.visit(id)
            && let Some(seat) = visit.seat.take()
        {
            if let Who::User(_) = visit.who {
                visit.who = Who::Guest(Reason::WrongFormToken);
                // What it got as the user it must not keep.
                effects.push(Effect::Wake(id));
            }
            self.part(seat);
        }
        proved
    }

    /// The client shows a form token. Nothing follows from a wrong one.
    pub fn show(&mut self, id: ConnectionId, given: &str, now: Now, effects: &mut Vec<Effect>) -> Proved {
        let Some(visit) = self.visit(id) else {
            return Proved::Wrong;
        };
        let Some(Seat { session: index, .. }) = visit.seat else {
            return Proved::Wrong;
        };
        let who = visit.who;
        let asked = visit.asks_for_token.take();
        let session = &mut self.sessions[index];
        if let Key::Signed(_) = session.key {
            // Who can sign for the user needs no other proof.
            return Proved::Right;
        }
        session.wants_token = true;
        match (who, &session.token) {
            (Who::Guest(_), _) => Proved::Wrong,
            (Who::Asking | Who::Provisional, _) => Proved::NotYet,
            // Asked once for each time that the client shows one, or it could keep the database busy.
            (Who::User(_), None) if asked.is_some_and(|asked| asked < session.seen) => Proved::OutOfReach,
            (Who::User(_), None) => {
                self.ask_soon(index, now);
                if let Some(visit) = self.visit(id) {
                    visit.asks_for_token = asked.or(Some(now.at));
                }
                Proved::NotYet
            }
            (Who::User(_), Some(token)) if session::is_token(given, token) => {
                if let Some(visit) = self.visit(id) {
                    visit.proof = Proof::Given;
                }
                // What it got as a guest may be nothing for a user.
                effects.push(Effect::Wake(id));
                Proved::Right
            }
            (Who::User(_), Some(_)) => Proved::Wrong,
        }
    }

    // --- what others say -----------------------------------------------------------------------------------------

    /// Somebody says that a user changed: its sessions are looked at now, and again a little later.
    pub fn suspect(&mut self, user: u32, now: Now) {
        for wait in AGAIN {
            self.suspects.insert((now.at + wait, user));
        }
        let named = self.named.range((user, 0)..=(user, usize::MAX));
        let mut sessions: Vec<usize> = named.map(|((_, index), _)| *index).collect();
        sessions.extend(self.users.get(&user).iter().flat_map(|present| &present.sessions));
        for index in sessions {
            self.doubt(index);
        }
        self.look_at_user(user);
    }

    /// Whether it is being asked again whose a connection is.
    pub fn is_doubted(&self, id: ConnectionId) -> bool {
        let seat = self.visit_of(id).and_then(|visit| visit.seat);
        seat.is_some_and(|seat| self.sessions[seat.session].doubted)
    }

    /// Whether that is so of anybody.
    pub fn has_doubts(&self) -> bool {
        self.doubts > 0
    }

    fn set_doubted(&mut self, index: usize, doubted: bool) {
        let before = std::mem::replace(&mut self.sessions[index].doubted, doubted);
        self.doubts = self.doubts - usize::from(before) + usize::from(doubted);
    }

    /// What was read of a session's user before this does not count any more.
    fn doubt(&mut self, index: usize) {
        self.set_doubted(index, true);
        if self.unname(index) {
            if let Stage::Seen(at) = std::mem::replace(&mut self.sessions[index].stage, Stage::Queued) {
                self.looks.remove(&(at, index));
            }
            self.queue.push_front(index);
        }
    }

    fn look_at_user(&mut self, user: u32) {
        let Some(present) = self.users.get(&user) else { return };
        for index in present.sessions.clone() {
            if let Stage::Seen(at) = self.sessions[index].stage {
                self.looks.remove(&(at, index));
                self.sessions[index].stage = Stage::Queued;
                // Before all newcomers: it is a matter of what somebody may still hear.
                self.queue.push_front(index);
            }
        }
    }

    /// Somebody may have changed: all users are looked at again, and their sessions are in doubt until then.
    pub fn suspect_all(&mut self, now: Now) {
        let users: Vec<usize> = self
            .sessions
            .iter()
            .filter(|(_, own)| own.user != 0)
            .map(|(index, _)| index)
            .collect();
        for index in users {
            self.doubt(index);
        }
        for (_, index) in std::mem::take(&mut self.looks) {
            self.sessions[index].stage = Stage::Seen(now.at);
            self.looks.insert((now.at, index));
        }
    }

    /// A user is to be gone at once.
    pub fn terminate(&mut self, user: u32, why: &'static str, effects: &mut Vec<Effect>) {
        let Some(present) = self.users.get(&user) else { return };
        for index in present.sessions.clone() {
            self.end(index, Reason::Blocked, 4009, why, effects);
        }
    }

    /// The rights were read anew and differ: those whose own rights changed come back as what they now are.
    pub fn rights_changed(&mut self, rights: &Rights, effects: &mut Vec<Effect>) {
        let mut changed = Vec::new();
        for (id, present) in &mut self.users {
            if present.user.update_rights(rights) {
                changed.push(*id);
            }
        }
        changed.sort_unstable();
        for user in changed {
            self.close_user(user, effects);
        }
    }

    fn close_user(&mut self, user: u32, effects: &mut Vec<Effect>) {
        let Some(present) = self.users.get(&user) else { return };
        for index in present.sessions.clone() {
            self.end(index, Reason::RightsChanged, 4200, "your rights have changed", effects);
        }
    }

    /// A session is nobody's any more, and its connections are closed.
    fn end(&mut self, index: usize, reason: Reason, code: u16, why: &'static str, effects: &mut Vec<Effect>) {
        self.detach(index);
        self.set_doubted(index, false);
        self.sessions[index].token = None;
        for id in self.sessions[index].connections.clone() {
            if let Some(visit) = self.visit(id) {
                visit.who = Who::Guest(reason);
                effects.push(Effect::Close(id, code, why));
            }
        }
    }

    // --- questions to the store -------------------------------------------------------------------------------------

    /// The next question, if one is due. `metadata`: rows of sessions tell their users.
    pub fn question(&mut self, metadata: bool, now: Now) -> Option<Question> {
        if self.rest > now.at {
            return None;
        }
        if let Some(question) = self.users_question() {
            return Some(question);
        }
        self.gather_due(now);
        let mut ids = Vec::new();
        let mut text = Text::IfNeeded;
        while ids.len() < MOST_KEYS {
            let Some(index) = self.queue.pop_front() else { break };
            give_back(&mut self.queue);
            let Some(session) = self
                .sessions
                .get_mut(index)
                .filter(|session| session.stage == Stage::Queued)
            else {
                continue;
            };
            session.stage = Stage::Asked;
            let id = match &session.key {
                Key::Cookie(id, _) => id,
                Key::Signed(user) => {
                    // The signature stands for the session and both of its factors.
                    let text = SessionText {
                        user_id: Some(*user),
                        mfa_checked: true,
                        ..SessionText::default()
                    };
                    let user = *user;
                    self.name(index, user, Named::By { text, client: None });
                    continue;
                }
            };
            // A second factor that has yet to be set up stands in the text alone. Who was seen to be a user has set it up.
            if session.wants_token || session.user == 0 {
                text = if metadata { Text::OfUsers } else { Text::Always };
            }
            // The same id may be shown as both clients' cookie.
            if !ids.contains(id) {
                ids.push(id.clone());
            }
        }
        match ids.is_empty() {
            true => self.users_question(),
            false => Some(Question::Sessions { ids, text }),
        }
    }

    /// The question for users that are named by session texts or signatures.
    fn users_question(&mut self) -> Option<Question> {
        let mut users: Vec<u32> = Vec::new();
        for (user, _) in self.named.keys() {
            if users.last() != Some(user) {
                if users.len() == MOST_KEYS {
                    break;
                }
                users.push(*user);
            }
        }
        let most = *users.last()?;
        let rest = self.named.split_off(&(most.saturating_add(1), 0));
        self.named_asked.append(&mut self.named);
        self.named = rest;
        Some(Question::Users(users))
    }

    /// Moves what is due to be looked at again into the queue, no more than one question takes.
    fn gather_due(&mut self, now: Now) {
        while let Some((at, user)) = self.suspects.first().copied().filter(|(at, _)| *at <= now.at) {
            self.suspects.remove(&(at, user));
            self.look_at_user(user);
        }
        while self.queue.len() < MOST_KEYS {
            let Some((at, index)) = self.looks.first().copied().filter(|(at, _)| *at <= now.at) else {
                break;
            };
            self.looks.remove(&(at, index));
            self.sessions[index].stage = Stage::Queued;
            self.queue.push_back(index);
        }
    }

    /// When to ask again.
    pub fn question_due(&self) -> Time {
        if !self.queue.is_empty() || !self.named.is_empty() {
            return self.rest;
        }
        let look = self.looks.first().map(|(at, _)| *at);
        let suspect = self.suspects.first().map(|(at, _)| *at);
        look.into_iter()
            .chain(suspect)
            .min()
            .map_or(Time::NEVER, |at| at.max(self.rest))
    }

    /// What the store says of the sessions that were asked for.
    pub fn sessions(
        &mut self,
        ids: &[SessionId],
        rows: Result<&[SessionRow], &Failure>,
        (site, rights, joomla3): (&Site, &Rights, bool),
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let asked: Vec<usize> = ids
            .iter()
            .flat_map(|id| {
                [Client::Site, Client::Administrator]
                    .map(|client| self.keys.get(&Key::Cookie(id.clone(), client)).copied())
            })
            .flatten()
            .filter(|index| self.sessions[*index].stage == Stage::Asked)
            .collect();
        let rows = match rows {
            Ok(rows) => rows,
            Err(failure) => return self.postpone(&asked, failure, now),
        };
        let rows: HashMap<&SessionId, &SessionRow> = rows.iter().map(|row| (&row.id, row)).collect();
        for index in asked {
            self.seen(index, now);
            let Key::Cookie(id, client) = &self.sessions[index].key else {
                continue;
            };
            let judgement = match rows.get(id) {
                None => Judgement::Guest(Reason::NoRow),
                Some(row) => {
                    let judgement = identity::judge(row, *client, site, joomla3, now.unix());
                    self.note_token(index, row, site);
                    judgement
                }
            };
            self.judged(index, judgement, rights, effects);
        }
    }

    fn postpone(&mut self, asked: &[usize], failure: &Failure, now: Now) {
        for index in asked {
            self.sessions[*index].stage = Stage::Queued;
            self.queue.push_back(*index);
        }
        self.pause(failure, now);
    }

    fn pause(&mut self, failure: &Failure, now: Now) {
        self.rest = now.at
            + match failure {
                Failure::Unavailable(_) => LOST_PAUSE,
                _ => REFUSED_PAUSE,
            };
    }

    /// What the store says of users that sessions name in their texts.
    pub fn users(
        &mut self,
        asked: &[u32],
        rows: Result<&[UserRow], &Failure>,
        rights: &Rights,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let (waiting, others) = std::mem::take(&mut self.named_asked)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|((user, _), _)| asked.contains(user));
        self.named_asked = others;
        let rows = match rows {
            Ok(rows) => rows,
            Err(failure) => {
                for ((user, index), named) in waiting {
                    match named {
                        Named::By { .. } => self.name(index, user, named),
                        // That much is known, and must not wait for the rest.
                        Named::Gone(reason) => self.end(index, reason, 4200, ENDED, effects),
                    }
                }
                return self.pause(failure, now);
            }
        };
        for ((user, index), named) in waiting {
            let row = rows.iter().find(|row| row.id == user);
            let (text, client) = match named {
                Named::By { text, client } => (text, client),
                Named::Gone(_) if row.is_none_or(|row| row.blocked) => {
                    self.end(index, Reason::Blocked, 4009, NO_ACCOUNT, effects);
                    continue;
                }
                Named::Gone(reason) => {
                    self.end(index, reason, 4200, ENDED, effects);
                    continue;
                }
            };
            if matches!(self.sessions[index].key, Key::Signed(_)) {
                self.seen(index, now);
            }
            self.judged(index, identity::judge_user(user, client, &text, row), rights, effects);
        }
    }

    /// A session's row was looked for just now.
    fn seen(&mut self, index: usize, now: Now) {
        // Spread, and a little early: what changed must show within the interval.
        self.spread = self
            .spread
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let interval = self.interval.as_micros() as u64;
        let at = now.at + Duration::from_micros(interval * 6 / 10 + (self.spread >> 33) % (interval / 4).max(1));
        self.sessions[index].stage = Stage::Seen(at);
        self.sessions[index].seen = now.at;
        self.looks.insert((at, index));
    }

    fn note_token(&mut self, index: usize, row: &SessionRow, site: &Site) {
        if self.sessions[index].wants_token
            && let Some(text) = &row.text
        {
            let read = session::read(text).ok();
            let expected = read.and_then(|text| {
                let user = text.user_id.unwrap_or(0);
                text.token.map(|token| session::form_token(&site.secret, user, &token))
            });
            self.sessions[index].token = expected.map(String::into_boxed_str);
        }
    }

    fn judged(&mut self, index: usize, judgement: Judgement, rights: &Rights, effects: &mut Vec<Effect>) {
        match judgement {
            Judgement::AskUser(user, client, text) => {
                self.name(index, user, Named::By { text, client });
            }
            Judgement::User(row, _) => {
                self.set_doubted(index, false);
                self.is_user(index, row, rights, effects);
            }
            Judgement::Guest(reason) => self.is_guest(index, reason, effects),
        }
    }

    fn is_user(&mut self, index: usize, row: UserRow, rights: &Rights, effects: &mut Vec<Effect>) {
        let user = row.id;
        let before = self.sessions[index].user;
        if before != 0 && before != user {
            // Nobody becomes another one on a live connection.
            return self.end(index, Reason::NoRow, 4200, "the session is another user's now", effects);
        }
        let changed = match self.users.get_mut(&user) {
            Some(present) => {
                if before == 0 {
                    self.sessions[index].place = present.sessions.len();
                    present.sessions.push(index);
                }
                present.user.update(row, rights)
            }
            None => {
                let present = Present {
                    user: User::new(row, rights),
                    sessions: vec![index],
                };
                self.sessions[index].place = 0;
                self.users.insert(user, present);
                false
            }
        };
        self.sessions[index].user = user;
        if self.sessions[index].wants_token && self.sessions[index].token.is_none() && self.require_token {
            log::debug!("the session text of user {user} has no token");
        }
        for id in self.sessions[index].connections.clone() {
            let Some(visit) = self.visit(id) else { continue };
            match visit.who {
                Who::Provisional | Who::Guest(_) if visit.refused => {
                    let why = "you are known now";
                    effects.push(Effect::Close(id, 4200, why));
                }
                _ => self.becomes(id, Who::User(user), effects),
            }
        }
        if changed {
            self.close_user(user, effects);
        }
    }

    fn is_guest(&mut self, index: usize, reason: Reason, effects: &mut Vec<Effect>) {
        // These do not become somebody: a log-in makes another session. The others may any time.
        let is_final = matches!(
            reason,
            Reason::NoRow | Reason::Expired | Reason::GuestSession | Reason::OtherClient
        );
        if let (true, Stage::Seen(at)) = (is_final, self.sessions[index].stage) {
            self.looks.remove(&(at, index));
            self.sessions[index].stage = Stage::Seen(Time::NEVER);
        }
        let user = self.sessions[index].user;
        if user != 0 {
            let (code, why) = match reason {
                Reason::Blocked | Reason::NoUser => (4009, NO_ACCOUNT),
                Reason::Expired => (4200, "the session has expired"),
                Reason::NoRow | Reason::GuestSession => {
                    self.name(index, user, Named::Gone(reason));
                    return;
                }
                _ => (4200, "the session is not logged in any more"),
            };
            return self.end(index, reason, code, why, effects);
        }
        self.set_doubted(index, false);
        for id in self.sessions[index].connections.clone() {
            self.becomes(id, Who::Guest(reason), effects);
        }
    }

    /// An answer says who a connection is. One that changes nothing wakes nobody.
    fn becomes(&mut self, id: ConnectionId, who: Who, effects: &mut Vec<Effect>) {
        let Some(visit) = self.visit(id) else { return };
        if visit.who != who || visit.asks_for_token.is_some() {
            visit.who = who;
            effects.push(Effect::Wake(id));
        }
    }

    // --- time ------------------------------------------------------------------------------------------------------

    /// When `due` must be called next.
    pub fn deadline(&self) -> Time {
        self.patience.front().map_or(Time::NEVER, |(at, _)| *at)
    }

    /// Who has waited long enough is a guest for the time being.
    pub fn due(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while let Some((_, id)) = self.patience.front().copied().filter(|(at, _)| *at <= now.at) {
            self.patience.pop_front();
            give_back(&mut self.patience);
            if let Some(visit) = self.visit(id)
                && visit.who == Who::Asking
            {
                visit.who = Who::Provisional;
                effects.push(Effect::Wake(id));
            }
        }
    }

    /// Sessions and users that are there, for those who count.
    pub fn counts(&self) -> (usize, usize) {
        (self.sessions.len(), self.users.len())
    }
}
