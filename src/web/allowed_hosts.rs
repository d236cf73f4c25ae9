//! Which names a page may be asked for (pure). A page of another site can have its own name lead to this exporter (DNS rebinding)
//! and then read what is shown here. So pages are shown only for IP addresses, `localhost`, and the names of `--web.allowed-host`.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::{HeaderMap, Uri, header};

/// The names of `--web.allowed-host`, in lower case.
#[derive(Debug, Clone, Default)]
pub struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    /// A name without a port, such as `tor-a.example.org`. An error says what was expected.
    pub fn checked(name: &str) -> Result<String, String> {
        let simple = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > 253 || !name.chars().all(simple) {
            return Err("expected a name without a port, such as tor-a.example.org".to_owned());
        }
        Ok(without_dot(name).to_ascii_lowercase())
    }

    /// From names that have been checked.
    pub fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    /// Whether a request is for one of these, or has no name at all: browsers always send one.
    pub(super) fn allow(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let allow = |host: Option<&str>| host.is_some_and(|host| self.allow_host(host));
        // HTTP/2 has the name here. A client may send both.
        let mut authority = uri.authority().into_iter();
        let mut hosts = headers.get_all(header::HOST).iter();
        authority.all(|host| allow(Some(host.as_str()))) && hosts.all(|host| allow(host.to_str().ok()))
    }

    fn allow_host(&self, host: &str) -> bool {
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (host, ""),
        };
        if !port.bytes().all(|digit| digit.is_ascii_digit()) {
            return false;
        }
        let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if let Some(address) = in_brackets {
            return address.parse::<Ipv6Addr>().is_ok();
        }
        if host.parse::<IpAddr>().is_ok() {
            return true;
        }
        let name = without_dot(host);
        name.eq_ignore_ascii_case("localhost") || self.0.iter().any(|one| one.eq_ignore_ascii_case(name))
    }
}

/// A name may end with a dot.
fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_the_given_names_are_allowed() {
        let name = AllowedHosts::checked("Tor-A.example.org.").expect("a name");
        let hosts = AllowedHosts::new(vec![name]);
        for (host, expected) in [
            ("127.0.0.1", true),
            ("192.0.2.7:9075", true),
            ("[::1]:9075", true),
            ("[2001:db8::1]", true),
            ("localhost", true),
            ("LOCALHOST.:9075", true),
            ("tor-a.example.org", true),
            ("TOR-A.example.org:443", true),
            ("tor-a.example.org.:1", true),
            ("tor-a", false),
            ("tor-b.example.org", false),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("127.0.0.1@evil.example", false),
            ("[evil.example]", false),
            ("[::1", false),
            ("[::1]x", false),
            ("[::1]:x", false),
            ("[::1]:", true),
            ("localhost:80@evil.example", false),
            ("127.0.0.1:x", false),
            ("", false),
            (":9075", false),
        ] {
            assert_eq!(hosts.allow_host(host), expected, "{host}");
        }
    }

    #[test]
    fn each_name_that_a_request_has_counts() {
        let hosts = AllowedHosts::default();
        let allow = |uri: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::HOST, line.parse().expect("a value"));
            }
            hosts.allow(&uri.parse().expect("a URI"), &headers)
        };
        assert!(allow("/", &["127.0.0.1"]) && allow("https://localhost/", &[]));
        assert!(allow("/", &[]) && !allow("/", &["evil.example"]));
        assert!(!allow("https://evil.example/", &["localhost"]));
        assert!(!allow("https://localhost/", &["evil.example"]));
        assert!(!allow("/", &["localhost", "evil.example"]) && !allow("/", &["\u{e9}"]));
    }

    #[test]
    fn only_names_can_be_given() {
        for bad in ["", "a:9075", "http://a", "a/b", "a b", "[::1]", "*"] {
            assert!(AllowedHosts::checked(bad).is_err(), "{bad}");
        }
    }
}
