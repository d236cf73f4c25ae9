//! The metrics catalogue: each metric's name, type, labels, help and the source of its samples. It is the only list. A test
//! checks that docs/metrics.md is equal to it.
//!
//! Metrics are rendered from a view. So the series of a removed port disappear by themselves, and a scrape holds no lock.
//!
//! Imports `model`; in `telemetry` `samples`.

/// The labels of a closed set, in the order of the set.
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

mod family;
mod module_values;
mod values;
mod ycabled_values;

use crate::model::{ChannelState, LinkmgrHealth, Maintenance, MuxDirection, OrchagentMux, OtlpResult};

use super::samples::Samples;
use family::MetricOrigin;
pub use family::{Family, MetricKind};
use module_values::{
    api_compatibility, api_version, channel_failures, channel_state, channel_transitions, gribi_entries,
    gribi_statuses, keepalive_interval, module_targets, names, reply_info, reply_value, results,
    round_durations, service_health, success, target_info,
};
use values::{
    build_info, certificates, delays, differences, direction_transitions, durations, failures, health, known,
    level, mux_direction, notices, port, port_states, ports, probes, problems, queues, refusals,
    request_durations, requests, sent, share, side, soc_info, sources_read, sources_up, transitions,
};
use ycabled_values::{ycabled_agrees, ycabled_changes};

macro_rules! catalogue {
    ($($name:literal $kind:ident [$labels:literal] $help:literal, $scope:ident $source:expr;)+) => {
        /// Every metric, in the order in which it is shown.
        pub const CATALOGUE: &[Family] = &[$(Family {
            name: $name,
            kind: MetricKind::$kind,
            labels: $labels,
            help: $help,
            origin: MetricOrigin::$scope($source),
        },)+];
    };
}

