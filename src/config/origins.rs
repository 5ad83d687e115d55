//! `[cors]` and `server.hosts`: the web pages that may use the server, and the names that it answers to.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::Deserialize;
use url::Url;

/// `[cors]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsConfig {
    /// Origins other than the server's own whose pages may use it, with credentials. Default none.
    pub allowed_origins: Vec<Origin>,
}

/// An origin as browsers send it: `https://app.example:8443` (RFC 6454, section 6.2).
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Origin(String);

/// A host as the header `Host` names it, in lower case and without the dot of the root: `app.example`, `[::1]:8080`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Host {
    name: String,
    port: Option<u16>,
}

impl Origin {
    /// The origin in its normal form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Host {
    /// The name or address, IPv6 in its brackets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port, when one is named.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether this entry of a list means `host`; without a port it means each of them.
    pub fn admits(&self, host: &Self) -> bool {
        self.name == host.name && self.port.is_none_or(|port| host.port == Some(port))
    }

    /// Whether only this machine can be meant: no name that somebody else may point at it.
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(&self.name)
    }
}

/// Whether a host, in lower case and IPv6 in its brackets, is this machine by its name (RFC 6761, section 6.3) or by
/// its address.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback_address = |address: IpAddr| address.to_canonical().is_loopback();
    host == "localhost"
        || host.ends_with(".localhost")
        || address.parse().is_ok_and(is_loopback_address)
}

// The errors below complete a sentence that begins with the key.

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('*') {
            return Err(
                "must name each origin whole: its pages act with their readers' credentials, so that \"*\" is refused",
            );
        }
        if text == "null" {
            return Err("must not hold \"null\", which any page can make itself");
        }
        let is_normal = Url::parse(text).is_ok_and(|url| {
            ["http", "https"].contains(&url.scheme()) && url.origin().ascii_serialization() == text
        });
        if is_normal {
            Ok(Self(text.to_owned()))
        } else {
            Err(
                "must hold origins as browsers send them, such as \"https://app.example:8443\": http or https, in \
                 lower case, without a path and without the scheme's own port",
            )
        }
    }
}

impl FromStr for Host {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "must hold hosts, such as \"progress.internal\" or \"10.0.0.5:8080\"";
        // The last colon begins a port unless it belongs to an address in brackets.
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
            _ => (text, None),
        };
        let port = match port {
            // `u16` alone would take a plus sign.
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(port.parse().map_err(|_| RULE)?)
            }
            Some(_) => return Err(RULE),
            None => None,
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let is_address = name.strip_prefix('[').is_some_and(|rest| {
            let address = rest.strip_suffix(']').unwrap_or_default();
            address.parse::<std::net::Ipv6Addr>().is_ok()
        });
        let name = name.strip_suffix('.').unwrap_or(name);
        if !is_address && (name.is_empty() || !name.bytes().all(is_plain)) {
            return Err(RULE);
        }
        Ok(Self {
            name: name.to_ascii_lowercase(),
            port,
        })
    }
}

impl TryFrom<String> for Origin {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<String> for Host {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(formatter, "\"{}:{port}\"", self.name),
            None => write!(formatter, "\"{}\"", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_taken_only_as_browsers_write_it() {
        for text in [
            "http://localhost",
            "http://localhost:3000",
            "https://app.example:8443",
            "https://xn--bcher-kva.example",
            "http://[::1]:8080",
        ] {
            assert_eq!(
                text.parse::<Origin>().map(|origin| origin.0),
                Ok(text.to_owned())
            );
        }
        for text in [
            "",
            "*",
            "null",
            "app.example",
            "//app.example",
            "https://",
            "https://app.example/",
            "https://app.example/path",
            "https://app.example?query",
            "https://app.example#part",
            "https://ann@app.example",
            "https://App.example",
            "HTTPS://app.example",
            "https://app.example:443",
            "http://app.example:80",
            "https://app.example:",
            "https://*.example",
            "https://bücher.example",
            "http://[0::1]",
            "http://127.1",
            "ws://app.example",
            "file:///page",
            "chrome-extension://abc",
            " https://app.example",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_are_compared_in_one_form() {
        for (text, name, port) in [
            ("localhost", "localhost", None),
            ("LocalHost.:8080", "localhost", Some(8080)),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[::1]:0", "[::1]", Some(0)),
            ("a_b.example", "a_b.example", None),
        ] {
            let host: Host = text.parse().expect(text);
            assert_eq!((host.name(), host.port()), (name, port), "{text}");
        }
        for text in [
            "", ".", ":80", "a:", "a:b", "a:+1", "a:65536", "a b", "a/b", "a@b", "::1", "[::1",
            "::1]", "[a]", "[::1].", "a,b", "a:1:2", "a%2e", "a\u{e9}",
        ] {
            let parsed = text.parse::<Host>();
            assert!(parsed.is_err(), "{text}: {parsed:?}");
        }
    }

    #[test]
    fn loopback_is_what_no_name_server_can_point_elsewhere() {
        let is_loopback = |text: &str| text.parse::<Host>().expect(text).is_loopback();
        for text in [
            "localhost",
            "LOCALHOST.",
            "app.localhost:3000",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]:80",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_loopback(text), "{text}");
        }
        for text in [
            "localhost.example",
            "notlocalhost",
            "127.0.0.1.example",
            "0.0.0.0",
            "10.0.0.1",
            "[::]",
            "[::2]",
            "127.1",
        ] {
            assert!(!is_loopback(text), "{text}");
        }
    }

    #[test]
    fn an_entry_without_a_port_means_all_of_them() {
        let host = |text: &str| text.parse::<Host>().expect(text);
        assert!(host("a.example").admits(&host("A.example.:81")));
        assert!(host("a.example:81").admits(&host("a.example:81")));
        assert!(!host("a.example:81").admits(&host("a.example")));
        assert!(!host("a.example").admits(&host("b.a.example")));
    }
}
