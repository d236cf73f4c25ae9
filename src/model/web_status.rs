//! What the exporter knows of its own web side, and how much waits between its parts.

use std::time::{Duration, SystemTime};

use super::{ConfigStatus, Refusal};

words! {
    /// What a web request asked for.
    WebHandler {
        /// The metrics.
        Metrics = "metrics",
        /// The first page.
        Page = "page",
        /// The page of a port.
        PortPage = "port_page",
        /// The page of the probe modules' targets.
        ServicesPage = "services_page",
        /// Script, style sheet and icon of the pages.
        Static = "static",
        /// `/api/v1/fleet`
        ApiFleet = "api_fleet",
        /// `/api/v1/ports`
        ApiPorts = "api_ports",
        /// `/api/v1/ports/{port}`
        ApiPort = "api_port",
        /// `/api/v1/ports/{port}/probe`
        ApiProbe = "api_probe",
        /// `/api/v1/modules`
        ApiModules = "api_modules",
        /// `/api/v1/targets`
        ApiTargets = "api_targets",
        /// `/api/v1/targets/{module}/{target}`
        ApiTarget = "api_target",
        /// `/api/v1/events`
        ApiEvents = "api_events",
        /// `/api/v1/openapi.json`
        ApiDescription = "api_openapi",
        /// `/probe`
        Probe = "probe",
        /// `/-/healthy`
        Healthy = "healthy",
        /// `/-/ready`
        Ready = "ready",
        /// `/-/reload`
        Reload = "reload",
        /// Nothing that is there, or a redirect.
        Other = "other",
    }
}

impl WebHandler {
    /// Without probe modules no one asks for these.
    pub fn is_for_modules(self) -> bool {
        match self {
            Self::Probe | Self::ServicesPage | Self::ApiModules | Self::ApiTargets | Self::ApiTarget => true,
            Self::Metrics
            | Self::Page
            | Self::PortPage
            | Self::Static
            | Self::ApiFleet
            | Self::ApiPorts
            | Self::ApiPort
            | Self::ApiProbe
            | Self::ApiEvents
            | Self::ApiDescription
            | Self::Healthy
            | Self::Ready
            | Self::Reload
            | Self::Other => false,
        }
    }
}

words! {
    /// The status of a web answer.
    WebCode {
        /// 200
        Ok = "200",
        /// 302
        Found = "302",
        /// 400
        BadRequest = "400",
        /// 401
        Unauthorized = "401",
        /// 403
        Forbidden = "403",
        /// 404
        NotFound = "404",
        /// 405
        NotAllowed = "405",
        /// 409
        Conflict = "409",
        /// 413
        TooLarge = "413",
        /// 429
        TooMany = "429",
        /// 500
        Defect = "500",
        /// 503
        Unavailable = "503",
        /// 504
        NoResult = "504",
        /// Any other: none that the exporter gives.
        Other = "other",
    }
}

impl WebCode {
    /// Of an HTTP status.
    pub fn of(status: u16) -> Self {
        let known = Self::ALL.iter().find(|code| code.label().parse() == Ok(status));
        known.copied().unwrap_or(Self::Other)
    }
}

/// Upper bounds of the durations of requests, seconds: a scrape of 24 SoCs takes a few milliseconds, one of 10,000 some hundred, and
/// who finds no turn waits 5 s.
pub const REQUEST_BUCKETS: [f64; 5] = [0.005, 0.025, 0.1, 0.5, 2.5];

/// The requests to one handler that were answered.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HandlerRequests {
    /// By `WebCode::index()`.
    pub codes: [u64; WebCode::COUNT],
    /// How many took how long; the last bucket has no upper bound.
    pub durations: [u64; REQUEST_BUCKETS.len() + 1],
    /// The sum of all durations.
    pub sum: Duration,
}

/// What metrics show of the web side.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WebStatus {
    /// Open connections.
    pub connections: u64,
    /// Connections closed over a limit, by `Refusal::index()`.
    pub refused: [u64; Refusal::COUNT],
    /// Open event streams.
    pub event_streams: u64,
    /// Answered requests, by `WebHandler::index()`.
    pub requests: [HandlerRequests; WebHandler::COUNT],
    /// How loading web.config.file went; `None` without one.
    pub config: Option<ConfigStatus>,
    /// When the certificate that web clients see expires.
    pub certificate: Option<SystemTime>,
}

words! {
    /// Where something waits between the exporter's parts.
    QueueName {
        /// Events of sessions, for the fleet.
        Events = "events",
        /// Questions of web clients, for the fleet.
        Questions = "questions",
        /// Rows, for STATE_DB.
        Rows = "rows",
        /// Maintenance notices, for APPL_DB.
        Notices = "notices",
        /// Rounds that wait for a place.
        Rounds = "rounds",
        /// Dials that wait for their turn.
        Dials = "dials",
    }
}

/// How much waits, by `QueueName::index()`.
pub type QueueLengths = [u64; QueueName::COUNT];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_code() {
        for (status, code) in [
            (200, WebCode::Ok),
            (504, WebCode::NoResult),
            (201, WebCode::Other),
            (0, WebCode::Other),
        ] {
            assert_eq!(WebCode::of(status), code, "{status}");
        }
    }
}
