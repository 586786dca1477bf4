//! From which addresses webhooks are taken.

use std::net::IpAddr;

use ipnet::IpNet;

/// Addresses and networks; none of them means any.
///
/// The address is the one of the connection. Headers such as `X-Forwarded-For` are not read: anyone
/// can write them, and a reverse proxy that could be trusted with them can hold the list itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources(Vec<IpNet>);

/// What is wrong with a list of sources.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a network such as 10.0.0.0/8")]
pub struct SourceError(String);

impl Sources {
    /// Reads addresses and networks between commas.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        text.split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(|word| {
                let address = word.parse::<IpAddr>().map(IpNet::from);
                address
                    .or_else(|_not_one| word.parse())
                    .map_err(|_neither| SourceError(word.to_owned()))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether a webhook from there is taken.
    pub fn admit(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.is_empty() || self.0.iter().any(|network| network.contains(&address))
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
