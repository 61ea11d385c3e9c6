//! Where callbacks may lead. Whoever sends a song chooses a URL, and the gateway stands where they
//! do not: without a guard it would knock for them at doors inside (SSRF).
//!
//! A name is looked up when it is called, and the addresses that are checked are those that are
//! connected to: another look would be another answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Which addresses may be called.
#[derive(Clone, Copy, Debug, Default)]
pub struct Guard {
    /// True if those inside may be, too: this machine, and private networks.
    pub private: bool,
}

/// An address that is not called.
#[derive(Debug, thiserror::Error)]
#[error("the address {0} is not a public one: use a public one, or set STEMFLOW_CALLBACK_PRIVATE")]
pub(super) struct RefusedAddress(IpAddr);

impl Guard {
    /// Whether the host of a URL may be called, as far as can be told from the URL: names are looked
    /// up later. URLs have one way to write an address; `0x7f.1` is 127.0.0.1 by now.
    pub(super) fn check_host(self, url: &Url) -> Result<(), RefusedAddress> {
        let host = url.host_str().unwrap_or_default();
        match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(address) => self.check(address),
            Err(_) => Ok(()),
        }
    }

    fn check(self, address: IpAddr) -> Result<(), RefusedAddress> {
        if self.private || is_public(address) { Ok(()) } else { Err(RefusedAddress(address)) }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let (mut open, mut refused) = (Vec::new(), None);
            for address in found {
                match guard.check(address.ip()) {
                    Ok(()) => open.push(address),
                    Err(error) => refused = Some(error),
                }
            }
            match refused {
                Some(refused) if open.is_empty() => Err(refused.into()),
                _ => Ok(Box::new(open.into_iter()) as Addrs),
            }
        })
    }
}

/// True if `error` comes of an address that is not called.
pub(super) fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<RefusedAddress>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// False for what IANA's registry of special addresses has as not reachable from everywhere.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = match a {
        // This network, private, loopback; multicast, reserved and broadcast.
        0 | 10 | 127 | 224..=255 => true,
        // Shared by the customers of a carrier (CGNAT).
        100 => (64..128).contains(&b),
        // The services of clusters on GKE: Google gives these to nobody else.
        34 => b == 118 && (224..240).contains(&c),
        // Link-local: the clouds' metadata are here.
        169 => b == 254,
        172 => (16..32).contains(&b),
        // Private, protocol assignments, documentation, relays of 6to4.
        192 => b == 168 || b == 0 && (c == 0 || c == 2) || b == 88 && c == 99,
        // Benchmarks, documentation.
        198 => b == 18 || b == 19 || b == 51 && c == 100,
        203 => b == 0 && c == 113,
        _ => false,
    };
    !is_special
}

/// Only what is given out as global unicast, and of that nothing which leads to another's IPv4
/// address but to a public one.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match parts {
        // NAT64.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4(v4(high, low)),
        // 6to4.
        [0x2002, high, low, ..] => is_public_v4(v4(high, low)),
        // Protocol assignments, Teredo and ORCHID among them; documentation.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::str::FromStr;

    use super::*;

    #[test]
    fn only_public_addresses_are_called() {
        let inside = "0.0.0.0 0.1.2.3 10.0.0.1 34.118.224.1 100.64.0.1 100.127.255.255 127.0.0.1 \
            127.9.9.9 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.1 192.168.1.1 \
            198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 :: ::1 \
            ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b:1::1 100::1 2001::1 \
            2001:db8::1 2002:7f00:1::1 3fff::1 fc00::1 fd12:3456::1 fe80::1 fec0::1 ff02::1";
        for address in inside.split_whitespace() {
            assert!(!is_public(IpAddr::from_str(address).unwrap()), "{address}");
        }
        let outside = "1.1.1.1 34.118.240.1 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 \
            192.0.1.1 192.169.0.1 198.17.0.1 223.255.255.255 2606:4700::1111 2a00:1450::1 \
            64:ff9b::8.8.8.8 2002:808:808::1";
        for address in outside.split_whitespace() {
            assert!(is_public(IpAddr::from_str(address).unwrap()), "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused_when_it_is_looked_up() {
        let resolve = |guard: Guard| guard.resolve(Name::from_str("localhost").unwrap());
        let Err(error) = resolve(Guard { private: false }).await else { panic!("it is called") };
        assert!(is_refused(&*error), "{error}");
        let found: Vec<SocketAddr> = resolve(Guard { private: true }).await.unwrap().collect();
        assert!(found.iter().any(|address| address.ip().is_loopback()), "{found:?}");
    }
}
