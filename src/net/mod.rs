//! Sockets and bytes: everything between the kernel and a decoded message. Knows nothing of what a message means.

pub mod close;
pub mod connection;
pub mod frame;
pub mod handshake;
pub mod http;
pub mod io;
pub mod listener;
pub mod meter;
pub mod outbox;
pub mod outgoing;
pub mod poll;
pub mod probe;
pub mod table;
pub mod wheel;
pub mod wire;
