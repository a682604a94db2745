//! Addresses as peers are told apart by them.
//!
//! Owns: the one form of an address that tables are keyed by, and the part of it that counts as one party.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The form in which an address is looked up: an IPv4 address that came as IPv6 (`::ffff:192.0.2.1`) is IPv4; the scope of a
/// link-local address stays, since the address means nothing without it; a flow label does not.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match (address.ip().to_canonical(), address) {
        (IpAddr::V6(ip), SocketAddr::V6(v6)) => SocketAddrV6::new(ip, v6.port(), 0, v6.scope_id()).into(),
        (ip, _) => SocketAddr::new(ip, address.port()),
    }
}

/// The part of an address that limits count as one: all of IPv4; of IPv6 the first 64 bits, behind which one host may choose
/// freely.
pub fn party(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ipv6_host_is_one_party() {
        let of = |text: &str| party(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn an_address_has_one_form_and_keeps_its_scope() {
        let of = |text: &str| canonical(text.parse().unwrap()).to_string();
        assert_eq!(of("[::ffff:192.0.2.1]:9"), "192.0.2.1:9");
        assert_eq!(of("[fe80::1%3]:9"), "[fe80::1%3]:9");
        let labelled = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 9, 7, 0));
        assert_eq!(canonical(labelled), "[::1]:9".parse().unwrap());
    }
}
