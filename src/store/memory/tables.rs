//! The tables that the service asks about, as a server would keep them: each [`Question`] is answered as its documentation
//! says, the outbox table has rows that exist before anybody sees them, and locks. Nothing here knows SQL or fails by itself.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeInclusive};

use super::super::{
    Answer, AssetRow, CategoryRow, CategoryStep, Extensions, Failure, GroupRow, ItemRow, LevelRow, MOST_KEYS,
    MOST_RUNS, NewRow, Question, Row, SessionId, SessionRow, State, Text, UserRow,
};

/// Joomla's root category, which no chain shows.
const ROOT_CATEGORY: u64 = 1;

/// What the columns of the state table take.
const LONGEST_NAME: usize = 64;
const LONGEST_VALUE: usize = 255;

/// The server with its tables. What is public may be changed at any time: that is what PHP does.
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
    /// `#__websockets_outbox`, by id: also the rows that only their writer sees. See [`Tables::begin`].
    pub outbox: BTreeMap<u64, OutboxRow>,
    /// The `AUTO_INCREMENT` of the outbox table: the next id.
    pub next: u64,
    /// The server's `auto_increment_increment`.
    pub step: u64,
    /// When the outbox table was made, as the server says it.
    pub made: String,
    /// Ranges of ids of the outbox table that somebody has locked, besides those of rows that are being written.
    pub locked: Vec<RangeInclusive<u64>>,
    /// Bytes of an event's data; longer ones are not fetched.
    pub longest_data: usize,
    /// `#__websockets_state`: values, and when they were written by the server's clock.
    pub state: BTreeMap<String, (String, i64)>,
    /// Which client deletes: who holds the lock of [`Question::Lock`].
    pub deleter: Option<u32>,
    /// Questions, by name, that the server refuses, and what it says: a table or a privilege is missing.
    pub refused: BTreeMap<&'static str, String>,
    /// Nobody can connect, and who is connected gets no answers any more.
    pub down: bool,
    /// How often the server was killed: connections to an earlier life are dead.
    pub(super) lives: u64,
    transactions: u64,
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
    /// Whose it is: `com_content`.
    pub extension: String,
    /// Its view level.
    pub access: u32,
    /// See [`CategoryStep::published`].
    pub published: i8,
}

/// A row of the outbox table, but for its key.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRow {
    /// What it says.
    pub row: NewRow,
    /// Who writes it and has not committed: nobody else sees it, and it is locked.
    pub writer: Option<Transaction>,
}

/// Somebody's transaction on the outbox table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction(u64);

impl Default for Tables {
    /// A server with empty tables.
    fn default() -> Self {
        Self {
            now: 0,
            sessions: BTreeMap::new(),
            users: BTreeMap::new(),
            groups: Vec::new(),
            levels: Vec::new(),
            assets: Vec::new(),
            extensions: Extensions::default(),
            items: vec![BTreeMap::new()],
            categories: BTreeMap::new(),
            outbox: BTreeMap::new(),
            next: 1,
            step: 1,
            made: "2025-01-01 00:00:00".into(),
            locked: Vec::new(),
            longest_data: 1 << 20,
            state: BTreeMap::new(),
            deleter: None,
            refused: BTreeMap::new(),
            down: false,
            lives: 0,
            transactions: 0,
        }
    }
}

impl Tables {
    /// Starts a transaction. Its rows are there for [`Tables::commit`] or [`Tables::rollback`] to decide on.
    pub fn begin(&mut self) -> Transaction {
        self.transactions += 1;
        Transaction(self.transactions)
    }

    /// `INSERT` of one row within a transaction; its id, which nobody else gets whatever comes of it.
    pub fn insert(&mut self, writer: Transaction, row: NewRow) -> u64 {
        let [id] = self.reserve(1)[..] else {
            unreachable!("one id was reserved");
        };
        self.insert_at(writer, id, row);
        id
    }

