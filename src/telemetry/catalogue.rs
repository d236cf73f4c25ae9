//! The metrics catalogue: each metric's name, type, labels, help and where its samples come from. It stands here and
//! nowhere else; docs/metrics.md is held equal to it by a test.
//!
//! It renders from a snapshot, so a port that has left takes its series along, and no scrape holds a lock.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::{EncodeLabelSet, MetricEncoder, NoLabelSet};

use crate::model::{
    Cause, ChannelState, ConfigStatus, DELAY_BUCKETS, DURATION_BUCKETS, Delays, Facts, Health, LinkmgrHealth,
    MuxDirection, NoticeType, OrchagentMux, Plane, PortFacts, PortState, ProblemKind, Query, QueryResult,
    Refusal, SelfPeer, Side, Snapshot, SocService, SocStatus, StateDbStatus, TlsStatus, WebStatus,
};

use super::process::Process;
use crate::sonic::shadow::Shadow;

/// Everything that one scrape shows.
#[derive(Debug, Clone)]
pub struct Scrape {
    /// The fleet.
    pub snapshot: Snapshot,
    /// The STATE_DB publisher; `None` where no database is used.
    pub state_db: Option<StateDbStatus>,
    /// What the switch's own databases say of its ports; `None` where no database is used.
    pub facts: Option<Arc<Facts>>,
    /// What our rows are compared with; `None` but in shadow mode.
    pub shadow: Option<Shadow>,
    /// Rows of the inventory that cannot be used, by `ProblemKind::index()`.
    pub problems: [u64; ProblemKind::COUNT],
    /// Our own certificates.
    pub tls: TlsStatus,
    /// The configuration's reloads.
    pub config: ConfigStatus,
    /// Who asks us.
    pub web: WebStatus,
    /// Lines of the log that nobody took in time.
    pub lines_dropped: u64,
    /// How late this process has been.
    pub delays: Delays,
    /// This process, where the system tells.
    pub process: Option<Process>,
}

/// A metric's type, as Prometheus names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// `_bucket`, `_sum` and `_count`.
    Histogram,
}

