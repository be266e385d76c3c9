//! Gives release builds the name of their commit, as the variable `JSOCKETD_COMMIT`. Without a repository, as in a
//! released archive, or without git, there is no name, and the same source gives the same binary everywhere. Debug
//! builds have no name either: each commit would compile everything again.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    // The folder of an archive may lie in another repository, whose commit is not ours.
    if !is_release || !Path::new(".git").exists() {
        return;
    }
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return;
    };
    println!("cargo:rustc-env=JSOCKETD_COMMIT={commit}");
    // These change when another commit is checked out or made. Cargo runs this each time if one of them is missing.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name]);
        if let Some(path) = path.filter(|path| Path::new(path).exists()) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
}

/// The output of git; `None` if there is no git, or if it fails.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout)
        .ok()
        .filter(|_| output.status.success())?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
