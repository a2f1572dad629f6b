//! Judges where a connection may go: a lookup's answer is somebody else's word, and the pair must
//! not follow it into the machine, its network or a cloud's metadata service.
//!
//! Invariants: an address is judged as everything it may lead to, also what it carries inside; a
//! metadata address is allowed only if it is listed by itself. This is a function of the address
//! and the list: it looks nothing up. It is no replacement for verifying the certificate, and it
//! says nothing of a proxy or a translator further on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What may be done with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may be connected to.
    Allowed,
    /// It is not on the public internet, and not listed.
    Private,
    /// A cloud's metadata service: who is tricked into calling it hands over the machine.
    Metadata,
}

/// Ranges that lead nowhere on the public internet (IANA's special-purpose registry, RFC 6890).
const NOT_GLOBAL_V4: &[Ipv4Net] = &[
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4), // with the broadcast address
];

/// The only range that IANA gives out as global unicast (RFC 4291, section 2.4): loopback,
/// unspecified, unique local, link-local, site-local, multicast and discard lie outside of it.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// What is not global within it: protocol assignments with Teredo, and documentation.
const NOT_GLOBAL_V6: &[Ipv6Net] = &[
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

const COMPATIBLE: Ipv6Net = v6([0, 0, 0, 0, 0, 0, 0, 0], 96);
/// RFC 6052, section 2.1.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
/// RFC 8215: what is behind it is for the network's operator to say.
const NAT64_LOCAL: Ipv6Net = v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48);
/// RFC 3056.
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);

/// Where clouds tell a machine its secrets.
const METADATA_V4: &[Ipv4Addr] = &[
    Ipv4Addr::new(169, 254, 169, 254), // nearly all of them
    Ipv4Addr::new(169, 254, 170, 2),   // AWS, tasks
    Ipv4Addr::new(169, 254, 170, 23),  // AWS, pods
    Ipv4Addr::new(169, 254, 42, 42),   // Scaleway
    Ipv4Addr::new(169, 254, 0, 23),    // Tencent
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba
    Ipv4Addr::new(168, 63, 129, 16),   // Azure, in public space
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle
];
const METADATA_V6: &[Ipv6Addr] = &[
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe), // OpenStack
];

/// Judges an address by what it leads to. `listed` holds the networks that are allowed although
/// they are private.
pub(super) fn judge(address: IpAddr, listed: &[IpNet]) -> Verdict {
    // The kernel itself takes a mapped address for the IPv4 one.
    let address = address.to_canonical();
    let leads_to = || std::iter::once(address).chain(carried(address).map(IpAddr::V4));
    if leads_to().any(is_metadata) {
        // A network is listed for what else is in it, never for this.
        let by_itself = |net: &IpNet| net.prefix_len() == net.max_prefix_len();
        let listed_by_itself = |to| listed.iter().any(|net| by_itself(net) && net.contains(&to));
        let meant = leads_to().any(listed_by_itself);
        return if meant { Verdict::Allowed } else { Verdict::Metadata };
    }
    let is_listed = |to| listed.iter().any(|net| net.contains(&to));
    if is_global(address) || leads_to().any(is_listed) {
        Verdict::Allowed
    } else {
        Verdict::Private
    }
}

/// IPv4 addresses inside an IPv6 one, to which something on the way may hand the connection.
fn carried(address: IpAddr) -> impl Iterator<Item = Ipv4Addr> {
    let IpAddr::V6(address) = address else {
        return [None; 2].into_iter().flatten();
    };
    let [_, s1, s2, s3, s4, s5, s6, s7] = address.segments();
    let last = join(s6, s7);
    let addresses = if COMPATIBLE.contains(&address) || NAT64.contains(&address) {
        [Some(last), None]
    } else if SIX_TO_FOUR.contains(&address) {
        [Some(join(s1, s2)), None]
    } else if NAT64_LOCAL.contains(&address) {
        // A prefix of 96 bits puts it at the end, one of 48 around the bits 64 to 71, which are
        // zero (RFC 6052, section 2.2). Which it is, only its operator knows.
        [Some(last), Some(join(s3, (s4 << 8) | (s5 >> 8)))]
    } else if s5 == 0x5efe && s4 & !0x0200 == 0 {
        [Some(last), None] // ISATAP (RFC 5214, section 6.1)
    } else {
        [None; 2]
    };
    addresses.into_iter().flatten()
}

fn is_global(address: IpAddr) -> bool {
    let inside = carried(address).all(is_global_v4);
    match address {
        IpAddr::V4(address) => is_global_v4(address),
        // Nothing but the address inside says where these lead.
        IpAddr::V6(address)
            if [COMPATIBLE, NAT64, SIX_TO_FOUR].iter().any(|net| net.contains(&address)) =>
        {
            inside
        }
        IpAddr::V6(address) => is_global_v6(address) && inside,
    }
}

fn is_global_v4(address: Ipv4Addr) -> bool {
    !NOT_GLOBAL_V4.iter().any(|net| net.contains(&address))
}

fn is_global_v6(address: Ipv6Addr) -> bool {
    GLOBAL_V6.contains(&address) && !NOT_GLOBAL_V6.iter().any(|net| net.contains(&address))
}

fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => METADATA_V4.contains(&address),
        IpAddr::V6(address) => METADATA_V6.contains(&address),
    }
}

