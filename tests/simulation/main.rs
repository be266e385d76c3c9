//! The deterministic simulator: the whole server over a network in memory, under seeded schedules of short and split
//! reads, partial writes, stalls, resets, late and stale events, want of descriptors and clock jumps.
//!
//! A failure prints its seed; `SIM_SEED=N cargo test --test simulation` runs that one alone. `SIM_SEEDS=N` runs the
//! first N instead of the usual number. `SIM_STORY=N cargo test --test simulation thousands` prints a story in words.

#![allow(clippy::unwrap_used)]

mod channels;
mod client;
mod cluster;
mod database_in_memory;
mod hooks;
mod memory;
mod outbox_stories;
mod rules;
mod tables;
mod visitors;
mod words;
mod world;

use std::time::Duration;

use client::{Client, Fate, Heard, answers};
use jsocketd::config::Config;
use jsocketd::net::io::Signal;
use jsocketd::server::{Flow, Server};
use world::{Shared, SimIo, World};

/// Seeds of an ordinary run: a few seconds without optimization.
const SEEDS: u64 = 3000;

/// A server over a new world.
fn server(seed: u64) -> (Server<SimIo>, Shared) {
    let world = World::new(seed);
    let mut config = Config::default();
    config.limits.send_queue_bytes = 400_000;
    (Server::new(SimIo(world.clone()), config, 1000, [7; 32]), world)
}

/// Runs one story to its end and returns the hash of all that could be observed.
fn story(seed: u64) -> u64 {
    let (server, world) = server(seed);
    play(server, &world);
    world.borrow().history
}

/// Runs the story of this world to its end.
fn play(mut server: Server<SimIo>, world: &Shared) {
    world.borrow_mut().unkind = true;
    let mut clients = Vec::new();
    let count = 1 + world.borrow_mut().dice.below(6);
    for _ in 0..count {
        let mut world = world.borrow_mut();
        let fate = match world.dice.below(8) {
            0 => Fate::Reset(0),
            1 => Fate::Deaf,
            2 => Fate::Abrupt,
            _ => Fate::Polite,
        };
        clients.push(Client::new(&mut world, fate));
    }
    let mut jumped = false;
    for turn in 0.. {
        assert!(turn < 200_000, "the story does not end");
        {
            let mut world = world.borrow_mut();
            disturb(&mut world, &mut jumped);
            for client in &mut clients {
                if world.dice.one_in(2) {
                    client.step(&mut world);
                }
            }
        }
        assert_eq!(server.tick().unwrap(), Flow::Continue);
        let mut world = world.borrow_mut();
        if clients.iter().all(|client| client.done || client.fate == Fate::Deaf) {
            // The deaf ones are left to the server's patience.
            if server.connections() == 0 && world.backlog.is_empty() {
                break;
            }
            world.pass(Duration::from_secs(1));
        }
    }
    for client in &clients {
        judge(client, jumped);
    }
    assert_eq!(server.service().websockets(), 0, "the service still has a connection");
}

/// Time passes, mostly a little; now and then the clocks jump, or there are no descriptors for a moment.
fn disturb(world: &mut World, jumped: &mut bool) {
    let step = world.dice.below(3000) as u64 + 1;
    world.pass(Duration::from_micros(step));
    match world.dice.below(400) {
        0 => {
            world.now.unix_ms = world.dice.roll() % 4_000_000_000_000;
            world.tell(|| "the wall clock jumps".to_owned());
        }
        1 => {
            *jumped = true;
            let seconds = world.dice.below(200) as u64;
            world.pass(Duration::from_secs(seconds));
            world.tell(|| format!("{seconds} seconds pass"));
        }
        2 => {
            world.descriptors = 0;
            world.tell(|| "no descriptor is left".to_owned());
        }
        3..20 if world.descriptors == 0 => {
            world.descriptors = 100;
            world.tell(|| "there are descriptors again".to_owned());
        }
        3..20 => world.descriptors = world.descriptors.max(100),
        _ => {}
    }
}

/// The client must receive the answers to its messages, in order; all of them, unless one side had a reason to stop.
fn judge(client: &Client, jumped: bool) {
    let (status, heard) = (client.told.status, &client.told.heard);
    let answers: Vec<&Heard> = answers(heard).collect();
    assert!(
        answers.len() <= client.expected.len(),
        "client {} received more than it requested",
        client.n
    );
    assert!(
        answers.iter().copied().eq(&client.expected[..answers.len()]),
        "client {} received something else",
        client.n
    );
    let closes: Vec<&Heard> = heard.iter().filter(|h| matches!(h, Heard::Close(_))).collect();
    assert!(closes.len() <= 1, "client {} was closed twice: {closes:?}", client.n);
    if closes.len() == 1 {
        assert!(
            matches!(heard.last(), Some(Heard::Close(_))),
            "something came after the close"
        );
    }
    if client.fate == Fate::Polite && !jumped {
        assert_eq!(status, Some(101), "client {}", client.n);
        assert_eq!(
            answers.len(),
            client.expected.len(),
            "client {} lost answers; it received {closes:?}",
            client.n
        );
        assert_eq!(
            closes,
            [&Heard::Close(1000)],
            "client {}: its close is answered",
            client.n
        );
    }
}

#[test]
fn thousands_of_stories_end_well() {
    if let Some(seed) = number("SIM_STORY") {
        return words::print(seed);
    }
    tell(SEEDS, |seed| {
        story(seed);
    });
}

/// Plays the stories of so many seeds, or of the one that the environment names.
fn tell(seeds: u64, story: impl Fn(u64) + std::panic::RefUnwindSafe) {
    if let Some(seed) = number("SIM_SEED") {
        return story(seed);
    }
    for seed in 0..number("SIM_SEEDS").unwrap_or(seeds) {
        if let Err(panic) = std::panic::catch_unwind(|| story(seed)) {
            eprintln!("seed {seed} failed; SIM_SEED={seed} cargo test --test simulation runs it alone");
            std::panic::resume_unwind(panic);
        }
    }
}

/// The number that a variable of the environment has.
fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {value}")),
    )
}

#[test]
fn the_same_seed_plays_the_same_story() {
    for seed in [1, 77, 4242] {
        assert_eq!(story(seed), story(seed), "seed {seed}");
    }
    assert_ne!(story(1), story(2), "different seeds tell different stories");
}

#[test]
fn a_drain_ends_all_connections_and_then_the_loop() {
    for seed in 0..50 {
        let (mut server, world) = server(seed);
        let clients: Vec<Client> = (0..20)
            .map(|_| Client::new(&mut world.borrow_mut(), Fate::Polite))
            .collect();
        for client in &clients {
            world.borrow_mut().send(client.n, &client::handshake("/echo"));
        }
        for _ in 0..5 {
            server.tick().unwrap();
        }
        assert_eq!(server.connections(), 20);
        world.borrow_mut().signals.push(Signal::Terminate);
        let mut seconds = 0;
        while server.tick().unwrap() != Flow::Drained {
            let mut world = world.borrow_mut();
            world.pass(Duration::from_millis(100));
            seconds += 1;
            for client in &clients {
                world.receive(client.n, usize::MAX);
                if world.pipes[client.n].server_ended {
                    world.end(client.n);
                }
            }
            assert!(seconds < 150, "the drain does not end");
        }
        assert!(seconds > 50, "the closes were not spread over the drain");
    }
}
