//! Webhooks over the network in memory: the queues and the outgoing client together, against targets that refuse, stay
//! silent, answer in pieces or with nonsense, redirect, and reset at any point.

use std::time::Duration;

use jsocketd::config::{App, Webhook};
use jsocketd::net::io::{Io, Ready};
use jsocketd::net::outgoing::{Outgoing, Request};
use jsocketd::protocol::actions::{Action, Actions};
use jsocketd::time::Time;
use jsocketd::webhooks::{HookEvent, Outcome, Webhooks};

use crate::world::{Connecting, Shared, SimIo, SimSocket, World};

const TARGETS: [&str; 2] = ["http://one.example/0", "http://two.example:81/1"];

/// The part of the loop that carries webhooks.
struct Loop {
    world: Shared,
    io: SimIo,
    webhooks: Webhooks,
    outgoing: Outgoing<SimSocket>,
}

impl Loop {
    fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let mut app = App::new("1", "key", "secret");
        app.webhooks = TARGETS.map(hook).to_vec();
        let io = SimIo(world.clone());
        let mut outgoing = Outgoing::new();
        outgoing.configure(TARGETS.into_iter());
        for name in outgoing.host_names() {
            let addresses = [[192, 0, 2, 1], [192, 0, 2, 2]].map(|ip| (ip, name.port).into());
            outgoing.set_addresses(&name, &addresses);
        }
        Self {
            world,
            io,
            webhooks: Webhooks::new(&[app]),
            outgoing,
        }
    }

    fn say(&mut self, number: usize) {
        let event = HookEvent::ClientEvent {
            channel: "private-x".into(),
            event: "client-n".into(),
            data: number.to_string(),
            socket_id: "1.2".into(),
            user_id: None,
        };
        let now = self.io.now();
        self.webhooks.note("1", event, now);
    }

    fn tick(&mut self) {
        let mut ready = Vec::new();
        self.io.wait(None, &mut ready).unwrap();
        for ready in ready {
            if let Ready::Outgoing(n, edges) = ready {
                self.outgoing.note(n, edges);
            }
        }
        let now = self.io.now();
        // The smallest buffer that still shows whether a full read goes on.
        let mut buffer = [0; 16];
        self.outgoing.turn(&mut self.io, &mut buffer, now.at);
        for outcome in self.outgoing.outcomes() {
            let result = outcome.result.as_ref().map(|status| *status).map_err(String::as_str);
            self.webhooks.posted(outcome.ticket, Outcome::of(result), now);
        }
        let mut actions = Actions::default();
        self.webhooks.due(now, &mut actions);
        for action in actions.take() {
            let Action::Post(post) = action else {
                panic!("{action:?}")
            };
            let request = Request {
                target: (post.ticket >> 32) as u32,
                ticket: post.ticket,
                url: post.url,
                headers: post.headers,
                body: post.body,
            };
            self.outgoing.start(request, &mut self.io, now.at);
        }
        self.outgoing.turn(&mut self.io, &mut buffer, now.at);
    }

    fn deadline(&self) -> Time {
        self.webhooks.deadline().min(self.outgoing.deadline())
    }

    /// The request that stands in pipe `n`, as text.
    fn sent(&self, n: usize) -> String {
        String::from_utf8(self.world.borrow_mut().receive(n, usize::MAX)).unwrap()
    }

    /// Connections that were made so far.
    fn made(&self) -> usize {
        self.world.borrow().outgoing.len()
    }
}

fn hook(url: &str) -> Webhook {
    Webhook {
        url: url.into(),
        events: vec!["client_event".into()],
        channel_prefix: String::new(),
        headers: Vec::new(),
    }
}

/// A target's side of one connection.
struct Peer {
    pipe: usize,
    received: Vec<u8>,
    /// The bytes that are still to be sent, in pieces.
    answer: Vec<u8>,
    then_close: bool,
    then_reset: bool,
    /// Target and place of the post that is being taken.
    taking: Option<(usize, usize)>,
}

/// The posts that one target received: the number, and whether the answer that accepts the post was sent in full.
type Heard = [Vec<(usize, bool)>; 2];

const GOOD: [&str; 5] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.0 200 OK\r\n\r\nok",
];

const BAD: [&str; 4] = [
    "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n",
    "SSH-2.0-nonsense\r\n\r\n",
    "HTTP/1.1 200",
];

/// Each leads to its target again.
const REDIRECTS: [&str; 2] = [
    "HTTP/1.1 307 Again\r\nLocation: /0\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 308 Again\r\nLocation: //two.example:81/1\r\nContent-Length: 2\r\n\r\nno",
];

impl Peer {
    fn new(pipe: usize) -> Self {
        Self {
            pipe,
            received: Vec::new(),
            answer: Vec::new(),
            then_close: false,
            then_reset: false,
            taking: None,
        }
    }

