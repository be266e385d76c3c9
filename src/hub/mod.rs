//! The Pusher Channels protocol 7. What is spoken where the documentation is silent is in `docs/protocol.md`.

pub mod app;
pub mod ask;
pub mod cache;
mod client_event;
pub mod gate;
pub mod history;
pub mod presence;
mod recovery;
pub mod session;
mod sign_in;
mod subscribe;
pub mod users;
