//! The server's children end with it: also the one whose server was killed before the child could ask for that.

use std::process::{Command, Stdio};

#[test]
fn a_child_of_another_process_ends_at_once() {
    let own = std::process::id().to_string();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jsocketd"));
        command.args(arguments).stdin(Stdio::null()).output().expect("it runs")
    };
    let address = run(&["resolve", &own, "--", "127.0.0.1", "3306"]);
    assert_eq!(String::from_utf8_lossy(&address.stdout), "127.0.0.1:3306\n");
    // Process 1 is not the parent here, 0 is no process, and 2³² − 1 is no process number.
    for server in ["1", "0", "4294967295"] {
        for child in [
            &["deadline", server][..],
            &["resolve", server, "--", "127.0.0.1", "3306"],
        ] {
            let said = run(child);
            let errors = String::from_utf8_lossy(&said.stderr).into_owned();
            assert_eq!(errors, "jsocketd: the server that started it has ended\n", "{child:?}");
            assert!(!said.status.success() && said.stdout.is_empty(), "{child:?}");
        }
    }
}