    fn step(&mut self, world: &mut World, kind: bool, heard: &mut Heard) {
        let pipe = &world.pipes[self.pipe];
        if self.answer.is_empty()
            && pipe.to_server.is_empty()
            && let Some((target, n)) = self.taking.take()
        {
            // The server has read all of a good answer: it must not post this again.
            heard[target][n].1 = true;
        }
        if pipe.freed || pipe.reset {
            return;
        }
        if !kind && world.dice.one_in(200) {
            return world.reset(self.pipe);
        }
        if !kind && self.received.is_empty() && self.answer.is_empty() && world.dice.one_in(40) {
            return world.end(self.pipe);
        }
        let most = if kind { 10_000 } else { 1 + world.dice.below(300) };
        let bytes = world.receive(self.pipe, most);
        self.received.extend(bytes);
        if let Some((target, number, len)) = request(&self.received) {
            self.received.drain(..len);
            let good = kind || !world.dice.one_in(4);
            let text = match good {
                true => GOOD[world.dice.below(GOOD.len())],
                false => match world.dice.below(BAD.len() + 1) {
                    n if n < BAD.len() => BAD[n],
                    _ => REDIRECTS[target],
                },
            };
            self.then_reset = !kind && world.dice.one_in(10);
            self.then_close = text.contains("close") || text.contains("1.0") || text == BAD[3] || text == BAD[2];
            heard[target].push((number, false));
            if kind || !world.dice.one_in(15) {
                self.taking = good.then_some((target, heard[target].len() - 1));
                self.answer = text.into();
            }
            return;
        }
        if self.answer.is_empty() {
            return;
        }
        let piece = if kind {
            self.answer.len()
        } else {
            1 + world.dice.below(self.answer.len())
        };
        let piece: Vec<u8> = self.answer.drain(..piece).collect();
        world.send(self.pipe, &piece);
        if self.answer.is_empty() && self.then_reset {
            world.reset(self.pipe);
        } else if self.answer.is_empty() && self.then_close {
            world.end(self.pipe);
        }
    }
}

/// Target, number and length of a complete request.
fn request(bytes: &[u8]) -> Option<(usize, usize, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .unwrap();
    let length: usize = length.parse().unwrap();
    let body: serde_json::Value = serde_json::from_slice(bytes.get(end..end + length)?).unwrap();
    let target = usize::from(head.starts_with("POST /1 HTTP/1.1\r\nHost: two.example:81\r\n"));
    assert!(
        target == 1 || head.starts_with("POST /0 HTTP/1.1\r\nHost: one.example\r\n"),
        "{head}"
    );
    let number = body["events"][0]["data"].as_str().unwrap().parse().unwrap();
    Some((target, number, end + length))
}

fn story(seed: u64) {
    let mut hooks = Loop::new(seed);
    hooks.world.borrow_mut().unkind = true;
    let mut peers: Vec<Peer> = Vec::new();
    let mut heard = Heard::default();
    let turns = 200 + hooks.world.borrow_mut().dice.below(800);
    let mut said = 0;
    for turn in 0.. {
        assert!(turn < turns + 20_000, "seed {seed}: it does not settle");
        let kind = turn > turns;
        if !kind && hooks.world.borrow_mut().dice.one_in(8) {
            said += 1;
            hooks.say(said);
        }
        {
            let mut world = hooks.world.borrow_mut();
            let world = &mut *world;
            if world.connects.is_empty() && !kind {
                let fates = [
                    Connecting::Soon,
                    Connecting::Soon,
                    Connecting::Refused,
                    Connecting::Never,
                ];
                let fate = fates[world.dice.below(4)];
                world.connects.push_back(fate);
            } else if kind {
                world.connects.clear();
            }
            let known = peers.len();
            peers.extend(world.outgoing[known..].iter().map(|pipe| Peer::new(*pipe)));
            for peer in &mut peers {
                if kind || world.dice.one_in(2) {
                    peer.step(world, kind, &mut heard);
                }
            }
        }
        hooks.tick();
        let next = hooks.deadline();
        if kind && hooks.webhooks.counts().waiting == 0 && next == Time::NEVER {
            break;
        }
        let mut world = hooks.world.borrow_mut();
        let step = match kind || world.dice.one_in(50) {
            // The loop does not sleep through a deadline, and bytes on their way need a moment.
            true => next.since(world.now.at).min(Duration::from_millis(500)),
            false => Duration::from_micros(world.dice.below(30_000) as u64),
        };
        world.pass(step);
    }
    let counts = hooks.webhooks.counts();
    for (target, heard) in heard.iter().enumerate() {
        let mut last = (0, true);
        for now in heard {
            assert!(
                now.0 > last.0 || now.0 == last.0 && !last.1,
                "seed {seed}, target {target}: {now:?} after {last:?}"
            );
            last = *now;
        }
        let mut distinct: Vec<usize> = heard.iter().map(|(number, _)| *number).collect();
        distinct.dedup();
        assert!(
            distinct.len() as u64 + counts.dropped >= said as u64,
            "seed {seed}, target {target}: lost {} of {said}, counted {}",
            said - distinct.len(),
            counts.dropped
        );
    }
    let open = hooks.world.borrow().pipes.iter().filter(|pipe| !pipe.freed).count();
    assert_eq!(open, 0, "seed {seed}: a connection leaks");
}

