//! The tables that the service reads, as a server would keep them: each [`Question`] is answered as its documentation
//! says. Nothing here uses SQL or fails by itself. The outbox's two tables are in `outbox`.

use std::collections::BTreeMap;

use jsocketd::store::{
    Answer, AssetRow, CategoryRow, CategoryStep, Extensions, Failure, GroupRow, ItemRow, LevelRow, MOST_KEYS, Question,
    SessionId, SessionRow, Text, UserRow,
};

use super::outbox::OutboxTables;

/// Joomla's root category, which no chain shows.
const ROOT_CATEGORY: u64 = 1;

/// The server with its tables. Tests may change the public fields at any time, as PHP changes the tables.
#[derive(Clone, Debug)]
pub struct Tables {
    /// The server's clock: Unix milliseconds. It stands still until it is set.
    pub now: i64,
    /// `#__session`
    pub sessions: BTreeMap<SessionId, Session>,
    /// `#__users` with their groups and second factors, by id.
    pub users: BTreeMap<u32, UserRow>,
    /// `#__usergroups`
    pub groups: Vec<GroupRow>,
    /// `#__viewlevels`
    pub levels: Vec<LevelRow>,
    /// `#__assets`: the root's and the components'.
    pub assets: Vec<AssetRow>,
    /// Of `#__extensions`.
    pub extensions: Extensions,
    /// The tables of the item types, in the configuration's order; by id.
    pub items: Vec<BTreeMap<u64, Item>>,
    /// `#__categories`, by id. The root (1) need not be there.
    pub categories: BTreeMap<u64, Category>,
    /// `#__websockets_outbox` and `#__websockets_state`
    pub outbox: OutboxTables,
    /// Questions, by name, that the server refuses, and its reason: a table or a privilege is missing.
    pub refused: BTreeMap<&'static str, String>,
    /// No process can connect, and connected processes get no answers any more.
    pub down: bool,
    /// How often the server was killed, and how often each client's connection: earlier connections are dead.
    lives: u64,
    ended: BTreeMap<u32, u64>,
}

/// A row of `#__session`, but for its key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Session {
    /// See [`SessionRow::client_id`].
    pub client_id: Option<u8>,
    /// See [`SessionRow::guest`].
    pub guest: bool,
    /// See [`SessionRow::time`].
    pub time: i64,
    /// See [`SessionRow::user_id`].
    pub user_id: u32,
    /// The session text; `None` where another handler keeps it.
    pub data: Option<Vec<u8>>,
}

/// An item, but for its key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Item {
    /// Its view level.
    pub access: u32,
    /// See [`ItemRow::state`].
    pub state: i8,
    /// See [`ItemRow::publish_up`].
    pub publish_up: Option<i64>,
    /// See [`ItemRow::publish_down`].
    pub publish_down: Option<i64>,
    /// `None`: its type has no categories.
    pub category: Option<u64>,
}

/// A category, but for its key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Category {
    /// The category above it; 0 and 1: none.
    pub parent: u64,
    /// The extension that it belongs to: `com_content`.
    pub extension: String,
    /// Its view level.
    pub access: u32,
    /// See [`CategoryStep::published`].
    pub published: i8,
}

impl Default for Tables {
    /// In 1970.
    fn default() -> Self {
        Self::new(0)
    }
}

impl Tables {
    /// A server with empty tables, and the outbox's as they are installed at an instant: Unix milliseconds.
    pub fn new(now: i64) -> Self {
        Self {
            now,
            sessions: BTreeMap::new(),
            users: BTreeMap::new(),
            groups: Vec::new(),
            levels: Vec::new(),
            assets: Vec::new(),
            extensions: Extensions::default(),
            items: vec![BTreeMap::new()],
            categories: BTreeMap::new(),
            outbox: OutboxTables::new(now),
            refused: BTreeMap::new(),
            down: false,
            lives: 0,
            ended: BTreeMap::new(),
        }
    }

    /// The server dies and starts again: uncommitted rows are gone, and so are all locks and connections. `forgets`:
    /// rows committed into the outbox's tables since the last flush are gone too.
    pub fn crash(&mut self, forgets: bool) {
        self.outbox.crash(forgets);
        self.lives += 1;
    }

    /// The server ends a client's connection, and rolls its transaction back.
    pub fn end(&mut self, client: u32) {
        *self.ended.entry(client).or_default() += 1;
        self.outbox.leave(client);
    }

