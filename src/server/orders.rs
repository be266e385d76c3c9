//! What a signal or an order of the supervisor asks of the loop: a drain, or something of its owner.

use crate::net::io::{Io, Signal};
use crate::net::supervised::Order;

use super::Wish;
use super::act::Dispatcher;
use super::drain::Drain;

/// Handles one. Returns what the owner of the loop must do.
pub(super) fn take<I: Io>(signal: Signal, drain: &mut Drain, dispatcher: &mut Dispatcher<I>) -> Option<Wish> {
    let has_begun = match signal {
        Signal::Reload | Signal::Order(Order::Reload) => return Some(Wish::Reload),
        Signal::Report | Signal::Order(Order::Report) => return Some(Wish::Report),
        Signal::Order(Order::Weigh) => return Some(Wish::Weigh),
        Signal::Order(Order::Refresh) => return Some(Wish::Refresh),
        Signal::Order(Order::Abandon) => {
            drain.abandon();
            false
        }
        Signal::Terminate => drain.terminate(dispatcher),
        // Unlike a second signal, a second order changes nothing: the first one may have been a signal to all.
        Signal::Order(Order::Drain) => drain.begin(false, dispatcher),
        Signal::Order(order @ (Order::Replace | Order::Orphaned)) => {
            dispatcher.io.stop_listening();
            drain.begin(order == Order::Replace, dispatcher)
        }
    };
    has_begun.then_some(Wish::Draining)
}
