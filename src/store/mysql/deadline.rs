//! A deadline for a whole answer. The driver blocks until an answer is there, and its timeouts are for one read each:
//! an answer that drips, a byte now and then, would hold the loop for minutes. So a child process shares the
//! connection's socket and a timer with this process. The timer is set before each statement and stopped after it. If
//! it ever rings, the child shuts the socket down, the driver's read ends, and the connection is lost like any other
//! that did not answer.
//!
//! Rejected: a signal, since the driver goes on reading after one; a thread, since the server has one; a relay between
//! driver and database, since it would have to be fast too. What is not covered is the log-in, before which the driver
//! has no socket to share: there each read has its timeout, and the server has just greeted in time.

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
    /// Where processes may not share descriptors (`pidfd_getfd`, Linux 5.6; some sandboxes forbid it), or not start.
    pub(super) fn start(connection: &impl AsRawFd, program: &Path) -> io::Result<Self> {
        // Of this very process, since a number alone cannot be made into a descriptor safely.
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

    /// Runs `act`, which has so long.
    pub(super) fn within<T>(&self, limit: Duration, act: impl FnOnce() -> T) -> T {
        self.set(limit);
        let done = act();
        self.set(Duration::ZERO);
        done
    }

    /// Zero stops it.
    fn set(&self, limit: Duration) {
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(limit.subsec_nanos()),
            },
        };
        // It fails for times that are none, and this is one.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
    }
}

impl Drop for Deadline {
    /// To be dropped before the connection: what the driver says for a farewell must not wait for anybody.
    fn drop(&mut self) {
        // Neither fails but when it is gone already.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Read);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child of `server`: waits for the timer on its standard output and shuts the connection on its standard input
/// down.
///
/// # Errors
/// When it was not started with a connection and a timer in their places, or the server has ended.
pub fn wait(server: u32) -> io::Result<()> {
    child::end_with(server)?;
    let (timer, socket) = (io::stdout(), io::stdin());
    // It is no file: nothing is flushed into it at the end.
    let timer = ManuallyDrop::new(timer.as_fd().try_clone_to_owned()?);
    let mut rings = [0; 8];
    rustix::io::read(&*timer, &mut rings)?;
    Ok(rustix::net::shutdown(socket.as_fd(), Shutdown::Both)?)
}
