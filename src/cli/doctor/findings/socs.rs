//! Each SoC: is there a route to it, does it answer, and does it report what the switch wants?

use super::{Area, Finding, listed};
use crate::cli::doctor::collected::{Collected, Soc};
use crate::cli::probe_output::milliseconds;
use crate::model::{
    Cause, Facts, Limit, LinkmgrHealth, OrchagentMux, PortFacts, Query, QueryReport, QueryResult, Report,
};
use crate::soc::channel::Failure;
use crate::soc::look::Found;
use crate::sonic::intent;

const AREA: Area = Area::Socs;

pub(super) fn check(seen: &Collected) -> Vec<Finding> {
    if seen.inventory.targets.is_empty() && seen.is_in_the_dark() {
        let text =
            "none was probed: CONFIG_DB cannot be read or is incomplete, so no port is known (see above)";
        return vec![Finding::note(AREA, "SoCs", text, None)];
    }
    let mut facts = Facts::new();
    for databases in &seen.namespaces {
        let appl_db = databases.appl_db.as_ref().ok().map(|tables| &**tables);
        let state_db = databases.state_db.as_ref().ok().map(|tables| &**tables);
        intent::collect(appl_db, state_db, &mut facts);
    }
    let each = seen.socs.iter();
    let found = each.flat_map(|soc| of_soc(soc, facts.get(soc.port()).copied().unwrap_or_default()));
    found.chain(not_probed(seen)).collect()
}

fn not_probed(seen: &Collected) -> Option<Finding> {
    let left = seen.socs.iter().filter(|soc| soc.probe.is_none());
    let names: Vec<String> = left.map(Soc::name).collect();
    let ports: Vec<&str> = names.iter().map(String::as_str).collect();
    let remedy = "run `dualtor-exporter probe <address>`, or doctor again when fewer SoCs hang".to_owned();
    let text = "not probed: no time was left";
    (!ports.is_empty()).then(|| Finding::note(AREA, listed(&ports), text, remedy))
}

fn of_soc(soc: &Soc, facts: PortFacts) -> Vec<Finding> {
    let name = soc.name();
    let mut found = match &soc.probe {
        None => Vec::new(),
        Some(Found::NeverReady(failure)) => vec![never_ready(soc, failure)],
        Some(Found::Ready { after, report, left }) => {
            let mut found = answers(soc, report);
            if let Some(left) = left {
                let alike = "READY, but the connection ended at once".to_owned();
                let text = format!("{}: READY, but {left}", soc.target.address);
                let remedy = "run doctor again. If this happens each time, check the SoC's own log, and how long its server lets a connection live (max_connection_age)";
                found.push(Finding::problem(AREA, name, text, remedy).alike(alike));
            }
            if found.is_empty() {
                found.push(well(soc, &milliseconds(Some(*after)), report));
            }
            found.extend(intent(soc, report, facts));
            found
        }
    };
    found.extend(switchs_own(soc.port().as_str(), facts));
    found
}

/// What is wrong with the port as the switch itself sees it.
fn switchs_own(port: &str, facts: PortFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    if facts.orchagent == OrchagentMux::Error {
        let text =
            "orchagent reports error: the last change of the mux failed, and the forwarding state is unknown";
        let remedy = "check `show muxcable status` and orchagent's log (`docker logs swss`, /var/log/syslog)";
        found.push(Finding::problem(AREA, port, text, remedy).alike(text));
    }
    if facts.intended_error {
        let text = "linkmgrd reports Error in APPL_DB's MUX_CABLE_TABLE: the state that it wants is unknown";
        let remedy = "check `show muxcable status` and linkmgrd's log (`docker logs mux`)";
        found.push(Finding::problem(AREA, port, text, remedy).alike(text));
    }
    if facts.linkmgr == LinkmgrHealth::Unhealthy {
        let (text, remedy) = (
            "linkmgrd reports the port as unhealthy",
            "check `show muxcable status` and linkmgrd's log".to_owned(),
        );
        found.push(Finding::note(AREA, port, text, remedy).alike(text));
    }
    if facts.oper_up == Some(false) {
        let text = "the switch's port is down (PORT_TABLE oper_status)";
        let remedy = |port: &str| format!("check `show interfaces status {port}` and the cable");
        found.push(Finding::note(AREA, port, text, remedy(port)).alike_with(text, remedy("<port>")));
    }
    found
}

