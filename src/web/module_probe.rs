//! `GET /probe?module=M&target=T`: one round of a configured target of a module, in the metrics of blackbox_exporter.
//!
//! No connection is made for it: the round runs on the target's standing channel. Any other target is refused, and nothing is sent
//! to it, so that no one can make this exporter scan a network.

use std::fmt::{self, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout};

use super::scrape_patience::patience;
use crate::model::{
    EndedRound, Health, ModuleKind, ModuleSpec, ModuleStatus, ModuleTarget, ProbeResult, Said, Security,
    quoted,
};
use crate::telemetry::exposition::TextFormat;

/// How long a round may wait for its turn, in addition to its own time.
const TURN: Duration = Duration::from_secs(5);

/// Finds a target of a module by the module's name, and the target's name or address.
pub type ModuleSource = Arc<dyn Fn(&str, &str) -> ModuleLookup + Send + Sync>;

/// What was found.
#[derive(Debug)]
pub enum ModuleLookup {
    /// There is no such module.
    UnknownModule,
    /// The module has no such target.
    UnknownTarget,
    /// A target.
    Found(ModuleFound),
}

/// A target, and how to ask it.
pub struct ModuleFound {
    /// Its module.
    pub spec: Arc<ModuleSpec>,
    /// The target.
    pub target: Arc<ModuleTarget>,
    /// Its status after a round. `None`: the target has left, or the exporter is stopping.
    pub round: Pin<Box<dyn Future<Output = Option<Arc<ModuleStatus>>> + Send>>,
}

impl fmt::Debug for ModuleFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModuleFound")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// What a request asks for.
#[derive(Debug, Default, PartialEq)]
struct ProbeRequest {
    module: Option<String>,
    target: Option<String>,
    debug: bool,
}

impl ProbeRequest {
    fn of(uri: &Uri) -> Self {
        let mut asked = Self::default();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or("").as_bytes()) {
            match &*name {
                "module" if asked.module.is_none() => asked.module = Some(value.into_owned()),
                "target" if asked.target.is_none() => asked.target = Some(value.into_owned()),
                "debug" => asked.debug = value == "true",
                _ => {}
            }
        }
        asked
    }
}

/// What a round gave, for the metrics.
struct ProbeAnswer {
    success: bool,
    code: Option<u8>,
    took: Duration,
    status: Option<Arc<ModuleStatus>>,
}

pub(super) async fn answer(source: &ModuleSource, uri: &Uri, headers: &HeaderMap) -> Response {
    let asked = ProbeRequest::of(uri);
    let missing = |name: &str| {
        refuse(
            StatusCode::BAD_REQUEST,
            &format!("the parameter {name} is missing"),
        )
    };
    let (Some(module), Some(name)) = (&asked.module, &asked.target) else {
        return missing(if asked.module.is_none() {
            "module"
        } else {
            "target"
        });
    };
    let ModuleFound { spec, target, round } = match source(module, name) {
        ModuleLookup::UnknownModule => {
            return refuse(
                StatusCode::BAD_REQUEST,
                &format!("there is no module {}", quoted(module)),
            );
        }
        ModuleLookup::UnknownTarget => {
            let text = format!(
                "{} is not a configured target of the module {}",
                quoted(name),
                quoted(module)
            );
            return refuse(StatusCode::FORBIDDEN, &text);
        }
        ModuleLookup::Found(found) => found,
    };
    let longest = spec.probe.timeout + TURN;
    let within = patience(headers).map_or(longest, |patience| patience.min(longest));
    let began = Instant::now();
    let outcome = match timeout(within, round).await {
        Ok(Some(status)) => of_round(status),
        Ok(None) => return refuse(StatusCode::SERVICE_UNAVAILABLE, "the target has just left"),
        Err(_) => ProbeAnswer {
            success: false,
            code: ProbeResult::DeadlineExceeded.code(),
            took: began.elapsed(),
            status: None,
        },
    };
    let metrics = metrics(&spec, &outcome, within.min(spec.probe.timeout));
    if asked.debug {
        let text = debug(&spec, &target, &outcome, &metrics);
        return ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response();
    }
    ([(header::CONTENT_TYPE, TextFormat::Text.content_type())], metrics).into_response()
}

fn refuse(status: StatusCode, text: &str) -> Response {
    (status, format!("{text}\n")).into_response()
}

