//! TLS of our own: the layer by itself over sockets in memory, and the built server with a certificate, against
//! OpenSSL's client and rustls's.

#[path = "../common/mod.rs"]
mod common;

mod crowd;
mod layer;
mod peer;
mod renewal;
mod serving;
mod start;
