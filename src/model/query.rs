//! The queries of a round, and how one ends.

words! {
    /// The five queries of a round.
    Query {
        /// `QueryAdminForwardingPortState`
        Admin = "admin",
        /// `QueryOperationPortState`
        Operation = "operation",
        /// `QueryLinkState`
        Link = "link",
        /// `QueryServerVersion`
        Version = "version",
        /// `grpc.health.v1.Health/Check`
        Health = "health",
    }
}

words! {
    /// How a query ended: the gRPC status codes in the order of their numbers, and two results of our own.
    QueryResult {
        /// 0: answered.
        Ok = "OK",
        /// 1
        Cancelled = "CANCELLED",
        /// 2
        Unknown = "UNKNOWN",
        /// 3
        InvalidArgument = "INVALID_ARGUMENT",
        /// 4: the peer reported it, or our own deadline passed.
        DeadlineExceeded = "DEADLINE_EXCEEDED",
        /// 5
        NotFound = "NOT_FOUND",
        /// 6
        AlreadyExists = "ALREADY_EXISTS",
        /// 7
        PermissionDenied = "PERMISSION_DENIED",
        /// 8: the peer reported it, or its reply was over 64 KiB.
        ResourceExhausted = "RESOURCE_EXHAUSTED",
        /// 9
        FailedPrecondition = "FAILED_PRECONDITION",
        /// 10
        Aborted = "ABORTED",
        /// 11
        OutOfRange = "OUT_OF_RANGE",
        /// 12
        Unimplemented = "UNIMPLEMENTED",
        /// 13
        Internal = "INTERNAL",
        /// 14: also each query of a round on a channel that is not READY.
        Unavailable = "UNAVAILABLE",
        /// 15
        DataLoss = "DATA_LOSS",
        /// 16
        Unauthenticated = "UNAUTHENTICATED",
        /// The message was empty. SONiC's NIC simulator answers like this when all is well.
        EmptyReply = "EMPTY_REPLY",
        /// The message contradicts itself: a missing or repeated portid, or lists of different lengths.
        InvalidReply = "INVALID_REPLY",
    }
}

impl QueryResult {
    /// Whether a healthy SoC may answer like this: OK, or an empty message.
    pub const fn is_answer(self) -> bool {
        matches!(self, Self::Ok | Self::EmptyReply)
    }
}
