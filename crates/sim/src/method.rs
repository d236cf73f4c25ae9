//! Which RPCs a SoC has.

use serde::Deserialize;

/// The RPCs of a SoC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rpc {
    /// DualToRActive/QueryAdminForwardingPortState
    Admin,
    /// DualToRActive/SetAdminForwardingPortState
    SetAdmin,
    /// DualToRActive/QueryOperationPortState
    Operation,
    /// DualToRActive/QueryLinkState
    Link,
    /// DualToRActive/QueryServerVersion
    Version,
    /// grpc.health.v1.Health/Check
    Health,
    /// grpc.health.v1.Health/Watch
    Watch,
    /// GracefulRestart/NotifyGracefulRestartStart
    Notices,
}

impl Rpc {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Admin,
        Self::SetAdmin,
        Self::Operation,
        Self::Link,
        Self::Version,
        Self::Health,
        Self::Watch,
        Self::Notices,
    ];

    pub(super) fn from_path(path: &str) -> Option<Self> {
        Some(match path {
            "/DualToRActive/QueryAdminForwardingPortState" => Self::Admin,
            "/DualToRActive/SetAdminForwardingPortState" => Self::SetAdmin,
            "/DualToRActive/QueryOperationPortState" => Self::Operation,
            "/DualToRActive/QueryLinkState" => Self::Link,
            "/DualToRActive/QueryServerVersion" => Self::Version,
            "/grpc.health.v1.Health/Check" => Self::Health,
            "/grpc.health.v1.Health/Watch" => Self::Watch,
            "/GracefulRestart/NotifyGracefulRestartStart" => Self::Notices,
            _ => return None,
        })
    }
}