fn never_ready(soc: &Soc, failure: &Failure) -> Finding {
    let alike = format!("never READY: {failure}");
    let (alike, remedy) = match &soc.route {
        Ok(from) => {
            let remedy = Limit::told_in(&failure.detail).map(remedy_of_limit);
            (
                format!("{alike} (from {from})"),
                remedy.unwrap_or(remedy_of(failure.cause)),
            )
        }
        // Here route and failure have the same reason.
        Err(_) if failure.cause == Cause::SourceAddress => (alike, remedy_of(failure.cause)),
        Err(why) => (
            format!("{alike}; {why}"),
            "check `show ip route` for the SoC's address, and channel.source_address",
        ),
    };
    let text = format!("{}: {alike}", soc.target.address);
    Finding::problem(AREA, soc.name(), text, remedy).alike(alike)
}

/// What to do about each cause of a failed dial.
fn remedy_of(cause: Cause) -> &'static str {
    match cause {
        Cause::Resolve => "check the name, and this host's name servers",
        Cause::Refused => {
            "the SoC is reachable, but nothing listens on this port: start its gRPC server, or set channel.tcp_port"
        }
        Cause::Unreachable => "check the route (`show ip route`), a firewall on this host, and the cable",
        Cause::ConnectTimeout => {
            "no answer to TCP: check the address (MUX_CABLE soc_ipv4), the cable, and a firewall on the way"
        }
        Cause::SourceAddress => {
            "check channel.source_address: that address must be on this host, and IPv4 or IPv6 as the SoC's is"
        }
        Cause::TlsConfig => "check the certificate files (see Security of the channels above)",
        Cause::TlsExpired => {
            "renew the certificate that is named, and check the clocks of SoC and switch (`date`)"
        }
        Cause::TlsUnknownCa => "put the CA that signed the SoC's certificate into ca_crt (or channel.tls.ca)",
        Cause::TlsWrongName => {
            "set grpc_ssl_credential (or channel.tls.server_name) to the name in the SoC's certificate"
        }
        Cause::TlsClientRefused => {
            "give a client certificate that the SoC accepts: client_crt and client_key, auth_level mutual"
        }
        Cause::Tls => {
            "check that the SoC speaks TLS with HTTP/2 (ALPN h2); if it speaks plain text: type insecure"
        }
        Cause::Closed | Cause::Reset => {
            "the SoC closes the connection: check that a gRPC server listens there, and that both sides use TLS or neither does"
        }
        Cause::KeepaliveTimeout => {
            "TCP is up, but the peer does not answer: its gRPC server hangs, or expects TLS. Restart it, or check GRPCCLIENT"
        }
        Cause::Goaway => {
            "the SoC's gRPC server ended the connection before a query (GOAWAY): it is stopping or overloaded, see its log"
        }
        Cause::Protocol => {
            "no gRPC server answers there, or one that breaks the rules of HTTP/2: check address and port, and that both sides use TLS or neither does"
        }
        Cause::Local => {
            "this host has no file descriptors or memory left (`ulimit -n`, `free`), or this is a defect of the exporter: please report it"
        }
    }
}

/// What is wrong, or odd, with its answers.
fn answers(soc: &Soc, report: &Report) -> Vec<Finding> {
    let (name, address) = (&*soc.name(), soc.target.address);
    let mut found = Vec::new();
    let mut empty = Vec::new();
    // One cause, a lost connection for example, often ends all of them: it is reported once.
    let mut failed: Vec<(Vec<&str>, &QueryReport)> = Vec::new();
    for query in Query::ALL {
        let answer = report.query(*query);
        match answer.result {
            QueryResult::EmptyReply => empty.push(query.label()),
            _ if report.is_answered(*query) => {}
            _ => match failed.iter_mut().find(|(_, other)| is_same(other, answer)) {
                Some((queries, _)) => queries.push(query.label()),
                None => failed.push((vec![query.label()], answer)),
            },
        }
    }
    for (queries, answer) in failed {
        let queries = match &queries[..] {
            [query] => format!("the query {query}"),
            queries if queries.len() == Query::COUNT => "all queries".to_owned(),
            [queries @ .., last] => format!("the queries {} and {last}", queries.join(", ")),
            [] => continue,
        };
        let error = answer
            .error
            .as_deref()
            .map_or(String::new(), |error| format!(": {error}"));
        let alike = format!("READY, but {queries} ended with {}{error}", answer.result);
        let text = format!("{address}: {alike}");
        found.push(Finding::problem(AREA, name, text, remedy_of_answer(answer)).alike(alike));
    }
    if !empty.is_empty() {
        let alike = format!(
            "READY, but empty replies to {}: these values are unknown. SONiC's NIC simulator sends such replies",
            empty.join(", ")
        );
        found.push(Finding::note(AREA, name, format!("{address}: {alike}"), None).alike(alike));
    }
    if report.health.is_bad() {
        let alike = format!("READY, but their health is {}", report.health);
        let (text, remedy) = (
            format!("{address}: READY, but its health is {}", report.health),
            "the SoC itself reports that it does not serve: see its log",
        );
        found.push(Finding::problem(AREA, name, text, remedy).alike(alike));
    }
    found
}

