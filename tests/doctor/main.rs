//! `jsocketd doctor` against sites that are broken in one place each: the built server, a real MariaDB, and a small
//! site behind a real nginx or Apache, or behind a proxy of the test's own for what nginx cannot do. The doctor runs in
//! another network namespace, as a visitor's machine would, so the tests need root.

#[path = "../common/mod.rs"]
mod common;

mod elsewhere;
mod hostile;
mod inside;
mod middle;
mod proxies;
mod site;
mod stage;
mod web_server;
