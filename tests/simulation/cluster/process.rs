//! One process of the model: the cluster's room as it is, and around it the simplest service that can be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jsocketd::cluster::{Cluster, News, Phase, ProcessId};
use jsocketd::protocol::effects::HookEvent;
use jsocketd::protocol::engine::{Command, Fault, Line, Reply};
use jsocketd::protocol::shared::{Holding, Shared, SharedEvent};
use jsocketd::time::{Now, Time};

use super::engine::Engine;
use crate::world::Dice;

pub const LEASE: Duration = Duration::from_secs(6);

/// A line to the engine.
#[derive(Default)]
struct Wire {
    is_up: bool,
    /// When it connects again.
    again: Time,
    command: Option<Sent>,
    reply: Option<(Time, Result<Reply, Fault>)>,
}

struct Sent {
    at: Time,
    arrives: Time,
    command: Command,
}

/// What each process tells: channel → the number of subscriptions, and whether that is in doubt.
type Told = BTreeMap<String, (u32, bool)>;

pub struct Process {
    pub cluster: Cluster,
    wires: [Wire; 2],
    /// The wall clock differs by so many milliseconds.
    skew: u64,
    /// What it holds: channel → the number of subscriptions.
    pub holds: BTreeMap<String, u32>,
    /// What the log says that each process holds.
    pub told: BTreeMap<ProcessId, Told>,
    /// The events that reached its clients, in order.
    pub delivered: Vec<String>,
    seen: BTreeSet<String>,
    pub past: BTreeSet<String>,
    start: u32,
    /// The positions of the delivered events, those of an isolated process left out.
    pub positions: BTreeMap<(u32, u64), String>,
    newest: u64,
    pub gaps: usize,
    /// The webhooks that it sent: channel, and whether it is occupied.
    pub hooks: Vec<(String, bool)>,
    /// It does nothing until then.
    pub frozen: Time,
}

impl Process {
    /// The `n`th process of a story. Each one has a wall clock of its own.
    pub fn new(n: u64, dice: &mut Dice, now: Now) -> Self {
        let mut seed = [0; 32];
        seed.fill_with(|| dice.roll() as u8);
        Self {
            cluster: Cluster::new(LEASE, &["gone", "app"], seed, now),
            wires: Default::default(),
            skew: n * 7 % 50 * 100_000,
            holds: BTreeMap::new(),
            told: BTreeMap::new(),
            delivered: Vec::new(),
            seen: BTreeSet::new(),
            past: BTreeSet::new(),
            start: 0,
            positions: BTreeMap::new(),
            newest: 0,
            gaps: 0,
            hooks: Vec::new(),
            frozen: Time(0),
        }
    }

    fn now(&self, now: Now) -> Now {
        Now {
            unix_ms: now.unix_ms + self.skew,
            ..now
        }
    }

    pub fn is_together(&self, now: Now) -> bool {
        let state = self.cluster.state(now);
        state.phase == Phase::Together && state.complete
    }

    pub fn publish(&mut self, id: String, now: Now) {
        let event = SharedEvent {
            channel: "c".into(),
            name: "e".into(),
            data: id.into(),
            except: None,
            sender: None,
        };
        self.share(Shared::Event(event), now);
    }

    pub fn hold(&mut self, channel: &str, count: u32, now: Now) {
        match count {
            0 => self.holds.remove(channel),
            _ => self.holds.insert(channel.to_owned(), count),
        };
        self.share(
            Shared::Holds(Holding::Subscriptions {
                channel: channel.into(),
                count,
            }),
            now,
        );
    }

    fn share(&mut self, what: Shared, now: Now) {
        let mut news = Vec::new();
        let now = self.now(now);
        self.cluster.share(1, what, now, &mut news);
        self.handle(news);
    }

    /// Cuts a line; what was on the way may or may not have arrived.
    pub fn cut(&mut self, line: Line, engine: &mut Engine, dice: &mut Dice, pause: Duration, now: Now) {
        let wire = &mut self.wires[line.index()];
        if let Some(sent) = wire.command.take()
            && dice.one_in(2)
            && line == Line::Writing
        {
            engine.answer(&sent.command);
        }
        let was_up = std::mem::take(wire).is_up;
        self.wires[line.index()].again = now.at + pause;
        if was_up {
            let mut news = Vec::new();
            let now = self.now(now);
            self.cluster
                .engine(line, Err("closed the connection".to_owned()), now, &mut news);
            self.handle(news);
        }
    }

    /// What happens in one tick. `slow`: the most milliseconds that each way takes.
    pub fn tick(&mut self, engine: &mut Engine, dice: &mut Dice, slow: usize, now: Now) {
        let here = self.now(now);
        for line in Line::BOTH {
            self.carry(line, engine, dice, slow, now);
            let wire = &mut self.wires[line.index()];
            let mut news = Vec::new();
            if !wire.is_up && wire.again <= now.at && !engine.is_down {
                wire.is_up = true;
                self.cluster.engine(line, Ok(()), here, &mut news);
            } else if let Some((_, reply)) = wire.reply.take_if(|(at, _)| *at <= now.at) {
                self.cluster.reply(line, reply, here, &mut news);
            }
            self.handle(news);
        }
        if self.cluster.deadline() <= now.at {
            let mut news = Vec::new();
            self.cluster.due(here, &mut news);
            self.handle(news);
        }
        for line in Line::BOTH {
            let wire = &mut self.wires[line.index()];
            if wire.is_up
                && let Some(command) = self.cluster.command(line, here)
            {
                assert!(
                    wire.command.is_none() && wire.reply.is_none(),
                    "two commands on one line"
                );
                let arrives = now.at + delay(dice, slow);
                wire.command = Some(Sent {
                    at: now.at,
                    arrives,
                    command,
                });
                assert!(self.cluster.command(line, here).is_none(), "two commands on one line");
            }
        }
    }

