//! The price of what a peer can order, end to end: each limit at its edges, the memory of the machine, and a bystander
//! beside each attack. Who orders much waits itself, nothing that was ordered is lost, and the others do not notice.
//!
//! Tests of limits read what comes and how late. Tests with a bystander compare two servers, see `bystander`. In one
//! binary, so that all of it shares one database server.

#[path = "../common/mod.rs"]
mod common;

mod attacks;
mod attacks_on_a_site;
mod bystander;
mod memory;
mod requests;
mod rooms;
mod sessions;
mod subscriptions;
