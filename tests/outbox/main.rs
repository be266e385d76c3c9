//! The outbox table with real servers, writers and clients: each rule by itself, and all of them under fire.

#[path = "../common/mod.rs"]
mod common;

mod outbox_fire;
mod outbox_lost;
mod outbox_table;
