//! grpc-helper's service information: which services a server has, and which versions of their interfaces it speaks.
//!
//! Two dialects have the same reply: `/RpcServerService/info`, and the older `/InfoService/get`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio::time::Instant;
use tonic::Code;

use super::job_changes::JobChanges;
use super::module_round::{ask_all, detail, left, report_of_one, round_of};
use super::{ModuleRound, ModuleSignal};
use crate::model::{
    Compatibility, InfoDialect, ModuleKind, ModuleReport, ProbeResult, ProbeSettings, Said, ServiceCheck,
    ServiceVersion, ServiceVersions, text,
};
use crate::soc::probe::{QueryAnswer, Ready, RoundLimiter};
use crate::soc::transport::Transport;
use crate::soc::transport::raw_call::{self, RawReply};
use dualtor_proto::wire::{Malformed, WireFields, WireValue};

const SERVER: &str = "/RpcServerService/info";
const INFO: &str = "/InfoService/get";
/// A real reply is some kB.
const MAX_REPLY: u32 = 4 * 1024 * 1024;
/// Services that are shown, beside those of the configuration.
const MOST_OTHERS: usize = 16;
/// The longest name of a service, in characters.
const MAX_NAME: usize = 64;

#[derive(Debug)]
pub(in crate::soc) struct ServiceInfo {
    changes: JobChanges,
    /// The epoch on which the peer had only the older dialect; 0: none.
    older_on: Arc<AtomicU64>,
}

impl ServiceInfo {
    pub(super) fn new(changes: JobChanges) -> Self {
        Self {
            changes,
            older_on: Arc::default(),
        }
    }

    pub(super) fn round(
        &self,
        ready: Option<Ready>,
        settings: ProbeSettings,
        limiter: Arc<RoundLimiter>,
    ) -> ModuleRound {
        let (job, older_on) = (self.changes.job(), self.older_on.clone());
        round_of(async move {
            match &job.spec.kind {
                ModuleKind::ServiceInfo(check) => run(ready, check, &older_on, settings, &limiter).await,
                // A session whose kind changes is started anew.
                _ => ModuleReport::not_ready(),
            }
        })
    }

    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> ModuleSignal {
        self.changes.next().await
    }
}

/// What the reply says, or why it is not a success.
#[derive(Debug, Default)]
struct Info {
    versions: Vec<ServiceVersion>,
    /// The server's own result, if it is not 0.
    refused: Option<Arc<str>>,
}

async fn run(
    ready: Option<Ready>,
    check: &ServiceCheck,
    older_on: &AtomicU64,
    settings: ProbeSettings,
    limiter: &RoundLimiter,
) -> ModuleReport {
    let epoch = ready.as_ref().map_or(0, |ready| ready.epoch);
    let question = async |transport: &Transport| ask(transport, check, (older_on, epoch), settings).await;
    let (epoch, ended) = match ask_all(ready, settings, limiter, [question]).await {
        Ok(ended) => ended,
        Err(report) => return report,
    };
    let mut refused = None;
    let mut report = report_of_one(epoch, ended, |info: Info| {
        refused = info.refused;
        Said::Services(Some(judge(check, info.versions)))
    });
    if let Some(why) = refused {
        report.result = ProbeResult::UnexpectedReply;
        report.said = None;
        report.detail = Some(why);
    }
    report.success = report.result == ProbeResult::Ok && report.said.as_ref().is_some_and(is_compatible);
    report
}

fn is_compatible(said: &Said) -> bool {
    let Said::Services(Some(versions)) = said else {
        return false;
    };
    let mut clients = versions.clients.iter();
    clients.all(|(_, compatibility)| *compatibility == Compatibility::Compatible)
}

async fn ask(
    transport: &Transport,
    check: &ServiceCheck,
    (older_on, epoch): (&AtomicU64, u64),
    settings: ProbeSettings,
) -> QueryAnswer<Info> {
    let began = Instant::now();
    let transport = transport.clone().with_limit(MAX_REPLY);
    let older = older_on.load(Ordering::Relaxed) == epoch;
    let first = match check.dialect {
        InfoDialect::Info => INFO,
        InfoDialect::Auto if older => INFO,
        InfoDialect::Auto | InfoDialect::Server => SERVER,
    };
    let reply = raw_call::unary(&transport, &PathAndQuery::from_static(first), Bytes::new()).await;
    let reply = match reply {
        RawReply::Failed(status)
            if status.code() == Code::Unimplemented && check.dialect == InfoDialect::Auto && !older =>
        {
            older_on.store(epoch, Ordering::Relaxed);
            let transport = transport.for_queries(left(began, settings));
            raw_call::unary(&transport, &PathAndQuery::from_static(INFO), Bytes::new()).await
        }
        reply => reply,
    };
    match reply {
        RawReply::One(reply) => match read(&reply, check) {
            Ok(info) => QueryAnswer::ok(info),
            Err(Malformed) => QueryAnswer::invalid("the reply is not a MultiServiceInfo"),
        },
        RawReply::Unreadable(what) => QueryAnswer::invalid(what),
        RawReply::Failed(status) => QueryAnswer::failed(&status),
    }
}

/// A MultiServiceInfo: 1 the result, 2 the services. Only services that are shown are kept.
fn read(reply: &[u8], check: &ServiceCheck) -> Result<Info, Malformed> {
    let mut info = Info::default();
    let mut others = 0;
    for field in WireFields::of(reply) {
        match field? {
            (1, WireValue::Bytes(result)) => info.refused = refusal(result)?,
            (2, WireValue::Bytes(service)) => {
                let service = version(service)?;
                let is_known = info.versions.iter().any(|known| known.name == service.name);
                let is_wanted = check.clients.iter().any(|(client, _)| *client == service.name);
                if is_known || !is_wanted && others == MOST_OTHERS {
                    continue;
                }
                others += usize::from(!is_wanted);
                info.versions.push(service);
            }
            (1 | 2, _) => return Err(Malformed),
            _ => {}
        }
    }
    Ok(info)
}

