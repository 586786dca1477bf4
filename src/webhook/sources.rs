//! From which addresses webhooks are taken.

use std::fmt;
use std::net::IpAddr;

/// Addresses and networks; none of them means any.
///
/// The address is the one of the connection. Headers such as `X-Forwarded-For` are not read: anyone
/// can write them, and a reverse proxy that could be trusted with them can hold the list itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    networks: Vec<Network>,
}

/// What is wrong with a list of sources.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a network such as 10.0.0.0/8")]
pub struct SourceError(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    /// Leading bits that must agree.
    bits: u8,
}

impl Sources {
    /// Reads addresses and networks between commas.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let words = text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty());
        let networks = words
            .map(|word| Network::parse(word).ok_or_else(|| SourceError(word.to_owned())))
            .collect::<Result<_, _>>()?;
        Ok(Self { networks })
    }

    /// Whether a webhook from there is taken.
    pub fn admit(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.is_empty() || self.networks.iter().any(|network| network.holds(address))
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self
            .networks
            .iter()
            .map(|network| format!("{}/{}", network.address, network.bits))
            .collect();
        f.write_str(&words.join(","))
    }
}

impl Network {
    fn parse(word: &str) -> Option<Self> {
        let (address, bits) = match word.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (word, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().ok()?,
            None => bits_max,
        };
        (bits <= bits_max).then_some(Self { address, bits })
    }

    fn holds(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let differing = u32::from(net) ^ u32::from(address);
                differing.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let differing = u128::from(net) ^ u128::from(address);
                differing.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &str, address: &str, is_admitted: bool) {
        let sources = Sources::parse(list).unwrap();
        let admitted = sources.admit(address.parse().unwrap());
        assert_eq!(admitted, is_admitted, "{list} and {address}");
    }

    #[test]
    fn an_empty_list_admits_everybody_and_any_other_only_its_own() {
        check("", "203.0.113.9", true);
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
    }

    #[test]
    fn what_is_no_address_is_named() {
        for word in ["localhost", "10.0.0.0/33", "10.0.0.0/", "52.78.5", "::/129"] {
            let error = Sources::parse(&format!("10.0.0.1,{word}")).unwrap_err();
            assert_eq!(error, SourceError(word.to_owned()));
        }
    }
}
