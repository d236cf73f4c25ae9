//! One exporter: does it see, write and cost what it should?

use super::dashboard::{Dashboard, Page};
use super::palette::{self, Colour, flag};
use super::panel::{Panel, labels, stat, state, timeline, timeseries};
use super::queries::TLS;

fn now() -> [Panel; 8] {
    [
        state(
            "Scrape",
            "Whether Prometheus' last scrape succeeded. down: the process, the switch or the network \
             between is gone.",
            &flag("up", "down"),
            "up{TOR}",
        ),
        state(
            "STATE_DB",
            "Whether STATE_DB answers and takes writes. down: rows are stale, `show muxcable` shows old data. \
             not used: no rows are written.",
            &flag("up", "down"),
            "dualtor_state_db_up{TOR}",
        )
        .otherwise("not used"),
        state(
            "Config file",
            "Whether the last attempt to load it succeeded. refused: the file is bad, the one before is \
             still in force; the log says why.",
            &flag("loaded", "refused"),
            "dualtor_config_last_reload_successful{TOR}",
        ),
        state(
            "Side",
            "Which ToR of the rack this is. unknown is bad: then all directions are.",
            &palette::side(),
            "dualtor_side{TOR}",
        ),
        stat(
            "Ports",
            "Ports that are probed.",
            "none",
            "sum by (job, instance) (dualtor_inventory_ports{TOR})",
        ),
        stat(
            "Bad rows",
            "Rows of CONFIG_DB's MUX_CABLE, or targets of sources, that cannot be used: those ports are not probed. More than 0 \
             is bad; by reason below.",
            "none",
            "sum(dualtor_inventory_problems{TOR})",
        )
        .bad_from(1.0),
        labels(
            "Version",
            "Version of the exporter, and the revision that it was built from.",
            "dualtor_build_info{TOR}",
            &["version", "revision"],
        ),
        stat(
            "Running for",
            "Time since the process started. Minutes, again and again: it is being restarted.",
            "s",
            "time() - process_start_time_seconds{TOR}",
        ),
    ]
}

fn scrape() -> [Panel; 3] {
    [
        timeline(
            "Scrape and STATE_DB",
            "Whether each scrape succeeded; whether STATE_DB answers and takes writes.",
            &flag("up", "down"),
        )
        .states(&flag("up", "down"), "up{TOR}", "Scrape")
        .states_if_any(
            &flag("up", "down"),
            "dualtor_state_db_up{TOR}",
            "STATE_DB",
            "not used",
        )
        .size(24, 4),
        timeseries(
            "Duration of a scrape",
            "How long a scrape takes. Milliseconds on a switch with some hundred ports; near the scrape \
             timeout it fails.",
            "s",
        )
        .line("scrape_duration_seconds{TOR}", "{{instance}}")
        .size(12, 6),
        timeseries(
            "Series per port",
            "Samples of a scrape, those of the process and the whole exporter included, by the number of \
             ports: 100 at most of a healthy port.",
            "none",
        )
        .line(
            "scrape_samples_scraped{TOR} / on (job, instance) (sum by (job, instance) (dualtor_inventory_ports{TOR}) > 0)",
            "{{instance}}",
        )
        .size(12, 6),
    ]
}

fn state_db() -> [Panel; 3] {
    [
        timeseries(
            "Time since the last write",
            "Age of the last row that STATE_DB has confirmed. It stays under the interval of the rounds; \
             a ramp is bad: rows are stale.",
            "s",
        )
        .line(
            "time() - dualtor_state_db_last_write_timestamp_seconds{TOR}",
            "{{instance}}",
        )
        .size(8, 7),
        timeseries(
            "Rows written",
            "Rows that STATE_DB has confirmed (ok), refused or not confirmed (error). Any error is bad.",
            "wps",
        )
        .line(
            "sum by (result) (rate(dualtor_state_db_writes_total{TOR}[$__rate_interval]))",
            "{{result}}",
        )
        .colour_of("/^ok$/", Colour::Good)
        .colour_of("/^error$/", Colour::Bad)
        .size(8, 7),
        timeseries(
            "Rows written by another process",
            "How often one of our rows was found changed by another process within each window. Normal is 0; \
             steps each 60 s are ycabled, whose telemetry is not off.",
            "none",
        )
        .line(
            "increase(dualtor_state_db_foreign_writes_total{TOR}[$__rate_interval])",
            "{{instance}}",
        )
        .failures()
        .whole()
        .bars()
        .size(8, 7),
    ]
}

fn late(quantile: &str) -> String {
    format!(
        "histogram_quantile({quantile}, sum by (le) (rate(dualtor_scheduling_delay_seconds_bucket{{TOR}}[$__rate_interval])))"
    )
}

