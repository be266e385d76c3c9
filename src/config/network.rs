//! The networks that `trusted_proxies` lists: addresses (`10.0.0.5`) and networks (`172.16.0.0/12`, `fd00::/8`). The
//! crate `ipnet` does the arithmetic.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// The length of the prefix that IPv6 puts before IPv4 addresses (RFC 4291, 2.5.5.2).
const MAPPED: u8 = 96;

/// A network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

/// A list of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

/// The reason why a text is no network, as a sentence that names the remedy.
pub type BadNetwork = String;

impl Network {
    /// Whether an address is in the network. IPv4 addresses in the notation of IPv6 count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether every address of its family is in it.
    pub fn is_everything(&self) -> bool {
        self.0.prefix_len() == 0
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical().into())
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    /// Reads an address, or an address and the length of a prefix whose further bits are 0.
    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let Some((address, length)) = text.split_once('/') else {
            let address: IpAddr = text.parse().map_err(|_| what_to_write(text))?;
            return Ok(address.into());
        };
        let address: IpAddr = address.parse().map_err(|_| what_to_write(address))?;
        let network = of_prefix(address, length)?;
        let first = network.trunc();
        if first != network {
            return Err(format!(
                "it has bits behind its prefix; write {} for the network, or {address} for the one address",
                Self(first)
            ));
        }
        of_ipv4(first).map(Self)
    }
}

/// An address with the length of a prefix in plain digits; `u8::from_str` alone would accept `+8`.
fn of_prefix(address: IpAddr, length: &str) -> Result<IpNet, BadNetwork> {
    let most = if address.is_ipv4() { 32 } else { 128 };
    let digits = length.bytes().all(|b| b.is_ascii_digit());
    let prefix = length.parse().ok().filter(|_| digits);
    if let Some(network) = prefix.and_then(|prefix| IpNet::new(address, prefix).ok()) {
        return Ok(network);
    }
    let mask = length.parse().ok();
    match mask.and_then(|mask| IpNet::with_netmask(address, mask).ok()) {
        Some(network) => Err(format!("write the length of the prefix, {}", Network(network.trunc()))),
        None => Err(format!(
            "behind the / stands the length of the prefix, a number from 0 to {most}"
        )),
    }
}

/// IPv4 in the notation of IPv6 as IPv4, since peers are compared in that form.
fn of_ipv4(network: IpNet) -> Result<IpNet, BadNetwork> {
    let IpNet::V6(v6) = network else {
        return Ok(network);
    };
    let (Some(v4), length) = (v6.addr().to_ipv4_mapped(), v6.prefix_len()) else {
        return Ok(network);
    };
    let of_v4 = length
        .checked_sub(MAPPED)
        .and_then(|length| Ipv4Net::new(v4, length).ok());
    of_v4
        .map(IpNet::V4)
        .ok_or_else(|| "write a network of IPv4 addresses as one, like 10.0.0.0/8".into())
}

/// The sentence for a text that is no address, by the likeliest mistake.
fn what_to_write(text: &str) -> BadNetwork {
    let has_port = text.parse::<std::net::SocketAddr>().is_ok();
    let is_in_brackets = text.starts_with('[') && text.ends_with(']');
    match (has_port, is_in_brackets) {
        (true, _) => "write only the address, without the port".into(),
        (_, true) => "write the address without brackets".into(),
        _ if text.contains('*') => "write a network with the length of its prefix, like 10.0.0.0/8".into(),
        _ => "this is not an IP address and not a network like 10.0.0.0/8; names are not resolved".into(),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => self.0.addr().fmt(f),
            false => self.0.fmt(f),
        }
    }
}

impl Networks {
    /// The addresses of this machine alone.
    pub fn loopback() -> Self {
        Self(vec![
            IpAddr::from(Ipv4Addr::LOCALHOST).into(),
            IpAddr::from(Ipv6Addr::LOCALHOST).into(),
        ])
    }

    /// Whether an address is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Network> {
        self.0.iter()
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<T: IntoIterator<Item = Network>>(networks: T) -> Self {
        Self(networks.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect(text)
    }

    #[test]
    fn addresses_and_networks_are_shown_in_one_notation() {
        for (text, shown) in [
            ("127.0.0.1", "127.0.0.1"),
            ("10.0.0.5/32", "10.0.0.5"),
            ("172.16.0.0/12", "172.16.0.0/12"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::1", "::1"),
            ("FD00::/8", "fd00::/8"),
            ("2001:db8::1/128", "2001:db8::1"),
            ("::/0", "::/0"),
            ("::ffff:10.0.0.5", "10.0.0.5"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
        ] {
            assert_eq!(network(text).to_string(), shown);
            assert_eq!(network(shown), network(text));
        }
    }

    #[test]
    fn every_mistake_has_its_sentence() {
        for (text, sentence) in [
            ("", "names are not resolved"),
            ("proxy.example.org", "names are not resolved"),
            ("10.0.0.0/", "a number from 0 to 32"),
            ("10.0.0.0/33", "a number from 0 to 32"),
            ("10.0.0.0/+8", "a number from 0 to 32"),
            ("10.0.0.0/8/8", "a number from 0 to 32"),
            ("fd00::/129", "a number from 0 to 128"),
            ("10.0.0.0/255.0.0.0", "write the length of the prefix, 10.0.0.0/8"),
            (
                "10.0.0.1/8",
                "write 10.0.0.0/8 for the network, or 10.0.0.1 for the one address",
            ),
            (
                "fd00::5/8",
                "write fd00::/8 for the network, or fd00::5 for the one address",
            ),
            ("::ffff:0:0/90", "bits behind its prefix"),
            ("10.*", "like 10.0.0.0/8"),
            ("10.0.0.5:80", "without the port"),
            ("[::1]", "without brackets"),
            ("/8", "names are not resolved"),
        ] {
            let why = text.parse::<Network>().expect_err(text);
            assert!(why.contains(sentence), "{text:?}: {why}");
        }
    }

    #[test]
    fn a_network_has_its_first_and_last_address_and_no_other() {
        let is_in = |text: &str, address: &str| network(text).contains(address.parse().expect(address));
        for (text, inside, outside) in [
            (
                "172.16.0.0/12",
                ["172.16.0.0", "172.31.255.255"],
                ["172.15.255.255", "172.32.0.0"],
            ),
            ("10.0.0.5", ["10.0.0.5", "::ffff:10.0.0.5"], ["10.0.0.4", "10.0.0.6"]),
            ("fd00::/8", ["fd00::", "fdff:ffff::1"], ["fc00::", "fe00::"]),
            ("0.0.0.0/0", ["0.0.0.0", "::ffff:255.255.255.255"], ["::1", "::"]),
            ("::/0", ["::", "ffff::"], ["10.0.0.1", "::ffff:10.0.0.1"]),
        ] {
            assert!(inside.iter().all(|address| is_in(text, address)), "{text}");
            assert!(!outside.iter().any(|address| is_in(text, address)), "{text}");
        }
        assert!(network("::/0").is_everything() && !network("0.0.0.0/1").is_everything());
        let both = Networks::loopback();
        assert!(both.contains(Ipv6Addr::LOCALHOST.into()) && !both.contains(Ipv4Addr::BROADCAST.into()));
    }
}
