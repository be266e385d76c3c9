//! What the server is told: the configuration file, the environment and the command line, as one typed value.

use std::net::IpAddr;
use std::path::PathBuf;

/// Everything, with every default filled in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[limits]`
    pub limits: Limits,
    /// `[console]`
    pub console: Console,
    /// `[echo]`
    pub echo: Echo,
    /// Whether no configuration file was given and nothing was overridden that would make the server reachable by
    /// others: all listeners are loopback. Only then are the state commands and the page free for all local callers.
    pub embedded_defaults: bool,
}

/// An address to listen on: `127.0.0.1:8080`, `[::1]:0`, `unix:/run/jsocketd/jsocketd.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// TCP over IPv4 or IPv6; port 0 lets the kernel choose.
    Tcp(std::net::SocketAddr),
    /// A Unix stream socket at this path.
    Unix(PathBuf),
}

/// `[server]`: where the server is reached and by whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Where the server listens; at least one.
    pub listen: Vec<ListenAddr>,
    /// Where `/metrics`, `/debug`, the page and the state commands answer without a token.
    pub admin_listen: Option<ListenAddr>,
    /// The token that opens the same on `listen`; empty: nobody.
    pub admin_token: String,
    /// Permission bits of `unix:` sockets.
    pub unix_mode: u32,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Origins (`https://example.org`) besides the request's own host.
    pub allowed_origins: Vec<String>,
    /// The most connections at once; 0: what the descriptor limit allows, less a reserve.
    pub max_connections: usize,
    /// `error`, `warn`, `info`, `debug` or `trace`; `RUST_LOG` beats it.
    pub log_level: log::LevelFilter,
}

/// `[limits]`: times in seconds, sizes in bytes; 0 in a rate means no limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// From accept to the end of the first request's head and body.
    pub handshake_timeout: u64,
    /// How long an HTTP connection may be idle between two requests.
    pub keep_alive_timeout: u64,
    /// A WebSocket that was silent for so long gets a ping.
    pub ping_interval: u64,
    /// A WebSocket that stays silent for so long after a ping is dropped.
    pub ping_timeout: u64,
    /// How long an unfinished (fragmented) message may stay unfinished.
    pub message_timeout: u64,
    /// How long a connection that we closed may take to close its side.
    pub close_timeout: u64,
    /// A WebSocket message: the sum of its fragments.
    pub max_message_size: usize,
    /// Fragments of one message; at least 65,537 or conformance cases fail.
    pub max_fragments: u32,
    /// Request line and headers together.
    pub max_head_size: usize,
    /// Header lines of a request.
    pub max_headers: usize,
    /// The body of a request.
    pub max_body_size: usize,
    /// A slow consumer's hard limit: bytes that wait to be written to one connection …
    pub outbox_bytes: usize,
    /// … and how long more than a quarter of it may wait.
    pub outbox_seconds: u64,
    /// Messages a second from one connection (bursts of twice as many); above it the connection is read more slowly.
    pub messages_per_second: u32,
    /// New connections a second from one address (bursts of five times as many); above it they get 429.
    pub connects_per_second: u32,
    /// Connections at once from one address; above it they get 429.
    pub connections_per_address: u32,
    /// Over how many seconds live sockets are closed on shutdown.
    pub drain_seconds: u64,
}

/// `[console]`
#[derive(Clone, Debug, PartialEq)]
pub struct Console {
    /// Whether `/` answers: the console protocol and its page.
    pub enabled: bool,
}

/// `[echo]`
#[derive(Clone, Debug, PartialEq)]
pub struct Echo {
    /// Whether `/echo` answers.
    pub enabled: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddr::Tcp(([127, 0, 0, 1], 8080).into())],
            admin_listen: None,
            admin_token: String::new(),
            unix_mode: 0o660,
            trusted_proxies: vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])],
            allowed_origins: Vec::new(),
            max_connections: 0,
            log_level: log::LevelFilter::Info,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: 10,
            keep_alive_timeout: 75,
            ping_interval: 60,
            ping_timeout: 30,
            message_timeout: 30,
            close_timeout: 3,
            max_message_size: 65_536,
            max_fragments: 100_000,
            max_head_size: 16_384,
            max_headers: 100,
            max_body_size: 1_048_576,
            outbox_bytes: 1_048_576,
            outbox_seconds: 10,
            messages_per_second: 0,
            connects_per_second: 100,
            connections_per_address: 0,
            drain_seconds: 10,
        }
    }
}

impl Default for Console {
    fn default() -> Self {
        Self { enabled: true }
    }
}

impl Default for Echo {
    fn default() -> Self {
        Self { enabled: true }
    }
}
