//! For tests of the publishers: a status to start from, a view of nothing.

use std::sync::Arc;
use std::time::SystemTime;

use crate::model::{
    ChannelSettings, ConfigStatus, Delays, Port, Side, SocStatus, Target, TlsStatus, View, WebStatus,
};

/// A port nobody has dialled yet.
pub(crate) fn status(port: &str) -> SocStatus {
    SocStatus::new(Target {
        namespace: "".into(),
        id: Port::new(port).expect("a port name").into(),
        address: ([127, 0, 0, 1], 50075).into(),
        side: Side::Upper,
        channel: Arc::new(ChannelSettings::default()),
    })
}

/// What an exporter without ports shows.
pub(crate) fn empty_view() -> View {
    View {
        socs: Vec::new(),
        side: Side::Unknown,
        inventory: Arc::default(),
        state_db: None,
        differences: None,
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
