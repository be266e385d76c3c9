//! Decisions, without sockets, clock or SQL driver: what a decoded message means and what follows from it. The core is
//! sans-I/O: an input about a connection goes in, actions come out as data, `now` is an argument. So a test takes
//! microseconds, the simulator can be seeded, and a recorded trace can be replayed.

pub mod access;
pub mod actions;
pub mod address;
pub mod api;
pub mod caller;
pub mod console;
pub mod keys;
pub mod page;
pub mod pusher;
pub mod routes;
pub mod service;
pub mod site;
mod status;
pub mod trace;
pub mod webhooks;
