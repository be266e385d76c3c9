//! The outbox's two tables: rows before and after their commit, transactions of writers and of stampers, and locks.
//! They behave as a real server does for the outbox's statements, as plainly as possible.
//!
//! The invariants are asserted here, so that every test that uses the tables also tests them: no two rows have one
//! number, no row has two, no number is left out, no statement comes within another's open transaction, and no row is
//! deleted unseen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Bound, RangeInclusive};
use std::rc::Rc;

use jsocketd::protocol::position::{Place, Position};
use jsocketd::store::schema::VERSION;
use jsocketd::store::{Answer, Checked, Claimed, Failure, Look, Looked, MOST_KEYS, NewRow, Old, Question, Row};

/// Microseconds after which a statement is killed.
const LIMIT: u64 = 100_000;

/// Milliseconds for which states are remembered for nodes that lag.
const REMEMBERED: i64 = 3000;

/// See the file. Tests may change the public fields at any time.
#[derive(Clone, Debug)]
pub struct OutboxTables {
    /// By id: also the rows that only their writer sees.
    rows: BTreeMap<u64, OutboxRow>,
    /// Ids of committed rows without a number, of rows in flight, and of the others by their numbers.
    waiting: BTreeSet<u64>,
    flying: BTreeSet<u64>,
    numbers: BTreeMap<u64, u64>,
    /// The `AUTO_INCREMENT`: the next id.
    pub next: u64,
    /// The server's `auto_increment_increment`.
    pub step: u64,
    /// Ranges of locked ids. (No question of the server meets the locks of rows that are being written; the tests of
    /// the real servers prove that.)
    pub locked: Vec<RangeInclusive<u64>>,
    /// Bytes of an event's data; longer ones are not fetched.
    pub longest_data: usize,
    /// Rows in flight that a look may pass before it takes too long.
    pub most_in_flight: usize,
    /// Transactions that are committed in the middle of the next claim: between its two reads.
    pub meanwhile: Vec<Transaction>,
    /// `#__websockets_state`: values, and when they were written by the server's clock.
    pub state: BTreeMap<String, (String, i64)>,
    /// The transactions of the outbox's own clients.
    open: BTreeMap<u32, Open>,
    /// Ends of transactions that are carried out although their connection broke: when, whose, and what.
    late: Vec<(i64, u32, Question)>,
    ghosts: u32,
    /// The state of the two tables after a crash that forgets the last commits. See [`OutboxTables::flush`].
    durable: Option<Durable>,
    /// Former states, each with the time from which it was so: for nodes that lag. And how often something that others
    /// see changed, altogether and up to the last of these states.
    past: VecDeque<(i64, OutboxTables)>,
    changes: u64,
    remembered: u64,
    transactions: u64,
}

/// A row of the outbox table, but for its key.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRow {
    /// Its content.
    pub row: Rc<NewRow>,
    /// Its number, once it was stamped.
    pub place: Option<Place>,
    /// The transaction of its writer, before the commit: no other client sees the row.
    writer: Option<Transaction>,
}

/// A transaction on the outbox table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction(u64);

/// A copy of both tables and of the next id, without uncommitted rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durable {
    rows: BTreeMap<u64, OutboxRow>,
    next: u64,
    state: BTreeMap<String, (String, i64)>,
}

/// The locks of a client's open transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Counter,
    /// Its row is missing, so nothing was locked.
    NoCounter,
    Deleter,
}

impl OutboxTables {
    /// The tables as they are installed at an instant: Unix milliseconds.
    pub fn new(now: i64) -> Self {
        let mut tables = Self {
            rows: BTreeMap::new(),
            waiting: BTreeSet::new(),
            flying: BTreeSet::new(),
            numbers: BTreeMap::new(),
            next: 1,
            step: 1,
            locked: Vec::new(),
            longest_data: 1 << 20,
            most_in_flight: 1000,
            meanwhile: Vec::new(),
            state: BTreeMap::new(),
            open: BTreeMap::new(),
            late: Vec::new(),
            ghosts: 0,
            durable: None,
            past: VecDeque::new(),
            changes: 0,
            remembered: 0,
            transactions: 0,
        };
        tables.set("schema", VERSION, now);
        tables.set("deleter", "", now);
        tables.first_row(1, now.cast_unsigned(), now);
        tables
    }

