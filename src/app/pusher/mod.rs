//! The Pusher Channels protocol 7. What is spoken where the documentation is silent is in `docs/protocol.md`.

pub mod app;
pub mod channel;
pub mod signature;
