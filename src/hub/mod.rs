//! The Pusher Channels protocol 7. `docs/protocol.md` describes the behaviour where Pusher's documentation is silent.

pub mod app;
pub mod apps;
pub mod ask;
mod authorization;
pub mod cache;
pub mod channel;
mod client_event;
mod credentials;
pub mod events;
pub mod gate;
pub mod history;
mod notices;
pub mod presence;
pub mod recovery;
mod replays;
mod replica;
pub mod roster;
pub mod session;
mod sign_in;
pub mod subscribe;
#[cfg(test)]
mod tests;
pub mod together;
pub mod users;
pub mod visible;
