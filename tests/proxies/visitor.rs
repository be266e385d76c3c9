//! A visitor of a site behind a proxy: a browser's connections, which come from an address of their own and lie about
//! it, and the requests of the site's own HTTP client. Over TLS the visitor trusts one authority alone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use serde_json::json;

use crate::common::PATIENCE;
use crate::common::certificates::{Asking, Authority, relay};
use crate::common::peer::{KEY as WEBSOCKET_KEY, Peer, Reply};
use crate::common::pusher::{Api, ID, KEY, SECRET, Session};

/// Where visitors come from.
pub const THEIR: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));

/// An address that visitors claim to have.
pub const CLAIMED: &str = "192.0.2.66";

/// A visitor.
#[derive(Clone)]
pub struct Visitor {
    /// Where the proxy is.
    at: SocketAddr,
    /// The name of the site or of the server's own host, with the port.
    host: String,
    /// What precedes the server's paths: `/ws`, or nothing.
    prefix: &'static str,
    /// The authority, if they speak TLS.
    authority: Option<Arc<Authority>>,
    /// More lines of their handshakes.
    more: String,
}

impl Visitor {
    /// A visitor of this host.
    pub fn new(at: SocketAddr, name: &str, prefix: &'static str) -> Self {
        Self {
            at,
            host: format!("{name}:{}", at.port()),
            prefix,
            authority: None,
            more: String::new(),
        }
    }

    /// The same over TLS.
    pub fn over_tls(mut self, authority: &Arc<Authority>) -> Self {
        self.authority = Some(Arc::clone(authority));
        self
    }

    /// Whose pages are of this origin.
    pub fn of_origin(mut self, scheme: &str) -> Self {
        self.more = format!("Origin: {scheme}://{}\r\n", self.host);
        self
    }

    /// A connection to the proxy.
    pub fn connect(&self) -> Peer {
        let Some(authority) = &self.authority else {
            return Peer::over(connected(self.at));
        };
        let name = self.host.split(':').next().unwrap_or_default();
        let mut asking = authority.client(name, connected(self.at));
        asking.conn.complete_io(&mut asking.sock).expect("the TLS handshake");
        Peer::connect_to(bridged(asking))
    }

    /// The head of any request. The lines about the address are a lie.
    fn head(&self, method: &str, path: &str, more: &str) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nX-Forwarded-For: {CLAIMED}\r\nX-Real-IP: {CLAIMED}\r\n{more}\r\n",
            self.host
        )
    }

    /// The answer to a GET of a path as it is.
    pub fn get(&self, path: &str) -> Reply {
        self.connect().send(self.head("GET", path, "")).reply()
    }

    /// The same without what follows the head.
    pub fn get_head(&self, path: &str) -> Reply {
        self.connect().send(self.head("GET", path, "")).head()
    }

    /// A handshake is refused for its origin.
    pub fn expect_refused_origin(&self) {
        let mut peer = self.handshake();
        peer.expect_switch();
        peer.expect_close(4009);
    }

    /// Sends a handshake for the app; the answer is not checked.
    pub fn handshake(&self) -> Peer {
        let mut peer = self.connect();
        let path = format!("{}/app/{KEY}?protocol=7&client=js&version=8.6.0", self.prefix);
        let upgrade = format!(
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
             {WEBSOCKET_KEY}\r\n{}",
            self.more
        );
        peer.send(self.head("GET", &path, &upgrade));
        peer
    }

    /// An established connection of the Pusher protocol.
    pub fn session(&self) -> Session {
        let mut peer = self.handshake();
        peer.expect_switch();
        Session::greeted(peer)
    }

    /// Publishes through the proxy, as a library whose address is that of the site; returns the answer.
    pub fn publish(&self, channel: &str, event: &str, data: &str) -> Reply {
        let api = Api {
            peer: self.connect(),
            id: ID.to_owned(),
            key: KEY.to_owned(),
            secret: SECRET.to_owned(),
        };
        let body = json!({"name": event, "channel": channel, "data": data}).to_string();
        let request = api.request("POST", "/events", &[], &body);
        let request = request.replacen("POST /", &format!("POST {}/", self.prefix), 1);
        let host = format!("Host: {}\r\nX-Forwarded-For: {CLAIMED}\r\n", self.host);
        let request = request.replacen("Host: localhost\r\n", &host, 1);
        let mut peer = api.peer;
        peer.send(request).reply()
    }

    /// A connection, a subscription and an event that is published through the proxy all work.
    pub fn expect_delivery(&self) {
        self.expect_event(&mut self.subscriber());
    }

    /// A subscriber of a channel that no other proxy has.
    pub fn subscriber(&self) -> Session {
        let mut session = self.session();
        session.subscribe(&self.channel());
        session
    }

    /// An event that is published through the proxy comes to this subscriber.
    pub fn expect_event(&self, session: &mut Session) {
        let reply = self.publish(&self.channel(), "headline", "\"hello\"");
        assert_eq!((reply.status, reply.body.as_str()), (200, "{}"), "{}", reply.head);
        session.expect_event(&self.channel(), "headline", "\"hello\"");
    }

    fn channel(&self) -> String {
        format!("news-{}", self.at.port())
    }
}

fn connected(at: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::for_address(at), socket2::Type::STREAM, None).expect("a socket");
    socket
        .bind(&SocketAddr::from((THEIR, 0)).into())
        .expect("a loopback address");
    socket
        .connect_timeout(&at.into(), PATIENCE)
        .expect("the proxy takes the connection");
    socket.into()
}

/// A plain port in front of a TLS connection, since a peer of the tests has a plain socket. Its thread ends with either
/// connection.
fn bridged(asking: Asking) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("its address");
    thread::spawn(move || {
        if let Ok((plain, _)) = listener.accept() {
            // How it ends is for the peer to see.
            let _ = relay(asking, plain);
        }
    });
    at
}