#[test]
fn hundreds_of_stories_with_hostile_targets_lose_nothing_and_overtake_nothing() {
    let seed = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in seed.map_or(0..400, |seed: u64| seed..seed + 1) {
        story(seed);
    }
}

#[test]
fn a_connection_is_kept_and_used_again() {
    let mut hooks = Loop::new(1);
    for n in 0..5 {
        hooks.say(n);
        for _ in 0..4 {
            hooks.tick();
            let pipes = hooks.world.borrow().outgoing.clone();
            for pipe in pipes {
                if request(hooks.sent(pipe).as_bytes()).is_some() {
                    hooks.world.borrow_mut().send(pipe, GOOD[0].as_bytes());
                }
            }
        }
    }
    assert_eq!((hooks.made(), hooks.webhooks.counts().delivered), (2, 10));
    hooks.world.borrow_mut().pass(Duration::from_secs(31));
    hooks.tick();
    assert!(
        hooks.world.borrow().pipes.iter().all(|pipe| pipe.freed),
        "it is not kept for ever"
    );
    assert_eq!(hooks.deadline(), Time::NEVER);
}

/// The post goes out while the target's FIN (or its reset) is on the way.
#[test]
fn a_kept_connection_that_was_closed_meanwhile_is_no_failure() {
    for reset in [false, true] {
        let mut hooks = Loop::new(1);
        hooks.say(1);
        hooks.tick();
        hooks.tick();
        let first = hooks.world.borrow().outgoing.clone();
        for pipe in &first {
            hooks.world.borrow_mut().send(*pipe, GOOD[0].as_bytes());
        }
        hooks.tick();
        hooks.say(2);
        hooks.tick();
        assert_eq!(hooks.made(), 2, "the second post is on the kept connection");
        for pipe in &first {
            match reset {
                true => hooks.world.borrow_mut().reset(*pipe),
                false => hooks.world.borrow_mut().end(*pipe),
            }
        }
        for _ in 0..4 {
            hooks.tick();
        }
        let second = hooks.world.borrow().outgoing[2..].to_vec();
        assert_eq!(second.len(), 2);
        for pipe in second {
            assert_eq!(request(hooks.sent(pipe).as_bytes()).unwrap().1, 2);
            hooks.world.borrow_mut().end(pipe);
        }
        assert_eq!(hooks.webhooks.counts().failed, 0);
        hooks.tick();
        hooks.tick();
        assert_eq!(
            hooks.webhooks.counts().failed,
            2,
            "a new connection that ends so is a failure"
        );
        assert_eq!(hooks.made(), 4);
    }
}

#[test]
fn every_address_is_tried_before_a_post_has_failed_and_the_good_one_is_remembered() {
    let mut hooks = Loop::new(1);
    let fates = [
        Connecting::Refused,
        Connecting::Never,
        Connecting::Soon,
        Connecting::Soon,
    ];
    hooks.world.borrow_mut().connects.extend(fates);
    hooks.say(1);
    for _ in 0..4 {
        hooks.tick();
    }
    assert_eq!(hooks.made(), 3, "the one that was refused is followed at once");
    hooks.world.borrow_mut().pass(Duration::from_millis(2999));
    hooks.tick();
    assert_eq!(hooks.made(), 3);
    hooks.world.borrow_mut().pass(Duration::from_millis(1));
    hooks.tick();
    hooks.tick();
    let pipes = hooks.world.borrow().outgoing.clone();
    assert_eq!(pipes.len(), 4);
    for pipe in &pipes[2..] {
        assert!(request(hooks.sent(*pipe).as_bytes()).is_some());
        hooks.world.borrow_mut().send(*pipe, GOOD[3].as_bytes());
    }
    hooks.tick();
    assert_eq!(hooks.webhooks.counts().delivered, 2);
    hooks.say(2);
    hooks.tick();
    let world = hooks.world.borrow();
    let last = world.pipes[world.outgoing[4]].address.clone().unwrap();
    assert_eq!(last.to_string(), "192.0.2.2:80", "the address that answered");
}

