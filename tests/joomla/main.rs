//! A server of a real site, end to end: the built binary, a real MariaDB with Joomla's own tables and rows, real
//! sockets. In one binary, so that all of it shares one database server. Joomla's rules without a server stand in
//! `joomla_acl`.

#[path = "../common/mod.rs"]
mod common;

mod access;
mod check;
mod component;
mod joomla_acl;
mod joomla_document;
mod offline;
mod slow_sql;
mod visitors;