    /// Which connection of a client is alive.
    pub(super) fn life(&self, client: u32) -> u64 {
        self.lives + self.ended.get(&client).copied().unwrap_or(0)
    }

    /// Runs one statement of a client. `lag`: what it reads outside a transaction is as old as this, in milliseconds.
    pub(super) fn answer(&mut self, question: &Question, client: u32, lag: i64) -> Result<Answer, Failure> {
        self.outbox.catch_up(self.now);
        let lagging = (lag > 0).then(|| self.outbox.read_before(question, lag, self.now));
        if let Some(why) = self.refused.get(question.name()) {
            self.outbox.leave(client);
            return Err(Failure::Refused(why.clone()));
        }
        if let Some(answer) = lagging.flatten() {
            return answer;
        }
        Ok(match question {
            Question::Sessions { ids, text } => {
                within_limit(ids);
                // By the table's order and not by that of the question, for no caller may rely on that.
                let rows = self.sessions.iter().filter(|(id, _)| ids.contains(id));
                Answer::Sessions(rows.map(|(id, session)| self.session(id, session, *text)).collect())
            }
            Question::Users(ids) => {
                within_limit(ids);
                let rows = self.users.values().filter(|user| ids.contains(&user.id));
                Answer::Users(rows.cloned().collect())
            }
            Question::Groups => Answer::Groups(self.groups.clone()),
            Question::Levels => Answer::Levels(self.levels.clone()),
            Question::Assets => Answer::Assets(self.assets.clone()),
            Question::Extensions => Answer::Extensions(self.extensions.clone()),
            Question::Items { kind, ids } => {
                within_limit(ids);
                let Some(table) = self.items.get(*kind) else {
                    return Err(Failure::Refused("there is no such table".into()));
                };
                let rows = table.iter().filter(|(id, _)| ids.contains(id));
                Answer::Items(rows.map(|(id, item)| self.item(*id, item)).collect())
            }
            Question::Categories(ids) => {
                within_limit(ids);
                let rows = self.categories.iter().filter(|(id, _)| ids.contains(id));
                let row = |(id, category): (&u64, &Category)| CategoryRow {
                    id: *id,
                    extension: category.extension.clone(),
                    chain: self.chain(*id),
                };
                Answer::Categories(rows.map(row).collect())
            }
            _ => return self.outbox.answer(question, client, self.now),
        })
    }

    fn session(&self, id: &SessionId, session: &Session, text: Text) -> SessionRow {
        let user = self.users.get(&session.user_id).cloned();
        let wanted = match text {
            Text::Never => false,
            Text::IfNeeded => user.as_ref().is_some_and(|user| user.mfa) || tells_no_user(session),
            Text::OfUsers => session.user_id > 0,
            Text::Always => true,
        };
        let data = session
            .data
            .as_ref()
            .filter(|data| data.len() <= SessionRow::LONGEST_TEXT);
        SessionRow {
            id: id.clone(),
            client_id: session.client_id,
            guest: session.guest,
            time: session.time,
            user_id: session.user_id,
            user,
            text: data.filter(|_| wanted).cloned(),
            clock: self.now / 1000,
        }
    }

    fn item(&self, id: u64, item: &Item) -> ItemRow {
        ItemRow {
            id,
            access: item.access,
            state: item.state,
            publish_up: item.publish_up,
            publish_down: item.publish_down,
            categories: item.category.map(|category| self.chain(category)),
            clock: self.now / 1000,
        }
    }

    /// A category and those above it, outermost first; empty if it does not exist.
    fn chain(&self, id: u64) -> Vec<CategoryStep> {
        let mut chain = Vec::new();
        let mut at = id;
        // A category that is its own ancestor ends its chain somewhere.
        while at != ROOT_CATEGORY
            && chain.len() < self.categories.len()
            && let Some(category) = self.categories.get(&at)
        {
            chain.push(CategoryStep {
                id: at,
                access: category.access,
                published: category.published,
            });
            at = category.parent;
        }
        chain.reverse();
        chain
    }
}

/// Whether only the session's text names its user: rows without metadata have no client.
fn tells_no_user(session: &Session) -> bool {
    session.user_id == 0 && session.client_id.is_none()
}

fn within_limit<T>(keys: &[T]) {
    debug_assert!(keys.len() <= MOST_KEYS, "{} keys in one question", keys.len());
}
