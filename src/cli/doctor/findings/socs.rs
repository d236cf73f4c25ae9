//! Each SoC: is there a way to it, does it answer, and is what it says what the switch wants?

use super::{Area, Finding, listed};
use crate::channel::Failure;
use crate::cli::doctor::collected::{Collected, Soc};
use crate::cli::probe::{Found, milliseconds};
use crate::facts;
use crate::model::{
    Cause, Facts, Health, LinkmgrHealth, OrchagentMux, PortFacts, Query, QueryResult, Report, Side,
};

const AREA: Area = Area::Socs;

pub(super) fn check(seen: &Collected) -> Vec<Finding> {
    let mut facts = Facts::new();
    for databases in &seen.namespaces {
        let appl_db = databases.appl_db.as_ref().ok().map(|tables| &**tables);
        let state_db = databases.state_db.as_ref().ok().map(|tables| &**tables);
        facts::collect(appl_db, state_db, &mut facts);
    }
    let each = seen.socs.iter();
    let found = each.flat_map(|soc| of_soc(soc, facts.get(soc.port()).copied().unwrap_or_default()));
    found.chain(not_probed(seen)).collect()
}

fn not_probed(seen: &Collected) -> Option<Finding> {
    let left = seen.socs.iter().filter(|soc| soc.probe.is_none());
    let ports: Vec<&str> = left.map(|soc| soc.port().as_str()).collect();
    let remedy = "`dualtor-exporter probe <address>`, or doctor again once fewer SoCs hang".to_owned();
    let text = "not probed: the time was over";
    (!ports.is_empty()).then(|| Finding::note(AREA, listed(&ports), text, remedy))
}

fn of_soc(soc: &Soc, facts: PortFacts) -> Vec<Finding> {
    let port = soc.port().as_str();
    let mut found = match &soc.probe {
        None => Vec::new(),
        Some(Found::NeverReady(failure)) => vec![never_ready(soc, failure)],
        Some(Found::Ready { after, report, left }) => {
            let mut found = answers(soc, report);
            if let Some(left) = left {
                let alike = "READY, and then its connection was over at once".to_owned();
                let text = format!("{}: READY, but {}", soc.target.address, left.text());
                let remedy = "look again; if it is so each time: the SoC's own log, and how long its server lets a connection live \
                              (max_connection_age)";
                found.push(Finding::problem(AREA, port, text, remedy).alike(alike));
            }
            if found.is_empty() {
                found.push(well(soc, &milliseconds(Some(*after)), report));
            }
            found.extend(intent(soc, report, facts));
            found
        }
    };
    found.extend(switchs_own(port, facts));
    found
}

/// What is wrong with the port as the switch itself sees it.
fn switchs_own(port: &str, facts: PortFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    if facts.orchagent == OrchagentMux::Error {
        let text = "orchagent says error: the last change of the mux failed, and how the switch forwards is not known";
        let remedy = "`show muxcable status`, and orchagent's log (`docker logs swss`, /var/log/syslog)";
        found.push(Finding::problem(AREA, port, text, remedy).alike(text));
    }
    if facts.intended_error {
        let text = "linkmgrd says Error in APPL_DB's MUX_CABLE_TABLE: what it wants is not known";
        let remedy = "`show muxcable status`, and linkmgrd's log (`docker logs mux`)";
        found.push(Finding::problem(AREA, port, text, remedy).alike(text));
    }
    if facts.linkmgr == LinkmgrHealth::Unhealthy {
        let (text, remedy) = (
            "linkmgrd calls the port unhealthy",
            "`show muxcable status`, and linkmgrd's log".to_owned(),
        );
        found.push(Finding::note(AREA, port, text, remedy).alike(text));
    }
    if facts.oper_up == Some(false) {
        let text = "the switch's port is down (PORT_TABLE oper_status)";
        let remedy = |port: &str| format!("`show interfaces status {port}`, and the cable");
        found.push(Finding::note(AREA, port, text, remedy(port)).alike_with(text, remedy("<port>")));
    }
    found
}

fn never_ready(soc: &Soc, failure: &Failure) -> Finding {
    let alike = format!("never READY: {failure}");
    let (alike, remedy) = match &soc.route {
        Ok(from) => (format!("{alike} (from {from})"), remedy_of(failure.cause)),
        // Here both say the same.
        Err(_) if failure.cause == Cause::SourceAddress => (alike, remedy_of(failure.cause)),
        Err(why) => (
            format!("{alike}; {why}"),
            "check `show ip route` for the SoC's address, and channel.source_address",
        ),
    };
    let text = format!("{}: {alike}", soc.target.address);
    Finding::problem(AREA, soc.port().as_str(), text, remedy).alike(alike)
}

