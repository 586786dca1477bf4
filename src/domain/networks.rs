//! Addresses and networks: from where webhooks are taken, and where they may be sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A list of addresses and networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// What is wrong with a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a network such as 10.0.0.0/8")]
pub struct NetworkError(String);

impl Networks {
    /// Reads addresses and networks between commas.
    pub fn parse(text: &str) -> Result<Self, NetworkError> {
        text.split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(|word| {
                let address = word.parse::<IpAddr>().map(IpNet::from);
                address
                    .or_else(|_not_one| word.parse())
                    .map_err(|_neither| NetworkError(word.to_owned()))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether it names nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an address is in it. One of IPv4 that is written as IPv6 is the same.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// What IANA's registry of special addresses says of IPv4, and one that a cloud keeps for its machines.
const NOT_PUBLIC_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// All that is handed out for the internet.
const PUBLIC_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// Of that: protocols and tunnels (Teredo, 6to4), which may lead anywhere, and documentation.
const NOT_PUBLIC_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];
/// IPv4 by way of a translator: as public as the address in it.
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Whether an address is of the internet: neither this machine, nor its network, nor one of its cloud's own.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => !NOT_PUBLIC_V4
            .iter()
            .any(|(start, bits)| is_within_v4(address, *start, *bits)),
        IpAddr::V6(address) if is_within_v6(address, NAT64) => {
            let [.., a, b, c, d] = address.octets();
            is_public(Ipv4Addr::new(a, b, c, d).into())
        }
        IpAddr::V6(address) => {
            is_within_v6(address, PUBLIC_V6)
                && !NOT_PUBLIC_V6.iter().any(|net| is_within_v6(address, *net))
        }
    }
}

fn is_within_v4(address: Ipv4Addr, start: Ipv4Addr, bits: u8) -> bool {
    Ipv4Net::new(start, bits).is_ok_and(|net| net.contains(&address))
}

fn is_within_v6(address: Ipv6Addr, (start, bits): (Ipv6Addr, u8)) -> bool {
    Ipv6Net::new(start, bits).is_ok_and(|net| net.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &str, address: &str, is_in: bool) {
        let networks = Networks::parse(list).unwrap();
        let found = networks.contains(address.parse().unwrap());
        assert_eq!(found, is_in, "{list} and {address}");
    }

    #[test]
    fn a_list_holds_its_own_however_an_address_is_written() {
        let portone = "52.78.100.19, 52.78.48.223, 52.78.5.241";
        check(portone, "52.78.48.223", true);
        check(portone, "::ffff:52.78.48.223", true);
        check(portone, "52.78.48.224", false);
        check(portone, "::1", false);
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("2001:db8::/33", "2001:db8:7fff::1", true);
        check("2001:db8::/33", "2001:db8:8000::1", false);
        assert!(Networks::parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_address_is_named() {
        for word in ["localhost", "10.0.0.0/33", "10.0.0.0/", "52.78.5", "::/129"] {
            let error = Networks::parse(&format!("10.0.0.1,{word}")).unwrap_err();
            assert_eq!(error, NetworkError(word.to_owned()));
        }
    }

    /// Hazard: whoever may name an address makes the daemon ask its neighbours, or its cloud for keys.
    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.0.1",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "fe80::1",
            "fd00:ec2::254",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2002:7f00:1::1",
            "2001:db8::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "52.78.100.19",
            "172.32.0.1",
            "100.63.255.255",
            "2606:4700::1",
            "64:ff9b::1.1.1.1",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
