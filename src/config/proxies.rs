//! `server.trusted_proxies`: who is believed when it names the address of a client.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use serde::Deserialize;

/// The proxies of an operator's own, by address or network.
#[derive(Clone, Default, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Whether the proxy at `address` is one of them; an IPv4 address may be written as IPv6.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Reads `10.0.0.0/8`, or an address alone. The error completes a sentence that begins with the key.
pub(super) fn parse_network(text: &str) -> Result<IpNet, &'static str> {
    let address = text
        .parse::<IpAddr>()
        .map(|address| IpNet::from(address.to_canonical()));
    address
        .or_else(|_| text.parse())
        .map_err(|_| "must hold addresses or networks, such as \"127.0.0.1\" or \"10.0.0.0/8\"")
}

impl TryFrom<Vec<String>> for TrustedProxies {
    type Error = &'static str;

    fn try_from(texts: Vec<String>) -> Result<Self, Self::Error> {
        let networks = texts.iter().map(|text| parse_network(text));
        networks.collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Debug for TrustedProxies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks = self.0.iter().map(ToString::to_string);
        formatter.debug_list().entries(networks).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_trusted_in_either_spelling() {
        let texts = ["10.0.0.0/8", "192.168.1.5", "fd00::/8"].map(str::to_owned);
        let proxies = TrustedProxies::try_from(texts.to_vec()).expect("networks");
        for (address, expected) in [
            ("10.200.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("192.168.1.5", true),
            ("192.168.1.6", false),
            ("fd12::1", true),
            ("fe80::1", false),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(proxies.contains(address), expected, "{address}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0", "proxy.internal", "10.0.0.0/8 "] {
            assert!(parse_network(text).is_err(), "{text}");
        }
    }
}
