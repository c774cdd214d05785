//! Which addresses a webhook may reach: those of the public internet, so that whoever may make a webhook cannot have
//! the server talk to what only the server can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Not loopback, private, link-local, shared, reserved, documentation or multicast (IANA's special-purpose address
/// registries); an IPv6 address that carries an IPv4 one counts as that.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => public_v4(ip),
        IpAddr::V6(ip) => embedded(ip).map_or_else(|| public_v6(ip), public_v4),
    }
}

fn public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224.., ..)
    );
    !special
}

fn public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    // Only 2000::/3 is given out; 2001::/23 is for protocols, 2001:db8::/32 and 3fff::/20 for documentation.
    (0x2000..0x4000).contains(&a) && !(a == 0x2001 && (b < 0x200 || b == 0xdb8)) && !(a == 0x3fff && b < 0x1000)
}

/// IPv4-mapped, IPv4-compatible, 6to4 and NAT64.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0 | 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => v4(g, h),
        (0x2002, high, low, ..) => v4(high, low),
        _ => None,
    }
}

/// Resolves names to public addresses only. The client connects to what it answers, so a name that changes its mind
/// between a check and the connection gains nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PublicOnly;

impl reqwest::dns::Resolve for PublicOnly {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if let Some(other) = found.iter().find(|address| !is_public(address.ip())) {
                return Err(InvalidUrl::NotPublic { host: name.as_str().to_owned(), ip: other.ip() }.into());
            }
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

/// URL that no webhook may have. The messages are MLflow's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidUrl {
    /// The text is no URL.
    #[error("Invalid webhook URL '{url}': {reason}")]
    Unreadable {
        /// Text that was given.
        url: String,
        /// Fault of its form.
        reason: String,
    },
    /// The scheme is not allowed.
    #[error("Invalid webhook URL scheme: '{scheme}'. Allowed schemes are: {allowed}.")]
    Scheme {
        /// Scheme of the URL.
        scheme: String,
        /// Schemes that are allowed, with commas between them.
        allowed: String,
    },
    /// The URL, given here, names no host.
    #[error("Webhook URL must include a hostname: '{0}'")]
    NoHost(String),
    /// The host has no address.
    #[error("Cannot resolve Webhook URL hostname '{host}': {source}")]
    Unresolved {
        /// Host of the URL.
        host: String,
        /// Error of the resolver.
        source: std::io::Error,
    },
    /// The host has an address that only the server can reach.
    #[error("Webhook URL must not resolve to a non-public IP address. '{host}' resolves to {ip}.")]
    NotPublic {
        /// Host of the URL.
        host: String,
        /// Address of the host.
        ip: IpAddr,
    },
}

/// Parses the URL of a webhook, and checks its scheme and the addresses of its host.
pub(crate) async fn check(url: &str, schemes: &[String], allow_private: bool) -> Result<reqwest::Url, InvalidUrl> {
    let parsed = reqwest::Url::parse(url.trim());
    let parsed = parsed.map_err(|error| InvalidUrl::Unreadable { url: url.to_owned(), reason: error.to_string() })?;
    if !schemes.iter().any(|scheme| scheme == parsed.scheme()) {
        return Err(InvalidUrl::Scheme { scheme: parsed.scheme().to_owned(), allowed: schemes.join(", ") });
    }
    // Browsers take `https:///x` for `https://x`; nobody who writes it means that.
    let named = url.split_once("://").is_some_and(|(_, rest)| !rest.starts_with(['/', '\\']));
    let Some(host) = parsed.host_str().filter(|host| named && !host.is_empty()) else {
        return Err(InvalidUrl::NoHost(url.to_owned()));
    };
    if !allow_private {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = tokio::net::lookup_host((bare, 0))
            .await
            .map_err(|source| InvalidUrl::Unresolved { host: bare.to_owned(), source })?;
        for address in addresses {
            if !is_public(address.ip()) {
                return Err(InvalidUrl::NotPublic { host: bare.to_owned(), ip: address.ip() });
            }
        }
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        for public in ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(is_public(ip(public)), "{public}");
        }
        for other in [
            "0.0.0.0",
            "10.1.2.3",
            "127.0.0.1",
            "127.9.9.9",
            "100.64.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "3fff::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "2002:7f00:1::",
            "64:ff9b::a9fe:a9fe",
            "::127.0.0.1",
        ] {
            assert!(!is_public(ip(other)), "{other}");
        }
    }
}