/// Whether two queries have ended alike: sizes may differ by what each query's reply is long.
fn is_same(one: &QueryReport, other: &QueryReport) -> bool {
    let words = |answer: &QueryReport| {
        let error = answer.error.as_deref().unwrap_or_default();
        error.replace(|c: char| c.is_ascii_digit(), "")
    };
    one.result == other.result && words(one) == words(other)
}

fn remedy_of_answer(answer: &QueryReport) -> &'static str {
    if answer.is_not_grpc() {
        return "this is not the SoC's gRPC server: check address and port (channel.tcp_port); the SoC's server usually has port 50075";
    }
    match answer.error.as_deref().and_then(Limit::told_in) {
        Some(limit) => remedy_of_limit(limit),
        None => remedy_of_result(answer.result),
    }
}

/// We ended the query or the connection: the SoC's log may not contain the reason.
fn remedy_of_limit(limit: Limit) -> &'static str {
    match limit {
        Limit::Frames => {
            "the exporter ended this connection. The SoC's gRPC server sends far more than its replies: restart it. If it \
             stays, report its software with this line; the limit is fixed"
        }
        Limit::Headers => {
            "the exporter ended this. The SoC sends a very long error text or metadata, a few hundred bytes are usual: its \
             log may have that text. Report its software with this line; the limit is fixed"
        }
        Limit::Heads => {
            "the exporter ended this. No gRPC server sends such heads, but a proxy may: check what answers at this address \
             and port (channel.tcp_port)"
        }
        Limit::Reply => {
            "the exporter ended this. A reply has less than 100 bytes: check that the SoC's own gRPC server answers at this \
             address and port, and the version of its software; the limit is fixed"
        }
    }
}

fn remedy_of_result(result: QueryResult) -> &'static str {
    match result {
        // Never ours: a query that we give up ends with DeadlineExceeded.
        QueryResult::Cancelled => {
            "the SoC's gRPC server cancelled the query itself: see its log. It may be stopping, or have limits of its own"
        }
        QueryResult::DeadlineExceeded => {
            "the SoC is slow or its server hangs: check its load; doctor --timeout 5s shows which of the two it is"
        }
        QueryResult::Unavailable => {
            "the connection was lost, or the SoC reports that it cannot serve: check that its gRPC server stays up (its log), then \
             run doctor again"
        }
        QueryResult::Unimplemented => "the SoC's software does not have this query: update it",
        QueryResult::InvalidReply | QueryResult::Internal => {
            "the SoC's software does not follow the interface: see its log, and report it with the output of `dualtor-exporter probe`"
        }
        QueryResult::ResourceExhausted => {
            "the SoC reports that it is out of resources: see its log and its load"
        }
        QueryResult::Unauthenticated | QueryResult::PermissionDenied => {
            "the SoC refuses us: check the client certificate, and channel.metadata"
        }
        _ => "see the SoC's log",
    }
}

fn well(soc: &Soc, after: &str, report: &Report) -> Finding {
    let from = soc
        .route
        .as_ref()
        .map_or(String::new(), |from| format!(" from {from}"));
    let [(own, to_own), (peer, to_peer)] = report.direction.named(soc.target.side);
    let slowest = milliseconds(report.queries.iter().filter_map(|query| query.took).max());
    let text = format!(
        "{}{from}: READY after {after}, replies within {slowest}; {own} {to_own}, {peer} {to_peer}, version {}, health {}",
        soc.target.address,
        report.version.as_deref().unwrap_or("N/A"),
        report.health
    );
    Finding::ok(AREA, soc.name(), text)
}

/// Whether the SoC does what linkmgrd wants.
fn intent(soc: &Soc, report: &Report, facts: PortFacts) -> Option<Finding> {
    let own = report.direction.seen_from(soc.target.side).own;
    let differs = facts.consistent(own) == Some(false);
    differs.then(|| {
        let text = format!(
            "linkmgrd wants this side {}, but the SoC reports {own}",
            facts.intended
        );
        let remedy = "run doctor again in some seconds: a switchover may be under way. If it stays, check `show muxcable status` and the logs of linkmgrd and ycabled";
        Finding::problem(AREA, soc.name(), text.as_str(), remedy).alike(text)
    })
}