    /// The beginning of an `INSERT` of so many rows: their ids are taken, but none is locked until it is written by
    /// [`Tables::insert_at`].
    pub fn reserve(&mut self, count: u64) -> Vec<u64> {
        let ids: Vec<_> = (0..count).map(|n| self.next + n * self.step).collect();
        self.next += count * self.step;
        ids
    }

    /// Writes a row under an id that was reserved, or that the writer chose himself.
    pub fn insert_at(&mut self, writer: Transaction, id: u64, row: NewRow) {
        self.next = self.next.max(id + self.step);
        let writer = Some(writer);
        let before = self.outbox.insert(id, OutboxRow { row, writer });
        debug_assert!(before.is_none(), "the row {id} was there already");
    }

    /// Everybody sees its rows from here on.
    pub fn commit(&mut self, transaction: Transaction) {
        let rows = self.outbox.values_mut();
        rows.filter(|row| row.writer == Some(transaction))
            .for_each(|row| row.writer = None);
    }

    /// Its rows never were; their ids are lost.
    pub fn rollback(&mut self, transaction: Transaction) {
        self.outbox.retain(|_, row| row.writer != Some(transaction));
    }

    /// `INSERT` of one row without a transaction; its id.
    pub fn publish(&mut self, row: NewRow) -> u64 {
        let transaction = self.begin();
        let id = self.insert(transaction, row);
        self.commit(transaction);
        id
    }

    /// `TRUNCATE` of the outbox table at this time: the ids start again.
    pub fn truncate(&mut self, made: &str) {
        self.outbox.clear();
        self.next = 1;
        self.made = made.into();
    }

    /// The server dies and is there again: what was not committed is gone, and so are all locks and connections.
    pub fn crash(&mut self) {
        self.outbox.retain(|_, row| row.writer.is_none());
        self.locked.clear();
        self.deleter = None;
        self.lives += 1;
    }

    /// A client's connection ended, and with it its lock.
    pub(super) fn leave(&mut self, client: u32) {
        self.deleter.take_if(|holder| *holder == client);
    }

