//! The parts of the configured URLs, and the addresses of their hosts.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::config::{HostName, HttpUrl};

/// Addresses of one host that are tried: both families, and a spare of each.
const ADDRESSES: usize = 4;

/// A configured URL.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) url: HttpUrl,
    pub(super) addresses: Vec<SocketAddr>,
    /// The address that took the last connection: the next one begins there.
    pub(super) best: usize,
    /// No address took the last connection.
    pub(super) is_lost: bool,
}

impl Place {
    fn name(&self) -> HostName {
        host_name(&self.url)
    }
}

fn host_name(url: &HttpUrl) -> HostName {
    HostName {
        host: url.host.clone(),
        port: url.port,
    }
}

/// All places, by their URL as it is configured.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<String, Place>);

impl Places {
    pub(super) fn find(&mut self, url: &str) -> Option<&mut Place> {
        self.0.get_mut(url)
    }

    /// See `Outgoing::configure`.
    pub(super) fn configure<'a>(&mut self, urls: impl Iterator<Item = &'a str>) {
        let mut places = HashMap::new();
        for text in urls {
            let url = match text.parse::<HttpUrl>() {
                Ok(url) => url,
                Err(why) => {
                    log::error!("a webhook goes nowhere: {why}");
                    continue;
                }
            };
            let addresses = match url.host.parse::<IpAddr>() {
                Ok(ip) => vec![(ip, url.port).into()],
                Err(_) => {
                    let known = self.0.values().find(|place| place.name() == host_name(&url));
                    known.map(|place| place.addresses.clone()).unwrap_or_default()
                }
            };
            let place = Place {
                url,
                addresses,
                best: 0,
                is_lost: false,
            };
            places.insert(text.to_owned(), place);
        }
        self.0 = places;
    }

    /// See `Outgoing::host_names`.
    pub(super) fn host_names(&self) -> Vec<HostName> {
        let mut names = Vec::new();
        for place in self.0.values() {
            let name = place.name();
            if name.host.parse::<IpAddr>().is_err() && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// See `Outgoing::set_addresses`.
    pub(super) fn set_addresses(&mut self, name: &HostName, addresses: &[SocketAddr]) {
        for place in self.0.values_mut().filter(|place| place.name() == *name) {
            place.addresses = addresses.iter().copied().take(ADDRESSES).collect();
            place.best = 0;
        }
    }

    /// See `Outgoing::lost_hosts`.
    pub(super) fn lost_hosts(&mut self) -> Vec<HostName> {
        let lost = |place: &mut Place| std::mem::take(&mut place.is_lost).then(|| place.name());
        self.0.values_mut().filter_map(lost).collect()
    }
}
