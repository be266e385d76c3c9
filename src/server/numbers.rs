//! The numbers that only the loop has, gathered when somebody asks.

use crate::flight::Lag;
use crate::net::io::{Io, Socket};
use crate::service::{Process, ProcessStats};
use crate::time::Now;

use super::act::Dispatcher;
use super::database::Database;
use super::process::resources;
use super::rates::{Rates, Traffic};

/// What is kept for them.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// What tells this process from others.
    process: Process,
    rates: Rates,
}

impl Numbers {
    /// Shows these facts about the process from here on.
    pub(super) fn set_process(&mut self, process: Process, now: Now) {
        let started_ms = now.unix_ms - now.at.0 / 1000;
        self.process = Process { started_ms, ..process };
    }

    /// A second is over.
    pub(super) fn note<I: Io>(&mut self, dispatcher: &Dispatcher<I>) {
        self.rates.note(traffic(dispatcher), dispatcher.now.at);
    }

    /// All numbers. `max_connections`: the limit.
    pub(super) fn gather<I: Io<Socket = S>, S: Socket>(
        &self,
        dispatcher: &Dispatcher<I>,
        database: &Database<S>,
        max_connections: usize,
    ) -> ProcessStats {
        let traffic = traffic(dispatcher);
        ProcessStats {
            process: self.process.clone(),
            connections: dispatcher.connections.len(),
            closing: dispatcher.connections.closing(),
            max_connections,
            messages_out: traffic.messages_out,
            bytes_in: traffic.bytes_in,
            bytes_out: traffic.bytes_out,
            per_second: self.rates.per_second(traffic, dispatcher.now.at),
            resident_bytes: resources::resident_bytes(),
            descriptors: resources::descriptors(),
            descriptor_limit: resources::descriptor_limit(),
            lag: Lag::of(&dispatcher.flight),
            totals: *dispatcher.flight.totals(),
            ends: dispatcher.ends.clone(),
            tls: dispatcher.tls.stats.clone(),
            send_queues: dispatcher.connections.send_queues(),
            sql: database.stats(dispatcher.now),
            statements: database.statements(),
        }
    }
}

/// What came and went since the start.
fn traffic<I: Io>(dispatcher: &Dispatcher<I>) -> Traffic {
    let counts = dispatcher.decisions.service.counts();
    let totals = dispatcher.flight.totals();
    Traffic {
        requests: counts.requests,
        messages_in: counts.messages_in,
        messages_out: dispatcher.sent,
        bytes_in: totals.bytes_in,
        bytes_out: totals.bytes_out,
    }
}