    /// Runs one statement of a client.
    pub(super) fn answer(&mut self, question: &Question, client: u32) -> Result<Answer, Failure> {
        if let Some(why) = self.refused.get(question.name()) {
            return Err(Failure::Refused(why.clone()));
        }
        Ok(match question {
            Question::Sessions { ids, text } => {
                within_limit(ids);
                // By the table's order and not by that of the question, for nobody may rely on that.
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
            Question::Tail { after, runs, limit } => {
                debug_assert!(runs.len() <= MOST_RUNS, "{} runs in one question", runs.len());
                let again = |id: u64| runs.iter().any(|run| run.contains(&id));
                let lowest = runs
                    .iter()
                    .map(|run| *run.start())
                    .fold(after.saturating_add(1), u64::min);
                let rows = self.visible(lowest..=u64::MAX);
                Answer::Rows(self.rows(*limit, rows.filter(|(id, _)| id > after || again(*id))))
            }
            Question::Probe(ids) => {
                self.lockable(ids)?;
                Answer::Ids(self.visible(ids.clone()).map(|(id, _)| id).collect())
            }
            Question::Channel { channel, ids, limit } => {
                let rows = self.visible(ids.clone());
                Answer::Rows(self.rows(*limit, rows.filter(|(_, row)| row.channel == *channel)))
            }
            Question::State => Answer::State(self.facts()),
            Question::Write { name, value } => {
                if name.len() > LONGEST_NAME || !name.is_ascii() || value.chars().count() > LONGEST_VALUE {
                    return Err(Failure::Refused(
                        "the name or the value is too long for its column".into(),
                    ));
                }
                self.state.insert(name.clone(), (value.clone(), self.now));
                Answer::Done
            }
            Question::Forget { prefix, seconds } => {
                let age = i64::try_from(*seconds).unwrap_or(i64::MAX).saturating_mul(1000);
                let now = self.now;
                self.state
                    .retain(|name, (_, written)| !name.starts_with(prefix.as_str()) || now - *written < age);
                Answer::Done
            }
            Question::Lock => Answer::Lock(*self.deleter.get_or_insert(client) == client),
            Question::Unlock => {
                self.leave(client);
                Answer::Done
            }
            Question::Delete(ids) => {
                self.lockable(ids)?;
                let gone: Vec<_> = self.stored(ids.clone()).map(|(id, _)| id).collect();
                for id in gone {
                    self.outbox.remove(&id);
                }
                Answer::Done
            }
            Question::Publish(rows) => {
                let transaction = self.begin();
                let ids = self.reserve(rows.len() as u64);
                for (id, row) in ids.iter().zip(rows) {
                    self.insert_at(transaction, *id, row.clone());
                }
                self.commit(transaction);
                Answer::Ids(ids.first().copied().into_iter().collect())
            }
        })
    }

    fn session(&self, id: &SessionId, session: &Session, text: Text) -> SessionRow {
        let user = self.users.get(&session.user_id).cloned();
        let wanted = match text {
            Text::Never => false,
            Text::IfNeeded => user.as_ref().is_some_and(|user| user.mfa) || tells_no_user(session),
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

    /// All rows of a range, also those that only their writer sees.
    fn stored(&self, ids: RangeInclusive<u64>) -> impl DoubleEndedIterator<Item = (u64, &OutboxRow)> {
        // A range that ends before it starts holds nothing; a map would panic.
        let end = match ids.is_empty() {
            true => Bound::Excluded(*ids.start()),
            false => Bound::Included(*ids.end()),
        };
        let rows = self.outbox.range((Bound::Included(*ids.start()), end));
        rows.map(|(id, row)| (*id, row))
    }

    /// The rows of a range that everybody sees.
    fn visible(&self, ids: RangeInclusive<u64>) -> impl DoubleEndedIterator<Item = (u64, &NewRow)> {
        let committed = self.stored(ids).filter(|(_, stored)| stored.writer.is_none());
        committed.map(|(id, stored)| (id, &stored.row))
    }

    fn rows<'a>(&self, limit: u32, rows: impl Iterator<Item = (u64, &'a NewRow)>) -> Vec<Row> {
        rows.take(limit as usize)
            .map(|(id, row)| Row {
                id,
                channel: row.channel.clone(),
                event: row.event.clone(),
                data: (row.data.len() <= self.longest_data).then(|| row.data.clone()),
                socket_id: row.socket_id.clone(),
            })
            .collect()
    }

    /// Whether the rows of a range can be locked without waiting.
    fn lockable(&self, ids: &RangeInclusive<u64>) -> Result<(), Failure> {
        let written = self.stored(ids.clone()).any(|(_, stored)| stored.writer.is_some());
        let overlaps = |other: &RangeInclusive<u64>| other.start() <= ids.end() && ids.start() <= other.end();
        match written || self.locked.iter().any(overlaps) {
            true => Err(Failure::Locked),
            false => Ok(()),
        }
    }

    fn facts(&self) -> State {
        let entries = self.state.iter();
        State {
            entries: entries
                .map(|(name, (value, written))| (name.clone(), value.clone(), self.now - written))
                .collect(),
            made: self.made.clone(),
            next: self.next,
            lowest: self.visible(0..=u64::MAX).next().map(|(id, _)| id),
            highest: self.visible(0..=u64::MAX).next_back().map(|(id, _)| id),
            increment: self.step,
            ..State::default()
        }
    }
}

/// Whether only its text says whose a session is: rows without metadata have no client.
fn tells_no_user(session: &Session) -> bool {
    session.user_id == 0 && session.client_id.is_none()
}

fn within_limit<T>(keys: &[T]) {
    debug_assert!(keys.len() <= MOST_KEYS, "{} keys in one question", keys.len());
}
