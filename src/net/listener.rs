//! Listening sockets: TCP over IPv4 and IPv6 and Unix sockets, with a large backlog. They are made once, at start.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::config::ListenAddr;

/// Clients that may wait to be accepted. The kernel caps it at `net.core.somaxconn`. With a smaller backlog a burst of
/// clients waits a second for a SYN retry.
const BACKLOG: i32 = 65_535;

/// Bytes that the kernel may hold for a TCP client that does not read. The kernel doubles them for its own bookkeeping.
/// Without this setting the buffer of a client grows to four megabytes. A client that is 100 ms away still gets more
/// than a megabyte a second. Accepted sockets inherit it. (The kernel's own bound for Unix sockets is as low.)
const SEND_BUFFER: usize = 128 * 1024;

/// A socket that clients connect to.
#[derive(Debug)]
pub struct Listener {
    /// Non-blocking.
    pub(super) socket: Socket,
    /// Whether connections begin with a header of the PROXY protocol.
    pub(super) proxy_protocol: bool,
    pub(super) speaks: Speaks,
    /// The file of a Unix socket, and what tells it from others. It is removed with the listener.
    file: Option<(PathBuf, FileId)>,
}

/// What is spoken with the clients of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaks {
    /// HTTP.
    Http,
    /// HTTP within TLS.
    Https,
    /// HTTP, and each answer is a redirect to https.
    Redirect,
}

/// The device and the inode of a file.
type FileId = (u64, u64);

impl Listener {
    /// Binds `address` and listens, as [`Self::bind_beside`] does without others.
    ///
    /// # Errors
    /// The same.
    pub fn bind(address: &ListenAddr, mode: u32) -> io::Result<Self> {
        Self::bind_beside(address, &[], mode)
    }

    /// Binds `address` and listens. `mode` is for the file of a Unix socket: one without a listener is replaced, a live
    /// one is refused. `[::]` serves IPv4 too, unless an IPv4 address with its port is among the `others`, which are
    /// bound as well.
    ///
    /// # Errors
    /// Those of the operating system; `AddrInUse` for a Unix socket that is alive or a path that is no socket.
    pub fn bind_beside(address: &ListenAddr, others: &[&ListenAddr], mode: u32) -> io::Result<Self> {
        let (socket, file) = match address {
            ListenAddr::Tcp(address) => (bind_tcp(*address, others)?, None),
            ListenAddr::Unix(path) => (bind_unix(path, mode)?, Some((path.clone(), file_id(path)?))),
        };
        Ok(Self {
            socket,
            proxy_protocol: false,
            speaks: Speaks::Http,
            file,
        })
    }

    /// A listener that another process has bound. That process removes its file.
    pub(super) fn inherited(socket: OwnedFd, speaks: Speaks, proxy_protocol: bool) -> Self {
        Self {
            socket: socket.into(),
            proxy_protocol,
            speaks,
            file: None,
        }
    }

    /// Expects a header of the PROXY protocol at the beginning of each connection.
    pub fn expect_header(&mut self) {
        self.proxy_protocol = true;
    }

    /// Speaks something else than HTTP.
    pub fn speaking(mut self, speaks: Speaks) -> Self {
        self.speaks = speaks;
        self
    }

    /// What it speaks.
    pub fn speaks(&self) -> Speaks {
        self.speaks
    }

    /// The bound port; `None` on a Unix socket.
    pub fn port(&self) -> Option<u16> {
        self.socket.local_addr().ok()?.as_socket().map(|address| address.port())
    }

    /// The bound address as a URL, with the kernel's port instead of 0.
    pub fn url(&self) -> String {
        if let Some((path, _)) = &self.file {
            return format!("unix:{}", path.display());
        }
        match self.socket.local_addr().map(|address| address.as_socket()) {
            Ok(Some(address)) if self.speaks == Speaks::Https => format!("https://{address}/"),
            Ok(Some(address)) => format!("http://{address}/"),
            Ok(None) => "an unknown address".to_owned(),
            Err(error) => format!("an unknown address ({error})"),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Somebody may have removed the file, and another server may have its own there by now.
        if let Some((path, own)) = &self.file
            && file_id(path).is_ok_and(|found| found == *own)
        {
            let _ = fs::remove_file(path);
        }
    }
}

fn file_id(path: &Path) -> io::Result<FileId> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

fn bind_tcp(address: SocketAddr, others: &[&ListenAddr]) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        let is_v4 =
            |other: &&&ListenAddr| matches!(other, ListenAddr::Tcp(v4) if v4.is_ipv4() && v4.port() == address.port());
        let beside = others.iter().find(is_v4);
        if let Some(v4) = beside.filter(|_| address.ip().is_unspecified()) {
            log::info!("{address} serves IPv6 only, since {v4} is listed too");
        }
        socket.set_only_v6(true)?;
        if address.ip().is_unspecified()
            && beside.is_none()
            && let Err(error) = socket.set_only_v6(false)
        {
            log::warn!(
                "{address} serves IPv6 only: {error}; list 0.0.0.0:{} too",
                address.port()
            );
        }
    }
    // A restart must not wait for the old connections' TIME_WAIT. (On Linux this does not let two servers share a
    // port.)
    socket.set_reuse_address(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Whether a process listens there, without waiting. A full backlog means that a process listens.
fn probe(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => other,
    }
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<Socket> {
    if let Ok(found) = fs::symlink_metadata(path) {
        let refuse = |why: String| Err(io::Error::new(io::ErrorKind::AddrInUse, why));
        if !found.file_type().is_socket() {
            return refuse(format!("{} exists and is not a socket", path.display()));
        }
        match probe(path) {
            Ok(()) => return refuse(format!("another process listens on {}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            Err(error) => return refuse(format!("cannot tell whether {} is alive: {error}", path.display())),
        }
    }
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address)?;
    // Before `listen`, so that no client connects under other permissions.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}
