//! Limits by client address: how many connections at once and how many new ones a second. A network of addresses that one
//! household holds (IPv6 /64) counts as one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::config::Limits;
use crate::time::Time;

/// Addresses remembered at once. Beyond it, those that have no connection and a full bucket are forgotten first; if none is
/// left to forget, newcomers are let in uncounted: a limit must not become a way to lock everybody out.
const REMEMBERED: usize = 65_536;

/// New connections that may come at once, in seconds' worth of the rate.
const BURST_SECONDS: u32 = 5;

/// What the limits say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may come in; if it was counted, what to `release` when it has gone.
    Granted(Option<IpAddr>),
    /// Not now; the sentence is for the client.
    Refused(&'static str),
}

/// Everybody who is connected or was a moment ago.
#[derive(Debug, Default)]
pub struct Addresses {
    known: HashMap<IpAddr, Usage>,
    swept: Time,
    warned: bool,
}

#[derive(Debug)]
struct Usage {
    connections: u32,
    /// New connections that may still come: a token bucket, in thousandths.
    tokens: u64,
    filled: Time,
}

impl Addresses {
    /// Counts a new connection of `address`, if it may come in. An unknown address has no limits, and without limits nobody
    /// is counted.
    pub fn admit(&mut self, address: Option<IpAddr>, limits: &Limits, now: Time) -> Admission {
        let limited = limits.connects_per_second > 0 || limits.connections_per_address > 0;
        let Some(address) = address.map(network).filter(|_| limited) else {
            return Admission::Granted(None);
        };
        self.sweep(limits, now);
        if let Some(usage) = self.known.get_mut(&address) {
            usage.fill(limits, now);
            if limits.connections_per_address > 0 && usage.connections >= limits.connections_per_address {
                return Admission::Refused("too many connections from your address");
            }
            if limits.connects_per_second > 0 && usage.tokens < 1000 {
                return Admission::Refused("too many new connections from your address, try again in a moment");
            }
        } else if self.known.len() >= REMEMBERED {
            return Admission::Granted(None);
        }
        let usage = self.known.entry(address).or_insert(Usage {
            connections: 0,
            tokens: full(limits),
            filled: now,
        });
        usage.connections += 1;
        usage.tokens = usage.tokens.saturating_sub(1000);
        Admission::Granted(Some(address))
    }

    /// Takes note that a connection that was counted is gone.
    pub fn release(&mut self, counted: Option<IpAddr>) {
        if let Some(usage) = counted.and_then(|address| self.known.get_mut(&address)) {
            usage.connections = usage.connections.saturating_sub(1);
        }
    }

    /// Says once that a trusted proxy does not tell whom it forwards.
    pub fn warn_of_silent_proxy(&mut self) {
        if !self.warned {
            self.warned = true;
            log::warn!(
                "a trusted proxy, or a client on this machine, sent no X-Forwarded-For: limits per address are off for it \
                 (nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for)"
            );
        }
    }

    /// Forgets, every few seconds, who has no connection and would be given a full bucket anyway.
    fn sweep(&mut self, limits: &Limits, now: Time) {
        if now.since(self.swept) < Duration::from_secs(10) {
            return;
        }
        self.swept = now;
        self.known.retain(|_, usage| {
            usage.fill(limits, now);
            usage.connections > 0 || usage.tokens < full(limits)
        });
    }
}

impl Usage {
    fn fill(&mut self, limits: &Limits, now: Time) {
        let millis = u64::try_from(now.since(self.filled).as_millis()).unwrap_or(u64::MAX);
        self.tokens = self
            .tokens
            .saturating_add(millis.saturating_mul(limits.connects_per_second.into()));
        self.tokens = self.tokens.min(full(limits));
        self.filled = now;
    }
}

fn full(limits: &Limits) -> u64 {
    u64::from(limits.connects_per_second) * u64::from(BURST_SECONDS) * 1000
}

/// An IPv4 address, or the /64 that an IPv6 address is in.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}