catalogue! {
    "dualtor_channel_state" Gauge ["port, state"]
        "State of the gRPC channel to the SoC: 1 for the current state",
        Soc |soc, out| out.states(&[port(soc)], labels_of!(ChannelState), soc.channel.state.label());
    "dualtor_channel_transitions_total" Counter ["port, to"]
        "Changes of the channel's state, by the new state",
        Soc transitions;
    "dualtor_channel_dials_total" Counter ["port"]
        "Dials started",
        Soc |soc, out| out.counter(&[port(soc)], soc.channel.dials);
    "dualtor_channel_failures_total" Counter ["port, cause"]
        "Failed dials and lost connections, by cause",
        Soc failures;
    "dualtor_channel_last_transition_timestamp_seconds" Gauge ["port"]
        "When the channel's state last changed, Unix time",
        Soc |soc, out| out.timestamp(&[port(soc)], soc.channel.last_transition);
    "dualtor_keepalive_rtt_seconds" Gauge ["port"]
        "Round trip of the last answered keepalive PING, only while READY",
        Soc |soc, out| out.seconds(&[port(soc)], soc.channel.keepalive_rtt);
    "dualtor_keepalive_interval_seconds" Gauge ["port"]
        "Time from PING to PING: keepalive_time, or the probe interval after the SoC has sent too_many_pings",
        Soc |soc, out| out.seconds(&[port(soc)], Some(soc.channel.keepalive_time));
    "dualtor_soc_certificate_expiry_timestamp_seconds" Gauge ["port"]
        "Expiry of the certificate that the SoC last presented, Unix time; absent without TLS",
        Soc |soc, out| out.timestamp(&[port(soc)], soc.channel.certificate_expiry);
    "dualtor_mux_direction" Gauge ["port, side, state"]
        "Whether this side may forward to the server, as reported by the SoC: 1 for the current state",
        Soc mux_direction;
    "dualtor_link_state" Gauge ["port, side, state"]
        "State of the link to this side, as reported by the SoC: 1 for the current state",
        Soc |soc, out| port_states(soc, out, soc.observed.link);
    "dualtor_oper_state" Gauge ["port, side, state"]
        "Operational state of the port to this side, as reported by the SoC: 1 for the current state",
        Soc |soc, out| port_states(soc, out, soc.observed.oper);
    "dualtor_mux_direction_transitions_total" Counter ["port, side"]
        "Changes between active and standby; an unknown in between is ignored",
        Soc direction_transitions;
    "dualtor_probes_total" Counter ["port, query, result"]
        "Queries attempted, by gRPC status code, EMPTY_REPLY or INVALID_REPLY",
        Soc probes;
    "dualtor_probe_duration_seconds" Histogram ["port"]
        "Time from sending a query to its answer; a failed query is only counted, in dualtor_probes_total",
        Soc durations;
    "dualtor_probe_last_success_timestamp_seconds" Gauge ["port"]
        "End of the last round whose admin query was OK, Unix time",
        Soc |soc, out| out.timestamp(&[port(soc)], soc.last_success);
    "dualtor_health_status" Gauge ["port, status"]
        "Health of the SoC by grpc.health.v1: 1 for the current status",
        Soc health;
    "dualtor_soc_service" Gauge ["port, state"]
        "Maintenance that the SoC has announced: 1 for the current state",
        Soc |soc, out| out.states(&[port(soc)], labels_of!(Maintenance), soc.maintenance.label());
    "dualtor_soc_notices_total" Counter ["port, type, plane"]
        "Maintenance notices received; a type and plane appears with its first notice",
        Soc notices;
    "dualtor_soc_service_end_timestamp_seconds" Gauge ["port"]
        "When the announced maintenance will end, Unix time; absent without maintenance, or if its end is not announced",
        Soc |soc, out| out.timestamp(&[port(soc)], soc.maintenance_end);
    "dualtor_soc_info" Gauge ["port, address, version"]
        "Address that is probed, and the SoC's software version (empty until known); always 1",
        Soc soc_info;
    "dualtor_session_restarts_total" Counter ["port"]
        "How often the port's session ended because of a defect of the exporter and was started again",
        Soc |soc, out| out.counter(&[port(soc)], soc.channel.session_restarts);
    "dualtor_intended_mux_state" Gauge ["port, state"]
        "Mux state that linkmgrd wants for the port: 1 for the current state",
        Switch |soc, facts, out| out.states(&[port(soc)], labels_of!(MuxDirection), facts.intended.label());
    "dualtor_orchagent_mux_state" Gauge ["port, state"]
        "Mux state that orchagent has set for the port (error: the change failed): 1 for the current state",
        Switch |soc, facts, out| out.states(&[port(soc)], labels_of!(OrchagentMux), facts.orchagent.label());
    "dualtor_mux_consistent" Gauge ["port"]
        "Whether the SoC reports the state for this side that linkmgrd wants; absent while either is unknown",
        Switch |soc, facts, out| known(soc, out, facts.consistent(soc.observed.direction.own));
    "dualtor_linkmgr_health" Gauge ["port, state"]
        "Health of the port by linkmgrd: 1 for the current state",
        Switch |soc, facts, out| out.states(&[port(soc)], labels_of!(LinkmgrHealth), facts.linkmgr.label());
    "dualtor_port_oper_up" Gauge ["port"]
        "Whether the switch's port is up; absent while unknown",
        Switch |soc, facts, out| known(soc, out, facts.oper_up);
    "dualtor_ycabled_agrees" Gauge ["port, side"]
        "Whether ycabled last answered linkmgrd what the SoC reports; absent while either is unknown to us",
        Switch ycabled_agrees;
    "dualtor_ycabled_change_duration_seconds" Gauge ["port, side"]
        "How long ycabled's last change of the side took, from linkmgrd's order to the SoC's answer; absent without one",
        Switch ycabled_changes;
    "dualtor_port_level" Gauge ["port, level"]
        "How bad the state of the port is, as the page judges it: 1 for the current level",
        Port level;
    "dualtor_side" Gauge ["side"]
        "Which ToR of the rack this is: 1 for the current side",
        Global side;
    "dualtor_inventory_ports" Gauge [""]
        "Ports that are probed",
        Global ports;
    "dualtor_inventory_problems" Gauge ["reason"]
        "Rows of MUX_CABLE, or targets of sources, that cannot be used, by reason",
        Global problems;
    "dualtor_inventory_up" Gauge ["source"]
        "Whether the source of the inventory could be read the last time; absent without sources",
        Global sources_up;
    "dualtor_inventory_last_success_timestamp_seconds" Gauge ["source"]
        "When the source of the inventory was last read, Unix time; absent until then",
        Global sources_read;
    "dualtor_shard_index" Gauge [""]
        "Number of this process, from 0, of several that share the targets; absent without shard in the configuration",
        Global |view, out| view.inventory.share.map_or(Ok(()), |share| out.plain(f64::from(share.shard.index)));
    "dualtor_shard_count" Gauge [""]
        "How many processes share the targets; absent without shard in the configuration",
        Global |view, out| view.inventory.share.map_or(Ok(()), |share| out.plain(f64::from(share.shard.count)));
    "dualtor_shard_targets" Gauge ["owned"]
        "Targets that this process probes (yes) and that the others probe (no); absent without shard in the configuration",
        Global share;
    "dualtor_tls_certificate_expiry_timestamp_seconds" Gauge ["role"]
        "Earliest expiry in our own TLS files: CA and client to the SoCs, web to web clients; Unix time; absent without TLS",
        Global certificates;
    "dualtor_state_db_up" Gauge [""]
        "Whether STATE_DB answers and takes writes; absent where no rows are written",
        Global |view, out| view.state_db.map_or(Ok(()), |db| out.plain(f64::from(db.up)));
    "dualtor_state_db_last_write_timestamp_seconds" Gauge [""]
        "When STATE_DB last confirmed a row, Unix time",
        Global |view, out| out.plain_timestamp(view.state_db.and_then(|db| db.last_write));
    "dualtor_state_db_writes_total" Counter ["result"]
        "Rows written or deleted (ok) and refused or not confirmed (error)",
        Global |view, out| view.state_db.map_or(Ok(()), |db| {
            out.counter(&[("result", "ok")], db.writes_ok)?;
            out.counter(&[("result", "error")], db.writes_error)
        });
    "dualtor_state_db_foreign_writes_total" Counter [""]
        "How often another process had written to a row",
        Global |view, out| view.state_db.map_or(Ok(()), |db| out.plain_counter(db.foreign_writes));
    "dualtor_shadow_differences" Gauge ["field"]
        "Ports whose row by ycabled differs in this field; only with publish: shadow",
        Global differences;
    "dualtor_config_last_reload_successful" Gauge [""]
        "Whether the last attempt to load the configuration succeeded",
        Global |view, out| out.plain(f64::from(view.config.successful));
    "dualtor_config_last_reload_success_timestamp_seconds" Gauge [""]
        "When the configuration was last loaded, Unix time",
        Global |view, out| out.plain_timestamp(Some(view.config.last_success));
    "dualtor_web_connections" Gauge [""]
        "Open connections of web clients, including the one of this scrape",
        Global |view, out| out.plain(view.web.connections as f64);
    "dualtor_web_connections_refused_total" Counter ["reason"]
        "Web connections closed over a limit: too many (total, peer), TLS handshake or request too slow, answer not read",
        Global refusals;
    "dualtor_web_requests_total" Counter ["handler, code"]
        "Web requests answered, by handler and status; every handler has its 200, but those for probe modules, and other statuses, appear when they first occur",
        Global requests;
    "dualtor_web_request_duration_seconds" Histogram ["handler"]
        "Time from a web request's header to that of its answer (metrics: how long a scrape took); a handler appears with its first request",
        Global request_durations;
    "dualtor_web_event_streams" Gauge [""]
        "Open event streams of the API; each open page has one",
        Global |view, out| out.plain(view.web.event_streams as f64);
    "dualtor_web_config_last_reload_successful" Gauge [""]
        "Whether web.config.file could be used when it was last read; absent without one",
        Global |view, out| view.web.config.map_or(Ok(()), |config| out.plain(f64::from(config.successful)));
    "dualtor_web_config_last_reload_success_timestamp_seconds" Gauge [""]
        "When web.config.file came into force, Unix time; absent without one",
        Global |view, out| out.plain_timestamp(view.web.config.map(|config| config.last_success));
    "dualtor_log_lines_dropped_total" Counter [""]
        "Lines of the log that were dropped because they were not read in time or could not be written",
        Global |view, out| out.plain_counter(view.lines_dropped);
    "dualtor_otlp_up" Gauge [""]
        "Whether the telemetry that is sent to a collector arrives; absent while none is sent",
        Global |view, out| match view.otlp.and_then(|otlp| otlp.up) {
            Some(up) => out.plain(f64::from(up)),
            None => Ok(()),
        };
    "dualtor_otlp_spans_total" Counter ["result"]
        "Spans that have arrived (ok), have not or were rejected (error), found the queue full (dropped); absent while no traces are sent",
        Global |view, out| sent(out, view.otlp.and_then(|otlp| otlp.spans), OtlpResult::ALL);
    "dualtor_otlp_metric_exports_total" Counter ["result"]
        "Sets of metrics that have arrived (ok), have not or were rejected (error); absent while no metrics are sent",
        Global |view, out| sent(out, view.otlp.and_then(|otlp| otlp.metrics), &[OtlpResult::Ok, OtlpResult::Error]);
    "dualtor_otlp_log_records_total" Counter ["result"]
        "Events that have arrived (ok), have not or were rejected (error), found the queue full (dropped); absent while no events are sent",
        Global |view, out| sent(out, view.otlp.and_then(|otlp| otlp.logs), OtlpResult::ALL);
    "dualtor_queue_length" Gauge ["queue"]
        "What waits between the exporter's parts: events and questions for the fleet, rows and notices for Redis, rounds for a place, dials for their turn",
        Global queues;
    "dualtor_build_info" Gauge ["version, revision"]
        "Version and source revision of this exporter; always 1",
        Global build_info;
    "dualtor_scheduling_delay_seconds" Histogram [""]
        "How late tasks of this exporter run, because of a lack of CPU",
        Global delays;
    "grpc_probe_success" Gauge ["module, target"]
        "Whether the last round of the module's target was a success; with grpc_health a Watch changes it at once; absent until a round has ended",
        Module success;
    "grpc_probes_total" Counter ["module, target, result"]
        "Rounds of the module's target, by gRPC status code, NO_SCHEMA, INVALID_REPLY or UNEXPECTED_REPLY",
        Module results;
    "grpc_probe_duration_seconds" Histogram ["module, target"]
        "Time from the first RPC of a round to the end of its last; rounds that sent nothing do not count",
        Module round_durations;
    "grpc_probe_last_success_timestamp_seconds" Gauge ["module, target"]
        "When the last round that was a success ended, Unix time",
        Module |target, out| out.timestamp(&names(target), target.asked.last_success);
    "grpc_channel_state" Gauge ["module, target, state"]
        "State of the gRPC channel to the module's target: 1 for the current state",
        Module channel_state;
    "grpc_channel_transitions_total" Counter ["module, target, to"]
        "Changes of the channel's state, by the new state",
        Module channel_transitions;
    "grpc_channel_dials_total" Counter ["module, target"]
        "Dials started",
        Module |target, out| out.counter(&names(target), target.channel.dials);
    "grpc_channel_failures_total" Counter ["module, target, cause"]
        "Failed dials and lost connections, by cause",
        Module channel_failures;
    "grpc_channel_last_transition_timestamp_seconds" Gauge ["module, target"]
        "When the channel's state last changed, Unix time",
        Module |target, out| out.timestamp(&names(target), target.channel.last_transition);
    "grpc_keepalive_rtt_seconds" Gauge ["module, target"]
        "Round trip of the last answered keepalive PING, only while READY",
        Module |target, out| out.seconds(&names(target), target.channel.keepalive_rtt);
    "grpc_keepalive_interval_seconds" Gauge ["module, target"]
        "Time from PING to PING; absent while PINGs go with the rounds",
        Module keepalive_interval;
    "grpc_certificate_expiry_timestamp_seconds" Gauge ["module, target"]
        "Expiry of the certificate that the target last presented, Unix time; absent without TLS",
        Module |target, out| out.timestamp(&names(target), target.channel.certificate_expiry);
    "grpc_target_info" Gauge ["module, target, kind, address"]
        "What is asked of the module's target, its address, and the labels that it has in the configuration; always 1",
        Module target_info;
    "grpc_health_status" Gauge ["module, target, service, status"]
        "Health of the service by grpc.health.v1: 1 for the current status",
        Module service_health;
    "grpc_reply_info" Gauge ["module, target"]
        "Values of the last reply, in the labels that the module's `info` makes; always 1; absent while not known",
        Module reply_info;
    "grpc_reply_value" Gauge ["module, target, field"]
        "Numbers of the last reply, by the paths of the module's `values`; absent while not known",
        Module reply_value;
    "grpc_api_version" Gauge ["module, target, service, bound"]
        "Oldest (supported) and newest (current) version of the service's interface that the server speaks; absent while not known",
        Module api_version;
    "grpc_api_compatibility" Gauge ["module, target, service, state"]
        "Whether the clients of the configuration can speak to the service: 1 for the current state",
        Module api_compatibility;
    "gribi_entries" Gauge ["module, target, network_instance, aft"]
        "Entries of the network instance, by table; absent while not known",
        Module gribi_entries;
    "gribi_entries_by_status" Gauge ["module, target, network_instance, plane, status"]
        "Entries of the network instance, by whether they are programmed; absent while not known",
        Module gribi_statuses;
    "grpc_module_targets" Gauge ["module"]
        "Targets of the module; absent without modules",
        Global module_targets;
    "process_cpu_seconds_total" Counter [""]
        "User and system CPU time, seconds",
        Global |view, out| view.process.map_or(Ok(()), |process| {
            out.plain_sum(process.cpu_seconds)
        });
    "process_open_fds" Gauge [""]
        "Open file descriptors",
        Global |view, out| view.process.map_or(Ok(()), |process| out.plain(process.open_fds as f64));
    "process_max_fds" Gauge [""]
        "Limit on open file descriptors",
        Global |view, out| view.process.map_or(Ok(()), |process| out.plain(process.max_fds as f64));
    "process_virtual_memory_bytes" Gauge [""]
        "Virtual memory, bytes",
        Global |view, out| view.process.map_or(Ok(()), |process| out.plain(process.virtual_memory as f64));
    "process_resident_memory_bytes" Gauge [""]
        "Resident memory, bytes",
        Global |view, out| view.process.map_or(Ok(()), |process| out.plain(process.resident_memory as f64));
    "process_threads" Gauge [""]
        "Threads",
        Global |view, out| view.process.map_or(Ok(()), |process| out.plain(process.threads as f64));
    "process_start_time_seconds" Gauge [""]
        "Start of the process, Unix time",
        Global |view, out| view.process.map_or(Ok(()), |process| out.plain(process.start_time));
}
