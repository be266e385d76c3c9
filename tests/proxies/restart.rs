//! The server ends and comes back while its proxy stays: clients get an answer, not a silence, and come back.

use crate::common::wait_until;
use crate::common::web_server::Product;
use crate::everyday::{Everyday, WORKING};
use crate::stage::Stage;

/// A client that is told so when the server is away, and comes back.
fn expect_return(everyday: &Everyday) {
    let mut stage = Stage::new("", "");
    let (proxy, visitor) = everyday.before(&stage);
    let mut session = visitor.subscriber();
    stage.stop();
    session.peer.finish_and_drain();
    let mut reply = visitor.handshake().reply();
    assert!(matches!(reply.status, 502 | 503), "{}", reply.head);
    stage.start("");
    let back = || {
        reply = visitor.handshake().head();
        reply.status == 101
    };
    // Apache asks again after a minute only, unless `retry` says otherwise.
    wait_until("clients can connect again", back, || proxy.log());
    visitor.expect_delivery();
}

#[test]
fn clients_come_back_through_each_product() {
    let first_of = |is_of: fn(Product) -> bool| WORKING.iter().find(|everyday| is_of(everyday.product));
    for is_of in [
        |product| product == Product::Nginx,
        |product| product == Product::Caddy,
        |product| product == Product::HaProxy,
    ] {
        expect_return(first_of(is_of).expect("each product has lines"));
    }
}
