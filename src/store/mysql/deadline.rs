//! A deadline for a whole answer. The driver blocks until the answer is there, and each of its timeouts is for one read
//! only. An answer that drips, a byte now and then, would hold up the loop for minutes. So a child process shares the
//! connection's socket and a timer with this process. The timer is set before each statement and stopped after it. If
//! the timer expires, the child shuts the socket down. Then the driver's read ends, and the connection is lost like any
//! other connection that did not answer.
//!
//! Rejected: a signal, since the driver goes on reading after it; a thread, since this server has only one; a relay
//! between driver and database, since it would have to be fast too. The log-in is not covered, since before it the
//! driver has no socket to share. During the log-in each read has its timeout, and the server has just greeted in time.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::Shutdown;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::child;

/// The hidden command of the program that is the child.
pub const COMMAND: &str = "deadline";

/// See the file.
#[derive(Debug)]
pub(super) struct Deadline {
    socket: OwnedFd,
    timer: OwnedFd,
    child: Child,
}

impl Deadline {
    /// Starts the child, which is this program: `program`.
    ///
    /// # Errors
    /// If processes may not share descriptors (`pidfd_getfd`, Linux 5.6; some sandboxes forbid it), or the child does
    /// not start.
    pub(super) fn start(connection: &impl AsRawFd, program: &Path) -> io::Result<Self> {
        // The descriptor is fetched from this very process: the connection gives only a number, and a number cannot be
        // made into a descriptor safely.
        let own = pidfd_open(getpid(), PidfdFlags::empty())?;
        let socket = pidfd_getfd(own, connection.as_raw_fd(), PidfdGetfdFlags::empty())?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        let child = Command::new(program)
            .args([COMMAND, &std::process::id().to_string()])
            .env_clear()
            .stdin(Stdio::from(socket.try_clone()?))
            .stdout(Stdio::from(timer.try_clone()?))
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { socket, timer, child })
    }

    /// Runs `act`, which may take as long as `limit`.
    pub(super) fn within<T>(&self, limit: Duration, act: impl FnOnce() -> T) -> T {
        self.set(limit);
        let done = act();
        self.set(Duration::ZERO);
        done
    }

    /// Sets the timer; zero stops it.
    fn set(&self, limit: Duration) {
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(limit.subsec_nanos()),
            },
        };
        // The call fails only for an invalid time, and this one is valid.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
    }
}

impl Drop for Deadline {
    /// The deadline is dropped before the connection, so that nothing delays the driver's last packet.
    fn drop(&mut self) {
        // These calls fail only if the socket or the child is gone already.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Read);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The work of the child of `server`: waits for the timer on its standard output, and then shuts down the connection on
/// its standard input.
///
/// # Errors
/// If the child was not started with a connection and a timer in their places, or if the server has ended.
pub fn wait(server: u32) -> io::Result<()> {
    child::end_with(server)?;
    let (timer, socket) = (io::stdout(), io::stdin());
    // The timer is not a file: nothing is flushed into it at the end.
    let timer = ManuallyDrop::new(timer.as_fd().try_clone_to_owned()?);
    let mut rings = [0; 8];
    rustix::io::read(&*timer, &mut rings)?;
    Ok(rustix::net::shutdown(socket.as_fd(), Shutdown::Both)?)
}
