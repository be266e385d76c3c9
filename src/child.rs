//! Children: further processes of the same binary, for work that would block the one thread. Each gets the id of the
//! server that started it, and ends when that server ends for any reason.

use std::io;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// The running binary, also when its file has been replaced or deleted meanwhile.
pub const OURSELVES: &str = "/proc/self/exe";

/// Makes this process, a child, end with its parent.
///
/// # Errors
/// When its parent is not `server`: the server has ended already, and nothing would ever end the child.
pub fn end_with(server: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let server = i32::try_from(server).ok().and_then(Pid::from_raw);
    if server.is_none() || getppid() != server {
        return Err(io::Error::other("the server that started it has ended"));
    }
    Ok(())
}