    // --- other clients -------------------------------------------------------------------------------------------

    /// Starts a transaction. Its rows are there for [`Self::commit`] or [`Self::rollback`] to decide on.
    pub fn begin(&mut self) -> Transaction {
        self.transactions += 1;
        Transaction(self.transactions)
    }

    /// `INSERT` of one row within a transaction; its id, which no other row gets, even after a rollback.
    pub fn insert(&mut self, writer: Transaction, row: NewRow) -> u64 {
        let id = self.reserve(1)[0];
        self.insert_at(writer, id, row);
        id
    }

    /// The beginning of an `INSERT` of so many rows: their ids are taken, but none is there until it is written by
    /// [`Self::insert_at`].
    pub fn reserve(&mut self, count: u64) -> Vec<u64> {
        let ids: Vec<_> = (0..count).map(|n| self.next + n * self.step).collect();
        self.next += count * self.step;
        ids
    }

    /// Writes a row under an id that was reserved, or that the writer chose himself.
    pub fn insert_at(&mut self, writer: Transaction, id: u64, row: NewRow) {
        self.next = self.next.max(id + self.step);
        let (row, place, writer) = (Rc::new(row), None, Some(writer));
        let before = self.rows.insert(id, OutboxRow { row, place, writer });
        assert!(before.is_none(), "the row {id} was there already");
        self.flying.insert(id);
    }

    /// From here on every client sees its rows.
    pub fn commit(&mut self, transaction: Transaction) {
        self.changes += 1;
        for id in self.of(transaction) {
            self.flying.remove(&id);
            self.waiting.insert(id);
            if let Some(row) = self.rows.get_mut(&id) {
                row.writer = None;
            }
        }
    }

    /// Its rows never were; their ids are lost.
    pub fn rollback(&mut self, transaction: Transaction) {
        self.undo(transaction, 0);
    }

    /// `ROLLBACK TO SAVEPOINT`: the rows of a transaction from this id on never were.
    pub fn undo(&mut self, transaction: Transaction, from: u64) {
        for id in self.of(transaction).into_iter().filter(|id| *id >= from) {
            self.flying.remove(&id);
            self.rows.remove(&id);
        }
    }

    fn of(&self, transaction: Transaction) -> Vec<u64> {
        let own = |id: &&u64| self.rows[*id].writer == Some(transaction);
        self.flying.iter().filter(own).copied().collect()
    }

    /// `INSERT` of one row without a transaction; its id.
    pub fn publish(&mut self, row: NewRow) -> u64 {
        let transaction = self.begin();
        let id = self.insert(transaction, row);
        self.commit(transaction);
        id
    }

    /// `DELETE` of the rows with numbers up to this one, as PHP does: never of the newest.
    pub fn trim(&mut self, seq: u64) {
        let newest = self.newest().map_or(0, |place| place.seq);
        let old: Vec<u64> = self
            .numbers
            .range(..=seq.min(newest.saturating_sub(1)))
            .map(|(_, id)| *id)
            .collect();
        old.iter().for_each(|id| self.delete(*id));
    }

    /// `TRUNCATE` of the outbox table: the ids start again. It waits for all transactions: none of the outbox's own
    /// clients may have one, and all writers have given up.
    pub fn truncate(&mut self) {
        assert!(self.is_unlocked(), "TRUNCATE waits");
        self.fill(Durable {
            next: 1,
            state: self.state.clone(),
            ..Durable::default()
        });
    }

