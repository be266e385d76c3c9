//! The price of what a peer can order, end to end: each limit at its edges, and the memory of the machine. Who orders much
//! waits itself, and nothing that was ordered is lost. In one binary, so that all of it shares one database server.

#[path = "../common/mod.rs"]
mod common;

mod memory;
mod requests;
mod rooms;
mod sessions;
mod subscriptions;
