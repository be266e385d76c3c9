//! Hostile, greedy and many peers: the server's refusals, their cost, and the effect on other peers. A test that
//! measures time holds `common::alone`.

#[path = "../common/mod.rs"]
mod common;

mod robustness_engine;
mod robustness_frames;
mod robustness_handshake;
mod robustness_memory;
mod robustness_pressure;
