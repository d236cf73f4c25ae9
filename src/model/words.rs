//! The closed sets of values: states, causes, results. Metrics list them in the order given here.

/// Defines a field-less enum with `ALL` (in metric order), `label()` (metrics, logs), `index()` (into a counter array).
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $label:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(clippy::derivable_impls)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every value, in the order in which metrics list them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many values there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Its value in metrics and logs.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// Its place in `ALL`.
            pub const fn index(self) -> usize {
                self as usize
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.label())
            }
        }
    };
}

words! {
    /// A channel's connectivity state, with gRPC's names.
    ChannelState {
        /// Only before the first dial.
        Idle = "idle",
        /// The first dial, or the redial after a graceful GOAWAY.
        Connecting = "connecting",
        /// The peer has shown that it speaks HTTP/2.
        Ready = "ready",
        /// From any failure until the next READY, through all redials.
        TransientFailure = "transient_failure",
        /// Stopped by us; it will not be dialled again.
        Shutdown = "shutdown",
    }
}

impl ChannelState {
    /// The value for SONiC's field `grpc_connection_status`.
    pub const fn upper(self) -> &'static str {
        match self {
            Self::Idle => "IDLE",
            Self::Connecting => "CONNECTING",
            Self::Ready => "READY",
            Self::TransientFailure => "TRANSIENT_FAILURE",
            Self::Shutdown => "SHUTDOWN",
        }
    }
}

words! {
    /// The limit for which a web connection was closed.
    Refusal {
        /// The limit of connections in total, or no file descriptor was left for it.
        Total = "total",
        /// The limit of connections per peer.
        Peer = "peer",
        /// Its TLS handshake took too long.
        Handshake = "handshake",
        /// Its request header took too long, or it did not read its answer.
        Timeout = "timeout",
    }
}

words! {
    /// A limit of ours that a SoC has exceeded. The error text begins with it, so that it is clear who ended the query.
    Limit {
        /// Frames that answer nothing.
        Frames = "over the exporter's limit for frames that answer nothing",
        /// Headers or trailers.
        Headers = "over the exporter's limit for headers",
        /// Informational (1xx) heads before a reply's final one.
        Heads = "over the exporter's limit for informational heads",
        /// The size of a reply.
        Reply = "over the exporter's limit for a reply",
    }
}

impl Limit {
    /// The limit that an error text names, if any.
    pub fn told_in(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|limit| text.starts_with(limit.label()))
    }
}

words! {
    /// Why a dial failed or a connection was lost.
    Cause {
        /// The peer's name gave no address.
        Resolve = "resolve",
        /// The peer's host answered that nothing listens on the port.
        Refused = "refused",
        /// No route to the network or host.
        Unreachable = "unreachable",
        /// TCP was not connected within the dial timeout.
        ConnectTimeout = "connect_timeout",
        /// The configured source address cannot be bound.
        SourceAddress = "source_address",
        /// Our own TLS configuration cannot be used (a missing file, a key that does not fit).
        TlsConfig = "tls_config",
        /// The peer's certificate is not valid at this time.
        TlsExpired = "tls_expired",
        /// The peer's certificate is not signed by a CA that we trust.
        TlsUnknownCa = "tls_unknown_ca",
        /// The peer's certificate is for another name.
        TlsWrongName = "tls_wrong_name",
        /// The peer refused our client certificate.
        TlsClientRefused = "tls_client_refused",
        /// Any other failure of TLS.
        Tls = "tls",
        /// The peer closed the connection.
        Closed = "closed",
        /// The peer reset the connection.
        Reset = "reset",
        /// TCP was connected, but the peer did not send HTTP/2 or did not answer our PING in time.
        KeepaliveTimeout = "keepalive_timeout",
        /// The peer sent GOAWAY.
        Goaway = "goaway",
        /// The peer violated HTTP/2, or does not speak it.
        Protocol = "protocol",
        /// We closed it: reload, removal, stop.
        Local = "local",
    }
}

words! {
    /// Whether an end of the cable may forward to the server.
    MuxDirection {
        /// This end forwards.
        Active = "active",
        /// This end does not forward.
        Standby = "standby",
        /// Not reported.
        Unknown = "unknown",
    }
}

words! {
    /// The state of a link, or the operational state of a port.
    PortState {
        /// Up.
        Up = "up",
        /// Down.
        Down = "down",
        /// Not reported.
        Unknown = "unknown",
    }
}

