//! The resources of the server's process, as the kernel counts them in `/proc`. The server need not help, so the
//! generator can measure any server in the same way.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::failure::Failure;

/// A process that is measured.
#[derive(Clone, Debug)]
pub struct Process {
    pid: u32,
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// The resident memory, the program's own pages included (`VmRSS`).
    pub resident: u64,
    /// The resident memory that is private and written to: mostly the heap (`Private_Dirty` of `smaps_rollup`).
    pub private_dirty: u64,
}

impl Process {
    /// The process `pid`, which must be alive.
    pub fn new(pid: u32) -> Result<Self, Failure> {
        let process = Self { pid };
        match fs::metadata(process.path("status")) {
            Ok(_) => Ok(process),
            Err(_) => Err(Failure::Usage(format!("there is no process {pid} to measure"))),
        }
    }

    /// Nanoseconds of CPU that all its threads have used so far, those of ended threads not counted.
    pub fn cpu_nanoseconds(&self) -> Result<u64, Failure> {
        let mut sum = 0;
        for task in fs::read_dir(self.path("task")).map_err(|error| self.gone(&error))? {
            let task = task.map_err(|error| self.gone(&error))?;
            // A thread that ends in between is nothing to fail for; the process itself is asked for above.
            if let Ok(text) = fs::read_to_string(task.path().join("schedstat")) {
                sum += first_number(&text);
            }
        }
        Ok(sum)
    }

    /// Its memory now.
    pub fn memory(&self) -> Result<Memory, Failure> {
        let read = |name| fs::read_to_string(self.path(name)).map_err(|error| self.gone(&error));
        Ok(Memory {
            resident: field(&read("status")?, "VmRSS:"),
            private_dirty: field(&read("smaps_rollup")?, "Private_Dirty:"),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid))
    }

    fn gone(&self, error: &io::Error) -> Failure {
        Failure::Run(format!("the server (process {}) cannot be measured: {error}", self.pid))
    }
}

fn first_number(text: &str) -> u64 {
    text.split_ascii_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// The kilobytes behind `name` at the start of a line, as bytes.
fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .map_or(0, |rest| first_number(rest) * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_bytes() {
        let status = "Name:\tjsocketd\nVmHWM:\t    9000 kB\nVmRSS:\t    8123 kB\n";
        assert_eq!(field(status, "VmRSS:"), 8123 * 1024);
        assert_eq!(field(status, "VmSwap:"), 0);
    }

    #[test]
    fn this_process_has_memory_and_has_used_cpu() {
        let process = Process::new(std::process::id()).unwrap();
        let memory = process.memory().unwrap();
        assert!(
            memory.resident >= memory.private_dirty && memory.private_dirty > 0,
            "{memory:?}"
        );
        let before = process.cpu_nanoseconds().unwrap();
        let mut sum = 0u64;
        while process.cpu_nanoseconds().unwrap() <= before {
            sum = std::hint::black_box(sum + 1);
        }
    }

    #[test]
    fn a_process_that_does_not_exist_is_refused() {
        assert!(matches!(Process::new(u32::MAX), Err(Failure::Usage(_))));
    }
}
