//! One look at a target of a module, for those who ask once: one dial, one round; and the same as JSON.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::channel::{Channel, Failure, TlsStore};
use super::look::{DialedOnce, dial_once, of_defect};
use super::module::Module;
use super::transport::OutgoingError;
use crate::model::{
    AftKind, AftPlane, Compatibility, Event, InstanceEntries, ModuleEvent, ModuleJob, ModuleKind,
    ModuleReport, ProbeResult, Programmed, RoundReason, Said, ServiceVersion,
};
use crate::runtime::defect::caught;

/// What one look at a target of a module shows.
#[derive(Debug)]
pub struct ModuleLooked {
    /// The module, and the target.
    pub job: Arc<ModuleJob>,
    /// When the peer's certificate expires.
    pub expiry: Option<SystemTime>,
    /// From the dial to READY, and the round; or why it was never READY.
    pub found: Result<(Duration, ModuleReport), Failure>,
}

impl ModuleLooked {
    /// Dials once, and runs one round if the channel becomes READY.
    pub async fn at(job: Arc<ModuleJob>, tls: &TlsStore) -> Result<Self, OutgoingError> {
        let looked = caught(Box::pin(look_once(job.clone(), tls))).await;
        looked.unwrap_or_else(|defect| {
            Ok(Self {
                job,
                expiry: None,
                found: Err(of_defect(&defect)),
            })
        })
    }

    /// What was found about each service of a grpc_health module.
    pub fn healths(&self) -> Vec<(Arc<str>, &'static str)> {
        let (ModuleKind::GrpcHealth(check), Some(Said::Health(healths))) = (&self.job.spec.kind, self.said())
        else {
            return Vec::new();
        };
        let each = check.services.iter().cloned().zip(healths);
        each.map(|(service, health)| (service, health.label())).collect()
    }

    /// The reply of a grpc_unary module, as JSON; `None`: there is none, or it is too long.
    pub fn reply(&self) -> Option<&str> {
        match self.said() {
            Some(Said::Reply(Some(reply))) => reply.json.as_deref(),
            _ => None,
        }
    }

    /// What the peer reported in the round.
    pub fn said(&self) -> Option<&Said> {
        let report = self.found.as_ref().ok().map(|(_, report)| report);
        report.and_then(|report| report.said.as_ref())
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let report = self.found.as_ref().ok().map(|(_, report)| report);
        let failure = self.found.as_ref().err();
        let after = self.found.as_ref().ok().map(|(after, _)| after.as_secs_f64());
        let result = report.map_or(ProbeResult::Unavailable, |report| report.result);
        let healths: Map<String, Value> = self
            .healths()
            .into_iter()
            .map(|(service, health)| (service.to_string(), health.into()))
            .collect();
        json!({
            "module": &*self.job.spec.name,
            "kind": self.job.spec.kind.label(),
            "target": &*self.job.target.name,
            "address": &*self.job.target.address,
            "success": report.is_some_and(|report| report.success),
            "result": result.label(),
            "code": result.code(),
            "detail": report.and_then(|report| report.detail.as_deref()),
            "duration_seconds": report.and_then(|report| report.took).map(|took| took.as_secs_f64()),
            "channel": {
                "state": if failure.is_some() { "TRANSIENT_FAILURE" } else { "READY" },
                "cause": failure.map(|failure| failure.cause.label()),
                "detail": failure.map(|failure| &*failure.detail),
                "ready_after_seconds": after,
            },
            "health": matches!(self.job.spec.kind, ModuleKind::GrpcHealth(_)).then_some(healths),
            "reply": self.reply().and_then(|reply| serde_json::from_str::<Value>(reply).ok()),
            "services": self.said().and_then(services_json),
            "gribi": self.said().and_then(gribi_json),
        })
    }
}

/// What a server of grpc-helper reported, for programs.
pub fn services_json(said: &Said) -> Option<Value> {
    let Said::Services(versions) = said else {
        return None;
    };
    let versions = versions.as_ref()?;
    let service = |service: &ServiceVersion| {
        let mut clients = versions.clients.iter();
        let compatibility = clients.find(|(client, _)| *client == service.name);
        json!({
            "name": &*service.name,
            "current": service.current,
            "supported": service.supported,
            "compatibility": compatibility.map(|(_, compatibility)| compatibility.label()),
        })
    };
    let missing = versions
        .clients
        .iter()
        .filter(|(_, found)| *found == Compatibility::Missing);
    let missing = missing.map(|(client, found)| {
        json!({"name": &**client, "current": null, "supported": null, "compatibility": found.label()})
    });
    Some(versions.services.iter().map(service).chain(missing).collect())
}

/// How many entries a switch's routing tables have, for programs.
pub fn gribi_json(said: &Said) -> Option<Value> {
    let Said::Gribi(counts) = said else {
        return None;
    };
    let instance = |(name, of): &(Arc<str>, InstanceEntries)| {
        let kinds = AftKind::ALL
            .iter()
            .map(|kind| (kind.label().to_owned(), of.entries[kind.index()].into()));
        let planes = AftPlane::ALL.iter().map(|plane| {
            let counts = &of.planes[plane.index()];
            let statuses = Programmed::ALL
                .iter()
                .map(|status| (status.label().to_owned(), counts[status.index()].into()));
            (plane.label().to_owned(), Value::Object(statuses.collect()))
        });
        let entries = Value::Object(kinds.collect());
        let planes = Value::Object(planes.collect());
        (name.to_string(), json!({"entries": entries, "planes": planes}))
    };
    Some(Value::Object(
        counts.as_ref()?.instances.iter().map(instance).collect(),
    ))
}

async fn look_once(job: Arc<ModuleJob>, tls: &TlsStore) -> Result<ModuleLooked, OutgoingError> {
    let settings = job.spec.probe;
    let channel = Channel::new(job.peer(), Arc::default(), tls)?;
    let (_jobs, changes) = watch::channel(job.clone());
    let (_now, asked) = mpsc::channel(1);
    let mut module = Module::of_job(changes, asked);
    module.keep_reply();
    let round = move |ready| {
        let (round, began) = (
            module.round(Some(ready), settings, Arc::default()),
            Instant::now(),
        );
        round.map(move |report| report_of(module.finish(report, began, RoundReason::Ready)))
    };
    let DialedOnce { expiry, found } = dial_once(channel, round).await;
    let found = found.map(|(after, report, _)| (after, report));
    Ok(ModuleLooked { job, expiry, found })
}

/// A module's round ends with its report.
fn report_of(event: Event) -> ModuleReport {
    match event {
        Event::Module(event) => match *event {
            ModuleEvent::Round(report) => report,
            ModuleEvent::Health(..) => ModuleReport::not_ready(),
        },
        Event::Channel(_) | Event::Round(_) | Event::Maintenance(_) | Event::Health(_) => {
            ModuleReport::not_ready()
        }
    }
}
