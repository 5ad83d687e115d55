//! Who is at the other end of a request: an address, and whether it came by TLS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName},
};

use super::connection::ConnectionHandle;
use crate::config::TrustedProxies;

/// The addresses that a request came by, each proxy adding the one that it saw. Of `Forwarded`
/// (RFC 7239) nothing is read: proxies that write it write this one too, and to believe two is to
/// be told two stories.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The scheme that the client used.
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A request's client, found among the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client {
    /// Its own address, as far as the socket and trusted proxies tell.
    pub(super) address: IpAddr,
    /// Whether it has reached the server, or the trusted proxy in front, by TLS.
    pub(super) is_https: bool,
}

impl Client {
    /// The client of a request: its peer, or whom that names if it is trusted.
    pub(super) fn of(request: &Request, proxies: &TrustedProxies) -> Self {
        let connection = request.extensions().get::<ConnectionHandle>();
        let peer = connection.map(|connection| connection.peer_address().ip().to_canonical());
        // A request that came by no connection is one of our own.
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let mut client = Self::behind(peer, request.headers(), proxies);
        client.is_https |= connection.is_some_and(ConnectionHandle::is_tls);
        client
    }

    /// What limits count as one: an IPv4 address, or the network of an IPv6 address, of which
    /// every client has as many as it likes.
    pub(super) fn network(self) -> IpAddr {
        network_of(self.address)
    }

    fn behind(peer: IpAddr, headers: &HeaderMap, proxies: &TrustedProxies) -> Self {
        if !proxies.contains(peer) {
            return Self {
                address: peer,
                is_https: false,
            };
        }
        // Of several values the last one is the word of the proxy that is believed.
        let schemes = headers.get_all(X_FORWARDED_PROTO).iter();
        let scheme = schemes.filter_map(|value| value.to_str().ok()).next_back();
        let scheme = scheme.and_then(|value| value.rsplit(',').next());
        Self {
            address: forwarded_for(peer, headers, proxies),
            is_https: scheme.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https")),
        }
    }
}

/// The network that an address is counted as: see [`Client::network`].
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address => address,
    }
}

/// Walks from the right, where the nearest proxy has written, to the first address that is no
/// proxy of ours: whatever stands left of it anybody may have made up.
fn forwarded_for(peer: IpAddr, headers: &HeaderMap, proxies: &TrustedProxies) -> IpAddr {
    let values = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let entries = values.flat_map(|value| value.to_str().unwrap_or("?").rsplit(','));
    let mut client = peer;
    for entry in entries {
        let Some(address) = parse_address(entry.trim()) else {
            break;
        };
        client = address;
        if !proxies.contains(address) {
            break;
        }
    }
    client
}

/// An address, with the brackets and the port that some proxies add.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse::<IpAddr>().ok();
    let address = address.or_else(|| Some(text.parse::<std::net::SocketAddr>().ok()?.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn proxies() -> TrustedProxies {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(str::to_owned);
        TrustedProxies::try_from(networks.to_vec()).expect("networks")
    }

    /// The client of a request that `peer` has sent with these lines of `X-Forwarded-For`.
    fn client(peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line.as_bytes()).expect("a header");
            headers.append(X_FORWARDED_FOR, value);
        }
        let client = Client::behind(address(peer), &headers, &proxies());
        client.address.to_string()
    }

    #[test]
    fn a_stranger_is_not_believed_a_word() {
        assert_eq!(client("192.0.2.1", &["10.0.0.1, 203.0.113.9"]), "192.0.2.1");
    }

    #[test]
    fn the_nearest_address_that_is_no_proxy_of_ours_is_the_client() {
        for (lines, expected) in [
            (&["203.0.113.9"] as &[&str], "203.0.113.9"),
            (&["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
            (&["1.1.1.1, 203.0.113.9, 10.0.0.2,10.0.0.3"], "203.0.113.9"),
            // Several lines are one list, in their order.
            (
                &["1.1.1.1", "203.0.113.9 , 10.0.0.2", "10.0.0.3"],
                "203.0.113.9",
            ),
            (&["203.0.113.9:4711"], "203.0.113.9"),
            (&["[2001:db8::1]:443"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["2001:db8::1, fd00::2"], "2001:db8::1"),
            (&["::ffff:203.0.113.9"], "203.0.113.9"),
        ] {
            assert_eq!(client("10.0.0.1", lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_address_ends_the_walk() {
        for (lines, expected) in [
            (&[] as &[&str], "10.0.0.1"),
            (&[""], "10.0.0.1"),
            (&["203.0.113.9, unknown"], "10.0.0.1"),
            (&["203.0.113.9, _hidden, 10.0.0.2"], "10.0.0.2"),
            (&["203.0.113.9,,10.0.0.2"], "10.0.0.2"),
            (&["203.0.113.9", "\u{e9}"], "10.0.0.1"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ] {
            assert_eq!(client("10.0.0.1", lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn the_scheme_is_that_which_a_trusted_proxy_names_last() {
        for (peer, value, expected) in [
            ("10.0.0.1", "https", true),
            ("10.0.0.1", "http, HTTPS", true),
            ("10.0.0.1", "https, http", false),
            ("10.0.0.1", "", false),
            ("192.0.2.1", "https", false),
        ] {
            let value = HeaderValue::from_str(value).expect("a header");
            let headers = HeaderMap::from_iter([(X_FORWARDED_PROTO, value)]);
            let client = Client::behind(address(peer), &headers, &proxies());
            assert_eq!(client.is_https, expected, "{peer}: {headers:?}");
        }
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_and_ipv4_is_the_same_in_either_spelling() {
        let network = |text: &str| network_of(address(text)).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("203.0.113.9"), "203.0.113.9");
        assert_eq!(network("::ffff:203.0.113.9"), "203.0.113.9");
    }
}
