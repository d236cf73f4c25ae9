//! What a SoC announces on its GracefulRestart stream.

use serde::Deserialize;

use dualtor_proto::{GracefulAdminResponse, GracefulRestartMsgType, GracefulRestartNotifyType};

/// A notice.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// Begin or end.
    #[serde(rename = "type")]
    pub kind: NoticeKind,
    /// What is being serviced.
    #[serde(default)]
    pub plane: Plane,
    /// The service, by its guid.
    #[serde(default)]
    pub guid: String,
    /// How long it will take, in seconds.
    #[serde(default)]
    pub period: i32,
}

/// Begin or end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// SERVICE_BEGIN.
    Begin,
    /// SERVICE_END.
    End,
}

/// What is being serviced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plane {
    /// CONTROL_PLANE.
    Control,
    /// DATA_PLANE.
    Data,
    /// BOTH.
    #[default]
    Both,
}

impl Notice {
    pub(super) fn message(&self) -> GracefulAdminResponse {
        let msgtype = match self.kind {
            NoticeKind::Begin => GracefulRestartMsgType::ServiceBegin,
            NoticeKind::End => GracefulRestartMsgType::ServiceEnd,
        };
        let notifytype = match self.plane {
            Plane::Control => GracefulRestartNotifyType::ControlPlane,
            Plane::Data => GracefulRestartNotifyType::DataPlane,
            Plane::Both => GracefulRestartNotifyType::Both,
        };
        GracefulAdminResponse {
            msgtype: msgtype.into(),
            notifytype: notifytype.into(),
            guid: self.guid.clone(),
            period: self.period,
        }
    }
}
