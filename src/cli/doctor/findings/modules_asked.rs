//! The targets of probe modules: whether they can be reached, and whether a round is a success.

use super::{Area, Finding};
use crate::cli::doctor::collected::ModuleSeen;
use crate::model::{Cause, Compatibility, ModuleKind, ModuleReport, ProbeResult, Said, Security, quoted};
use crate::soc::module_look::ModuleLooked;

pub(super) fn check(seen: &[ModuleSeen]) -> Vec<Finding> {
    seen.iter().map(of_target).collect()
}

fn of_target(seen: &ModuleSeen) -> Finding {
    let (subject, address) = (seen.job.id().to_string(), &seen.job.target.address);
    let problem = |text: String, remedy: &str| {
        Finding::problem(Area::Modules, &subject, format!("{address}: {text}"), remedy)
    };
    let looked = match &seen.looked {
        Ok(looked) => looked,
        Err(why) => {
            return problem(
                why.clone(),
                "check that a server answers at this address; then run the doctor again",
            );
        }
    };
    let tls = match &seen.job.spec.channel.security {
        Security::Tls(_) => ", TLS",
        Security::Plain | Security::Unusable(_) => "",
    };
    match &looked.found {
        Err(failure) => problem(format!("never READY: {failure}"), remedy_of(failure.cause)),
        Ok((after, report)) if report.success => {
            let ready = after.as_secs_f64() * 1e3;
            let text = format!(
                "{address}: READY after {ready:.1} ms{tls}, one round: {}",
                report.result
            );
            Finding::ok(Area::Modules, &subject, text)
        }
        Ok((_, report)) => {
            let found = [what(looked), report.detail.as_deref().map(str::to_owned)];
            let found: Vec<String> = found.into_iter().flatten().collect();
            let found = if found.is_empty() {
                String::new()
            } else {
                format!(": {}", found.join("; "))
            };
            problem(
                format!(
                    "READY{tls}, but the round is no success: {}{found}",
                    report.result
                ),
                remedy(&seen.job.spec.kind, report),
            )
        }
    }
}

/// What the peer reported that is no success.
fn what(looked: &ModuleLooked) -> Option<String> {
    let found: Vec<String> = match looked.said()? {
        Said::Health(_) => {
            let each = looked.healths().into_iter();
            each.map(|(service, health)| format!("service {} is {health}", quoted(&service)))
                .collect()
        }
        Said::Services(versions) => {
            let clients = versions.iter().flat_map(|versions| &versions.clients);
            let bad = clients.filter(|(_, found)| *found != Compatibility::Compatible);
            bad.map(|(client, found)| format!("client {}: {found}", quoted(client)))
                .collect()
        }
        // The report's detail has what is not as expected.
        Said::Reply(_) | Said::Gribi(_) => Vec::new(),
    };
    (!found.is_empty()).then(|| found.join(", "))
}

/// What to do about a round that is no success.
fn remedy(kind: &ModuleKind, report: &ModuleReport) -> &'static str {
    match (report.result, kind) {
        (ProbeResult::Unauthenticated | ProbeResult::PermissionDenied, _) => {
            "give the module the login that this server asks for: channel.metadata, or channel.tls.cert and key"
        }
        (ProbeResult::DeadlineExceeded, _) => {
            "the server accepts connections, but did not answer in time: see its log, or give the module a longer timeout"
        }
        (ProbeResult::Unimplemented, _) => {
            "this server does not have the service that the module asks: choose another kind, or another address"
        }
        (ProbeResult::NoSchema, _) => {
            "correct grpc_unary.method and request; if the server has no reflection, give grpc_unary.schema"
        }
        (ProbeResult::UnexpectedReply, ModuleKind::GrpcUnary(_)) => {
            "`dualtor-exporter probe --module` shows the whole reply: correct grpc_unary.expect, or see the log of this server"
        }
        (ProbeResult::NotFound, ModuleKind::GrpcHealth(_)) => {
            "the server does not know this name: correct grpc_health.services"
        }
        (_, ModuleKind::GrpcHealth(_)) => {
            "see the log of this server; if this status is all right, add it to grpc_health.healthy"
        }
        (ProbeResult::Ok, ModuleKind::ServiceInfo(_)) => {
            "upgrade the side that is too old, or correct service_info.clients"
        }
        (ProbeResult::InvalidReply, _) => {
            "this server speaks another protocol: check the address and the module's kind"
        }
        _ => "see the log of this server",
    }
}

/// What to do about a dial that failed.
fn remedy_of(cause: Cause) -> &'static str {
    match cause {
        Cause::Resolve => "check the name, and this host's name servers",
        Cause::Refused => "nothing listens on this port: start the server, or correct the target's address",
        Cause::Unreachable | Cause::ConnectTimeout => {
            "check the address, the route to it (`ip route get`), and firewalls on the way"
        }
        Cause::SourceAddress => {
            "check the module's channel.source_address: it must be an address of this host"
        }
        Cause::TlsConfig => "check the certificate files of the module's channel.tls",
        Cause::TlsExpired => "renew the server's certificate, and check the clocks of both hosts (`date`)",
        Cause::TlsUnknownCa => {
            "put the CA that signed the server's certificate into the module's channel.tls.ca"
        }
        Cause::TlsWrongName => {
            "set the module's channel.tls.server_name to the name in the server's certificate"
        }
        Cause::TlsClientRefused => {
            "give the module a client certificate that the server accepts: channel.tls.cert and key"
        }
        Cause::Tls => {
            "check that the server speaks TLS; if it speaks plain text, remove the module's channel.tls"
        }
        Cause::Closed | Cause::Reset | Cause::KeepaliveTimeout | Cause::Goaway | Cause::Protocol => {
            "check that a gRPC server listens there, and that both sides use TLS or neither does"
        }
        Cause::Local => "this host has no file descriptors or memory left (`ulimit -n`, `free`)",
    }
}