fn process() -> [Panel; 4] {
    [
        timeseries(
            "CPU",
            "Share of one core. A few per cent at most; much more: something goes round in circles.",
            "percentunit",
        )
        .line(
            "rate(process_cpu_seconds_total{TOR}[$__rate_interval])",
            "{{instance}}",
        )
        .size(8, 7),
        timeseries(
            "Memory",
            "Resident memory. It grows with the number of ports and then stays; a ramp is a leak.",
            "bytes",
        )
        .line("process_resident_memory_bytes{TOR}", "{{instance}}")
        .size(8, 7),
        timeseries(
            "Open files",
            "One per SoC and a few more. At the limit no channel can be dialled.",
            "none",
        )
        .coloured_line("process_open_fds{TOR}", "open", Colour::Plain)
        .coloured_line("process_max_fds{TOR}", "limit", Colour::Bad)
        .size(8, 7),
        timeseries(
            "Lateness",
            "How late the exporter's own tasks run: median and 99th percentile. A millisecond or two; from 250 ms on it gets \
             too little CPU, and what it shows is old.",
            "s",
        )
        .coloured_line(&late("0.99"), "99 %", Colour::Plain)
        .dashed_line(&late("0.5"), "median", [10, 5])
        .size(24, 7),
    ]
}

fn web_side() -> [Panel; 3] {
    [
        timeseries(
            "Web requests by status",
            "Requests that the web side answers, by HTTP status; scrapes are among them. 401 and 403: no login, or a page of \
             another site; 429 and 503: too many. A colour only tells a status from the others.",
            "reqps",
        )
        .line(
            "sum by (code) (rate(dualtor_web_requests_total{TOR}[$__rate_interval]))",
            "{{code}}",
        )
        .distinct()
        .many()
        .size(12, 7),
        timeseries(
            "What waits",
            "Length of each queue between the exporter's parts. Normal is 0, with short peaks; rows and notices that stay \
             wait for Redis. A colour only tells a queue from the others.",
            "none",
        )
        .line("dualtor_queue_length{TOR}", "{{queue}}")
        .distinct()
        .whole()
        .many()
        .size(12, 7),
        timeseries(
            "Spans sent",
            "Spans of the traces that are sent to a collector: arrived, not arrived or rejected, dropped because the queue was \
             full. Only the first is good. Probing does not wait for any of them.",
            "none",
        )
        .line(
            "sum by (result) (rate(dualtor_otlp_spans_total{TOR}[$__rate_interval]))",
            "{{result}}",
        )
        .distinct()
        .many()
        .empty_while_healthy("if traces are sent (otel in the configuration)")
        .size(24, 7),
    ]
}

fn inventory() -> [Panel; 3] {
    [
        timeseries(
            "Ports",
            "Ports that are probed. An unplanned fall is bad.",
            "none",
        )
        .line("sum by (job, instance) (dualtor_inventory_ports{TOR})", "{{instance}}")
        .whole()
        .size(8, 7),
        timeseries(
            "Unusable rows by reason",
            "Rows of MUX_CABLE, or targets of sources, that cannot be used, by what is wrong with them. Normal is 0; \
             `dualtor-exporter doctor` names them. A colour only tells a reason from the others.",
            "none",
        )
        .line("dualtor_inventory_problems{TOR}", "{{reason}}")
        .distinct()
        .whole()
        .many()
        .size(8, 7),
        timeseries(
            "Differences from ycabled",
            "Ports whose row by ycabled differs, by field. Some minutes after each change \
             are normal; what stays is not. A colour only tells a field from the others.",
            "none",
        )
        .line("dualtor_shadow_differences{TOR}", "{{field}}")
        .distinct()
        .whole()
        .many()
        .empty_while_healthy("with databases.publish: shadow only")
        .size(8, 7),
    ]
}

fn configuration() -> [Panel; 3] {
    [
        stat(
            "Configuration loaded",
            "Time since the configuration was last loaded with success.",
            "s",
            "time() - dualtor_config_last_reload_success_timestamp_seconds{TOR}",
        )
        .size(8, 4),
        stat(
            "Own certificates expire",
            "Time until the first of our TLS files' certificates expires: CA and client to the SoCs, \
             web to web clients. Under 30 days needs new ones.",
            "s",
            "min by (job, instance, role) (dualtor_tls_certificate_expiry_timestamp_seconds{TOR}) - time()",
        )
        .good_from(7.0 * 86_400.0, 30.0 * 86_400.0)
        .names("{{role}} certificate")
        .otherwise("no TLS")
        .size(8, 4),
        stat(
            "First SoC's certificate expires",
            "Time until the first of the SoCs' certificates expires. Under 30 days needs new ones; the \
             Port dashboard has each. not shown yet: with TLS, but no SoC has shown its certificate.",
            "s",
            "min by (job, instance) (dualtor_soc_certificate_expiry_timestamp_seconds{TOR}) - time()",
        )
        .good_from(7.0 * 86_400.0, 30.0 * 86_400.0)
        .once(TLS, "not shown yet")
        .otherwise("no TLS")
        .size(8, 4),
    ]
}

pub(crate) fn dashboard() -> Dashboard {
    Dashboard::new(
        Page::Exporter,
        "One exporter: does it see, write and cost what it should?",
    )
    .row("", now())
    .row("Scrape", scrape())
    .row("STATE_DB", state_db())
    .row("Process", process())
    // Closed at first: what is always seen asks no more than before.
    .collapsed_row("Web side and queues", web_side())
    .row("Inventory", inventory())
    .row("Configuration and certificates", configuration())
}