/// Before the first report the value is `Unknown`.
macro_rules! unknown_by_default {
    ($($name:ident)+) => {$(
        impl Default for $name {
            fn default() -> Self {
                Self::Unknown
            }
        }
    )+};
}

unknown_by_default!(MuxDirection PortState Health Maintenance Side NoticeType Plane LinkmgrHealth OrchagentMux);

impl From<bool> for MuxDirection {
    fn from(active: bool) -> Self {
        if active { Self::Active } else { Self::Standby }
    }
}

impl From<bool> for PortState {
    fn from(up: bool) -> Self {
        if up { Self::Up } else { Self::Down }
    }
}

words! {
    /// What `grpc.health.v1.Health` reports for service `""`.
    Health {
        /// SERVING.
        Serving = "serving",
        /// NOT_SERVING.
        NotServing = "not_serving",
        /// NOT_FOUND, or SERVICE_UNKNOWN.
        ServiceUnknown = "service_unknown",
        /// The SoC has no health service: not a failure.
        Unimplemented = "unimplemented",
        /// UNKNOWN, no answer, or not queried yet.
        Unknown = "unknown",
    }
}

impl Health {
    /// The SoC itself says that it does not serve, or that it does not know itself.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::NotServing | Self::ServiceUnknown)
    }

    /// Nothing is wrong with it: it serves, or it has no health service.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Serving | Self::Unimplemented)
    }
}

words! {
    /// Whether the SoC has announced maintenance of its own (GracefulRestart).
    Maintenance {
        /// A BEGIN is in force.
        InProgress = "inprogress",
        /// The notification stream is open and nothing is announced.
        Noop = "noop",
        /// No such service, or its stream has never been open for a second.
        Unknown = "unknown",
    }
}

impl Maintenance {
    /// The value for SONiC's field `soc_service`.
    pub const fn row_value(self) -> &'static str {
        match self {
            Self::InProgress => "inprogress",
            Self::Noop => "noop",
            Self::Unknown => "NA",
        }
    }
}

words! {
    /// The type of a notice.
    NoticeType {
        /// A service begins.
        Begin = "begin",
        /// A service ends.
        End = "end",
        /// A number that the protocol does not define.
        Unknown = "unknown",
    }
}

words! {
    /// What is being serviced.
    Plane {
        /// The control plane.
        Control = "control_plane",
        /// The data plane.
        Data = "data_plane",
        /// Both.
        Both = "both",
        /// A number that the protocol does not define.
        Unknown = "unknown",
    }
}

words! {
    /// Which ToR of the rack we are.
    Side {
        /// `read_side` 1: portid 1 is ours.
        Upper = "upper",
        /// `read_side` 0: portid 0 is ours.
        Lower = "lower",
        /// Not configured and not in CONFIG_DB: every direction is unknown.
        Unknown = "unknown",
    }
}

words! {
    /// What is wrong with a row of the inventory.
    ProblemKind {
        /// The key is not a hash.
        NotARow = "not_a_row",
        /// The port's name cannot be part of a key and a label.
        BadPortName = "bad_port_name",
        /// `cable_type` has an unknown value.
        BadCableType = "bad_cable_type",
        /// An active-active port without a SoC's address.
        NoAddress = "no_address",
        /// The SoC's address is not the address of one host.
        BadAddress = "bad_address",
        /// Two namespaces have the port, or two sources.
        DuplicatePort = "duplicate_port",
        /// More rows than any switch has ports: some are left out.
        TooManyRows = "too_many_rows",
        /// A group of targets that is not in the format of Prometheus, or has a label that cannot be used.
        BadGroup = "bad_group",
    }
}

words! {
    /// The mux state that orchagent has set for a port.
    OrchagentMux {
        /// The switch forwards to the server directly.
        Active = "active",
        /// The switch forwards through the peer ToR.
        Standby = "standby",
        /// No value, or an unknown one.
        Unknown = "unknown",
        /// The last change failed. It is not known how the switch forwards.
        Error = "error",
    }
}

words! {
    /// The health of a port by linkmgrd.
    LinkmgrHealth {
        /// `healthy`
        Healthy = "healthy",
        /// `unhealthy`
        Unhealthy = "unhealthy",
        /// `uninitialized`
        Uninitialized = "uninitialized",
        /// No value, or an unknown one.
        Unknown = "unknown",
    }
}
