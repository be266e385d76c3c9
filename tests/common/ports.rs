//! Ports on which nobody listens yet, or no longer.
//!
//! A program that another thread is just starting has, until it is executed, a copy of each descriptor of the tests.
//! So a listener may outlive its `drop` by milliseconds, and a client that comes meanwhile is taken and then reset.
//! That is why a port is tried without listening, and why a listener is shut down before it is dropped.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use socket2::{Domain, Socket, Type};

/// A port that is free now. It is outside the range from which the kernel takes the ports of connections, and no two
/// calls of a process return the same.
pub fn free_port(address: impl Into<IpAddr>) -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let address = address.into();
    let process = (std::process::id().wrapping_mul(97) % u32::from(COUNT)) as u16;
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + process.wrapping_add(next) % COUNT;
        if bound((address, port).into()).is_ok() {
            return port;
        }
    }
}

/// A socket that has this address and does not listen: connections are refused. Another socket that wants the address
/// can have it.
///
/// # Errors
/// Somebody listens there, or the address is none of this machine.
pub fn bound(at: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    Ok(socket)
}

/// An address at which connections are refused.
pub fn nobody() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)).into()
}

/// Ends a listener: from now on connections are refused.
pub fn close(listener: TcpListener) {
    Socket::from(listener)
        .shutdown(std::net::Shutdown::Read)
        .expect("it listens");
}