#[test]
fn a_target_that_says_nothing_has_ten_seconds() {
    let mut hooks = Loop::new(1);
    hooks.say(1);
    hooks.tick();
    hooks.tick();
    hooks.world.borrow_mut().pass(Duration::from_millis(9999));
    hooks.tick();
    assert_eq!(hooks.webhooks.counts().failed, 0);
    // A status is an answer, even when its body never ends.
    let pipe = hooks.world.borrow().outgoing[0];
    hooks
        .world
        .borrow_mut()
        .send(pipe, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    hooks.tick();
    hooks.world.borrow_mut().pass(Duration::from_millis(1));
    hooks.tick();
    let counts = hooks.webhooks.counts();
    assert_eq!((counts.failed, counts.delivered), (1, 1));
}

/// The posts to the first target alone: it answers each with the next of these, and the requests are returned.
fn answered(hooks: &mut Loop, answers: &[&str]) -> Vec<String> {
    let mut requests = Vec::new();
    let mut answers = answers.iter();
    for _ in 0..12 {
        hooks.tick();
        let pipes = hooks.world.borrow().outgoing.clone();
        for pipe in pipes {
            let sent = hooks.sent(pipe);
            if sent.contains("Host: one.example") {
                requests.push(sent);
                let answer = answers.next().expect("no further request");
                hooks.world.borrow_mut().send(pipe, answer.as_bytes());
            } else if !sent.is_empty() {
                hooks.world.borrow_mut().send(pipe, GOOD[0].as_bytes());
            }
        }
    }
    requests
}

#[test]
fn a_redirect_to_the_same_host_gets_the_same_post_once() {
    let mut hooks = Loop::new(1);
    hooks.say(1);
    let found = "HTTP/1.1 307 X\r\nLocation: /moved?a=b\r\nContent-Length: 0\r\n\r\n";
    let requests = answered(&mut hooks, &[found, GOOD[0]]);
    let [first, second] = &requests[..] else {
        panic!("{requests:?}")
    };
    let moved = "POST /moved?a=b HTTP/1.1";
    assert_eq!(
        *second,
        first.replace("POST /0 HTTP/1.1", moved),
        "headers, signature and body"
    );
    assert_eq!(
        (hooks.made(), hooks.webhooks.counts().delivered),
        (2, 2),
        "the connection is kept"
    );
    hooks.say(2);
    let next = answered(&mut hooks, &[GOOD[0]]);
    assert!(
        next[0].starts_with("POST /0 "),
        "the configured URL comes first: {next:?}"
    );

    // Another port is another connection, and the next post begins at the configured one.
    hooks.say(3);
    let found = "HTTP/1.1 308 X\r\nLocation: http://one.example:8080/0\r\nContent-Length: 0\r\n\r\n";
    let requests = answered(&mut hooks, &[found, GOOD[0]]);
    assert!(requests[1].contains("Host: one.example:8080\r\n"), "{requests:?}");
    assert_eq!(hooks.made(), 3);
    let address = |hooks: &Loop, n: usize| {
        let world = hooks.world.borrow();
        world.pipes[world.outgoing[n]].address.clone().unwrap().to_string()
    };
    assert_eq!(address(&hooks, 2), "192.0.2.1:8080");
    hooks.say(4);
    answered(&mut hooks, &[GOOD[0]]);
    assert_eq!((hooks.made(), address(&hooks, 3).as_str()), (4, "192.0.2.1:80"));
    assert_eq!(
        (hooks.webhooks.counts().delivered, hooks.webhooks.counts().failed),
        (8, 0)
    );
}

#[test]
fn a_redirect_that_goes_on_or_leads_elsewhere_is_a_failure() {
    for (answers, posts) in [
        (&[REDIRECTS[0], REDIRECTS[0]][..], 2),
        (
            &["HTTP/1.1 308 X\r\nLocation: http://two.example:81/\r\nContent-Length: 0\r\n\r\n"],
            1,
        ),
        (&["HTTP/1.1 301 X\r\nLocation: /1\r\nContent-Length: 0\r\n\r\n"], 1),
        (&["HTTP/1.1 307 X\r\nContent-Length: 0\r\n\r\n"], 1),
        // TLS, which this loop has no settings for, is never left out.
        (
            &["HTTP/1.1 307 X\r\nLocation: https://one.example/\r\nContent-Length: 0\r\n\r\n"],
            1,
        ),
    ] {
        let mut hooks = Loop::new(1);
        hooks.say(1);
        assert_eq!(answered(&mut hooks, answers).len(), posts, "{answers:?}");
        let counts = hooks.webhooks.counts();
        assert_eq!((counts.delivered, counts.failed), (1, 1), "{answers:?}");
        assert_eq!(hooks.made(), 2, "{answers:?}");
    }
}