impl Kind {
    /// "counter", "gauge" or "histogram".
    pub const fn label(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// As it is queried, `_total` included.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its labels, comma-separated.
    pub labels: &'static str,
    /// One sentence, with the unit.
    pub help: &'static str,
    pub(super) source: Source,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// The same samples for each SoC.
    Soc(fn(&SocStatus, &mut Samples<'_>) -> fmt::Result),
    /// The same samples for each SoC, from what the switch says of its port too; none where no database is used.
    Switch(fn(&SocStatus, &PortFacts, &mut Samples<'_>) -> fmt::Result),
    /// Samples of the whole exporter.
    Global(fn(&Scrape, &mut Samples<'_>) -> fmt::Result),
}

/// Writes samples of one family.
pub(super) struct Samples<'a> {
    pub(super) encoder: MetricEncoder<'a>,
}

fn unix_time(at: SystemTime) -> Option<Duration> {
    at.duration_since(UNIX_EPOCH).ok()
}

type Label<'a> = (&'static str, &'a str);

impl Samples<'_> {
    fn counter(&mut self, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
        let mut metric = self.encoder.encode_family(labels)?;
        metric.encode_counter::<NoLabelSet, u64, f64>(&value, None)
    }

    fn gauge(&mut self, labels: &impl EncodeLabelSet, value: f64) -> fmt::Result {
        self.encoder.encode_family(labels)?.encode_gauge(&value)
    }

    /// A gauge of the whole exporter: no labels, no braces.
    fn plain(&mut self, value: f64) -> fmt::Result {
        self.encoder.encode_gauge(&value)
    }

    /// A counter of the whole exporter.
    fn plain_counter(&mut self, value: u64) -> fmt::Result {
        self.encoder.encode_counter::<NoLabelSet, u64, f64>(&value, None)
    }

    fn whole(&mut self, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
        self.encoder.encode_family(labels)?.encode_gauge(&value)
    }

    /// A gauge of seconds, absent while there is no value.
    fn seconds(&mut self, labels: &impl EncodeLabelSet, value: Option<Duration>) -> fmt::Result {
        value.map_or(Ok(()), |value| self.gauge(labels, value.as_secs_f64()))
    }

    /// A gauge of Unix seconds, absent while there is no value.
    fn timestamp(&mut self, labels: &impl EncodeLabelSet, value: Option<SystemTime>) -> fmt::Result {
        self.seconds(labels, value.and_then(unix_time))
    }

    /// The same, of the whole exporter.
    fn plain_timestamp(&mut self, value: Option<SystemTime>) -> fmt::Result {
        let value = value.and_then(unix_time);
        value.map_or(Ok(()), |value| self.plain(value.as_secs_f64()))
    }

    /// One 0/1 gauge per state, exactly one of them 1.
    fn states(&mut self, labels: &[Label<'_>], all: &[&'static str], current: &'static str) -> fmt::Result {
        for state in all {
            match labels {
                [] => self.whole(&[("state", *state)], u64::from(*state == current))?,
                [port] => self.whole(&[*port, ("state", *state)], u64::from(*state == current))?,
                [port, side, ..] => {
                    self.whole(&[*port, *side, ("state", *state)], u64::from(*state == current))?;
                }
            }
        }
        Ok(())
    }
}

/// The labels of a closed set, in its order.
macro_rules! labels_of {
    ($name:ident) => {{
        const LABELS: [&str; $name::COUNT] = {
            let mut labels = [""; $name::COUNT];
            let mut n = 0;
            while n < labels.len() {
                labels[n] = $name::ALL[n].label();
                n += 1;
            }
            labels
        };
        &LABELS
    }};
}

fn port(soc: &SocStatus) -> Label<'_> {
    ("port", soc.target.port.as_str())
}

fn sides(
    soc: &SocStatus,
    samples: &mut Samples<'_>,
    all: &[&'static str],
    values: SelfPeer<&'static str>,
) -> fmt::Result {
    samples.states(&[port(soc), ("side", "self")], all, values.own)?;
    samples.states(&[port(soc), ("side", "peer")], all, values.peer)
}

fn port_states(soc: &SocStatus, samples: &mut Samples<'_>, values: SelfPeer<PortState>) -> fmt::Result {
    let (own, peer) = (values.own.label(), values.peer.label());
    sides(soc, samples, labels_of!(PortState), SelfPeer { own, peer })
}

/// Failures that are shown from the start; the others appear with their first.
const USUAL_CAUSES: [Cause; 4] = [
    Cause::Refused,
    Cause::Closed,
    Cause::Reset,
    Cause::KeepaliveTimeout,
];
/// Results that are shown from the start; the others appear with their first.
const USUAL_RESULTS: [QueryResult; 3] = [
    QueryResult::Ok,
    QueryResult::DeadlineExceeded,
    QueryResult::Unavailable,
];

fn failures(soc: &SocStatus, samples: &mut Samples<'_>) -> fmt::Result {
    for cause in Cause::ALL {
        let count = soc.failures[cause.index()];
        if count > 0 || USUAL_CAUSES.contains(cause) {
            samples.counter(&[port(soc), ("cause", cause.label())], count)?;
        }
    }
    Ok(())
}

fn probes(soc: &SocStatus, samples: &mut Samples<'_>) -> fmt::Result {
    for query in Query::ALL {
        for result in QueryResult::ALL {
            let count = soc.probes[query.index()][result.index()];
            if count > 0 || USUAL_RESULTS.contains(result) {
                let labels = [port(soc), ("query", query.label()), ("result", result.label())];
                samples.counter(&labels, count)?;
            }
        }
    }
    Ok(())
}

fn durations(soc: &SocStatus, samples: &mut Samples<'_>) -> fmt::Result {
    let bounds = DURATION_BUCKETS.iter().copied().chain([f64::INFINITY]);
    let mut buckets = [(0.0, 0); DURATION_BUCKETS.len() + 1];
    for (bucket, (bound, count)) in buckets.iter_mut().zip(bounds.zip(soc.durations.counts)) {
        *bucket = (bound, count);
    }
    let count = soc.durations.counts.iter().sum();
    let labels = [port(soc)];
    let mut metric = samples.encoder.encode_family(&labels)?;
    metric.encode_histogram::<NoLabelSet>(soc.durations.sum, count, &buckets, None)
}

fn delays(scrape: &Scrape, samples: &mut Samples<'_>) -> fmt::Result {
    let Delays { counts, sum } = scrape.delays;
    let bounds = DELAY_BUCKETS.iter().copied().chain([f64::INFINITY]);
    let mut buckets = [(0.0, 0); DELAY_BUCKETS.len() + 1];
    for (bucket, (bound, count)) in buckets.iter_mut().zip(bounds.zip(counts)) {
        *bucket = (bound, count);
    }
    let (sum, count) = (sum.as_secs_f64(), counts.iter().sum());
    samples
        .encoder
        .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}

fn transitions(soc: &SocStatus, samples: &mut Samples<'_>) -> fmt::Result {
    for to in ChannelState::ALL {
        samples.counter(&[port(soc), ("to", to.label())], soc.transitions[to.index()])?;
    }
    Ok(())
}

fn mux_direction(soc: &SocStatus, samples: &mut Samples<'_>) -> fmt::Result {
    let direction = soc.observed.direction;
    let (own, peer) = (direction.own.label(), direction.peer.label());
    sides(soc, samples, labels_of!(MuxDirection), SelfPeer { own, peer })
}

fn direction_transitions(soc: &SocStatus, samples: &mut Samples<'_>) -> fmt::Result {
    let count = soc.direction_transitions;
    samples.counter(&[port(soc), ("side", "self")], count.own)?;
    samples.counter(&[port(soc), ("side", "peer")], count.peer)
}

fn health(soc: &SocStatus, samples: &mut Samples<'_>) -> fmt::Result {
    for status in Health::ALL {
        let labels = [port(soc), ("status", status.label())];
        samples.whole(&labels, u64::from(*status == soc.observed.health))?;
    }
    Ok(())
}

/// A SoC sends few kinds of notices: each appears with its first.
fn notices(soc: &SocStatus, samples: &mut Samples<'_>) -> fmt::Result {
    for kind in NoticeType::ALL {
        for plane in Plane::ALL {
            let count = soc.notices[kind.index()][plane.index()];
            if count > 0 {
                let labels = [port(soc), ("type", kind.label()), ("plane", plane.label())];
                samples.counter(&labels, count)?;
            }
        }
    }
    Ok(())
}

fn soc_info(soc: &SocStatus, samples: &mut Samples<'_>) -> fmt::Result {
    let address = soc.target.address.to_string();
    let version = soc.observed.version.as_deref().unwrap_or("");
    samples.whole(
        &[port(soc), ("address", address.as_str()), ("version", version)],
        1,
    )
}

fn side(scrape: &Scrape, samples: &mut Samples<'_>) -> fmt::Result {
    for side in Side::ALL {
        let labels = [("side", side.label())];
        samples.whole(&labels, u64::from(*side == scrape.snapshot.side))?;
    }
    Ok(())
}

fn problems(scrape: &Scrape, samples: &mut Samples<'_>) -> fmt::Result {
    for kind in ProblemKind::ALL {
        samples.whole(&[("reason", kind.label())], scrape.problems[kind.index()])?;
    }
    Ok(())
}

fn differences(scrape: &Scrape, samples: &mut Samples<'_>) -> fmt::Result {
    let Some(shadow) = &scrape.shadow else {
        return Ok(());
    };
    let socs = scrape.snapshot.socs.iter().map(|soc| &**soc);
    let mut differences = shadow.differences(socs).into_iter();
    differences.try_for_each(|(field, ports)| samples.whole(&[("field", field)], ports))
}

/// A 0/1 gauge that is absent while nobody knows.
fn known(soc: &SocStatus, samples: &mut Samples<'_>, value: Option<bool>) -> fmt::Result {
    value.map_or(Ok(()), |value| samples.whole(&[port(soc)], u64::from(value)))
}

fn certificates(scrape: &Scrape, samples: &mut Samples<'_>) -> fmt::Result {
    samples.timestamp(&[("role", "ca")], scrape.tls.ca)?;
    samples.timestamp(&[("role", "client")], scrape.tls.client)
}

fn refusals(scrape: &Scrape, samples: &mut Samples<'_>) -> fmt::Result {
    for reason in Refusal::ALL {
        samples.counter(&[("reason", reason.label())], scrape.web.refused[reason.index()])?;
    }
    Ok(())
}

fn build_info(_: &Scrape, samples: &mut Samples<'_>) -> fmt::Result {
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("revision", env!("DUALTOR_REVISION")),
    ];
    samples.whole(&labels, 1)
}

macro_rules! catalogue {
    ($($name:literal $kind:ident [$labels:literal] $help:literal, $scope:ident $source:expr;)+) => {
        /// Every metric, in the order in which it is shown.
        pub const CATALOGUE: &[Family] = &[$(Family {
            name: $name,
            kind: Kind::$kind,
            labels: $labels,
            help: $help,
            source: Source::$scope($source),
        },)+];
    };
}

catalogue! {
    "dualtor_channel_state" Gauge ["port, state"]
        "State of the gRPC channel to the SoC: 1 for the current state",
        Soc |soc, out| out.states(&[port(soc)], labels_of!(ChannelState), soc.channel.label());
    "dualtor_channel_transitions_total" Counter ["port, to"]
        "Changes of the channel's state, by the new state",
        Soc transitions;
    "dualtor_channel_dials_total" Counter ["port"]
        "Dials begun",
        Soc |soc, out| out.counter(&[port(soc)], soc.dials);
    "dualtor_channel_failures_total" Counter ["port, cause"]
        "Failed dials and lost connections, by cause",
        Soc failures;
    "dualtor_channel_last_transition_timestamp_seconds" Gauge ["port"]
        "When the channel's state last changed, Unix time",
        Soc |soc, out| out.timestamp(&[port(soc)], soc.last_transition);
    "dualtor_keepalive_rtt_seconds" Gauge ["port"]
        "Round trip of the last answered keepalive PING, only while READY",
        Soc |soc, out| out.seconds(&[port(soc)], soc.keepalive_rtt);
    "dualtor_keepalive_interval_seconds" Gauge ["port"]
        "Time from PING to PING: keepalive_time, or the probe interval once the SoC has said too_many_pings",
        Soc |soc, out| out.seconds(&[port(soc)], Some(soc.keepalive_time));
    "dualtor_soc_certificate_expiry_timestamp_seconds" Gauge ["port"]
        "When the certificate expires that the SoC last showed, Unix time; absent without TLS",
        Soc |soc, out| out.timestamp(&[port(soc)], soc.certificate_expiry);
    "dualtor_mux_direction" Gauge ["port, side, state"]
        "Whether this side may forward to the server, as the SoC says: 1 for the current state",
        Soc mux_direction;
    "dualtor_link_state" Gauge ["port, side, state"]
        "State of the link to this side, as the SoC says: 1 for the current state",
        Soc |soc, out| port_states(soc, out, soc.observed.link);
    "dualtor_oper_state" Gauge ["port, side, state"]
        "Operational state of the port to this side, as the SoC says: 1 for the current state",
        Soc |soc, out| port_states(soc, out, soc.observed.oper);
    "dualtor_mux_direction_transitions_total" Counter ["port, side"]
        "Changes between active and standby; an unknown in between is ignored",
        Soc direction_transitions;
    "dualtor_probes_total" Counter ["port, query, result"]
        "Queries attempted, by gRPC status code, EMPTY_REPLY or INVALID_REPLY",
        Soc probes;
    "dualtor_probe_duration_seconds" Histogram ["port"]
        "Time from sending a query to its end",
        Soc durations;
    "dualtor_probe_last_success_timestamp_seconds" Gauge ["port"]
        "End of the last round whose admin query was OK, Unix time",
        Soc |soc, out| out.timestamp(&[port(soc)], soc.last_success);
    "dualtor_health_status" Gauge ["port, status"]
        "What grpc.health.v1 says of the SoC: 1 for the current status",
        Soc health;
    "dualtor_soc_service" Gauge ["port, state"]
        "Maintenance that the SoC has announced: 1 for the current state",
        Soc |soc, out| out.states(&[port(soc)], labels_of!(SocService), soc.service.label());
    "dualtor_soc_notices_total" Counter ["port, type, plane"]
        "Maintenance notices received, each type and plane from its first on",
        Soc notices;
    "dualtor_soc_service_end_timestamp_seconds" Gauge ["port"]
        "When the announced maintenance is due to end, Unix time; absent without one, and while it is open-ended",
        Soc |soc, out| out.timestamp(&[port(soc)], soc.service_end);
    "dualtor_soc_info" Gauge ["port, address, version"]
        "Address that is probed, and the SoC's software version (empty until known); always 1",
        Soc soc_info;
    "dualtor_session_restarts_total" Counter ["port"]
        "Times that the port's session ended by a defect of the exporter and was started anew",
        Soc |soc, out| out.counter(&[port(soc)], soc.session_restarts);
    "dualtor_intended_mux_state" Gauge ["port, state"]
        "What linkmgrd wants the port's mux to be: 1 for the current state",
        Switch |soc, facts, out| out.states(&[port(soc)], labels_of!(MuxDirection), facts.intended.label());
    "dualtor_orchagent_mux_state" Gauge ["port, state"]
        "What orchagent has made the port's mux (error: the change failed): 1 for the current state",
        Switch |soc, facts, out| out.states(&[port(soc)], labels_of!(OrchagentMux), facts.orchagent.label());
    "dualtor_mux_consistent" Gauge ["port"]
        "Whether linkmgrd's intent is what the SoC reports of this side; absent while either is unknown",
        Switch |soc, facts, out| known(soc, out, facts.consistent(soc.observed.direction.own));
    "dualtor_linkmgr_health" Gauge ["port, state"]
        "What linkmgrd thinks of the port: 1 for the current state",
        Switch |soc, facts, out| out.states(&[port(soc)], labels_of!(LinkmgrHealth), facts.linkmgr.label());
    "dualtor_port_oper_up" Gauge ["port"]
        "Whether the switch's port is up; absent while unknown",
        Switch |soc, facts, out| known(soc, out, facts.oper_up);
    "dualtor_side" Gauge ["side"]
        "Which ToR of the rack this is: 1 for the current side",
        Global side;
    "dualtor_inventory_ports" Gauge [""]
        "Ports that are probed",
        Global |scrape, out| out.plain(scrape.snapshot.socs.len() as f64);
    "dualtor_inventory_problems" Gauge ["reason"]
        "Rows of MUX_CABLE that cannot be used, by what is wrong with them",
        Global problems;
    "dualtor_tls_certificate_expiry_timestamp_seconds" Gauge ["role"]
        "When the first of our own TLS files' certificates expires, CA and client, Unix time; absent without TLS",
        Global certificates;
    "dualtor_state_db_up" Gauge [""]
        "Whether STATE_DB answers and takes writes; absent where no rows are written",
        Global |scrape, out| scrape.state_db.map_or(Ok(()), |db| out.plain(f64::from(db.up)));
    "dualtor_state_db_last_write_timestamp_seconds" Gauge [""]
        "When STATE_DB last confirmed a row, Unix time",
        Global |scrape, out| out.plain_timestamp(scrape.state_db.and_then(|db| db.last_write));
    "dualtor_state_db_writes_total" Counter ["result"]
        "Rows written or deleted (ok) and refused or not confirmed (error)",
        Global |scrape, out| scrape.state_db.map_or(Ok(()), |db| {
            out.counter(&[("result", "ok")], db.writes_ok)?;
            out.counter(&[("result", "error")], db.writes_error)
        });
    "dualtor_state_db_foreign_writes_total" Counter [""]
        "Times that a row was found written by somebody else",
        Global |scrape, out| scrape.state_db.map_or(Ok(()), |db| out.plain_counter(db.foreign_writes));
    "dualtor_shadow_differences" Gauge ["field"]
        "Ports of which ycabled's row says something else in this field; only with publish: shadow",
        Global differences;
    "dualtor_config_last_reload_successful" Gauge [""]
        "Whether the last attempt to load the configuration succeeded",
        Global |scrape, out| out.plain(f64::from(scrape.config.successful));
    "dualtor_config_last_reload_success_timestamp_seconds" Gauge [""]
        "When the configuration was last loaded, Unix time",
        Global |scrape, out| out.plain_timestamp(Some(scrape.config.last_success));
    "dualtor_web_connections" Gauge [""]
        "Open connections of web clients, the one that reads this included",
        Global |scrape, out| out.plain(scrape.web.connections as f64);
    "dualtor_web_connections_refused_total" Counter ["reason"]
        "Web connections closed over a limit: too many in total or of one peer, TLS handshake or request too slow, answer not taken",
        Global refusals;
    "dualtor_log_lines_dropped_total" Counter [""]
        "Lines of the log that were dropped: nobody took them in time, or they could not be written",
        Global |scrape, out| out.plain_counter(scrape.lines_dropped);
    "dualtor_build_info" Gauge ["version, revision"]
        "Version and source revision of this exporter; always 1",
        Global build_info;
    "dualtor_scheduling_delay_seconds" Histogram [""]
        "How late tasks of this exporter run: for want of CPU, not for a SoC",
        Global delays;
    "process_cpu_seconds_total" Counter [""]
        "User and system CPU time, seconds",
        Global |scrape, out| scrape.process.map_or(Ok(()), |process| {
            out.encoder.encode_counter::<NoLabelSet, f64, f64>(&process.cpu_seconds, None)
        });
    "process_open_fds" Gauge [""]
        "Open file descriptors",
        Global |scrape, out| scrape.process.map_or(Ok(()), |process| out.plain(process.open_fds as f64));
    "process_max_fds" Gauge [""]
        "Limit on open file descriptors",
        Global |scrape, out| scrape.process.map_or(Ok(()), |process| out.plain(process.max_fds as f64));
    "process_virtual_memory_bytes" Gauge [""]
        "Virtual memory, bytes",
        Global |scrape, out| scrape.process.map_or(Ok(()), |process| out.plain(process.virtual_memory as f64));
    "process_resident_memory_bytes" Gauge [""]
        "Resident memory, bytes",
        Global |scrape, out| scrape.process.map_or(Ok(()), |process| out.plain(process.resident_memory as f64));
    "process_threads" Gauge [""]
        "Threads",
        Global |scrape, out| scrape.process.map_or(Ok(()), |process| out.plain(process.threads as f64));
    "process_start_time_seconds" Gauge [""]
        "Start of the process, Unix time",
        Global |scrape, out| scrape.process.map_or(Ok(()), |process| out.plain(process.start_time));
}
