//! The trace of a round, of which the SoC is told (`otel.propagate`): each query names its own span.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::Transport;
use crate::model::{Query, TraceId, query_span};

/// W3C Trace Context.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct RoundTrace {
    id: TraceId,
    /// Names the span of one RPC.
    parent: Option<HeaderValue>,
}

impl RoundTrace {
    /// What the RPC tells the SoC.
    pub(super) fn parent(&self) -> Option<&HeaderValue> {
        self.parent.as_ref()
    }
}

impl Transport {
    /// The same in this trace.
    pub fn traced(self, trace: Option<TraceId>) -> Self {
        let traced = trace.map(|id| Arc::new(RoundTrace { id, parent: None }));
        Self { traced, ..self }
    }

    /// The trace, if there is one.
    pub fn trace(&self) -> Option<TraceId> {
        Some(self.traced.as_ref()?.id)
    }

    /// The same for the RPC of `query`: if there is a trace, the SoC is told the span.
    pub fn of(&self, query: Query) -> Cow<'_, Self> {
        let Some(traced) = &self.traced else {
            return Cow::Borrowed(self);
        };
        let id = traced.id;
        let parent = id.parent(id.span(query_span(query))).parse().ok();
        Cow::Owned(Self {
            traced: Some(Arc::new(RoundTrace { id, parent })),
            ..self.clone()
        })
    }
}
