//! The ports of these tests: products start side by side, so a port is tried while other threads start programs.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::common::ports::{close, free_port};

#[test]
fn nobody_takes_a_connection_before_and_after_the_owner_of_a_port() {
    let over = AtomicBool::new(false);
    let owners = || {
        for _ in 0..3_000 {
            let at = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)));
            assert!(TcpStream::connect(at).is_err(), "somebody listens before the owner");
            let listener = TcpListener::bind(at).expect("the owner has the port");
            TcpStream::connect(at).expect("the owner takes connections");
            close(listener);
            assert!(TcpStream::connect(at).is_err(), "somebody listens after the owner");
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    Command::new("true").output().expect("it runs");
                }
            });
        }
        let result = scope.spawn(owners).join();
        over.store(true, Ordering::Relaxed);
        result.expect("all owners were alone");
    });
}