fn join(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6([s0, s1, s2, s3, s4, s5, s6, s7]: [u16; 8], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s0, s1, s2, s3, s4, s5, s6, s7), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(address: &str, listed: &[&str]) -> Verdict {
        let net = |text: &&str| {
            text.parse().unwrap_or_else(|_| IpNet::from(text.parse::<IpAddr>().unwrap()))
        };
        let listed: Vec<IpNet> = listed.iter().map(net).collect();
        judge(address.parse().unwrap(), &listed)
    }

    #[test]
    fn public_addresses_are_allowed_in_every_form() {
        for address in [
            "8.8.8.8",
            "1.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:200::1",
            "2a00::1",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2a00::5efe:8.8.8.8",
        ] {
            assert_eq!(judged(address, &[]), Verdict::Allowed, "{address}");
        }
    }

    #[test]
    fn what_is_not_public_is_refused_unless_its_network_is_listed() {
        for (address, network) in [
            ("0.0.0.0", "0.0.0.0/8"),
            ("0.255.255.255", "0.0.0.0/8"),
            ("10.0.0.1", "10.0.0.0/8"),
            ("100.64.0.0", "100.64.0.0/10"),
            ("100.127.255.255", "100.64.0.0/10"),
            ("127.0.0.1", "127.0.0.0/8"),
            ("127.255.255.255", "127.0.0.0/8"),
            ("169.254.0.1", "169.254.0.0/16"),
            ("172.16.0.0", "172.16.0.0/12"),
            ("172.31.255.255", "172.16.0.0/12"),
            ("192.0.0.1", "192.0.0.0/24"),
            ("192.0.2.1", "192.0.2.0/24"),
            ("192.88.99.1", "192.88.99.0/24"),
            ("192.168.255.255", "192.168.0.0/16"),
            ("198.18.0.0", "198.18.0.0/15"),
            ("198.19.255.255", "198.18.0.0/15"),
            ("198.51.100.1", "198.51.100.0/24"),
            ("203.0.113.1", "203.0.113.0/24"),
            ("224.0.0.1", "224.0.0.0/4"),
            ("239.255.255.255", "224.0.0.0/4"),
            ("240.0.0.1", "240.0.0.0/4"),
            ("255.255.255.255", "255.255.255.255"),
            ("::", "::"),
            ("::1", "::1"),
            ("100::1", "100::/64"),
            ("2001:db8::1", "2001:db8::/32"),
            ("2001::1", "2001::/32"),
            ("2001:2::1", "2001:2::/48"),
            ("3fff::1", "3fff::/20"),
            ("4000::1", "4000::/3"),
            ("fc00::1", "fc00::/7"),
            ("fdff::1", "fc00::/7"),
            ("fe80::1", "fe80::/10"),
            ("fec0::1", "fec0::/10"),
            ("ff02::1", "ff00::/8"),
            // What is carried inside, listed by itself or by what carries it.
            ("::ffff:127.0.0.1", "127.0.0.0/8"),
            ("::ffff:10.1.2.3", "10.0.0.0/8"),
            ("::127.0.0.1", "127.0.0.0/8"),
            ("::10.0.0.1", "::/96"),
            ("64:ff9b::10.0.0.1", "10.0.0.0/8"),
            ("64:ff9b::10.0.0.1", "64:ff9b::/96"),
            ("64:ff9b:1::10.0.0.1", "10.0.0.0/8"),
            ("64:ff9b:1::10.0.0.1", "64:ff9b:1::/48"),
            ("64:ff9b:1::8.8.8.8", "64:ff9b:1::/48"),
            ("2002:a00:1::1", "10.0.0.0/8"),
            ("2002:7f00:1::1", "2002::/16"),
            ("2a00::5efe:10.0.0.1", "10.0.0.0/8"),
            ("2a00::200:5efe:192.168.0.1", "192.168.0.0/16"),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001::/32"),
        ] {
            assert_eq!(judged(address, &[]), Verdict::Private, "{address}");
            assert_eq!(judged(address, &["192.0.0.8"]), Verdict::Private, "{address}");
            assert_eq!(judged(address, &[network]), Verdict::Allowed, "{address} in {network}");
        }
    }

    #[test]
    fn a_metadata_address_is_refused_in_every_form_unless_it_is_listed_by_itself() {
        let everything = ["0.0.0.0/0", "::/0"];
        for (address, itself) in [
            ("169.254.169.254", "169.254.169.254"),
            ("169.254.170.2", "169.254.170.2"),
            ("169.254.170.23", "169.254.170.23"),
            ("169.254.42.42", "169.254.42.42"),
            ("169.254.0.23", "169.254.0.23"),
            ("fe80::a9fe:a9fe", "fe80::a9fe:a9fe"),
            ("100.100.100.200", "100.100.100.200"),
            ("168.63.129.16", "168.63.129.16/32"),
            ("192.0.0.192", "192.0.0.192"),
            ("fd00:ec2::254", "fd00:ec2::254"),
            ("fd00:ec2::23", "fd00:ec2::23/128"),
            ("fd20:ce::254", "fd20:ce::254"),
            ("::ffff:169.254.169.254", "169.254.169.254"),
            ("::169.254.169.254", "169.254.169.254"),
            ("64:ff9b::169.254.169.254", "169.254.169.254"),
            ("64:ff9b::168.63.129.16", "64:ff9b::168.63.129.16"),
            ("64:ff9b:1::169.254.169.254", "169.254.169.254"),
            ("64:ff9b:1:a9fe:a9:fe00::", "169.254.169.254"),
            ("2002:a9fe:a9fe::1", "169.254.169.254"),
            ("2a00::5efe:169.254.169.254", "169.254.169.254"),
        ] {
            assert_eq!(judged(address, &[]), Verdict::Metadata, "{address}");
            assert_eq!(judged(address, &everything), Verdict::Metadata, "{address}");
            assert_eq!(judged(address, &[itself]), Verdict::Allowed, "{address}");
        }
    }
}
