//! Which handler a request is counted for (pure). A closed set, whatever clients ask for.

use axum::http::Uri;

use super::web_paths::{Place, WebPaths};
use crate::model::WebHandler;

pub(super) fn handler_of(paths: &WebPaths, uri: &Uri) -> WebHandler {
    let Place::Route(uri) = paths.place(uri.clone()) else {
        return WebHandler::Other;
    };
    let path = uri.path();
    if path == paths.telemetry {
        return WebHandler::Metrics;
    }
    match path {
        "/" => WebHandler::Page,
        "/probe" => WebHandler::Probe,
        "/-/healthy" => WebHandler::Healthy,
        "/-/ready" => WebHandler::Ready,
        "/-/reload" => WebHandler::Reload,
        _ => match path.strip_prefix("/api/v1/") {
            Some(rest) => of_api(rest),
            None if paths.pages && path.starts_with("/ports/") => WebHandler::PortPage,
            None if paths.pages && path == "/services" => WebHandler::ServicesPage,
            None if paths.pages && path.starts_with("/static/") => WebHandler::Static,
            None => WebHandler::Other,
        },
    }
}

fn of_api(rest: &str) -> WebHandler {
    match rest {
        "fleet" => WebHandler::ApiFleet,
        "ports" => WebHandler::ApiPorts,
        "modules" => WebHandler::ApiModules,
        "targets" => WebHandler::ApiTargets,
        "events" => WebHandler::ApiEvents,
        "openapi.json" => WebHandler::ApiDescription,
        _ if rest.starts_with("targets/") => WebHandler::ApiTarget,
        _ => match rest.strip_prefix("ports/") {
            Some(port) if port.ends_with("/probe") => WebHandler::ApiProbe,
            Some(_) => WebHandler::ApiPort,
            None => WebHandler::Other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_is_counted_for_its_handler() {
        let check = |paths: &WebPaths, uri: &str, expected: WebHandler| {
            let uri = uri.parse().expect("a URI");
            assert_eq!(handler_of(paths, &uri), expected, "{uri}");
        };
        let mut paths = WebPaths::default();
        for (uri, expected) in [
            ("/metrics?a=b", WebHandler::Metrics),
            ("/", WebHandler::Page),
            ("/?q=/metrics", WebHandler::Page),
            ("/ports/Ethernet0", WebHandler::PortPage),
            ("/static/live-0.js", WebHandler::Static),
            ("/api/v1/fleet", WebHandler::ApiFleet),
            ("/api/v1/ports?limit=1", WebHandler::ApiPorts),
            ("/api/v1/ports/Ethernet0", WebHandler::ApiPort),
            ("/api/v1/ports/Ethernet0/probe", WebHandler::ApiProbe),
            ("/services?limit=1", WebHandler::ServicesPage),
            ("/services/", WebHandler::Other),
            ("/api/v1/modules", WebHandler::ApiModules),
            ("/api/v1/targets?limit=1", WebHandler::ApiTargets),
            ("/api/v1/targets/health/db1", WebHandler::ApiTarget),
            ("/api/v1/targets.json", WebHandler::Other),
            ("/api/v1/events", WebHandler::ApiEvents),
            ("/api/v1/openapi.json", WebHandler::ApiDescription),
            ("/-/healthy", WebHandler::Healthy),
            ("/probe?module=a&target=b", WebHandler::Probe),
            ("/-/ready", WebHandler::Ready),
            ("/-/reload", WebHandler::Reload),
            ("/api/v1/none", WebHandler::Other),
            ("/metrics/", WebHandler::Other),
            ("/../etc/passwd", WebHandler::Other),
        ] {
            check(&paths, uri, expected);
        }
        paths.prefix = "/tor".to_owned();
        check(&paths, "/tor/metrics", WebHandler::Metrics);
        check(&paths, "/metrics", WebHandler::Other);
        check(&paths, "/", WebHandler::Other);
        paths.pages = false;
        paths.telemetry = "/".to_owned();
        check(&paths, "/tor/", WebHandler::Metrics);
        check(&paths, "/tor/ports/Ethernet0", WebHandler::Other);
    }
}
