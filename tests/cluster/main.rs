//! Several processes with one engine: the built server, Debian's `redis-server`, and what may happen between them. Each
//! test starts an engine and processes of its own, on free ports of 127.0.0.1 or in network namespaces that it makes.
//! `ENGINE_SERVER` names another program than `redis-server`, such as `valkey-server`.

#[path = "../common/mod.rs"]
mod common;

mod events;
mod facts;
mod faults;
mod hooks;
mod machines;
mod presence;
mod site;
mod workers;
