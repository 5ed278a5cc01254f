//! Who is on the other side: addresses as the server counts them, and what reverse proxies say of their clients.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicBool, Ordering},
};

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// An address whose connections and requests are counted together: of IPv6 a /64, which is what one household gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address(IpAddr);

impl Address {
    /// Where no connection is, as in tests of the router alone.
    pub(crate) const NOWHERE: Self = Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    const HOST_BITS: u128 = u64::MAX as u128;
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V6(ip) => Self(IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !Self::HOST_BITS))),
            ip => Self(ip),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(ip) => ip.fmt(f),
            IpAddr::V6(ip) => write!(f, "{ip}/64"),
        }
    }
}

/// `[network] trusted_proxies`.
pub(super) struct Proxies {
    trusted: Vec<IpNet>,
    has_warned: AtomicBool,
}

impl Proxies {
    pub(super) fn new(trusted: Vec<IpNet>) -> Self {
        Self { trusted, has_warned: AtomicBool::new(false) }
    }

    pub(super) fn are(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.trusted.iter().any(|network| network.contains(&ip))
    }

    /// Who sent a request that came from `peer`. Each proxy appends whom it heard, so that the last entry which is no
    /// proxy of ours is the client; what stands before it is the client's own word and counts for nothing.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Address {
        if !self.are(peer) {
            if headers.contains_key(FORWARDED_FOR) && !self.has_warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "X-Forwarded-For came from {peer}, which is not in [network] trusted_proxies, and is ignored. If that \
                     is your reverse proxy, list it there: until then all its clients share one address's limits"
                );
            }
            return peer.into();
        }
        let mut client = peer;
        let lists = headers.get_all(FORWARDED_FOR).iter().rev();
        for entry in lists.flat_map(|list| list.to_str().unwrap_or("?").rsplit(',')) {
            let Some(ip) = parse(entry.trim()) else { break };
            client = ip;
            if !self.are(ip) {
                break;
            }
        }
        client.into()
    }
}

/// An address as proxies write it: bare, with a port, or bracketed.
fn parse(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    bare.parse().ok().or_else(|| entry.parse::<std::net::SocketAddr>().ok().map(|it| it.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lists: &[&str]) -> String {
        let proxies = Proxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        for list in lists {
            headers.append(FORWARDED_FOR, list.parse().unwrap());
        }
        proxies.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_client_is_the_last_entry_that_is_no_proxy_of_ours() {
        for (peer, lists, expected) in [
            ("192.0.2.1", &["198.51.100.7"][..], "192.0.2.1"), // nobody's proxy: not believed
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.7"], "198.51.100.7"), // what the client made up stands before
            ("10.0.0.1", &["1.1.1.1", "198.51.100.7, 10.2.3.4"], "198.51.100.7"),
            ("10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7"),
            ("10.0.0.1", &["[2001:db8:1:2:3:4:5:6]:4711"], "2001:db8:1:2::/64"),
            ("10.0.0.1", &["[2001:db8:1:2::]"], "2001:db8:1:2::/64"),
            ("fd00::1", &["2001:db8:1:2:ffff::1"], "2001:db8:1:2::/64"),
            ("10.0.0.1", &["198.51.100.7, unknown"], "10.0.0.1"), // nothing before it can be trusted
            ("10.0.0.1", &["198.51.100.7, unknown, 10.9.9.9"], "10.9.9.9"),
            ("::ffff:10.0.0.1", &["::ffff:198.51.100.7"], "198.51.100.7"),
        ] {
            assert_eq!(client(peer, lists), expected, "{peer} {lists:?}");
        }
    }

    #[test]
    fn ipv6_is_counted_by_64_bits_and_mapped_ipv4_as_ipv4() {
        let of = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
