//! Every request of a client, multiplied by the number of clients that it may wake. A request that is cheap for the
//! client must be cheap for the server, or a few clients keep all others waiting.
//!
//! Each action has a row (`asks`, `requests`, `crowds`): the crowd that is there, the action, and the clients that it
//! concerns. An action that concerns [`Tells::Nobody`] else takes the same time in any crowd. An action with messages
//! for [`Tells::Each`] takes time in proportion to the crowd at most. Eight times as many actions take eight times as
//! long, for every action. The time is the processor time of the service alone, the least of several rounds, so that a
//! busy machine is no failure.
//!
//! The actions are those of the source's own lists, so an action without a row fails. `MULTIPLIED=1 cargo test --test
//! multiplied -- --nocapture` shows the figures of every row.

#![allow(clippy::unwrap_used)]

// The simulation's; not all of it is of use here. Rejected: one binary for both, because the allocator that the
// simulation's threads have used makes some actions dear.
#[allow(dead_code, unused_imports)]
#[path = "../simulation/memory/mod.rs"]
mod memory;

mod asks;
mod crowds;
mod requests;
mod stage;
mod words;

use std::collections::BTreeSet;
use std::time::Duration;

use jsocketd::api;
use jsocketd::config::Config;
use jsocketd::hub::ask::ASKS;
use jsocketd::protocol::actions::Message;
use jsocketd::service::{Input, console, routes};
use stage::{Inputs, Stage};

/// Rounds, of which the fastest counts.
const ROUNDS: usize = 5;

/// The clients that an action concerns besides its sender.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tells {
    /// None of them.
    Nobody,
    /// Each of the crowd.
    Each,
}

impl Tells {
    /// A small crowd and a large one.
    fn crowds(self) -> [usize; 2] {
        match self {
            // The larger the difference, the better is a walk through the crowd seen beside all else.
            Tells::Nobody => [250, 4000],
            Tells::Each => [150, 1200],
        }
    }

    /// How often the action is done, at first.
    fn times(self) -> usize {
        match self {
            Tells::Nobody => 64,
            Tells::Each => 8,
        }
    }

    /// How many times as long the actions may take in the large crowd as in the small one. For `Each` a walk through
    /// the crowd takes 8 times as long and a square 64 times. For `Nobody` a walk takes up to 16 times as long. Without
    /// one they take up to 3 times as long on a machine that is busy: a large crowd is not in the processor's cache.
    fn most(self) -> f64 {
        match self {
            Tells::Nobody => 4.0,
            Tells::Each => 20.0,
        }
    }

    /// Whether the service spent too much on the actions in a small crowd, on more of them there, and on as many in a
    /// large crowd; each with the number of messages sent.
    fn is_too_much(self, once: (Duration, usize), often: (Duration, usize), large: (Duration, usize)) -> bool {
        let [few, many] = self.crowds();
        let told = match self {
            Tells::Nobody => once.1,
            Tells::Each => once.1 * many / few,
        };
        ratio(large.0, once.0) > self.most() || ratio(often.0, once.0) > MOST || large.1 > told * 2
    }
}

/// How many times as many actions are done, and how many times as long they may take: a square takes 64 times as long.
const TIMES: usize = 8;
const MOST: f64 = 20.0;

/// One action in its worst circumstances.
pub struct Row {
    /// The action's name in the source's lists.
    pub of: &'static str,
    /// The circumstances.
    pub what: &'static str,
    /// The clients that it concerns.
    pub tells: Tells,
    /// Additional configuration.
    pub change: fn(&mut Config),
    /// Brings so many connections in, which the action may wake.
    pub crowd: fn(&mut Stage, usize),
    /// Prepares so many actions.
    pub acts: fn(&mut Stage, usize) -> Inputs,
    /// The text or status of each action's answer, or nothing: the action was done, and not refused.
    pub proof: &'static str,
}

/// A row in the usual crowd, without an action.
pub fn row(of: &'static str, what: &'static str, tells: Tells) -> Row {
    Row {
        of,
        what,
        tells,
        change: |_| {},
        crowd: crowds::herd,
        acts: |_, _| Vec::new(),
        proof: "",
    }
}

impl Row {
    fn gather(&self, stage: &mut Stage, crowd: usize) {
        (self.crowd)(stage, crowd);
        stage.keep();
    }

    /// The least time that so many actions took in a crowd, and the number of messages sent.
    fn measure(&self, stage: &mut Stage, crowd: usize, times: usize) -> (Duration, usize) {
        let mut least = (Duration::MAX, usize::MAX);
        for _ in 0..ROUNDS {
            let inputs = (self.acts)(stage, times);
            stage.begin(self.proof);
            stage.play(inputs);
            let (spent, told, proved) = stage.end();
            let name = format!("{}, {}", self.of, self.what);
            assert!(
                proved >= times,
                "{name}: {proved} of {times} actions led to {:?}",
                self.proof
            );
            least = (least.0.min(spent), least.1.min(told));
            stage.clear();
            if stage.broken {
                stage.disperse();
                self.gather(stage, crowd);
            }
        }
        least
    }

