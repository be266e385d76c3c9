//! The build script names the commit of a release build. Without a repository of its own, or in a debug build, it names
//! none and does not fail. The script is compiled and run alone: cargo would compile the whole server.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::root;

/// What the build script prints in this folder.
fn printed(script: &Path, folder: &Path, profile: &str) -> String {
    let mut command = Command::new(script);
    command.current_dir(folder).env("PROFILE", profile);
    for (name, _) in std::env::vars_os() {
        // A hook of git that runs the tests names its repository to every git.
        if name.to_string_lossy().starts_with("GIT_") {
            command.env_remove(name);
        }
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let author = ["-c", "user.name=A", "-c", "user.email=a@example.org"];
    let mut command = Command::new("git");
    let output = command.arg("-C").arg(folder).args(author).args(arguments).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_release_build_of_a_repository_names_its_commit() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    let mut rustc = Command::new("rustc");
    rustc
        .args(["--edition", "2024", "-o"])
        .arg(&script)
        .arg(root().join("build.rs"));
    assert!(rustc.status().unwrap().success());

    let repository = folder.path().join("repository");
    fs::create_dir(&repository).unwrap();
    git(&repository, &["init", "--quiet"]);
    assert!(
        !printed(&script, &repository, "release").contains("COMMIT"),
        "there is no commit yet"
    );
    git(&repository, &["commit", "--quiet", "--allow-empty", "--message=one"]);
    let commit = git(&repository, &["rev-parse", "--short=12", "HEAD"]);
    let release = printed(&script, &repository, "release");
    assert!(
        release.contains(&format!("cargo:rustc-env=JSOCKETD_COMMIT={commit}\n")),
        "{release}"
    );
    for changes in [".git/HEAD", ".git/logs/HEAD"] {
        assert!(
            release.contains(&format!("cargo:rerun-if-changed={changes}\n")),
            "{release}"
        );
    }
    assert!(!printed(&script, &repository, "debug").contains("COMMIT"));

    // An archive that was unpacked inside of another repository.
    let archive = repository.join("jsocketd");
    fs::create_dir(&archive).unwrap();
    assert!(!printed(&script, &archive, "release").contains("COMMIT"));
}
