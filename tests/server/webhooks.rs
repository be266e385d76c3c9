//! Webhooks end to end: WebSocket clients on one side of a real server, HTTP targets on the other.

#![allow(clippy::unwrap_used)]

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use jsocketd::config::{App, Config, ListenAddr, Webhook};
use jsocketd::net::listener::Listener;
use jsocketd::net::poll::MioIo;
use jsocketd::server::Server;
use serde_json::{Value, json};
use sha2::Sha256;
use tungstenite::WebSocket;

use super::outgoing::request;

const ALL: [&str; 7] = [
    "channel_occupied",
    "channel_vacated",
    "member_added",
    "member_removed",
    "client_event",
    "cache_miss",
    "subscription_count",
];

fn sign(text: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"secret").unwrap();
    mac.update(text);
    HEXLOWER.encode(&mac.finalize().into_bytes())
}

/// A server of one app; its port. It lives as long as the test.
fn server(hooks: Vec<Webhook>) -> u16 {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let app = App {
            client_events: true,
            webhooks: hooks,
            ..App::new("1", "key", "secret")
        };
        let config = Config {
            apps: vec![app],
            ..Config::default()
        };
        let listener = Listener::bind(&ListenAddr::Tcp(([127, 0, 0, 1], 0).into()), 0).unwrap();
        let url = listener.url();
        let mut server = Server::new(MioIo::new(vec![listener], None).unwrap(), config, 100, [7; 32]);
        tell.send(url).unwrap();
        loop {
            server.tick().unwrap();
        }
    });
    let url = told.recv().unwrap();
    url.trim_end_matches('/').rsplit_once(':').unwrap().1.parse().unwrap()
}

/// A target that accepts all posts after it refused the first `refusals`; returns the accepted ones, headers checked.
fn target(mut refusals: usize) -> (Webhook, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            while let Some(event) = event(&mut stream) {
                let status = if refusals > 0 { "503 Later" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
                match refusals {
                    0 => tell.send(event).unwrap(),
                    _ => refusals -= 1,
                }
            }
        }
    });
    let hook = Webhook {
        url,
        events: ALL.map(str::to_owned).to_vec(),
        channel_prefix: String::new(),
        headers: vec![("X-Extra".into(), "1".into())],
    };
    (hook, told)
}

/// The one event of the next post.
fn event(stream: &mut BufReader<TcpStream>) -> Option<Value> {
    let (lines, body) = request(stream)?;
    let header = |name: &str| {
        lines
            .iter()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")))
            .unwrap()
    };
    assert_eq!(header("Content-Type"), "application/json");
    assert_eq!(header("X-Pusher-Key"), "key");
    assert_eq!(header("X-Pusher-Signature"), sign(&body));
    assert_eq!(header("X-Extra"), "1");
    let mut body: Value = serde_json::from_slice(&body).unwrap();
    assert!(body["time_ms"].is_u64());
    assert_eq!(body["events"].as_array().unwrap().len(), 1);
    Some(body["events"][0].take())
}

struct Client {
    socket: WebSocket<TcpStream>,
    id: String,
}

impl Client {
    fn new(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let url = format!("ws://127.0.0.1:{port}/app/key?protocol=7");
        let (mut socket, _) = tungstenite::client(url, stream).unwrap();
        let first: Value = serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
        let data: Value = serde_json::from_str(first["data"].as_str().unwrap()).unwrap();
        let id = data["socket_id"].as_str().unwrap().to_owned();
        Self { socket, id }
    }

    fn send(&mut self, frame: &Value) {
        self.socket.send(frame.to_string().into()).unwrap();
    }

    fn subscribe(&mut self, channel: &str) {
        self.send(&json!({"event": "pusher:subscribe", "data": {"channel": channel}}));
        self.hear("pusher_internal:subscription_succeeded");
    }

    fn join(&mut self, channel: &str, user: &str) {
        let data = json!({"user_id": user}).to_string();
        let auth = format!("key:{}", sign(format!("{}:{channel}:{data}", self.id).as_bytes()));
        let data = json!({"channel": channel, "auth": auth, "channel_data": data});
        self.send(&json!({"event": "pusher:subscribe", "data": data}));
        self.hear("pusher_internal:subscription_succeeded");
    }

    fn unsubscribe(&mut self, channel: &str) {
        self.send(&json!({"event": "pusher:unsubscribe", "data": {"channel": channel}}));
    }

    fn hear(&mut self, event: &str) {
        loop {
            let frame: Value = serde_json::from_str(self.socket.read().unwrap().to_text().unwrap()).unwrap();
            if frame["event"] == event {
                return;
            }
        }
    }
}

fn next(told: &Receiver<Value>) -> Value {
    told.recv_timeout(Duration::from_secs(20)).expect("a webhook comes")
}

#[test]
fn joins_leaves_and_client_events_reach_the_site_in_order() {
    let (hook, told) = target(0);
    let port = server(vec![hook]);
    let mut client = Client::new(port);
    client.join("presence-room", "7");
    assert_eq!(
        next(&told),
        json!({"name": "channel_occupied", "channel": "presence-room"})
    );
    let added = json!({"name": "member_added", "channel": "presence-room", "user_id": "7"});
    assert_eq!(next(&told), added);
    client.send(&json!({"event": "client-wave", "channel": "presence-room", "data": {"a": 1}}));
    let wave = next(&told);
    assert_eq!(
        (&wave["name"], &wave["event"]),
        (&json!("client_event"), &json!("client-wave"))
    );
    assert_eq!(wave["socket_id"], json!(client.id));
    assert_eq!(wave["user_id"], "7");
    client.subscribe("cache-news");
    assert_eq!(
        next(&told),
        json!({"name": "channel_occupied", "channel": "cache-news"})
    );
    assert_eq!(next(&told), json!({"name": "cache_miss", "channel": "cache-news"}));

    // A page is loaded again: no webhook reports it.
    client.unsubscribe("presence-room");
    client.join("presence-room", "7");
    let left = Instant::now();
    drop(client);
    let mut last = [next(&told), next(&told), next(&told)].map(|event| event["name"].as_str().unwrap().to_owned());
    last.sort();
    assert_eq!(last, ["channel_vacated", "channel_vacated", "member_removed"]);
    assert!(
        left.elapsed() >= Duration::from_millis(2900),
        "the grace: {:?}",
        left.elapsed()
    );
}

#[test]
fn a_target_that_refuses_gets_the_post_again_and_another_does_not_wait() {
    let (good, told) = target(0);
    let (bad, told_late) = target(2);
    let port = server(vec![bad, good]);
    let mut client = Client::new(port);
    let began = Instant::now();
    client.subscribe("news");
    let occupied = json!({"name": "channel_occupied", "channel": "news"});
    assert_eq!(next(&told), occupied);
    assert!(began.elapsed() < Duration::from_millis(900));
    assert_eq!(next(&told_late), occupied);
    assert!(
        began.elapsed() >= Duration::from_millis(2900),
        "after 1 and 2 s: {:?}",
        began.elapsed()
    );
}