    /// Whether no client has a transaction of the outbox's own open.
    pub fn is_unlocked(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether a client's transaction is open.
    pub fn is_open(&self, client: u32) -> bool {
        self.open.contains_key(&client)
    }

    /// A copy of the committed rows.
    pub fn copy(&self) -> Durable {
        let mut rows = self.rows.clone();
        self.flying.iter().for_each(|id| drop(rows.remove(id)));
        Durable {
            rows,
            next: self.next,
            state: self.state.clone(),
        }
    }

    /// The rows committed so far survive a crash that forgets commits.
    pub fn flush(&mut self) {
        self.durable = Some(self.copy());
    }

    /// The server dies and starts again: uncommitted rows are gone, and so are all transactions and locks. `forgets`:
    /// rows committed since the last [flush](Self::flush) are gone too.
    pub fn crash(&mut self, forgets: bool) {
        self.open.clear();
        self.late.clear();
        self.locked.clear();
        self.meanwhile.clear();
        let next = self.next;
        match self.durable.clone().filter(|_| forgets) {
            Some(durable) => self.fill(durable),
            None => {
                let copy = self.copy();
                self.fill(copy);
                self.next = next;
            }
        }
    }

    /// Both tables are dropped, made again and filled with a copy: rows that are in flight are lost, as are all locks.
    pub fn restore(&mut self, copy: Durable) {
        self.locked.clear();
        self.fill(copy);
    }

    fn fill(&mut self, Durable { rows, next, state }: Durable) {
        self.flying.clear();
        let ids = |is: fn(&OutboxRow) -> bool| rows.iter().filter(move |(_, row)| is(row)).map(|(id, _)| *id);
        self.waiting = ids(|row| row.place.is_none()).collect();
        let numbers = rows.iter().filter_map(|(id, row)| Some((row.place?.seq, *id)));
        self.numbers = numbers.collect();
        (self.rows, self.next, self.state) = (rows, next, state);
        // No node shows the lost rows.
        self.past.clear();
        self.changes += 1;
    }

    /// A client's connection ended, and with it its transaction.
    pub(super) fn leave(&mut self, client: u32) {
        self.open.remove(&client);
    }

    /// A client's connection breaks, but the server goes on with the end of its transaction and is done `after`
    /// milliseconds later: until then the locks are held. Returns whether the question ends a transaction.
    pub(super) fn end_late(&mut self, client: u32, question: &Question, after: i64, now: i64) -> bool {
        let Some(open) = self.open.remove(&client).filter(|_| question.ends_transaction()) else {
            return false;
        };
        // No other client has this number.
        self.ghosts += 1;
        let ghost = u32::MAX - self.ghosts;
        self.open.insert(ghost, open);
        self.late.push((now + after, ghost, question.clone()));
        true
    }

    /// Carries out the questions that are due by now. No client waits for their answers.
    pub fn catch_up(&mut self, now: i64) {
        for (_, ghost, question) in self.late.extract_if(.., |(due, ..)| *due <= now).collect::<Vec<_>>() {
            drop(self.answer(&question, ghost, now));
        }
    }

    /// Keeps the committed rows of this moment for nodes that lag.
    pub fn remember(&mut self, now: i64) {
        if self.past.is_empty() || self.remembered != self.changes {
            let mut tables = Self {
                longest_data: self.longest_data,
                most_in_flight: self.most_in_flight,
                ..Self::new(0)
            };
            tables.fill(self.copy());
            self.past.push_back((now, tables));
            self.remembered = self.changes;
        }
        while self.past.get(1).is_some_and(|(at, _)| *at < now - REMEMBERED) {
            self.past.pop_front();
        }
    }

    /// The answer to a read-only question from the state of so many milliseconds ago, or from the oldest kept state.
    pub(super) fn read_before(&self, question: &Question, lag: i64, now: i64) -> Option<Result<Answer, Failure>> {
        let mut states = self.past.iter().rev();
        let (_, then) = states.find(|(at, _)| *at <= now - lag).or(self.past.front())?;
        then.read(question, now.try_into().unwrap_or(0))
    }

    // --- their contents ------------------------------------------------------------------------------------------

    /// The position as it is written.
    pub fn position(&self) -> Option<&str> {
        self.state.get("position").map(|(value, _)| value.as_str())
    }

    /// The rows that have a number in `(after, …]`, in its order, with their ids.
    pub fn numbered(&self, after: u64) -> impl DoubleEndedIterator<Item = (u64, Place, &NewRow)> {
        let above = (Bound::Excluded(after), Bound::Unbounded);
        let rows = self.numbers.range(above).map(|(_, id)| (*id, &self.rows[id]));
        rows.filter_map(|(id, row)| Some((id, row.place?, &*row.row)))
    }

    /// The place of a number, if there is such a row.
    pub fn place(&self, seq: u64) -> Option<Place> {
        self.rows[self.numbers.get(&seq)?].place
    }

    /// The row with the highest number.
    pub fn newest(&self) -> Option<Place> {
        let (seq, _) = self.numbers.last_key_value()?;
        self.place(*seq)
    }

    /// The rows that are committed and have no number, with their ids.
    pub fn unnumbered(&self) -> impl Iterator<Item = (u64, &NewRow)> {
        self.waiting.iter().map(|id| (*id, &*self.rows[id].row))
    }

    /// Whether there is a row with this id, committed or not.
    pub fn has(&self, id: u64) -> bool {
        self.rows.contains_key(&id)
    }

    /// How many rows there are, committed or not.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Writes a row of the state table.
    pub fn set(&mut self, name: &str, value: &str, now: i64) {
        self.changes += 1;
        self.state.insert(name.into(), (value.into(), now));
    }

    /// `INSERT` of a row of the state table, unless it is there.
    fn ensure(&mut self, name: &str, now: i64) {
        self.state.entry(name.into()).or_insert_with(|| (String::new(), now));
    }

    // --- questions -----------------------------------------------------------------------------------------------

    /// Runs one statement of a client.
    pub(super) fn answer(&mut self, question: &Question, client: u32, now: i64) -> Result<Answer, Failure> {
        let now_ms = u64::try_from(now).unwrap_or(0);
        let open = self.open.get(&client).copied();
        assert!(
            open.is_none() || question.ends_transaction(),
            "{} is asked within an open transaction",
            question.name()
        );
        if let Some(answer) = self.read(question, now_ms) {
            return answer;
        }
        match question {
            Question::Claim { look, limit, ensure } => {
                if *ensure {
                    self.ensure("position", now);
                }
                self.claim(*look, *limit as usize, client, now_ms)
            }
            Question::Stamp {
                ids,
                epoch,
                first,
                mark,
            } => {
                assert_eq!(open, Some(Open::Counter), "a stamp without the counter's lock");
                self.leave(client);
                self.may_change(ids)?;
                if !ids.iter().all(|id| self.waiting.contains(id)) {
                    return Err(Failure::Refused("Column 'value' cannot be null".into()));
                }
                self.stamp(ids, *epoch, *first, *mark, now);
                Ok(Answer::Done)
            }
            Question::Renew { epoch, newest, mark } => {
                assert_eq!(open, Some(Open::Counter), "a new epoch without the counter's lock");
                self.leave(client);
                match newest {
                    Some(place) => self.set_position(*epoch, *place, now),
                    None => self.first_row(*epoch, *mark, now),
                }
                Ok(Answer::Done)
            }
            Question::Release => {
                self.leave(client);
                Ok(Answer::Done)
            }
            Question::Old { retention, dead, limit } => self.old(*retention, *dead, *limit as usize, client, now),
            Question::Delete { ids, processes } => {
                assert_eq!(open, Some(Open::Deleter), "a deletion without the deleter's lock");
                self.leave(client);
                self.may_change(ids)?;
                ids.iter().for_each(|id| self.delete(*id));
                for process in processes {
                    self.state.remove(&format!("process.{process:08x}"));
                }
                Ok(Answer::Done)
            }
            Question::Beat { process, position } => {
                self.set(&format!("process.{process:08x}"), &position.to_string(), now);
                Ok(Answer::Done)
            }
            Question::Leave(process) => {
                self.state.remove(&format!("process.{process:08x}"));
                Ok(Answer::Done)
            }
            Question::State => {
                let rows = self.state.iter();
                let rows = rows.map(|(name, (value, at))| (name.clone(), value.clone(), now - at));
                Ok(Answer::State(rows.collect()))
            }
            Question::Publish(rows) => {
                let transaction = self.begin();
                let ids = self.reserve(rows.len() as u64);
                for (id, row) in ids.iter().zip(rows) {
                    self.insert_at(transaction, *id, row.clone());
                }
                self.commit(transaction);
                Ok(Answer::Added(ids.first().copied().unwrap_or(0)))
            }
            other => panic!("the question for {} is not about the outbox", other.name()),
        }
    }

    /// The answer to a question that only reads, outside of any transaction.
    fn read(&self, question: &Question, now_ms: u64) -> Option<Result<Answer, Failure>> {
        Some(match question {
            Question::Look(look) => self.look(*look, now_ms),
            Question::Check(seqs) => {
                assert!(seqs.len() <= MOST_KEYS, "{} numbers in one question", seqs.len());
                Ok(Answer::Checked(Checked {
                    schema: self.state.get("schema").map(|(value, _)| value.clone()),
                    found: seqs.iter().filter_map(|seq| self.place(*seq)).collect(),
                    now_ms,
                    ..self.checked(now_ms)
                }))
            }
            Question::Tail { after, limit } => Ok(self.rows(self.numbered(*after), *limit)),
            Question::Channel(range) => {
                let rows = self.numbered(range.after).rev();
                let own = |place: Place, row: &NewRow| place.seq <= range.to && row.channel == range.channel;
                Ok(self.rows(rows.filter(|(_, place, row)| own(*place, row)), range.limit))
            }
            _ => return None,
        })
    }

    fn look(&self, look: Look, now_ms: u64) -> Result<Answer, Failure> {
        let (ids, micros) = self.find(look, 1)?;
        let position = self.position().map(str::to_owned);
        let all = match look {
            Look::Front(_) | Look::Anywhere => None,
            Look::Behind | Look::Window { .. } => self.rows.last_key_value(),
        };
        Ok(Answer::Looked(Looked {
            now_ms: position.as_ref().map_or(0, |_| now_ms),
            position,
            found: ids.first().copied(),
            highest: all.map_or(0, |(id, _)| *id),
            next: match look {
                Look::Window { to, .. } => self.rows.range(to + 1..).next().map(|(id, _)| *id),
                Look::Front(_) | Look::Behind | Look::Anywhere => None,
            },
            micros,
            ..Looked::default()
        }))
    }

    /// The first committed rows without a number in a place, in order of their ids, and how long that took: every row
    /// in flight before the last of them is passed.
    fn find(&self, look: Look, limit: usize) -> Result<(Vec<u64>, u64), Failure> {
        let (after, to) = match look {
            Look::Front(above) => (above, u64::MAX),
            Look::Behind | Look::Anywhere => (0, u64::MAX),
            Look::Window { after, to } => (after, to),
        };
        let range = (Bound::Excluded(after), Bound::Included(to.max(after + 1)));
        let ids: Vec<u64> = self.waiting.range(range).take(limit).copied().collect();
        let last = match ids.last() {
            Some(last) if ids.len() == limit => *last,
            _ => to,
        };
        let passed = self.flying.range(range).take_while(|id| **id < last).count();
        match passed > self.most_in_flight {
            true => Err(Failure::TooLong),
            false => Ok((ids, 50 + passed as u64 * LIMIT / self.most_in_flight.max(1) as u64)),
        }
    }

    fn checked(&self, now_ms: u64) -> Checked {
        let position = self.position().map(str::to_owned);
        Checked {
            now_ms: position.as_ref().map_or(0, |_| now_ms),
            position,
            newest: self.newest(),
            ..Checked::default()
        }
    }

    fn claim(&mut self, look: Look, limit: usize, client: u32, now_ms: u64) -> Result<Answer, Failure> {
        if self.is_held(Open::Counter) {
            return Err(Failure::Locked);
        }
        let tables = self.checked(now_ms);
        let (ids, _) = self.find(look, limit)?;
        for transaction in std::mem::take(&mut self.meanwhile) {
            self.commit(transaction);
        }
        let is_control = |id: &&u64| self.rows[*id].row.channel == "#control";
        let control = self.waiting.iter().filter(is_control).take(limit).copied().collect();
        let open = tables.position.as_ref().map_or(Open::NoCounter, |_| Open::Counter);
        self.open.insert(client, open);
        Ok(Answer::Claimed(Claimed { tables, ids, control }))
    }

    fn old(&mut self, retention: u64, dead: u64, limit: usize, client: u32, now: i64) -> Result<Answer, Failure> {
        if self.is_held(Open::Deleter) {
            return Err(Failure::Locked);
        }
        self.open.insert(client, Open::Deleter);
        let is_over = |since: i64, seconds: u64| now - since > seconds.cast_signed() * 1000;
        let newest = self.newest();
        let rows = self.numbered(0).take(limit);
        let rows = rows.take_while(|(_, at, _)| Some(*at) != newest && is_over(at.mark.cast_signed(), retention));
        let ids = rows.map(|(id, ..)| id).collect();
        let process = |name: &str| u32::from_str_radix(name.strip_prefix("process.")?, 16).ok();
        let gone = self.state.iter().filter(|(_, (_, written))| is_over(*written, dead));
        let processes = gone.filter_map(|(name, _)| process(name)).collect();
        Ok(Answer::Old(Old { ids, processes }))
    }

    fn is_held(&self, lock: Open) -> bool {
        self.open.values().any(|open| *open == lock)
    }

    fn may_change(&self, ids: &[u64]) -> Result<(), Failure> {
        let is_locked = |id: &u64| self.locked.iter().any(|range| range.contains(id));
        match ids.iter().any(is_locked) {
            true => Err(Failure::Locked),
            false => Ok(()),
        }
    }

    fn delete(&mut self, id: u64) {
        self.changes += 1;
        let Some(row) = self.rows.remove(&id) else { return };
        let place = row
            .place
            .unwrap_or_else(|| panic!("the row {id} was deleted before it was seen"));
        self.numbers.remove(&place.seq);
    }

    /// Gives rows their numbers and moves the position.
    fn stamp(&mut self, ids: &[u64], epoch: u32, first: u64, mark: u64, now: i64) {
        let before = self.position().and_then(|position| position.parse::<Position>().ok());
        assert_eq!(
            before.map_or(0, Position::number) + 1,
            first,
            "a number is left out, or given twice"
        );
        for (id, seq) in ids.iter().zip(first..) {
            let place = Place { seq, mark };
            assert!(self.waiting.remove(id), "the row {id} has a number or is not visible");
            let twin = self.numbers.insert(seq, *id);
            assert_eq!(twin, None, "two rows with the number {seq}");
            if let Some(row) = self.rows.get_mut(id) {
                row.place = Some(place);
            }
            self.set_position(epoch, place, now);
        }
    }

    fn set_position(&mut self, epoch: u32, place: Place, now: i64) {
        self.set("position", &Position::Table { epoch, place }.to_string(), now);
    }

    /// The row with which a table begins, and its position.
    fn first_row(&mut self, epoch: u32, mark: u64, now: i64) {
        let id = self.publish(NewRow {
            channel: "#control".into(),
            event: "begin".into(),
            data: "{}".into(),
            socket_id: None,
        });
        self.set_position(epoch, Place { seq: 0, mark: 0 }, now);
        self.stamp(&[id], epoch, 1, mark, now);
    }

    fn rows<'a>(&self, rows: impl Iterator<Item = (u64, Place, &'a NewRow)>, limit: u32) -> Answer {
        let row = |(id, place, row): (u64, Place, &NewRow)| Row {
            id,
            place,
            channel: row.channel.clone(),
            event: row.event.clone(),
            data: (row.data.len() <= self.longest_data).then(|| row.data.clone()),
            socket_id: row.socket_id.clone(),
        };
        Answer::Rows(rows.take(limit as usize).map(row).collect())
    }
}
