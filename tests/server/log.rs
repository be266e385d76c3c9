//! The log: its first line, and the filter of `RUST_LOG`.
//!
//! Levels and reloads are in `reload.rs`, the escaping of control characters in the unit tests of `logging`.

use std::fs;
use std::process::Command;

use crate::common::server::Server;

#[test]
fn the_first_line_names_version_process_configuration_and_listeners() {
    let toml = "[server]\nadmin_listen = \"127.0.0.1:0\"\n";
    let server = Server::start(toml);
    let (log, pid, file) = (server.log(), server.pid, server.config_path());
    let first = log.lines().next().expect("a first line");
    let version = env!("CARGO_PKG_VERSION");
    let commit = jsocketd::COMMIT.map_or_else(String::new, |commit| format!(" (commit {commit})"));
    let file = file.display();
    let wanted = format!(
        " INFO  jsocketd {version}{commit} starts: process {pid}, configuration {file}, \
         listeners 127.0.0.1:0, 127.0.0.1:0 for administrators"
    );
    let (time, rest) = first.split_at(first.find(' ').expect("a time"));
    assert_eq!(rest, wanted);
    // 2026-11-30T07:29:39.123Z
    assert!(
        time.len() == 24 && time.as_bytes()[19] == b'.' && time.ends_with('Z'),
        "{time}"
    );

    let first = Server::start_defaults().log();
    let first = first.lines().next().unwrap_or_default();
    assert!(
        first.contains(", the embedded defaults, listeners 127.0.0.1:0"),
        "{first}"
    );
}

#[test]
fn a_wrong_rust_log_ends_the_start_and_names_the_word() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("jsocketd.toml");
    fs::write(&file, "").expect("the configuration is written");
    for (filter, word) in [("debgu", "`debgu`"), ("info,jsocketd::hub=loud", "`loud`")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
        command.arg("--config").arg(&file).args(["--listen", "127.0.0.1:0"]);
        let output = command
            .env("RUST_LOG", filter)
            .output()
            .expect("the server's binary starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.starts_with("jsocketd: RUST_LOG: ") && said.contains(word),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
