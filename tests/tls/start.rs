//! A start and a check with certificates that are no good: each fault has its sentence and the exit code 1, and what
//! clients would refuse is a warning.

use std::fs;
use std::process::Command;

use super::peer::section;
use crate::common::Server;
use crate::common::certificates::{Authority, Certificate, Valid};

/// Runs a command of the binary with this configuration, until it ends. Returns its exit code and what it says.
fn run(command: &str, toml: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("jsocketd.toml");
    fs::write(
        &file,
        format!("[server]\nlisten = [\"127.0.0.1:0\"]\nadmin_listen = \"\"\n{toml}"),
    )
    .expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_jsocketd"))
        .arg(command)
        .arg("--config")
        .arg(&file)
        .env_remove("RUST_LOG")
        .output()
        .expect("it runs");
    let all = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&all).into_owned())
}

#[test]
fn every_fault_of_the_files_is_named_and_ends_the_start() {
    let authority = Authority::new();
    let good = authority.issue(&["DNS:a.example"], Valid::Long);
    let other = authority.issue(&["DNS:b.example"], Valid::Long);
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path
    };
    let (empty, words) = (file("empty", ""), file("words", "no PEM\n"));
    let broken = file(
        "broken",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let locked = folder.path().join("locked");
    let status = Command::new("openssl")
        .args(["pkey", "-aes256", "-passout", "pass:x", "-in"])
        .arg(&good.key)
        .arg("-out")
        .arg(&locked)
        .status();
    assert!(status.expect("openssl runs").success());
    let missing = folder.path().join("missing");
    let with = |chain: &std::path::Path, key: &std::path::Path| Certificate {
        chain: chain.into(),
        key: key.into(),
    };
    for (files, why) in [
        (with(&missing, &good.key), "No such file"),
        (with(&good.chain, &missing), "No such file"),
        (with(folder.path(), &good.key), "it cannot be read"),
        (with(&empty, &good.key), "it has no certificate in PEM"),
        (with(&words, &good.key), "it has no certificate in PEM"),
        (with(&broken, &good.key), "cannot be read"),
        (with(&good.key, &good.key), "it has no certificate in PEM"),
        (with(&good.chain, &good.chain), "it has no private key in PEM"),
        (with(&good.chain, &empty), "it has no private key in PEM"),
        (with(&good.chain, &locked), "the key has a password"),
        (with(&good.chain, &other.key), "it is not the key of the certificate in"),
    ] {
        for command in ["serve", "check"] {
            let (code, said) = run(command, &section(&files));
            assert_eq!(code, Some(1), "{command}: {said}");
            assert!(said.contains(why), "{command} {files:?}: no {why:?} in\n{said}");
            assert!(said.contains("[tls] "), "{said}");
        }
    }
    let named = format!(
        "{}[[tls.names]]\nname = \"b.example\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
        section(&good),
        other.chain.display(),
        good.key.display()
    );
    let (code, said) = run("check", &named);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("[[tls.names]] b.example key"), "{said}");
}

#[test]
fn what_clients_refuse_is_a_warning() {
    let authority = Authority::new();
    for (valid, why) in [
        (
            Valid::Expired,
            "the certificate expired on 2020-03-01; clients refuse it",
        ),
        (
            Valid::NotYet,
            "the certificate is valid only from 2049-01-01 on; clients refuse it",
        ),
        (Valid::Short, "the certificate expires within 14 days"),
    ] {
        let toml = section(&authority.issue(&["DNS:a.example"], valid));
        let (_, said) = run("check", &toml);
        assert!(said.contains(why), "no {why:?} in\n{said}");
        let (server, _) = Server::start_secure(&toml);
        assert!(server.log().contains(why), "{}", server.log());
    }
    let (_, said) = run(
        "check",
        &section(&authority.issue(&["DNS:a.example", "DNS:*.b.example"], Valid::Long)),
    );
    assert!(
        said.contains("for a.example, *.b.example, until 20") && !said.contains("refuse"),
        "{said}"
    );
    let good = section(&authority.issue(&["DNS:a.example"], Valid::Long));
    let name = "[[tls.names]]\nname = \"c.example\"\n";
    let (_, said) = run("check", &format!("{good}{name}{}", &good["[tls]\n".len()..]));
    assert!(
        said.contains("the certificate is for a.example, and not for c.example"),
        "{said}"
    );
}

#[test]
fn a_port_that_is_taken_ends_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address");
    let files = Authority::new().issue(&["DNS:a.example"], Valid::Long);
    // The authority's folder is gone by now if the files are not read first: the listener fails before.
    let (code, said) = run("serve", &format!("{}redirect_from = [\"{port}\"]\n", section(&files)));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("cannot listen on {port}")), "{said}");
}
