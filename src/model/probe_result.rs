//! How a round of a module ended.

use super::QueryResult;

words! {
    /// How a round of a module ended: the gRPC status codes in the order of their numbers, and results of our own.
    ProbeResult {
        /// 0
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
        /// 8: the peer reported it, or its reply was over our limit.
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
        /// 14: also each round on a channel that is not READY.
        Unavailable = "UNAVAILABLE",
        /// 15
        DataLoss = "DATA_LOSS",
        /// 16: also each round whose metadata file cannot be used.
        Unauthenticated = "UNAUTHENTICATED",
        /// The method's schema is not known or does not fit: nothing was sent.
        NoSchema = "NO_SCHEMA",
        /// The reply cannot be decoded, or contradicts its protocol.
        InvalidReply = "INVALID_REPLY",
        /// The reply is not what was expected.
        UnexpectedReply = "UNEXPECTED_REPLY",
    }
}

impl ProbeResult {
    /// The number of the gRPC code; `None`: it is a result of our own.
    pub fn code(self) -> Option<u8> {
        (self < Self::NoSchema).then_some(self as u8)
    }
}

impl From<QueryResult> for ProbeResult {
    fn from(result: QueryResult) -> Self {
        match result {
            QueryResult::EmptyReply => Self::Ok,
            QueryResult::InvalidReply => Self::InvalidReply,
            // Both have the codes in the order of their numbers.
            code => Self::ALL[code.index()],
        }
    }
}
