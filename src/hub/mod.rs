//! The Pusher Channels protocol 7. What is spoken where the documentation is silent is in `docs/protocol.md`.

pub mod app;
pub mod apps;
pub mod ask;
pub mod cache;
pub mod channel;
mod client_event;
mod credentials;
mod frame;
pub mod gate;
pub mod history;
mod join;
mod json;
pub mod presence;
pub mod recovery;
mod replays;
pub mod roster;
pub mod session;
mod sign_in;
pub mod subscribe;
#[cfg(test)]
mod tests;
pub mod users;
