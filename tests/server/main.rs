//! The built server without a database: its protocols, its commands, its process. A server or a client part under test
//! is this crate's; the other end is played on raw sockets.

#[path = "../common/mod.rs"]
mod common;

mod access_log;
mod api_signature;
mod children;
mod config;
mod conformance;
mod culprits;
mod examples;
mod http;
mod https;
mod listen;
mod listeners;
mod log;
mod metrics;
mod outgoing;
mod outgoing_tls;
mod proxy_protocol;
mod publish;
mod pusher_channels;
mod pusher_connection;
mod pusher_presence;
mod pusher_recovery;
mod reload;
mod start;
mod status;
mod systemd;
mod top;
mod trace;
mod trace_file;
mod webhooks;
