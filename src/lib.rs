//! jsocketd: the real-time server for Joomla sites, as a library for its two binaries and its tests.
//!
//! `server` is the loop and the only module that knows both `net` (sockets and bytes) and `app` (decisions). The arrows
//! between modules point one way; `tests/arrows.rs` fails on a wrong one.

pub mod app;
pub mod child;
pub mod config;
pub mod id;
pub mod joomla;
pub mod lag;
pub mod logging;
pub mod net;
pub mod outbox;
pub mod protocol;
pub mod room;
pub mod serve;
pub mod server;
pub mod store;
pub mod time;
