//! The outgoing client over real sockets: the behaviour of the kernel, which the simulator cannot show.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, ToSocketAddrs};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::common::ports::nobody;
use jsocketd::net::io::{Io, Ready};
use jsocketd::net::outgoing::{Outcome, Outgoing, Request};
use jsocketd::net::poll::MioIo;
use jsocketd::net::stream::Stream;
use jsocketd::time::Time;

/// The part of the loop that posts.
pub struct Loop {
    io: MioIo,
    pub outgoing: Outgoing<Stream>,
    urls: Vec<String>,
    /// How often it slept.
    pub waits: usize,
}

impl Loop {
    pub fn new(url: String) -> Self {
        Self::of(vec![url])
    }

    /// One that posts to these URLs.
    pub fn of(urls: Vec<String>) -> Self {
        let io = MioIo::new(Vec::new(), None).unwrap();
        let mut outgoing = Outgoing::new();
        outgoing.configure(urls.iter().map(String::as_str));
        for name in outgoing.host_names() {
            let found = (name.host.as_str(), name.port).to_socket_addrs().unwrap();
            outgoing.set_addresses(&name, &found.collect::<Vec<_>>());
        }
        Self {
            io,
            outgoing,
            urls,
            waits: 0,
        }
    }

    pub fn post(&mut self, body: impl Into<Vec<u8>>) -> Result<u16, String> {
        self.start(0, body.into());
        let mut outcomes = self.outcomes(1);
        outcomes.remove(0).1
    }

    /// Starts a post to the URL with this number, which is also that of its target and the post.
    pub fn start(&mut self, n: usize, body: Vec<u8>) {
        let request = Request {
            ticket: n as u64,
            target: n as u32,
            url: self.urls[n].clone(),
            headers: vec![("X-Test".into(), "yes".into())],
            body: body.into(),
        };
        let now = self.io.now().at;
        self.outgoing.start(request, &mut self.io, now);
    }

    /// Waits for the outcomes of so many posts.
    pub fn outcomes(&mut self, count: usize) -> Vec<(u64, Result<u16, String>)> {
        let mut all = Vec::new();
        let until = Instant::now() + Duration::from_secs(20);
        while all.len() < count {
            assert!(Instant::now() < until, "no outcome, not even a failure: {all:?}");
            let outcomes = self.turn();
            all.extend(outcomes.into_iter().map(|outcome| (outcome.ticket, outcome.result)));
        }
        all
    }

    fn turn(&mut self) -> Vec<Outcome> {
        let (mut buffer, mut ready) = (vec![0; 65_536], Vec::new());
        let now = self.io.now().at;
        self.outgoing.turn(&mut self.io, &mut buffer, now);
        let outcomes = self.outgoing.outcomes();
        if !outcomes.is_empty() {
            return outcomes;
        }
        let deadline = self.outgoing.deadline();
        let patience = (deadline != Time::NEVER).then(|| deadline.since(now));
        self.io.wait(patience, &mut ready).unwrap();
        self.waits += 1;
        for ready in ready {
            if let Ready::Outgoing(n, edges) = ready {
                self.outgoing.note(n, edges);
            }
        }
        Vec::new()
    }
}

/// A target on a port of its own: `serve` gets the listener.
pub fn target<T: Send + 'static>(serve: impl FnOnce(TcpListener) -> T + Send + 'static) -> (String, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?a=b", listener.local_addr().unwrap());
    (url, thread::spawn(move || serve(listener)))
}

/// Reads one request: its head's lines and its body.
pub fn request(stream: &mut impl BufRead) -> Option<(Vec<String>, Vec<u8>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let length = lines
        .iter()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    Some((lines, body))
}

pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn posts_follow_each_other_on_one_connection() {
    let (url, served) = target(|listener| {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let mut requests = Vec::new();
        while requests.len() < 3 {
            requests.push(request(&mut stream).unwrap());
            stream.get_mut().write_all(OK).unwrap();
        }
        requests
    });
    let host = url
        .strip_prefix("http://")
        .unwrap()
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    let mut client = Loop::new(url);
    for body in ["one", "two", "three"] {
        assert_eq!(client.post(body), Ok(200));
    }
    let requests = served.join().unwrap();
    let (lines, body) = &requests[2];
    assert_eq!(body, b"three");
    let agent = format!("User-Agent: jsocketd/{}", env!("CARGO_PKG_VERSION"));
    let expected = [
        "POST /hook?a=b HTTP/1.1".to_owned(),
        format!("Host: {host}"),
        agent,
        "Content-Length: 5".to_owned(),
        "X-Test: yes".to_owned(),
    ];
    assert_eq!(lines, &expected);
}

#[test]
fn a_target_that_closes_silently_after_each_answer_never_fails() {
    let (url, served) = target(|listener| {
        let mut bodies = Vec::new();
        while bodies.len() < 20 {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            if let Some((_, body)) = request(&mut stream) {
                bodies.push(body);
                stream.get_mut().write_all(OK).unwrap();
            }
        }
        bodies
    });
    let mut client = Loop::new(url);
    for n in 0..20 {
        assert_eq!(client.post(n.to_string()), Ok(200));
    }
    let expected: Vec<Vec<u8>> = (0..20).map(|n| n.to_string().into_bytes()).collect();
    assert_eq!(served.join().unwrap(), expected, "each once");
}

#[test]
fn a_closed_port_is_reported_at_once() {
    let url = format!("http://{}/", nobody());
    let began = Instant::now();
    let why = Loop::new(url).post("x").unwrap_err();
    assert!(why.to_lowercase().contains("refused"), "{why}");
    assert!(began.elapsed() < Duration::from_secs(2));
}

/// `localhost` is usually `::1` first, where no server listens here.
#[test]
fn a_name_is_resolved_and_all_its_addresses_tried() {
    let (url, served) = target(|listener| {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let request = request(&mut stream).unwrap();
        stream.get_mut().write_all(OK).unwrap();
        request
    });
    let mut client = Loop::new(url.replace("127.0.0.1", "localhost"));
    assert_eq!(client.post("x"), Ok(200));
    assert!(served.join().unwrap().0[1].starts_with("Host: localhost:"));
}

#[test]
fn a_large_body_goes_out_in_as_many_writes_as_it_takes_and_the_loop_sleeps_in_between() {
    let (url, served) = target(|listener| {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        // The client meets a full buffer before anything is read.
        thread::sleep(Duration::from_millis(300));
        let (_, body) = request(&mut stream).unwrap();
        thread::sleep(Duration::from_millis(300));
        stream.get_mut().write_all(OK).unwrap();
        body
    });
    let body: Vec<u8> = (0..8 << 20).map(|n: u32| (n % 251) as u8).collect();
    let mut client = Loop::new(url);
    assert_eq!(client.post(body.clone()), Ok(200));
    assert!(served.join().unwrap() == body, "the body was changed on its way");
    assert!(client.waits < 2000, "the loop spins: {} waits", client.waits);
}

#[test]
fn an_answer_before_the_body_was_read_counts() {
    let (url, served) = target(|listener| {
        let (mut stream, _) = listener.accept().unwrap();
        let mut some = [0; 1000];
        stream.read_exact(&mut some).unwrap();
        stream
            .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // Until the client is gone: a close with unread bytes would reset the answer away.
        while stream.read(&mut some).is_ok_and(|n| n > 0) {}
    });
    assert_eq!(Loop::new(url).post(vec![b'x'; 8 << 20]), Ok(413));
    served.join().unwrap();
}