    /// Brings a command to the engine, and its answer on the way back. No answer in time: the line is cut.
    fn carry(&mut self, line: Line, engine: &mut Engine, dice: &mut Dice, slow: usize, now: Now) {
        let wire = &mut self.wires[line.index()];
        let Some(sent) = wire.command.take_if(|sent| sent.arrives <= now.at) else {
            return;
        };
        let wait = match &sent.command {
            Command::Read { wait_ms, .. } => Duration::from_millis(u64::from(*wait_ms)),
            _ => Duration::ZERO,
        };
        let is_over = now.at.since(sent.arrives) >= wait;
        let answer = engine
            .answer(&sent.command)
            .or(is_over.then(|| Ok(Reply::Records(Vec::new()))));
        match answer {
            Some(answer) => wire.reply = Some((now.at + delay(dice, slow), answer)),
            None => wire.command = Some(sent),
        }
        if let Some(sent) = &wire.command
            && now.at.since(sent.at) > wait + Duration::from_secs(1)
        {
            self.cut(line, engine, dice, Duration::from_millis(100), now);
        }
    }

    fn handle(&mut self, news: Vec<News>) {
        let mut more = Vec::new();
        for news in news {
            self.handle_one(news, &mut more);
            for news in std::mem::take(&mut more) {
                self.handle_one(news, &mut more);
            }
        }
    }

    fn handle_one(&mut self, news: News, more: &mut Vec<News>) {
        match news {
            News::Epoch { start, after } => (self.start, self.newest) = (start, after),
            News::Shared {
                what: Shared::Event(event),
                n,
                ..
            } => self.deliver(event, n),
            News::Past { event, n, .. } => {
                assert!(n > self.newest, "an old position");
                self.newest = n;
                assert!(
                    self.seen.insert(event.data.to_string()),
                    "an event of the past came twice"
                );
                self.past.insert(event.data.into());
            }
            News::Shared {
                from,
                what: Shared::Holds(holding),
                ..
            } => self.told(from, holding, more),
            News::Stale { of } => self
                .told
                .entry(of)
                .or_default()
                .values_mut()
                .for_each(|(_, doubt)| *doubt = true),
            News::Fresh { of } => {
                let told = self.told.entry(of).or_default();
                let doubtful: Vec<String> = told.iter().filter(|(_, told)| told.1).map(|(c, _)| c.clone()).collect();
                for channel in doubtful {
                    self.told(
                        of,
                        Holding::Subscriptions {
                            channel: channel.into(),
                            count: 0,
                        },
                        more,
                    );
                }
            }
            News::Gone { of } => {
                for channel in self
                    .told
                    .get(&of)
                    .into_iter()
                    .flatten()
                    .map(|(c, _)| c.clone())
                    .collect::<Vec<_>>()
                {
                    self.told(
                        of,
                        Holding::Subscriptions {
                            channel: channel.into(),
                            count: 0,
                        },
                        more,
                    );
                }
                self.told.remove(&of);
            }
            News::TellAll { .. } => {
                for (channel, count) in &self.holds {
                    let channel = channel.as_str().into();
                    self.cluster
                        .snapshot(1, Shared::Holds(Holding::Subscriptions { channel, count: *count }));
                }
                self.cluster.told();
            }
            News::Gap => self.gaps += 1,
            News::Hook {
                event: HookEvent::Occupied { channel },
                ..
            } => self.hooks.push((channel, true)),
            News::Hook {
                event: HookEvent::Vacated { channel },
                ..
            } => self.hooks.push((channel, false)),
            News::Hook { .. } | News::Shared { .. } => {}
        }
    }

    fn deliver(&mut self, event: SharedEvent, n: u64) {
        let id = event.data.to_string();
        assert!(self.seen.insert(id.clone()), "event {id} was delivered twice");
        assert!(n > self.newest, "event {id} has an old position");
        self.newest = n;
        self.positions.insert((self.start, n), id.clone());
        self.delivered.push(id);
    }

    fn told(&mut self, from: ProcessId, holding: Holding, more: &mut Vec<News>) {
        let Holding::Subscriptions { channel, count } = holding else {
            return;
        };
        let was = self.is_occupied(&channel);
        let told = self.told.entry(from).or_default();
        match count {
            0 => told.remove(&*channel),
            _ => told.insert(channel.to_string(), (count, false)),
        };
        let is = self.is_occupied(&channel);
        let channel = String::from(channel);
        match (was, is) {
            (false, true) => self.cluster.hook(1, HookEvent::Occupied { channel }, more),
            (true, false) => self.cluster.hook(1, HookEvent::Vacated { channel }, more),
            _ => {}
        }
    }

    fn is_occupied(&self, channel: &str) -> bool {
        self.told.values().any(|told| told.contains_key(channel))
    }
}

fn delay(dice: &mut Dice, slow: usize) -> Duration {
    Duration::from_micros(dice.below(slow * 1000 + 500) as u64)
}
