//! The server ends and comes back while its proxy stays: clients get an answer, not a silence, and come back. Health
//! checks keep the server in.

use crate::common::wait_until;
use crate::common::web_server::{Product, WebServer};
use crate::everyday::WORKING;
use crate::products::{ALL, Place};
use crate::stage::Stage;
use crate::visitor::Visitor;

/// A client that is told so when the server is away, and comes back.
fn expect_return(stage: &mut Stage, proxy: &WebServer, visitor: &Visitor) {
    let mut session = visitor.subscriber();
    stage.stop();
    session.peer.finish_and_drain();
    let away = visitor.handshake().head();
    assert!(matches!(away.status, 502 | 503), "{}", away.head);
    stage.start("");
    let is_back = || visitor.handshake().head().status == 101;
    wait_until("clients can connect again", is_back, || proxy.log());
    visitor.expect_delivery();
}

#[test]
fn clients_come_back_through_the_files_of_conf() {
    for conf in ALL {
        let mut stage = Stage::new("", "");
        let running = conf.start(&stage, Place::Beside);
        expect_return(&mut stage, &running.server, &running.secure);
    }
}

#[test]
fn clients_come_back_through_everyday_lines() {
    for everyday in WORKING {
        let mut stage = Stage::new("", "");
        let (proxy, visitor) = everyday.before(&stage);
        expect_return(&mut stage, &proxy, &visitor);
    }
}

#[test]
fn the_health_check_of_haproxys_defaults_keeps_the_server_in() {
    let stage = Stage::new("", "");
    let (proxy, at) = stage.behind(Product::HaProxy, include_str!("everyday/haproxy-httpchk.conf"));
    let checks = || {
        let lines = stage.lines().into_iter();
        lines.filter(|line| line["method"] == "OPTIONS").collect::<Vec<_>>()
    };
    wait_until(
        "HAProxy has checked three times",
        || checks().len() >= 3,
        || proxy.log(),
    );
    assert!(checks().iter().all(|line| line["status"] == 204), "{:?}", checks());
    assert!(!proxy.log().contains("DOWN"), "{}", proxy.log());
    Visitor::new(at, "ws.example.org", "").expect_delivery();
}
