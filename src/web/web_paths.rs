//! Where the routes are, seen from a client: `--web.telemetry-path`, `--web.route-prefix`, `--web.external-url`. Pure.
//!
//! Links in pages are relative, so they are right behind any reverse proxy. Only redirects need to know the path that clients see.

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

use super::grafana_url::GrafanaUrl;

/// The first parts of paths that are ours.
const OURS: [&str; 4] = ["-", "api", "ports", "static"];

/// Whether `path` can be the path of the metrics: it starts with `/`, has simple characters only, and is not under a path of ours.
pub fn telemetry_path_ok(path: &str) -> bool {
    let first = path.split('/').nth(1);
    is_simple(path) && first.is_some_and(|first| !OURS.contains(&first))
}

/// It starts with `/` and has simple characters only.
fn is_simple(path: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/_-.".contains(c);
    path.starts_with('/') && path.chars().all(allowed)
}

/// Without `/` at its end; empty: no prefix. `None`: it cannot be a prefix.
fn prefix(path: &str) -> Option<String> {
    let path = path.trim_end_matches('/');
    let has_odd_parts = path
        .split('/')
        .skip(1)
        .any(|part| matches!(part, "" | "." | ".."));
    (path.is_empty() || is_simple(path) && !has_odd_parts).then(|| path.to_owned())
}

/// Checks `--web.route-prefix`: the error says what was expected.
pub fn route_prefix(path: &str) -> Result<String, String> {
    let expected = "expected a path such as /dualtor, of letters, digits and _-./";
    match prefix(path) {
        Some(prefix) if path.starts_with('/') => Ok(prefix),
        _ => Err(expected.to_owned()),
    }
}

/// The path of `--web.external-url`, without `/` at its end. The error says what was expected.
pub fn external_path(url: &str) -> Result<String, String> {
    let expected = "expected a URL such as https://proxy.example/dualtor/, without ? and #".to_owned();
    let parsed = url.parse::<Uri>().ok().filter(|_| !url.contains(['?', '#']));
    let parsed = parsed.filter(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
    });
    parsed.and_then(|url| prefix(url.path())).ok_or(expected)
}

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebPaths {
    /// The path of the metrics, under the prefix.
    pub telemetry: String,
    /// All routes are under this path; empty: none.
    pub prefix: String,
    /// The path under which clients see the routes; empty: none. It differs from `prefix` behind a reverse proxy that removes a part.
    pub external: String,
    /// Whether the pages are served; else a list of links.
    pub pages: bool,
    /// Where Grafana is, for links.
    pub grafana: Option<GrafanaUrl>,
}

impl Default for WebPaths {
    fn default() -> Self {
        Self {
            telemetry: "/metrics".to_owned(),
            prefix: String::new(),
            external: String::new(),
            pages: true,
            grafana: None,
        }
    }
}

/// Where a request leads.
#[derive(Debug, PartialEq)]
pub(super) enum Place {
    /// To this route.
    Route(Uri),
    /// To the first page, which is at this path.
    Home(String),
    /// To nothing of ours.
    Elsewhere,
}

impl WebPaths {
    /// Where a request for `uri` leads: the route is without the prefix.
    pub(super) fn place(&self, uri: Uri) -> Place {
        if self.prefix.is_empty() {
            return Place::Route(uri);
        }
        let home = || Place::Home(format!("{}/", self.external));
        let Some(rest) = uri.path().strip_prefix(&*self.prefix) else {
            return if uri.path() == "/" {
                home()
            } else {
                Place::Elsewhere
            };
        };
        if rest.is_empty() {
            return home();
        }
        if !rest.starts_with('/') {
            return Place::Elsewhere;
        }
        let route = match uri.query() {
            Some(query) => format!("{rest}?{query}"),
            None => rest.to_owned(),
        };
        let mut parts = uri.into_parts();
        // What stands after the first part of a good path is a good path.
        parts.path_and_query = route.parse::<PathAndQuery>().ok();
        Uri::from_parts(parts).map_or(Place::Elsewhere, Place::Route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_ours_are_no_path_of_the_metrics() {
        for path in ["/metrics", "/", "/probe/metrics.txt", "/portsmouth", "/statics"] {
            assert!(telemetry_path_ok(path), "{path}");
        }
        for path in [
            "", "metrics", "/-/m", "/api", "/ports", "/ports/x", "/static/", "/m?x", "/{x}",
        ] {
            assert!(!telemetry_path_ok(path), "{path}");
        }
    }

    #[test]
    fn a_prefix_and_an_external_url_are_paths() {
        for (given, expected) in [("/", Some("")), ("/a", Some("/a")), ("/a/b/", Some("/a/b"))] {
            assert_eq!(route_prefix(given).ok().as_deref(), expected, "{given}");
        }
        for given in ["", "a", "/a//b", "/..", "/a/./b", "/a?b", "/{a}"] {
            assert!(route_prefix(given).is_err(), "{given}");
        }
        for (given, expected) in [
            ("http://tor", Some("")),
            ("https://proxy.example:8443/dual/tor/", Some("/dual/tor")),
            ("http://[::1]/x", Some("/x")),
            ("ftp://tor/", None),
            ("/x", None),
            ("tor:9075", None),
            ("http:///x", None),
            ("http://tor/?a", None),
            ("http://tor/#a", None),
            ("http://tor/../x", None),
        ] {
            assert_eq!(external_path(given).ok().as_deref(), expected, "{given}");
        }
    }

    #[test]
    fn a_request_leads_to_a_route_under_the_prefix() {
        let paths = WebPaths {
            prefix: "/a/b".to_owned(),
            external: "/seen".to_owned(),
            ..WebPaths::default()
        };
        let route = |path: &'static str| Place::Route(Uri::from_static(path));
        let home = || Place::Home("/seen/".to_owned());
        for (asked, expected) in [
            ("/a/b/", route("/")),
            ("/a/b/metrics?x=%2F", route("/metrics?x=%2F")),
            ("/a/b", home()),
            ("/", home()),
            ("/metrics", Place::Elsewhere),
            ("/a/bc", Place::Elsewhere),
            ("/a", Place::Elsewhere),
        ] {
            assert_eq!(paths.place(Uri::from_static(asked)), expected, "{asked}");
        }
        let full = Uri::from_static("https://tor/a/b/metrics");
        assert_eq!(paths.place(full), route("https://tor/metrics"));
        let plain = Uri::from_static("/metrics");
        assert_eq!(WebPaths::default().place(plain.clone()), Place::Route(plain));
    }
}
