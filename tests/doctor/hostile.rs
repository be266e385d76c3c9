//! Peers that answer anything: the doctor ends, within a bound, and names the hop.

use std::time::{Duration, Instant};

use crate::middle::{self, Trick};
use crate::stage::{Report, Stage};

/// The longest time that a hostile peer costs: the exchanges that are tried, each with its deadline.
const BOUND: Duration = Duration::from_secs(60);

fn against(trick: Trick) -> Report {
    let mut stage = Stage::healthy();
    let at = stage.without_nginx();
    middle::start(at, stage.site.addr, stage.server.addr, trick);
    let began = Instant::now();
    let report = stage.examine_with(&["--idle", "2"]);
    assert!(began.elapsed() < BOUND, "it took {:?}", began.elapsed());
    report
}

#[test]
fn garbage_is_named() {
    let report = against(Trick::Answer(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()));
    report.expect_faults(&["upgrade"], &["not HTTP"]);
    let report = against(Trick::Flood(b"\x00\xff\xfe garbage".to_vec()));
    report.expect_faults(&["page"], &["not HTTP"]);
}

#[test]
fn frames_that_are_none_are_named() {
    let odd = b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: abc\r\n\r\n";
    let report = against(Trick::Answer(odd.to_vec()));
    report.expect_faults(&["upgrade"], &["the same for two keys"]);
    let none = b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let report = against(Trick::Answer(none.to_vec()));
    report.expect_faults(&["upgrade"], &["without Sec-WebSocket-Accept"]);
}

#[test]
fn other_refusals_are_named() {
    for (answer, words) in [
        ("426 X\r\nContent-Length: 0", "426"),
        ("401 X\r\nWWW-Authenticate: Basic", "asks for a password"),
        (
            "301 X\r\nLocation: https://a.example/",
            "redirects to https://a.example/",
        ),
        (
            "503 X\r\nServer: Apache\r\nContent-Length: 0",
            "Apache does not reach jsocketd",
        ),
        ("504 X\r\nServer: cloudflare\r\nContent-Length: 0", "Cloudflare"),
        ("403 X\r\nServer: LiteSpeed\r\nContent-Length: 0", "LiteSpeed"),
        ("418 X\r\nContent-Length: 0", "418"),
    ] {
        let report = against(Trick::Answer(format!("HTTP/1.1 {answer}\r\n\r\n").into_bytes()));
        report.expect_faults(&["upgrade"], &[words]);
    }
}

#[test]
fn a_peer_that_never_answers_is_named() {
    let report = against(Trick::Silence);
    report.expect_faults(&["page"], &["no whole answer within"]);
}

#[test]
fn endless_heads_and_bodies_are_cut() {
    let report = against(Trick::Flood(b"HTTP/1.1 200 OK\r\nX: ".to_vec()));
    report.expect_faults(&["page"], &["longer than"]);
    let report = against(Trick::Flood(b"HTTP/1.1 100 X\r\n\r\n".to_vec()));
    report.expect_faults(&["page"], &["within"]);
    // An endless page is read as far as the limit.
    let report = against(Trick::Flood(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>".to_vec(),
    ));
    assert_eq!(report.of("page").verdict, "ok", "{report:#?}");
    assert_eq!(report.of("package").verdict, "fault", "{report:#?}");
}

#[test]
fn redirects_without_an_end_are_named() {
    let stage = Stage::healthy();
    stage.site.change(|manner| manner.redirects = true);
    let report = stage.examine();
    report.expect_faults(&["page"], &["redirects without an end", "$live_site"]);
}
