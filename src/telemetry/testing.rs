//! For tests of the publishers: a status to start from, a scrape of nothing.

use std::sync::Arc;
use std::time::SystemTime;

use crate::model::{
    ChannelSettings, ConfigStatus, Delays, Port, ProblemKind, Side, Snapshot, SocStatus, Target, TlsStatus,
};

use super::catalogue::Scrape;
use crate::model::WebStatus;

/// A port nobody has dialled yet.
pub(crate) fn status(port: &str) -> SocStatus {
    SocStatus::new(Target {
        namespace: "".into(),
        port: Port::new(port).expect("a port name"),
        address: ([127, 0, 0, 1], 50075).into(),
        side: Side::Upper,
        channel: Arc::new(ChannelSettings::default()),
    })
}

/// What an exporter without ports shows.
pub(crate) fn empty_scrape() -> Scrape {
    Scrape {
        snapshot: Snapshot {
            socs: Arc::new([]),
            side: Side::Unknown,
        },
        state_db: None,
        facts: None,
        shadow: None,
        problems: [0; ProblemKind::COUNT],
        tls: TlsStatus::default(),
        config: ConfigStatus {
            successful: true,
            last_success: SystemTime::UNIX_EPOCH,
        },
        web: WebStatus::default(),
        lines_dropped: 0,
        delays: Delays::default(),
        process: None,
    }
}
