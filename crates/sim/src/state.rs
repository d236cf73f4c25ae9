//! What a SoC would answer truthfully: directions, links, version, services.
//!
//! [`SocState`] has all values. [`StatePatch`] has only those that a scenario sets.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::pings::PingPolicy;
use super::server_tls::Tls;

/// One value for each ToR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sides<T> {
    /// portid 1.
    pub upper: T,
    /// portid 0.
    pub lower: T,
}

/// Whether a ToR may forward to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// It may.
    Active,
    /// It may not.
    Standby,
}

/// State of a link or of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// Up.
    Up,
    /// Down.
    Down,
}

/// The status of service `""` in `grpc.health.v1.Health`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// SERVING.
    Serving,
    /// NOT_SERVING.
    NotServing,
    /// SERVICE_UNKNOWN.
    ServiceUnknown,
    /// UNKNOWN.
    Unknown,
    /// Check returns NOT_FOUND. Watch reports SERVICE_UNKNOWN in this case.
    NotFound,
    /// There is no health service: UNIMPLEMENTED.
    None,
}

/// The values from which a healthy SoC answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocState {
    /// QueryAdminForwardingPortState. The two sides differ by default, so that a mix-up of the sides is noticed.
    pub directions: Sides<Direction>,
    /// QueryLinkState.
    pub links: Sides<Link>,
    /// QueryOperationPortState.
    pub oper: Sides<Link>,
    /// QueryServerVersion.
    pub version: String,
    /// Health/Check and Health/Watch.
    pub health: Health,
    /// Whether the health service has Watch.
    pub health_watch: bool,
    /// Whether there is a GracefulRestart service.
    pub graceful_restart: bool,
    /// Whether its stream sends the response headers at once and not only with the first notice.
    pub headers_early: bool,
    /// Required metadata: without it each call is FAILED_PRECONDITION.
    pub require_metadata: BTreeMap<String, String>,
    /// SETTINGS_MAX_CONCURRENT_STREAMS of new connections. `None`: no limit is announced.
    pub max_concurrent_streams: Option<u32>,
    /// How new connections judge PINGs. `None`: any number is accepted.
    pub pings: Option<PingPolicy>,
    /// TLS on new connections. `None`: plain text.
    pub tls: Option<Tls>,
}

impl Default for SocState {
    fn default() -> Self {
        let up = Sides {
            upper: Link::Up,
            lower: Link::Up,
        };
        Self {
            directions: Sides {
                upper: Direction::Active,
                lower: Direction::Standby,
            },
            links: up,
            oper: up,
            version: "1.0.0".to_owned(),
            health: Health::Serving,
            health_watch: true,
            graceful_restart: true,
            headers_early: false,
            require_metadata: BTreeMap::new(),
            max_concurrent_streams: None,
            pings: None,
            tls: None,
        }
    }
}

/// A change of one or both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SidesPatch<T> {
    /// portid 1.
    pub upper: Option<T>,
    /// portid 0.
    pub lower: Option<T>,
}

/// A change of a [`SocState`], with the same fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // See SocState.
pub struct StatePatch {
    pub directions: Option<SidesPatch<Direction>>,
    pub links: Option<SidesPatch<Link>>,
    pub oper: Option<SidesPatch<Link>>,
    pub version: Option<String>,
    pub health: Option<Health>,
    pub health_watch: Option<bool>,
    pub graceful_restart: Option<bool>,
    pub headers_early: Option<bool>,
    pub require_metadata: Option<BTreeMap<String, String>>,
    pub max_concurrent_streams: Option<u32>,
    pub pings: Option<PingPolicy>,
    pub tls: Option<Tls>,
}

impl<T: Copy> Sides<T> {
    fn apply(&mut self, patch: Option<SidesPatch<T>>) {
        if let Some(patch) = patch {
            self.upper = patch.upper.unwrap_or(self.upper);
            self.lower = patch.lower.unwrap_or(self.lower);
        }
    }
}

impl SocState {
    /// Changes the values that are set in the patch.
    pub fn apply(&mut self, patch: &StatePatch) {
        fn put<T: Clone>(to: &mut T, from: &Option<T>) {
            if let Some(value) = from {
                to.clone_from(value);
            }
        }
        self.directions.apply(patch.directions);
        self.links.apply(patch.links);
        self.oper.apply(patch.oper);
        put(&mut self.version, &patch.version);
        put(&mut self.health, &patch.health);
        put(&mut self.health_watch, &patch.health_watch);
        put(&mut self.graceful_restart, &patch.graceful_restart);
        put(&mut self.headers_early, &patch.headers_early);
        put(&mut self.require_metadata, &patch.require_metadata);
        if patch.max_concurrent_streams.is_some() {
            self.max_concurrent_streams = patch.max_concurrent_streams;
        }
        if patch.pings.is_some() {
            self.pings = patch.pings;
        }
        if patch.tls.is_some() {
            self.tls.clone_from(&patch.tls);
        }
    }
}

impl<T: Copy> Sides<T> {
    pub(super) fn map<U>(self, change: impl Fn(T) -> U) -> Sides<U> {
        Sides {
            upper: change(self.upper),
            lower: change(self.lower),
        }
    }
}

impl Link {
    pub(super) fn is_up(self) -> bool {
        self == Self::Up
    }
}

impl fmt::Display for StatePatch {
    /// Only what is set, for example `directions upper Standby, version "1.2.3"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn sides<T: fmt::Debug>(name: &str, patch: Option<SidesPatch<T>>) -> Option<String> {
            let SidesPatch { upper, lower } = patch?;
            let upper = upper.map(|value| format!(" upper {value:?}"));
            let lower = lower.map(|value| format!(" lower {value:?}"));
            Some(format!(
                "{name}{}{}",
                upper.unwrap_or_default(),
                lower.unwrap_or_default()
            ))
        }
        fn plain<T: fmt::Debug>(name: &str, value: Option<&T>) -> Option<String> {
            value.map(|value| format!("{name} {value:?}"))
        }
        let parts: Vec<String> = [
            sides("directions", self.directions),
            sides("links", self.links),
            sides("oper", self.oper),
            plain("version", self.version.as_ref()),
            plain("health", self.health.as_ref()),
            plain("health_watch", self.health_watch.as_ref()),
            plain("graceful_restart", self.graceful_restart.as_ref()),
            plain("headers_early", self.headers_early.as_ref()),
            plain("require_metadata", self.require_metadata.as_ref()),
            plain("max_concurrent_streams", self.max_concurrent_streams.as_ref()),
            plain("pings", self.pings.as_ref()),
            plain("tls", self.tls.as_ref().map(|tls| &tls.cert)),
        ]
        .into_iter()
        .flatten()
        .collect();
        f.write_str(&parts.join(", "))
    }
}
