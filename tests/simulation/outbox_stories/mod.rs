//! The outbox alone, over a database in memory: dialogues that follow from the contract's sentences one by one, and
//! thousands of stories from seeds.
//!
//! A failure of a story prints its seed; `SIM_SEED=N cargo test --test simulation outbox_stories` runs that one alone,
//! `SIM_LOG=1` shows what happens in it. `SIM_SEEDS=N` runs the first N instead of the usual number, `SIM_FIRST=N`
//! begins with another one.

#![allow(clippy::unwrap_used)]

mod clients;
mod dice;
mod plot;
mod reading;
mod recovering;
mod retention;
mod stage;
mod stamping;
mod starting;
mod story;
mod truth;
mod writers;

use story::World;

/// Seeds of an ordinary run.
const SEEDS: u64 = 200;

#[test]
fn every_committed_row_is_handled_once_and_every_gap_has_a_reason() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let log = number("SIM_LOG").is_some();
    let seeds = match (number("SIM_SEED"), number("SIM_FIRST").unwrap_or(0)) {
        (Some(seed), _) => seed..seed + 1,
        (None, first) => first..first + number("SIM_SEEDS").unwrap_or(SEEDS),
    };
    let (mut gaps, mut recovered, mut commits) = (0, 0, 0);
    for seed in seeds.clone() {
        let told = std::panic::catch_unwind(|| {
            let mut world = World::new(seed, log);
            world.play();
            (world.gaps, world.recovered, world.commits())
        });
        match told {
            Ok(told) => {
                gaps += told.0;
                recovered += told.1;
                commits += told.2;
            }
            Err(panic) => {
                eprintln!(
                    "seed {seed} failed; SIM_SEED={seed} cargo test --test simulation outbox_stories runs it alone"
                );
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{gaps} gaps, {recovered} recoveries, {commits} commits");
    // The stories are worth something.
    let stories = seeds.end - seeds.start;
    if stories >= 100 {
        assert!(gaps > stories / 2, "{gaps} gaps");
        assert!(recovered > 20 * stories, "{recovered} recoveries");
        assert!(commits > 50 * stories, "{commits} commits");
    }
}
