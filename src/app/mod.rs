//! Decisions, without sockets, clock or SQL driver: what a decoded message means and what follows from it.

pub mod page;
