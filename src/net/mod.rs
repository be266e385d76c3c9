//! Sockets and bytes: everything between the kernel and a decoded message. Knows nothing of what a message means.

pub mod handshake;
pub mod http;