    /// The fault of this row, if any.
    fn fault(&self) -> Option<String> {
        let [few, many] = self.tells.crowds();
        let times = self.tells.times();
        let stage = |crowd| {
            let mut stage = Stage::new(self.change);
            self.gather(&mut stage, crowd);
            stage
        };
        let mut small = stage(few);
        let once = self.measure(&mut small, few, times);
        let often = self.measure(&mut small, few, times * TIMES);
        let large = self.measure(&mut stage(many), many, times);
        let figures = format!(
            "{}, {} ({:?}): {times} actions took {:?} in a crowd of {few} and {:?} in one of {many}; {} took {:?} in the small \
             one; told {}, {} and {}",
            self.of,
            self.what,
            self.tells,
            once.0,
            large.0,
            times * TIMES,
            often.0,
            once.1,
            large.1,
            often.1,
        );
        if std::env::var("MULTIPLIED").is_ok() {
            println!(
                "{:5.1} {:5.1} {figures}",
                ratio(large.0, once.0),
                ratio(often.0, once.0)
            );
        }
        self.tells.is_too_much(once, often, large).then_some(figures)
    }
}

fn ratio(long: Duration, short: Duration) -> f64 {
    long.as_secs_f64() / short.as_secs_f64().max(1e-6)
}

fn check(rows: &[Row]) {
    let faults: Vec<String> = rows.iter().filter_map(Row::fault).collect();
    assert!(faults.is_empty(), "more work than it may be:\n{}", faults.join("\n"));
}

#[test]
fn requests_of_app_clients_cost_in_proportion_to_their_messages() {
    check(&asks::rows());
}

#[test]
fn plain_requests_and_the_console_cost_in_proportion_to_their_messages() {
    check(&requests::rows());
}

#[test]
fn connection_inputs_cost_in_proportion_to_their_messages() {
    check(&crowds::rows());
}

/// The measure itself: a cost in proportion passes, and any other fails, for each of the three reasons.
#[test]
fn squares_are_found() {
    let spent = |micros, told| (Duration::from_micros(micros), told);
    for (tells, large, too_large, told) in [(Tells::Nobody, 120, 500, 20), (Tells::Each, 900, 6400, 80)] {
        let once = spent(100, 10);
        assert!(!tells.is_too_much(once, spent(900, 80), spent(large, told)));
        assert!(tells.is_too_much(once, spent(900, 80), spent(too_large, told)));
        assert!(tells.is_too_much(once, spent(6400, 80), spent(large, told)));
        assert!(tells.is_too_much(once, spent(900, 80), spent(large, told * 4)));
    }
}

// --- every action has a row ------------------------------------------------------------------------------------------

/// The names of all inputs, and the name of one: a new variant does not compile without a name here.
macro_rules! inputs {
    ($($variant:ident $fields:tt => $name:literal,)*) => {
        const INPUTS: &[&str] = &[$($name),*];

        #[allow(dead_code, reason = "the compiler checks that it is complete")]
        fn name(input: &Input) -> &'static str {
            match input {
                $(Input::$variant $fields => $name,)*
            }
        }
    };
}

inputs! {
    Opened(_) => "input Opened",
    Request(_, _) => "input Request",
    Handshake(_, _) => "input Handshake",
    Message(Message::Text(_)) => "input Text",
    Message(Message::Binary(_)) => "input Binary",
    Flushed {} => "input Flushed",
    ProcessStats(_) => "input ProcessStats",
    Closed {} => "input Closed",
}

/// Everything that clients can do, by the source's own lists.
fn actions() -> BTreeSet<String> {
    let asks = ASKS.iter().map(|(name, _)| format!("ask {name}"));
    let commands = console::commands().map(|name| format!("command {name}"));
    let paths = routes::PATHS.iter().map(|(path, _)| format!("path {path}"));
    let resources = api::RESOURCES.iter().map(|(path, ..)| format!("resource {path}"));
    let inputs = INPUTS.iter().map(|name| (*name).to_owned());
    asks.chain(commands)
        .chain(paths)
        .chain(resources)
        .chain(inputs)
        .collect()
}

/// The actions without a row, and the rows without an action.
fn differences(actions: &BTreeSet<String>, rows: &BTreeSet<String>) -> Vec<String> {
    actions.symmetric_difference(rows).cloned().collect()
}

#[test]
fn every_action_has_a_row() {
    let all = [asks::rows(), requests::rows(), crowds::rows()];
    let rows = all.iter().flatten().map(|row| row.of.to_owned()).collect();
    assert_eq!(differences(&actions(), &rows), Vec::<String>::new());
}

#[test]
fn a_row_that_is_missing_or_of_nothing_is_found() {
    for action in actions() {
        let mut rows = actions();
        rows.remove(&action);
        assert_eq!(differences(&actions(), &rows), [action]);
    }
    let mut rows = actions();
    rows.insert("ask pusher:nothing".into());
    assert_eq!(differences(&actions(), &rows), ["ask pusher:nothing"]);
}
