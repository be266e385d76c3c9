//! Children: further processes of the same binary, for what would make the one thread wait. Each is given the id of the server
//! that started it and ends with it, however the server ends.

use std::io;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// The binary that runs: also when its file has been replaced or deleted meanwhile.
pub const OURSELVES: &str = "/proc/self/exe";

/// For the child: from now on it ends with its parent.
///
/// # Errors
/// When its parent is not `server`: that one ended before the child could ask for this, and nothing would ever end it.
pub fn end_with(server: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let server = i32::try_from(server).ok().and_then(Pid::from_raw);
    if server.is_none() || getppid() != server {
        return Err(io::Error::other("the server that started it has ended"));
    }
    Ok(())
}
