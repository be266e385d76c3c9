//! The writers of the outbox table: transactions of every kind and length, each step at its time.

use std::collections::{BTreeSet, VecDeque};

use jsocketd::store::NewRow;

use crate::memory::{OutboxTables, Transaction};
use crate::outbox_stories::dice::Dice;
use crate::outbox_stories::truth::{Kind, Truth, data};

pub const CHANNELS: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Ids are handed out for so many rows.
    Reserve(u64),
    /// The next of them is written.
    Write,
    /// A row is written under an id that the writer chose: far above the others, or among them.
    Choose {
        above: bool,
    },
    /// `ROLLBACK TO SAVEPOINT`: so many of the last rows never were.
    Undo(usize),
    Commit,
    RollBack,
}

#[derive(Debug)]
struct Writer {
    transaction: Transaction,
    steps: VecDeque<(u64, Step)>,
    reserved: VecDeque<(u64, u64)>,
    /// Ids and keys of the written rows.
    written: Vec<(u64, usize)>,
    /// One in so many rows is a control row; 0: none.
    control: u64,
}

/// All writers that have begun and not ended.
#[derive(Debug, Default)]
pub struct Writers {
    all: Vec<Writer>,
    /// Ids that were handed out or chosen: no writer chooses them again.
    taken: BTreeSet<u64>,
}

impl Writers {
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// When the next step of a writer is due.
    pub fn due(&self) -> u64 {
        let steps = self.all.iter().filter_map(|writer| writer.steps.front());
        steps.map(|(us, _)| *us).min().unwrap_or(u64::MAX)
    }

    /// The database forgot them.
    pub fn clear(&mut self) {
        self.all.clear();
    }

    /// All of them give up.
    pub fn roll_back(&mut self, tables: &mut OutboxTables) {
        self.all.iter().for_each(|writer| tables.rollback(writer.transaction));
        self.all.clear();
    }

    /// All writers end by this instant.
    pub fn hurry(&mut self, us: u64) {
        let steps = self.all.iter_mut().flat_map(|writer| &mut writer.steps);
        steps.for_each(|(at, _)| *at = (*at).min(us));
    }

    /// A writer begins. `long`: transactions may stay open for minutes.
    pub fn begin(&mut self, us: u64, long: bool, tables: &mut OutboxTables, dice: &mut Dice) {
        let mut steps = VecDeque::new();
        let mut at = us;
        for _ in 0..1 + dice.below(2) {
            match dice.below(12) {
                0..5 => {
                    steps.push_back((at, Step::Reserve(1)));
                    at += dice.seldom(2000, 4, 400_000);
                    steps.push_back((at, Step::Write));
                }
                5..8 => {
                    let rows = 2 + dice.below(8);
                    steps.push_back((at, Step::Reserve(rows)));
                    for _ in 0..rows {
                        steps.push_back((at, Step::Write));
                        at += dice.below(150_000);
                    }
                }
                // INSERT … SELECT: ids in growing blocks, the last one not used up.
                8..10 => {
                    let mut left = 1 + dice.seldom(12, 6, 300);
                    let mut block = 1;
                    while left > 0 {
                        steps.push_back((at, Step::Reserve(block)));
                        for _ in 0..block.min(left) {
                            steps.push_back((at, Step::Write));
                            at += dice.below(3000);
                        }
                        left -= block.min(left);
                        block *= 2;
                    }
                }
                10 => steps.push_back((at, Step::Choose { above: dice.one_in(3) })),
                _ => {
                    let rows = 1 + dice.below(4);
                    steps.push_back((at, Step::Reserve(rows)));
                    steps.extend((0..rows).map(|_| (at, Step::Write)));
                    at += dice.below(20_000);
                    steps.push_back((at, Step::Undo(dice.below(rows + 1) as usize)));
                }
            }
        }
        let patience = match dice.below(12) {
            0 if long => 150_000_000,
            0 | 1 => 6_000_000,
            2 | 3 => 1_500_000,
            _ => 30_000,
        };
        at += dice.below(patience);
        let killed = dice.one_in(12);
        if killed {
            steps.truncate(1 + dice.below(steps.len() as u64) as usize);
        }
        let undone = killed || dice.one_in(6);
        steps.push_back((at, if undone { Step::RollBack } else { Step::Commit }));
        self.all.push(Writer {
            transaction: tables.begin(),
            steps,
            reserved: VecDeque::new(),
            written: Vec::new(),
            control: [0, 0, 3, 10][dice.below(4) as usize],
        });
    }

    /// All writers go on up to this instant. Returns the number of commits.
    pub fn go_on(&mut self, us: u64, tables: &mut OutboxTables, truth: &mut Truth, dice: &mut Dice) -> usize {
        let mut commits = 0;
        let taken = &mut self.taken;
        self.all.retain_mut(|writer| {
            while writer.steps.front().is_some_and(|(at, _)| *at <= us)
                && let Some((_, step)) = writer.steps.pop_front()
            {
                match step {
                    Step::Commit => {
                        tables.commit(writer.transaction);
                        let keys: Vec<usize> = writer.written.iter().map(|(_, key)| *key).collect();
                        truth.commit(&keys, us);
                        commits += keys.len();
                        return false;
                    }
                    Step::RollBack => {
                        tables.rollback(writer.transaction);
                        return false;
                    }
                    step => writer.step(step, us, taken, tables, truth, dice),
                }
            }
            true
        });
        commits
    }
}

impl Writer {
    fn step(
        &mut self,
        step: Step,
        us: u64,
        taken: &mut BTreeSet<u64>,
        tables: &mut OutboxTables,
        truth: &mut Truth,
        dice: &mut Dice,
    ) {
        match step {
            // The rest of the block before is never written.
            Step::Reserve(count) => {
                let ids = tables.reserve(count);
                taken.extend(&ids);
                self.reserved = ids.into_iter().map(|id| (id, us)).collect();
            }
            Step::Write => {
                let (id, began) = self.reserved.pop_front().expect("reserved before");
                self.write(id, began, tables, truth, dice);
            }
            Step::Choose { above } => {
                let id = match above {
                    true => tables.next + 1 + dice.below(30_000),
                    false => 1 + dice.below(tables.next),
                };
                if taken.insert(id) && !tables.has(id) {
                    let key = self.write(id, us, tables, truth, dice);
                    truth.rows[key].below = true;
                }
            }
            Step::Undo(count) => {
                let kept = self.written.len().saturating_sub(count);
                if let Some(from) = self.written[kept..].iter().map(|(id, _)| *id).min() {
                    tables.undo(self.transaction, from);
                    self.written.retain(|(id, _)| *id < from);
                }
            }
            Step::Commit | Step::RollBack => unreachable!("the transaction's end"),
        }
    }

    fn write(&mut self, id: u64, began: u64, tables: &mut OutboxTables, truth: &mut Truth, dice: &mut Dice) -> usize {
        let kind = match dice.below(40) {
            0 => Kind::Bad,
            _ if self.control > 0 && dice.one_in(self.control) => Kind::Control,
            n => Kind::Event(CHANNELS[n as usize % CHANNELS.len()]),
        };
        let key = truth.write(kind, began);
        let (channel, event) = match kind {
            Kind::Event(channel) => (channel, "e"),
            Kind::Control => ("#control", "recheck-user"),
            Kind::Bad => ("no channel", "e"),
        };
        let row = NewRow {
            channel: channel.into(),
            event: event.into(),
            data: data(key),
            socket_id: None,
        };
        tables.insert_at(self.transaction, id, row);
        self.written.push((id, key));
        key
    }
}
