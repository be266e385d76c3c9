//! Hostile, greedy and many peers: what the server refuses, what they cost, and what others notice of them. A test that
//! measures time holds `common::alone`.

#[path = "../common/mod.rs"]
mod common;

mod robustness_frames;
mod robustness_handshake;
mod robustness_memory;
mod robustness_pressure;
