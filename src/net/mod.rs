//! Sockets and bytes: everything between the kernel and a decoded message. `service` decides what a message means.

mod allowance;
mod backlog;
pub mod close;
pub mod connection;
pub mod dial;
pub mod event;
mod exchange;
pub mod frame;
pub mod handshake;
pub mod http;
pub mod io;
mod keep_alive;
pub mod listener;
pub mod meter;
pub mod outgoing;
pub mod poll;
pub mod polled;
pub mod probe;
pub mod proxy_protocol;
pub mod send_queue;
pub mod stream;
pub mod supervised;
pub mod table;
pub mod tls;
mod websocket;
pub mod wheel;
pub mod wire;
