//! Tests that measure time on the whole machine. Each holds `common::alone`, so this binary runs one test after the
//! other; cargo runs binaries one after the other anyway.

#[path = "../common/mod.rs"]
mod common;

mod cluster_delay;
mod database_slow;
mod outbox_speed;
