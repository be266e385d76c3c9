//! A renewed certificate needs nobody: new connections get it, and the open ones stay. A half-written pair changes
//! nothing, with one line in the log. SIGHUP reads the files at once.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::peer::{Secure, copy, copy_file, section};
use crate::common::certificates::{Authority, Certificate, Valid};
use crate::common::{Server, wait_until};

fn der(files: &Certificate) -> Vec<u8> {
    CertificateDer::from_pem_file(&files.chain)
        .expect("a certificate")
        .to_vec()
}

/// The certificate that a new connection is shown, which works.
fn shown(stage: &Secure) -> Vec<u8> {
    let mut client = stage.connect();
    client.ask("GET /health", "");
    client.shown()
}

#[test]
fn a_renewed_certificate_is_shown_to_new_connections() {
    let stage = Secure::start("", "");
    let mut open = stage.connect().upgrade("/echo");
    let old = shown(&stage);
    let renewed = stage.authority.issue(&["DNS:localhost"], Valid::Long);
    copy(&renewed, &stage.files);
    wait_until(
        "the new certificate is shown",
        || shown(&stage) == der(&renewed),
        || stage.server.log(),
    );
    assert_eq!(open.shown(), old);
    open.echo("still here");
}

#[test]
fn a_half_written_pair_changes_nothing_and_says_so_once() {
    let stage = Secure::start("", "");
    let old = shown(&stage);
    let renewed = stage.authority.issue(&["DNS:localhost"], Valid::Long);
    copy_file(&renewed.chain, &stage.files.chain);
    let line = "the certificates of before stay in use";
    wait_until(
        "the half is refused",
        || stage.server.log().contains(line),
        || stage.server.log(),
    );
    assert_eq!(shown(&stage), old);
    // It is tried again every two seconds.
    std::thread::sleep(std::time::Duration::from_millis(4500));
    assert_eq!(stage.server.log().matches(line).count(), 1, "{}", stage.server.log());
    assert!(stage.server.log().contains("it is not the key of the certificate"));
    copy_file(&renewed.key, &stage.files.key);
    wait_until(
        "the whole is shown",
        || shown(&stage) == der(&renewed),
        || stage.server.log(),
    );
}

#[test]
fn links_are_followed_as_those_of_certbot_and_sighup_reads_at_once() {
    let authority = Authority::new();
    let [one, two] = [(); 2].map(|()| authority.issue(&["DNS:localhost"], Valid::Long));
    let folder = tempfile::tempdir().expect("a folder");
    let links = Certificate {
        chain: folder.path().join("fullchain.pem"),
        key: folder.path().join("privkey.pem"),
    };
    let link = |to: &Certificate| {
        for (file, link) in [(&to.chain, &links.chain), (&to.key, &links.key)] {
            let new = link.with_extension("new");
            symlink(file, &new).expect("a link");
            fs::rename(new, link).expect("renamed");
        }
    };
    link(&one);
    let (server, addr) = Server::start_secure(&section(&links));
    let shown = || {
        let stream = std::net::TcpStream::connect(addr).expect("it listens");
        let mut client = super::peer::Client(authority.client("localhost", stream));
        client.ask("GET /health", "");
        client.shown()
    };
    assert_eq!(shown(), der(&one));
    link(&two);
    server.signal(Signal::HUP);
    wait_until(
        "the linked certificate is shown",
        || shown() == der(&two),
        || server.log(),
    );
    // A configuration that is refused keeps the certificate.
    fs::write(server.config_path(), "[tls]\ncertificate = ").expect("written");
    server.signal(Signal::HUP);
    wait_until(
        "it is refused",
        || server.log().contains("the configuration stays as it was"),
        || server.log(),
    );
    assert_eq!(shown(), der(&two));
}
