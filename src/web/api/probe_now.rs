//! `POST /api/v1/ports/{port}/probe`: one dial and one round of one SoC at this moment. The answer is what `dualtor-exporter probe
//! --output json` prints.
//!
//! As the command, it dials: the answer has to say whether a new connection works now, also while the channel waits for its next
//! dial. The standing channel, its counters and the row know nothing of it. `probe_turns` limits how often.
//!
//! If the client goes, the look ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::probe_turns::{NoTurn, ProbeTurns};
use super::{Api, ApiError, ApiResult, JSON, NO_STORE, no_utf8, unknown_port};
use crate::model::TargetId;
use crate::web::port_lookup::id_of;
use crate::web::{NO_LIFECYCLE, ProbeSource, same_site};

/// What probes on request share.
pub(in crate::web) struct ProbesNow {
    source: ProbeSource,
    // A std mutex: it is held for a lookup, never across an await.
    turns: Mutex<ProbeTurns>,
}

impl ProbesNow {
    pub(in crate::web) fn new(source: ProbeSource) -> Self {
        let turns = Mutex::default();
        Self { source, turns }
    }

    fn turns(&self) -> MutexGuard<'_, ProbeTurns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A probe under way. Dropping it ends its turn.
struct ProbeTurn {
    probes: Arc<ProbesNow>,
    id: TargetId,
}

impl ProbeTurn {
    fn begin(probes: &Arc<ProbesNow>, id: TargetId) -> Result<Self, ApiError> {
        probes.turns().begin(&id, Instant::now())?;
        let probes = probes.clone();
        Ok(Self { probes, id })
    }
}

impl Drop for ProbeTurn {
    fn drop(&mut self) {
        self.probes.turns().ended(&self.id);
    }
}

impl From<NoTurn> for ApiError {
    fn from(reason: NoTurn) -> Self {
        match reason {
            NoTurn::Running => {
                let text = "another probe of this port is under way: wait for its end";
                Self::new(StatusCode::CONFLICT, "running", text)
            }
            NoTurn::TooSoon(left) => {
                let text = "probed too often: a port once in 5 s, all ports together 8 times in a row and then once a second";
                let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_soon", text);
                error.retry_after(left)
            }
        }
    }
}

fn forbidden(text: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "forbidden", text.trim_end())
}

pub(super) async fn probe(
    State(api): State<Api>,
    name: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> ApiResult {
    let Some(probes) = api.probes else {
        return Err(forbidden(NO_LIFECYCLE));
    };
    if same_site::is_from_elsewhere(&headers, &uri) {
        return Err(forbidden("a page of another site must not probe a SoC"));
    }
    let Path(name) = name.map_err(|_| no_utf8())?;
    let unknown = || unknown_port(&name);
    let id = id_of(&name).map_err(|_| unknown())?;
    let looking = (probes.source)(&id).ok_or_else(unknown)?;
    let _turn = ProbeTurn::begin(&probes, id)?;
    let looked = looking.await;
    let looked = looked.map_err(|text| ApiError::new(StatusCode::GATEWAY_TIMEOUT, "no_result", text))?;
    let head = [(header::CONTENT_TYPE, JSON), (header::CACHE_CONTROL, NO_STORE)];
    // `:#`: with line breaks, as the command prints it.
    Ok((head, format!("{looked:#}\n")).into_response())
}

pub(super) async fn other_method() -> Response {
    let text = "only POST probes";
    let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text);
    ([(header::ALLOW, HeaderValue::from_static("POST"))], error).into_response()
}
