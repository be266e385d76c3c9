//! What the process has of the machine: descriptors and memory.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of descriptors to the hard one and returns it. Where that is refused, the soft limit stays.
pub fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            log::warn!("the descriptor limit cannot be raised: {error}");
        }
    }
    descriptor_limit()
}

/// The resident memory of this process; 0 where /proc is not readable.
pub fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|line| line.split(' ').nth(1)?.parse::<u64>().ok())
        .unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// The descriptors that this process has open; 0 where /proc is not readable.
pub fn descriptors() -> u64 {
    let folder = std::path::Path::new("/proc/self/fd");
    // Since Linux 6.2 the folder's size is the number of its files. Else they are counted.
    let size = folder.metadata().map_or(0, |found| found.len());
    match size {
        0 => folder.read_dir().map_or(0, |files| files.count() as u64),
        size => size,
    }
}

/// The descriptors that this process may have open.
pub fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
