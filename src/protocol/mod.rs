//! The parts that several rooms share: names, positions, frames, the checks of published events, and small structures
//! (`slots`, `turn`, `refresh`, `retained`). This room depends on none of the rooms that use it.

pub mod actions;
pub mod channel;
pub mod control;
pub mod effects;
pub mod engine;
pub mod event;
pub mod frames;
pub mod greeting;
pub mod keys;
pub mod percent;
pub mod position;
pub mod refresh;
pub mod retained;
pub mod room;
pub mod rows;
pub mod shared;
pub mod signature;
pub mod slots;
mod socket_id;
pub mod turn;
mod verdict;

pub use self::socket_id::SocketId;
pub use self::verdict::{Attempt, Member, Ruling, Verdict};
