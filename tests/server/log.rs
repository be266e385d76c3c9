//! The log: the filter of `RUST_LOG`.
//!
//! Levels and reloads are in `reload.rs`, the escaping of control characters in the unit tests of `logging`.

use std::fs;
use std::process::Command;

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
