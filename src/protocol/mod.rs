//! What all protocol rooms share and what knows none of them: names, positions, frames, the checks of what is
//! published, and the small structures that several rooms use (`slots`, `turn`, `refresh`, `retained`).

pub mod actions;
pub mod channel;
pub mod control;
pub mod effects;
pub mod event;
pub mod frames;
pub mod keys;
pub mod percent;
pub mod position;
pub mod refresh;
pub mod retained;
pub mod room;
pub mod rows;
pub mod signature;
pub mod slots;
mod socket_id;
pub mod turn;
mod verdict;

pub use self::socket_id::SocketId;
pub use self::verdict::{Attempt, Member, Ruling, Verdict};
