//! Two machines and an engine: each machine is a network namespace with one cable to the engine and one to its clients.
//! The cable to the engine is pulled and put back.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::Value;

use crate::common::Server;
use crate::common::cluster::{LEASE, together, wait_for_standing, wait_for_what_is_shared, wait_until_alone};
use crate::common::engine::Engine;
use crate::common::outbox::ADMIN_TOKEN;
use crate::common::pusher::{ID, KEY, SECRET, Site, decoded};

const ROOM: &str = "presence-room";

/// A machine. It is gone with the process of the tests, however that ends.
struct Machine {
    /// Keeps the namespace as long as its standard input is open.
    holder: Child,
    to_engine: Cable,
    to_clients: Cable,
}

/// A cable between this machine and another one.
struct Cable {
    /// The name of this end.
    name: String,
    /// The address of this end.
    here: Ipv4Addr,
    /// The address of the other end.
    there: Ipv4Addr,
}

impl Machine {
    /// # Panics
    /// Without root: a test that cannot run has failed.
    fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready && read -r _"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let mut line = String::new();
        let mut output = BufReader::new(holder.stdout.take().expect("a pipe"));
        output.read_line(&mut line).expect("it prints text");
        assert_eq!(line, "ready\n", "a network namespace needs root");
        let [to_engine, to_clients] = [(); 2].map(|()| Cable::to(holder.id()));
        Self {
            holder,
            to_engine,
            to_clients,
        }
    }

    /// Starts a process of the cluster on this machine. Its clients are on the machine of the test.
    fn serve(&self, engine: SocketAddr) -> Site {
        let url = format!("redis://{}:{}", self.to_engine.here, engine.port());
        let toml = format!(
            "[server]\nadmin_token = \"{ADMIN_TOKEN}\"\n[engine]\nurl = \"{url}\"\n{LEASE}\n[limits]\n\
             connects_per_second = 0\n[[apps]]\nid = \"{ID}\"\nkey = \"{KEY}\"\nsecret = \"{SECRET}\"\n"
        );
        let listen = format!("{}:0", self.to_clients.there);
        let server = Server::start_with(&toml, |command, log| {
            let mut inside = Command::new("nsenter");
            inside.arg(format!("--net=/proc/{}/ns/net", self.holder.id()));
            inside.arg(command.get_program());
            let arguments = command.get_args().map(|argument| match argument.to_str() {
                Some("127.0.0.1:0") => listen.as_ref(),
                _ => argument,
            });
            inside.args(arguments);
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => inside.env(name, value),
                    None => inside.env_remove(name),
                };
            }
            let log = File::options().append(true).open(log).expect("the file for the log");
            inside.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
            *command = inside;
        });
        Site { server }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It ends with its input; the cables go with the namespace.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

impl Cable {
    fn to(machine: u32) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(number < 64, "no addresses are left");
        let process = std::process::id();
        // The range for tests of networks (RFC 2544), which no real network has.
        let [_, _, high, low] = process.to_be_bytes();
        let address = |last| Ipv4Addr::new(198, 18 + (high & 1), low, 4 * number + last);
        let (here, there) = (address(1), address(2));
        let (name, other) = (format!("jc{process}a{number}"), format!("jc{process}b{number}"));
        let machine = machine.to_string();
        ip(&[
            "link", "add", &name, "type", "veth", "peer", "name", &other, "netns", &machine,
        ]);
        ip(&["address", "add", &format!("{here}/30"), "dev", &name]);
        ip(&["link", "set", &name, "up"]);
        let inside = format!("--net=/proc/{machine}/ns/net");
        run(Command::new("nsenter").args([&inside, "ip", "address", "add", &format!("{there}/30"), "dev", &other]));
        run(Command::new("nsenter").args([&inside, "ip", "link", "set", &other, "up"]));
        Self { name, here, there }
    }

    fn pull(&self) {
        ip(&["link", "set", &self.name, "down"]);
    }

    fn put_back(&self) {
        ip(&["link", "set", &self.name, "up"]);
    }
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}

fn run(command: &mut Command) {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = command.env("PATH", path).output().expect("the program starts");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_machine_whose_cable_is_pulled_serves_its_clients_and_comes_back() {
    let machines = [Machine::new(), Machine::new()];
    let [first, second] = machines.each_ref().map(|machine| machine.to_engine.here.to_string());
    let engine = Engine::start_with(&["--bind", "127.0.0.1", &first, &second]);
    let sites = machines.each_ref().map(|machine| machine.serve(engine.addr()));
    together(&sites);
    let [a, b] = &sites;
    let (mut ann, mut bob) = (a.connect(), b.connect());
    ann.join(ROOM, "ann");
    wait_for_what_is_shared(a, b);
    bob.join(ROOM, "bob");
    ann.expect_added(ROOM, "bob", Value::Null);

    machines[1].to_engine.pull();
    wait_until_alone(b);
    // Each serves its own clients; the others' members leave when the lease ends.
    for (site, session) in [(a, &mut ann), (b, &mut bob)] {
        let other = if site.server.pid == a.server.pid { "bob" } else { "ann" };
        session.expect_removed(ROOM, other);
        site.api().publish(ROOM, "e", other);
        session.expect_event(ROOM, "e", other);
    }
    wait_for_standing(a, "together", 1);

    machines[1].to_engine.put_back();
    together(&sites);
    ann.expect_added(ROOM, "bob", Value::Null);
    // What the first machine published meanwhile is still in the log. What the second one did, nobody else has seen.
    bob.expect_event(ROOM, "e", "bob");
    let came = bob.next();
    assert_eq!(decoded(&came)["user_id"], "ann", "{came}");
    b.api().publish(ROOM, "e", "everywhere");
    ann.expect_event(ROOM, "e", "everywhere");
    bob.expect_event(ROOM, "e", "everywhere");
}
