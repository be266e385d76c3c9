//! What all protocol rooms share and what knows none of them: names, positions, frames, and the checks of what is published.

pub mod actions;
pub mod channel;
pub mod control;
pub mod effects;
pub mod event;
pub mod frames;
pub mod keys;
pub mod position;
pub mod rows;
pub mod signature;
mod socket_id;

pub use self::socket_id::SocketId;
