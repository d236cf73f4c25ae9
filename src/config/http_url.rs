//! Which URLs of servers are accepted, wherever one is configured. Pure.

use http::Uri;

/// Whether it has the scheme http or https, a host, and no login, which would be shown with it. If it has a port, it is one: `http`
/// takes any, and would leave one that is none out.
pub fn is_http_url(url: &Uri) -> bool {
    let (Some(authority), Some(host)) = (url.authority(), url.host()) else {
        return false;
    };
    let authority = authority.as_str();
    let port = authority.strip_prefix(host);
    let is_port = match port.and_then(|port| port.strip_prefix(':')) {
        Some(_) => url.port_u16().is_some_and(|port| port > 0),
        None => port == Some(""),
    };
    matches!(url.scheme_str(), Some("http" | "https"))
        && !host.is_empty()
        && !authority.contains('@')
        && is_port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_another_scheme_or_a_port_that_is_none_is_refused() {
        let check = |text: &str, expected| {
            let accepted = text.parse().is_ok_and(|url| is_http_url(&url));
            assert_eq!(accepted, expected, "{text}");
        };
        for good in [
            "http://a",
            "https://a.b:65535/x?y",
            "http://[::1]:80/",
            "http://127.0.0.1",
        ] {
            check(good, true);
        }
        for bad in [
            "ftp://a",
            "a:80",
            "/x",
            "http://u:p@a:1",
            "http://a:",
            "http://a:0",
            "http://a:65536",
            "http://a:431800",
            "http://a:x",
            "http://[::1]:x",
            "http://:80",
        ] {
            check(bad, false);
        }
    }
}
