//! Limits by client address: the connections at once, the new connections a second, and the requests a second. The last
//! limit is for the connections of a proxy, which carry the requests of many clients. An IPv6 /64 network counts as one
//! address, because one household holds it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::silent_proxy::Sign;
use crate::config::Limits;
use crate::logging::RareLine;
use crate::protocol::room::give_back;
use crate::time::{Bucket, Time};

/// The most addresses that are remembered at once. When there are more, addresses without a connection and with a full
/// bucket are removed first. If no address can be removed, new connections are accepted without counting: a limit must
/// not become a way to lock all clients out.
const REMEMBERED: usize = 65_536;

/// The burst of new connections, in seconds of the rate.
const BURST_SECONDS: u32 = 5;

/// The burst of requests on a proxy's connections, in seconds of the rate.
const REQUEST_BURST_SECONDS: u32 = 2;

/// The limit of an address that refuses a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Too many connections at once.
    Connections,
    /// Too many new ones in a second.
    Connects,
}

impl Over {
    /// The limit's key in the configuration.
    pub fn key(self) -> &'static str {
        match self {
            Over::Connections => "connections_per_address",
            Over::Connects => "connects_per_second",
        }
    }

    /// A sentence for the client.
    pub fn sentence(self) -> &'static str {
        match self {
            Over::Connections => "too many connections from your address",
            Over::Connects => "too many new connections from your address, try again in a moment",
        }
    }
}

/// The addresses that are connected or were connected a moment ago.
#[derive(Debug, Default)]
pub struct Addresses {
    known: HashMap<IpAddr, Usage>,
    swept: Time,
    warned: RareLine,
}

#[derive(Debug)]
struct Usage {
    connections: u32,
    connects: Bucket,
    requests: Bucket,
}

impl Addresses {
    /// Counts a new connection of `address`, if the limits allow the connection. An unknown address has no limits.
    /// Without limits no address is counted. Give the returned address to `release` when the connection is closed.
    ///
    /// # Errors
    /// The limit that does not allow the connection now.
    pub fn admit(&mut self, address: Option<IpAddr>, limits: &Limits, now: Time) -> Result<Option<IpAddr>, Over> {
        let limited = limits.connects_per_second > 0 || limits.connections_per_address > 0;
        let Some(address) = address.map(network).filter(|_| limited) else {
            return Ok(None);
        };
        let Some(usage) = self.usage(address, now) else {
            return Ok(None);
        };
        if limits.connections_per_address > 0 && usage.connections >= limits.connections_per_address {
            return Err(Over::Connections);
        }
        let rate = limits.connects_per_second;
        if rate > 0 && !usage.connects.take(rate, BURST_SECONDS, now) {
            return Err(Over::Connects);
        }
        usage.connections += 1;
        Ok(Some(address))
    }

    /// Whether the limits allow another request of this address on a proxy's connection.
    pub fn may_ask(&mut self, address: IpAddr, limits: &Limits, now: Time) -> bool {
        let rate = limits.requests_per_second;
        let usage = self.known.get_mut(&network(address)).filter(|_| rate > 0);
        usage.is_none_or(|usage| usage.requests.has(rate, REQUEST_BURST_SECONDS, now))
    }

    /// Counts a request that came on a proxy's connection.
    pub fn count_request(&mut self, address: IpAddr, limits: &Limits, now: Time) {
        let rate = limits.requests_per_second;
        if rate > 0
            && let Some(usage) = self.usage(network(address), now)
        {
            usage.requests.take(rate, REQUEST_BURST_SECONDS, now);
        }
    }

    /// The counts of an address; `None`: there is no room to remember it.
    fn usage(&mut self, address: IpAddr, now: Time) -> Option<&mut Usage> {
        self.sweep(now);
        if self.known.len() >= REMEMBERED && !self.known.contains_key(&address) {
            return None;
        }
        Some(self.known.entry(address).or_insert_with(|| Usage {
            connections: 0,
            connects: Bucket::default(),
            requests: Bucket::default(),
        }))
    }

    /// A counted connection is closed.
    pub fn release(&mut self, counted: Option<IpAddr>) {
        if let Some(usage) = counted.and_then(|address| self.known.get_mut(&address)) {
            usage.connections = usage.connections.saturating_sub(1);
        }
    }

    /// Logs once that a trusted proxy does not name its clients. `peer`: its address; `None`: it came by a Unix socket.
    pub fn warn_of_silent_proxy(&mut self, sign: Sign, peer: Option<IpAddr>, now: Time) {
        if self.warned.allow(Duration::MAX, now).is_none() {
            return;
        }
        let from = peer.map_or_else(|| "a Unix socket".to_owned(), |address| address.to_string());
        let what = match sign {
            Sign::Header => {
                format!("the proxy at {from} sends no X-Forwarded-For, so limits per address are off for its clients")
            }
            Sign::Page => format!(
                "a page's request came from {from} without X-Forwarded-For; if a proxy forwarded it, limits per address are off \
                 for its clients"
            ),
        };
        log::warn!("{what} (nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for)");
    }

    /// Every few seconds removes the addresses without a connection whose buckets are full: a new entry would be the
    /// same.
    fn sweep(&mut self, now: Time) {
        if now.since(self.swept) < Duration::from_secs(10) {
            return;
        }
        self.swept = now;
        self.known
            .retain(|_, usage| usage.connections > 0 || !usage.connects.is_full(now) || !usage.requests.is_full(now));
        give_back(&mut self.known);
    }
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