/// What to do about each cause of a failed dial.
fn remedy_of(cause: Cause) -> &'static str {
    match cause {
        Cause::Refused => "the SoC is there, but nobody listens: start its gRPC server, or set channel.port",
        Cause::Unreachable => "check the route (`show ip route`), a firewall on this host, and the cable",
        Cause::ConnectTimeout => {
            "no answer to TCP: check the address (MUX_CABLE soc_ipv4), the cable, and a firewall on the way"
        }
        Cause::SourceAddress => {
            "check channel.source_address: that address must be on this host, and IPv4 or IPv6 as the SoC's is"
        }
        Cause::TlsConfig => "check the certificate files (see the security of the channels above)",
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
            "the SoC hangs up: check that a gRPC server listens there, and that both speak TLS or both do not"
        }
        Cause::KeepaliveTimeout => {
            "TCP is up but the peer is mute: its gRPC server hangs, or expects TLS; restart it, or see \
             GRPCCLIENT"
        }
        Cause::Goaway => {
            "the SoC's gRPC server ended the connection before a query (GOAWAY): it is stopping or overloaded, see its log"
        }
        Cause::Protocol => {
            "no gRPC server answers there: check address and port, and that both speak TLS or both do not"
        }
        Cause::Local => {
            "this host is out of file descriptors or memory (`ulimit -n`, `free`), or it is as said a defect to report"
        }
    }
}

/// What is wrong, or odd, with its answers.
fn answers(soc: &Soc, report: &Report) -> Vec<Finding> {
    let (port, address) = (soc.port().as_str(), soc.target.address);
    let mut found = Vec::new();
    let mut empty = Vec::new();
    for query in Query::ALL {
        let answer = report.query(*query);
        match answer.result {
            QueryResult::Ok => {}
            QueryResult::EmptyReply => empty.push(query.label()),
            QueryResult::Unimplemented
                if *query == Query::Health && report.health == Health::Unimplemented => {}
            result => {
                let error = answer
                    .error
                    .as_deref()
                    .map_or(String::new(), |error| format!(": {error}"));
                let alike = format!("READY, but the query {query} ended with {result}{error}");
                let text = format!("{address}: {alike}");
                let remedy = if answer.is_not_grpc() {
                    "another server has this address: check it and the port (channel.port), the SoC's gRPC server \
                     usually has 50075"
                } else {
                    remedy_of_result(result)
                };
                found.push(Finding::problem(AREA, port, text, remedy).alike(alike));
            }
        }
    }
    if !empty.is_empty() {
        let alike = format!(
            "READY, but empty replies to {}: unknown. SONiC's NIC simulator does that",
            empty.join(", ")
        );
        found.push(Finding::note(AREA, port, format!("{address}: {alike}"), None).alike(alike));
    }
    if matches!(report.health, Health::NotServing | Health::ServiceUnknown) {
        let alike = format!("READY, but its health is {}", report.health);
        let (text, remedy) = (
            format!("{address}: {alike}"),
            "the SoC itself says it does not serve: see its log",
        );
        found.push(Finding::problem(AREA, port, text, remedy).alike(alike));
    }
    found
}

fn remedy_of_result(result: QueryResult) -> &'static str {
    match result {
        QueryResult::DeadlineExceeded | QueryResult::Cancelled => {
            "the SoC is slow or its server hangs: look at its load; --timeout 5s tells which"
        }
        QueryResult::Unimplemented => "the SoC's software does not have this query: update it",
        QueryResult::InvalidReply => {
            "the SoC's software contradicts the interface: report it with `dualtor-exporter probe`"
        }
        QueryResult::ResourceExhausted => {
            "the reply is too large, or the SoC is out of resources: see its log"
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
    let side = soc.target.side;
    let names = if side == Side::Unknown {
        ["upper", "lower"]
    } else {
        ["self", "peer"]
    };
    // With no side known, the upper ToR's end comes first.
    let seen_from = if side == Side::Unknown { Side::Upper } else { side };
    let direction = report.direction.seen_from(seen_from);
    let [own, peer] = names;
    let slowest = milliseconds(report.queries.iter().filter_map(|query| query.took).max());
    let text = format!(
        "{}{from}: READY after {after}, replies within {slowest}; {own} {}, {peer} {}, version {}, health {}",
        soc.target.address,
        direction.own,
        direction.peer,
        report.version.as_deref().unwrap_or("N/A"),
        report.health
    );
    Finding::ok(AREA, soc.port().as_str(), text)
}

/// Whether the SoC does what linkmgrd wants.
fn intent(soc: &Soc, report: &Report, facts: PortFacts) -> Option<Finding> {
    let own = report.direction.seen_from(soc.target.side).own;
    let differs = facts.consistent(own) == Some(false);
    differs.then(|| {
        let text = format!(
            "linkmgrd wants this side {}, the SoC says it is {own}",
            facts.intended
        );
        let remedy = "look again in some seconds: it may be switching over. If it stays: `show muxcable \
                      status`, linkmgrd's and ycabled's log";
        Finding::problem(AREA, soc.port().as_str(), text.as_str(), remedy).alike(text)
    })
}
