//! The closed sets of words: states, causes, results. Their order is the order in which metrics list them.

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

            /// The word for it in metrics and logs.
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
    /// A channel's connectivity, in gRPC's own words.
    ChannelState {
        /// Before the first dial only.
        Idle = "idle",
        /// The first dial, or the redial after a graceful GOAWAY.
        Connecting = "connecting",
        /// The peer has proven that it speaks HTTP/2.
        Ready = "ready",
        /// From any failure until the peer is proven again, through all redials.
        TransientFailure = "transient_failure",
        /// Stopped by us, for good.
        Shutdown = "shutdown",
    }
}

impl ChannelState {
    /// The word that SONiC's `grpc_connection_status` carries.
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
    /// Why a web connection was closed over a limit.
    Refusal {
        /// As many are open as may be, or as there are files for.
        Total = "total",
        /// As many of this peer are open as one may have.
        Peer = "peer",
        /// Its TLS handshake took too long.
        Handshake = "handshake",
        /// Its request's header took too long, or it did not take its answer.
        Timeout = "timeout",
    }
}

words! {
    /// A limit of ours that a SoC has gone over: so begins the text that tells of it, and who ended query or connection is clear.
    Limit {
        /// Frames that answer nothing.
        Frames = "over the exporter's limit for frames that answer nothing",
        /// Headers or trailers.
        Headers = "over the exporter's limit for headers",
        /// Heads before a reply's true one.
        Heads = "over the exporter's limit for informational heads",
        /// A reply.
        Reply = "over the exporter's limit for a reply",
    }
}

impl Limit {
    /// The limit that an error text tells of.
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
        /// The peer's host answered that nobody listens on the port.
        Refused = "refused",
        /// No route, network or host.
        Unreachable = "unreachable",
        /// TCP was not up when the dial's time was over.
        ConnectTimeout = "connect_timeout",
        /// The configured source address cannot be bound.
        SourceAddress = "source_address",
        /// Our own TLS configuration cannot be used (a missing file, a key that does not fit).
        TlsConfig = "tls_config",
        /// The peer's certificate is not valid at this time.
        TlsExpired = "tls_expired",
        /// The peer's certificate is signed by nobody we trust.
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
        /// TCP was up, but the peer did not prove itself or did not answer our PING in time.
        KeepaliveTimeout = "keepalive_timeout",
        /// The peer said GOAWAY.
        Goaway = "goaway",
        /// The peer broke HTTP/2, or does not speak it.
        Protocol = "protocol",
        /// We closed it: reload, removal, stop.
        Local = "local",
    }
}

words! {
    /// Which of its two ends may forward to the server.
    MuxDirection {
        /// This end forwards.
        Active = "active",
        /// This end does not forward.
        Standby = "standby",
        /// Nobody has told us, or nobody can.
        Unknown = "unknown",
    }
}

words! {
    /// A link's, or a port's operational, state.
    PortState {
        /// Up.
        Up = "up",
        /// Down.
        Down = "down",
        /// Nobody has told us, or nobody can.
        Unknown = "unknown",
    }
}

/// What nobody has told us is unknown.
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
    /// What `grpc.health.v1.Health` says of service `""`.
    Health {
        /// SERVING.
        Serving = "serving",
        /// NOT_SERVING.
        NotServing = "not_serving",
        /// NOT_FOUND, or SERVICE_UNKNOWN.
        ServiceUnknown = "service_unknown",
        /// The SoC has no health service: not a failure.
        Unimplemented = "unimplemented",
        /// UNKNOWN, no answer, or not asked yet.
        Unknown = "unknown",
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
    /// The word that SONiC's `soc_service` carries.
    pub const fn row_value(self) -> &'static str {
        match self {
            Self::InProgress => "inprogress",
            Self::Noop => "noop",
            Self::Unknown => "NA",
        }
    }
}

words! {
    /// What a notice says of a service.
    NoticeType {
        /// It begins.
        Begin = "begin",
        /// It ends.
        End = "end",
        /// A number that the interface does not have.
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
        /// A number that the interface does not have.
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
        /// Nobody has told us: every direction is unknown.
        Unknown = "unknown",
    }
}

words! {
    /// What is wrong with a row of the inventory.
    ProblemKind {
        /// The key is no hash.
        NotARow = "not_a_row",
        /// The port's name cannot stand in a key and a label.
        BadPortName = "bad_port_name",
        /// `cable_type` is a word that nobody knows.
        BadCableType = "bad_cable_type",
        /// An active-active port without a SoC's address.
        NoAddress = "no_address",
        /// The SoC's address is none of one host.
        BadAddress = "bad_address",
        /// Two namespaces have the port.
        DuplicatePort = "duplicate_port",
        /// More rows than ports on any switch: some are left out.
        TooManyRows = "too_many_rows",
    }
}

words! {
    /// What orchagent has made a port's mux.
    OrchagentMux {
        /// It forwards to the server.
        Active = "active",
        /// It sends by the peer.
        Standby = "standby",
        /// It has said nothing, or nothing that we know.
        Unknown = "unknown",
        /// The last change failed: how the switch forwards is not known.
        Error = "error",
    }
}

words! {
    /// What linkmgrd thinks of a port.
    LinkmgrHealth {
        /// `healthy`
        Healthy = "healthy",
        /// `unhealthy`
        Unhealthy = "unhealthy",
        /// `uninitialized`
        Uninitialized = "uninitialized",
        /// Nobody has told us.
        Unknown = "unknown",
    }
}
