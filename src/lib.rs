//! jsocketd: the real-time server for Joomla sites, as a library for its two binaries and its tests.
//!
//! `server` is the loop and the only module that knows both `net` (sockets and bytes) and `service` (decisions). The
//! arrows between modules point one way; `tests/house/arrows.rs` fails on a wrong one.

pub mod api;
pub mod certificates;
pub mod child;
pub mod cluster;
pub mod config;
pub mod engine;
pub mod flight;
pub mod hub;
pub mod id;
pub mod joomla;
pub mod logging;
pub mod net;
pub mod outbox;
pub mod protocol;
pub mod server;
pub mod service;
pub mod site;
pub mod store;
pub mod supervisor;
pub mod time;
pub mod trace;
pub mod trust;
pub mod webhooks;

/// The commit that this was built from; `None`: a debug build, or one without a repository (`build.rs`).
pub const COMMIT: Option<&str> = option_env!("JSOCKETD_COMMIT");