fn of_round(status: Arc<ModuleStatus>) -> ProbeAnswer {
    let last = status.asked.recent.back();
    ProbeAnswer {
        // Since the round ended, a Watch may have reported something newer.
        success: status.asked.success == Some(true),
        code: last.and_then(|last| last.result.code()),
        took: last.and_then(|last| last.took).unwrap_or_default(),
        status: Some(status),
    }
}

/// The metrics of blackbox_exporter.
fn metrics(spec: &ModuleSpec, outcome: &ProbeAnswer, within: Duration) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, samples: &[(String, f64)]| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} gauge");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let mut plain = |name: &str, help: &str, value: f64| gauge(name, help, &[(String::new(), value)]);
    plain(
        "probe_success",
        "Whether the probe was a success",
        f64::from(u8::from(outcome.success)),
    );
    let took = outcome.took.as_secs_f64();
    plain("probe_duration_seconds", "How long the probe took, seconds", took);
    let within = within.as_secs_f64();
    plain(
        "probe_timeout_seconds",
        "How long the probe might take, seconds",
        within,
    );
    if let Some(code) = outcome.code {
        plain("probe_grpc_status_code", "The gRPC status code", f64::from(code));
    }
    let is_tls = matches!(spec.channel.security, Security::Tls(_));
    plain(
        "probe_grpc_ssl",
        "Whether the channel uses TLS",
        f64::from(u8::from(is_tls)),
    );
    let expiry = outcome
        .status
        .as_ref()
        .and_then(|status| status.channel.certificate_expiry);
    if let Some(expiry) = expiry.and_then(|at| at.duration_since(UNIX_EPOCH).ok()) {
        let help = "When the peer's certificate expires, Unix time";
        plain("probe_ssl_earliest_cert_expiry", help, expiry.as_secs_f64());
    }
    if let Some(health) = one_health(spec, outcome) {
        let statuses = [
            ("UNKNOWN", Health::Unknown),
            ("SERVING", Health::Serving),
            ("NOT_SERVING", Health::NotServing),
            ("SERVICE_UNKNOWN", Health::ServiceUnknown),
        ];
        let samples = statuses.map(|(name, status)| {
            // The protocol has no status for a peer without a health service.
            let is_it = status == health || status == Health::Unknown && health == Health::Unimplemented;
            (
                format!("{{serving_status=\"{name}\"}}"),
                f64::from(u8::from(is_it)),
            )
        });
        let help = "The status of the service: 1 for the current one";
        gauge("probe_grpc_healthcheck_response", help, &samples);
    }
    text
}

/// The status of a grpc_health module's only service.
fn one_health(spec: &ModuleSpec, outcome: &ProbeAnswer) -> Option<Health> {
    let ModuleKind::GrpcHealth(check) = &spec.kind else {
        return None;
    };
    if check.services.len() != 1 {
        return None;
    }
    let known = outcome.status.as_ref().and_then(|status| match &status.said {
        Said::Health(healths) => healths.first().copied(),
        _ => None,
    });
    Some(known.unwrap_or_default())
}

/// For people: what the last rounds gave, the metrics, and the module without its secrets.
fn debug(spec: &ModuleSpec, target: &ModuleTarget, outcome: &ProbeAnswer, metrics: &str) -> String {
    let mut text = format!(
        "Rounds of {} ({}), the newest last:\n",
        target.name, target.address
    );
    match &outcome.status {
        None => text.push_str("the wait was over before the round\n"),
        Some(status) => {
            let channel = status.channel.state.upper();
            let _ = writeln!(text, "channel: {channel}");
            for EndedRound {
                at,
                result,
                success,
                took,
                detail,
            } in &status.asked.recent
            {
                let at = crate::soc::looked::utc(*at);
                let success = if *success { "success" } else { "no success" };
                let took = took.map_or_else(|| "nothing was sent".to_owned(), |took| format!("{took:?}"));
                let detail = detail.as_deref().unwrap_or("");
                let _ = writeln!(text, "{at} {result} ({success}) {took} {detail}");
            }
        }
    }
    let _ = write!(text, "\nMetrics:\n{metrics}\nModule:\n{:#?}\n", Shown(spec));
    text
}

/// A module without its other targets. Secrets in it show themselves as such.
struct Shown<'a>(&'a ModuleSpec);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(&self.0.name)
            .field("kind", &self.0.kind)
            .field("interval", &self.0.probe.interval)
            .field("timeout", &self.0.probe.timeout)
            .field("channel", &self.0.channel)
            .field("metadata", &self.0.metadata)
            .finish()
    }
}
