//! Debian's nginx, Apache (event and prefork), Caddy and HAProxy in front of the built server: with the files of
//! `conf/` and with lines that people have from elsewhere. Servers listen on free ports of 127.0.0.1, and clients come
//! from another loopback address, so that the address of a client can be told from that of the proxy.

#[path = "../common/mod.rs"]
mod common;

mod everyday;
mod full;
mod idle;
mod levels;
mod ports;
mod products;
mod restart;
mod stage;
mod visitor;
