//! The price of a peer's requests, end to end: each limit at its edges, the memory of the machine, and a bystander
//! beside each attack. A peer with many requests waits itself, no request is lost, and the other peers do not notice.
//!
//! Tests of limits check which answers come and how late. Tests with a bystander compare two servers, see `bystander`.
//! They are in one binary, so that all of them share one database server.

#[path = "../common/mod.rs"]
mod common;

mod attacks;
mod attacks_on_a_site;
mod bystander;
mod memory;
mod metrics;
mod requests;
mod rooms;
mod sessions;
mod subscriptions;
