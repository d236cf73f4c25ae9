//! For tests: a new status, and an empty view.

use std::sync::Arc;
use std::time::SystemTime;

use crate::model::{
    ChannelSettings, ConfigStatus, Delays, ExporterInfo, Lately, Port, ProbeSettings, QueueLengths, Side,
    SocStatus, Target, TargetSource, TlsStatus, View, WebStatus,
};

/// The status of a port that was never dialled.
pub(crate) fn status(port: &str) -> SocStatus {
    SocStatus::new(Target {
        namespace: "".into(),
        id: Port::new(port).expect("a port name").into(),
        address: ([127, 0, 0, 1], 50075).into(),
        side: Side::Upper,
        channel: Arc::new(ChannelSettings::default()),
    })
}

/// The view of an exporter without ports.
pub(crate) fn empty_view() -> View {
    View {
        at: SystemTime::UNIX_EPOCH,
        exporter: ExporterInfo {
            host: "tor-upper".into(),
            started: SystemTime::UNIX_EPOCH,
            source: TargetSource::File,
            publish: "off",
            probe: ProbeSettings::default(),
        },
        socs: Vec::new(),
        side: Side::Unknown,
        inventory: Arc::default(),
        sources: Arc::default(),
        state_db: None,
        differences: None,
        tls: TlsStatus::default(),
        config: ConfigStatus::loaded(SystemTime::UNIX_EPOCH),
        web: WebStatus::default(),
        lines_dropped: 0,
        delays: Delays::default(),
        lately: Lately::default(),
        otlp: None,
        exemplars: None,
        queues: QueueLengths::default(),
        process: None,
        modules: Arc::new([]),
        module_targets: Arc::new([]),
    }
}
