//! `--web.grafana-url`: where Grafana is, and the links from pages to its dashboards. Pure.

use form_urlencoded::{Serializer, parse};

use crate::model::TargetId;

/// The uid of the Port dashboard (dashboards/generator). A test compares the two.
const PORT_DASHBOARD: &str = "dualtor-port";

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrafanaUrl {
    /// Without `/` at its end.
    base: String,
    /// What each link sets.
    query: String,
}

impl GrafanaUrl {
    /// The error says what was expected.
    pub fn checked(url: &str) -> Result<Self, String> {
        let expected = || {
            "expected a URL such as https://grafana.example/ or https://grafana.example/?var-instance=tor-a:9075, without #".to_owned()
        };
        let parsed: http::Uri = url.parse().map_err(|_| expected())?;
        let is_web = matches!(parsed.scheme_str(), Some("http" | "https"));
        let has_host = parsed.host().is_some_and(|host| !host.is_empty());
        // A password would be shown to everyone who sees the page.
        let has_login = parsed
            .authority()
            .is_some_and(|place| place.as_str().contains('@'));
        if !is_web || !has_host || has_login || url.contains('#') {
            return Err(expected());
        }
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            query: query.to_owned(),
        })
    }

    /// The Port dashboard for a port of this exporter. `host`: under which name and port this exporter was asked. Prometheus usually
    /// asks it under the same, and has that as `instance`; else the URL has `var-instance`.
    pub(super) fn of_port(&self, id: &TargetId, host: Option<&str>) -> String {
        let mut query = Serializer::new(self.query.clone());
        let has_instance = parse(self.query.as_bytes()).any(|(name, _)| name == "var-instance");
        if let Some(host) = host.filter(|_| !has_instance) {
            query.append_pair("var-instance", host);
        }
        if !id.rack.is_empty() {
            query.append_pair("var-rack", id.rack.as_str());
        }
        query.append_pair("var-port", id.port.as_str());
        format!("{}/d/{PORT_DASHBOARD}?{}", self.base, query.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_the_dashboard_the_exporter_and_the_port() {
        let link_of = |id: &str, url: &str, host: Option<&str>| {
            let id = TargetId::parse(id).expect("a port");
            GrafanaUrl::checked(url).expect(url).of_port(&id, host)
        };
        let check = |url: &str, host: Option<&str>, expected: &str| {
            assert_eq!(link_of("Ethernet0", url, host), expected);
        };
        assert_eq!(
            link_of("r17|Ethernet0", "https://g.example", None),
            "https://g.example/d/dualtor-port?var-rack=r17&var-port=Ethernet0"
        );
        let host = Some("tor-a:9075");
        let link = "https://g.example/d/dualtor-port?var-instance=tor-a%3A9075&var-port=Ethernet0";
        check("https://g.example", host, link);
        check("https://g.example/", host, link);
        let link = "http://[::1]:3000/grafana/d/dualtor-port?var-port=Ethernet0";
        check("http://[::1]:3000/grafana/", None, link);
        let link = "https://g.example/d/dualtor-port?orgId=2&var-instance=a&var-port=Ethernet0";
        check("https://g.example/?orgId=2&var-instance=a", host, link);
        let link = "https://g.example/d/dualtor-port?orgId=2&var-instance=a%22%3E%3Cb&var-port=Ethernet0";
        check("https://g.example/?orgId=2", Some("a\"><b"), link);
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused() {
        for url in [
            "",
            "grafana.example",
            "/grafana",
            "javascript:alert(1)",
            "ftp://grafana.example/",
            "https://",
            "https://grafana.example/#a",
            "https://user:secret@grafana.example/",
            "https://grafana example/",
        ] {
            let refused = GrafanaUrl::checked(url).expect_err(url);
            assert!(refused.starts_with("expected a URL such as"), "{refused}");
        }
    }
}