/// A Result: 1 a code, 2 a message. What else it has is not for us.
fn refusal(result: &[u8]) -> Result<Option<Arc<str>>, Malformed> {
    let (mut code, mut message) = (0, "");
    for field in WireFields::of(result) {
        match field? {
            (1, WireValue::Varint(value)) => code = value as i32,
            (2, WireValue::Bytes(text)) => message = std::str::from_utf8(text).map_err(|_| Malformed)?,
            (1 | 2, _) => return Err(Malformed),
            _ => {}
        }
    }
    let why = || detail(format_args!("the server's result is code {code}: {message}"));
    Ok((code != 0).then(why))
}

/// A ServiceInfo: 1 the name, 3 the current version, 4 the oldest one that is supported.
fn version(service: &[u8]) -> Result<ServiceVersion, Malformed> {
    let (mut name, mut current, mut supported) = ("", 0, 0);
    for field in WireFields::of(service) {
        match field? {
            (1, WireValue::Bytes(text)) => name = std::str::from_utf8(text).map_err(|_| Malformed)?,
            (3, WireValue::Varint(value)) => current = value as u32,
            (4, WireValue::Varint(value)) => supported = value as u32,
            (1 | 3 | 4, _) => return Err(Malformed),
            _ => {}
        }
    }
    Ok(ServiceVersion {
        name: text::clean(name, MAX_NAME).into(),
        current,
        supported,
    })
}

/// Whether the clients of the configuration can speak to these services.
fn judge(check: &ServiceCheck, versions: Vec<ServiceVersion>) -> ServiceVersions {
    let clients = check.clients.iter().map(|(client, speaks)| {
        let service = versions.iter().find(|service| service.name == *client);
        let compatibility = match service {
            None => Compatibility::Missing,
            Some(service) if *speaks > service.current => Compatibility::ServerTooOld,
            Some(service) if *speaks < service.supported => Compatibility::ClientTooOld,
            Some(_) => Compatibility::Compatible,
        };
        (client.clone(), compatibility)
    });
    ServiceVersions {
        clients: clients.collect(),
        services: versions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualtor_proto::wire::put_bytes;

    fn check(clients: &[(&str, u32)]) -> ServiceCheck {
        ServiceCheck {
            dialect: InfoDialect::Auto,
            clients: clients
                .iter()
                .map(|(name, version)| ((*name).into(), *version))
                .collect(),
        }
    }

    fn item(name: &str, current: u8, supported: u8) -> Vec<u8> {
        let mut item = Vec::new();
        put_bytes(&mut item, 1, name.as_bytes());
        put_bytes(&mut item, 2, b"component 1.2");
        item.extend([3 << 3, current, 4 << 3, supported]);
        item
    }

    fn reply(items: &[Vec<u8>]) -> Vec<u8> {
        let mut reply = Vec::new();
        for item in items {
            put_bytes(&mut reply, 2, item);
        }
        reply
    }

    #[test]
    fn each_client_is_compatible_or_it_is_known_who_is_too_old() {
        use Compatibility::{ClientTooOld, Compatible, Missing, ServerTooOld};
        let check = check(&[("a", 1), ("b", 2), ("c", 4), ("d", 5), ("e", 1)]);
        let items = [item("a", 4, 2), item("b", 4, 2), item("c", 4, 2), item("d", 4, 2)];
        let info = read(&reply(&items), &check).expect("a reply");
        assert_eq!(info.refused, None);
        let found: Vec<_> = judge(&check, info.versions)
            .clients
            .into_iter()
            .map(|(_, found)| found)
            .collect();
        assert_eq!(
            found,
            [ClientTooOld, Compatible, Compatible, ServerTooOld, Missing]
        );
    }

    #[test]
    fn of_a_million_services_only_those_that_are_shown_are_kept() {
        let check = check(&[("wanted", 1)]);
        let mut items: Vec<_> = (0..10_000).map(|n| item(&format!("s{n}"), 1, 1)).collect();
        items.push(item("wanted", 1, 1));
        items.push(item("wanted", 9, 9));
        items.push(item("s3", 7, 7));
        let info = read(&reply(&items), &check).expect("a reply");
        assert_eq!(info.versions.len(), MOST_OTHERS + 1);
        let wanted = info.versions.last().expect("some");
        assert_eq!(
            (&*wanted.name, wanted.current),
            ("wanted", 1),
            "the first of two counts"
        );
    }

    #[test]
    fn a_result_of_the_server_is_quoted_without_its_stack() {
        let mut result = vec![1 << 3, 12];
        put_bytes(&mut result, 2, b"too\nold");
        put_bytes(&mut result, 3, b"secret stack");
        let mut message = Vec::new();
        put_bytes(&mut message, 1, &result);
        let info = read(&message, &check(&[])).expect("a reply");
        assert_eq!(
            info.refused.as_deref(),
            Some("the server's result is code 12: too\u{fffd}old")
        );
        for bad in [
            &b"\x08\x01"[..],
            b"\x0a\x02\x0a\x00",
            b"\x12\x02\x18",
            b"\x12\x03\x0a\x01\xff",
        ] {
            assert_eq!(read(bad, &check(&[])).err(), Some(Malformed), "{bad:?}");
        }
    }
}
