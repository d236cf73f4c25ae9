//! Whether a request comes from a page of another site (pure). Routes that change something ask this: a page elsewhere may send a
//! POST, though it cannot read the answer.

use axum::http::{HeaderMap, Uri, header};

/// Whether a browser sends this for a page of another site. `Origin` is compared with `Host` (in HTTP/2: the request's authority),
/// as `Sec-Fetch-Site` is not sent over plain HTTP. Programs send neither.
pub(super) fn is_from_elsewhere(headers: &HeaderMap, uri: &Uri) -> bool {
    let site = headers.get_all("sec-fetch-site").iter();
    let mut site = site.map(|site| site.as_bytes());
    if site.any(|site| site != b"same-origin" && site != b"none") {
        return true;
    }
    let host = host(headers, uri);
    headers.get_all(header::ORIGIN).iter().any(|origin| {
        let origin = origin.to_str().ok();
        let origin = origin.and_then(|origin| Some(origin.split_once("://")?.1));
        origin.is_none() || origin != host
    })
}

/// Under which name and port this exporter was asked. In HTTP/2 the URI has it.
pub(super) fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    uri.authority().map(|authority| authority.as_str()).or(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    #[test]
    fn a_page_of_another_site_is_told_from_our_own_and_from_programs() {
        let check = |lines: &[(&'static str, &'static str)], uri: &str, expected: bool| {
            let lines = lines.iter();
            let headers: HeaderMap = lines
                .map(|(name, value)| {
                    let value = value.parse().expect("a value");
                    (HeaderName::from_static(name), value)
                })
                .collect();
            let uri = uri.parse().expect("a URI");
            assert_eq!(is_from_elsewhere(&headers, &uri), expected, "{headers:?}");
        };
        let host = ("host", "tor:9075");
        check(&[host], "/", false);
        check(&[host, ("origin", "http://tor:9075")], "/", false);
        check(&[host, ("origin", "https://tor:9075")], "/", false);
        check(&[("origin", "https://tor:9075")], "https://tor:9075/", false);
        check(&[host, ("sec-fetch-site", "same-origin")], "/", false);
        check(&[host, ("sec-fetch-site", "none")], "/", false);
        for site in ["cross-site", "same-site", ""] {
            check(&[host, ("sec-fetch-site", site)], "/", true);
        }
        for origin in [
            "http://evil.example",
            "http://tor:80",
            "http://tor",
            "null",
            "",
            "tor:9075",
        ] {
            check(&[host, ("origin", origin)], "/", true);
        }
        check(&[("origin", "http://tor:9075")], "/", true);
        check(&[("origin", "https://a")], "https://tor:9075/", true);
    }
}
