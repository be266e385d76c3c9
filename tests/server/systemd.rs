//! The server's messages over systemd's notification socket (sd_notify(3)): ready, alive, stopping. A socket of the
//! test stands in for systemd.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn systemd_receives_ready_watchdog_and_stopping() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_secs(15)))
        .expect("a timeout");
    let mut server = Command::new(env!("CARGO_BIN_EXE_jsocketd"))
        .args(["--listen", "127.0.0.1:0"])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000")
        .env_remove("WATCHDOG_PID")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the server starts");
    let mut line = String::new();
    BufReader::new(server.stdout.take().expect("it is piped"))
        .read_line(&mut line)
        .expect("it says where it listens");
    let hear = || {
        let mut buffer = [0; 512];
        let n = socket.recv(&mut buffer).expect("systemd gets a message in time");
        String::from_utf8_lossy(&buffer[..n]).trim().to_owned()
    };
    assert_eq!(hear(), "READY=1", "first of all");
    // An idle loop wakes for the watchdog alone.
    for _ in 0..3 {
        assert_eq!(hear(), "WATCHDOG=1");
    }
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is ours");
    let mut last = hear();
    while last == "WATCHDOG=1" {
        last = hear();
    }
    assert_eq!(last, "STOPPING=1");
    assert!(server.wait().expect("it ends").success(), "a drained server ends well");
}
