//! Any unary method, by its schema: server reflection, or files of the configuration.
//!
//! A schema of reflection is kept while the channel is READY. One that does not fit, or none, is asked for again after some minutes:
//! rounds that send nothing are PINGs without replies, and gRPC's servers close a connection for those. The exchange is part of the round's deadline, but not of its
//! duration. Work that depends on how much a server sends runs on a thread for blocking work, one piece at a time, so that it delays no
//! other round.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::job_changes::JobChanges;
use super::module_round::{ask_all, round_of};
use super::reflection::{Unreflected, reflect};
use super::{ModuleRound, ModuleSignal};
use crate::model::{
    ModuleJob, ModuleKind, ModuleReport, ProbeResult, ProbeSettings, Said, UnaryCheck, UnaryReply,
    UnarySchema, text,
};
use crate::soc::probe::{QueryAnswer, Ready, RoundLimiter};
use crate::soc::transport::Transport;
use crate::soc::transport::raw_call::{self, RawReply};
use crate::unary::{Call, SchemaFiles, TypePool};

/// The longest reply, in bytes.
const MAX_REPLY: u32 = 4 * 1024 * 1024;
/// A reply up to this is read at once: that takes less than a millisecond.
const SMALL_REPLY: usize = 64 * 1024;
/// When a server without a schema that fits is asked again. gRPC's servers count PINGs within five minutes, and a reply clears the
/// count.
const ASK_AGAIN: Duration = Duration::from_secs(300);
/// One piece of work at a time: each may need some MiB.
static HEAVY: Semaphore = Semaphore::const_new(1);

#[derive(Debug)]
pub(in crate::soc) struct GrpcUnary {
    changes: JobChanges,
    known: Arc<Mutex<Option<KnownCall>>>,
    /// Whether replies are kept as JSON, for someone who asks once.
    keeps_reply: bool,
}

/// What is known on one connection.
#[derive(Debug, Clone)]
struct KnownCall {
    epoch: u64,
    /// `Err`: there is none, for this reason.
    types: Result<Arc<TypePool>, Arc<str>>,
    /// The job for which the call was made.
    job: Arc<ModuleJob>,
    call: Result<Arc<Call>, Arc<str>>,
    made: Instant,
}

impl KnownCall {
    /// Whether it is known on this connection, still at `now`.
    fn is_valid(&self, epoch: u64, now: Instant) -> bool {
        self.epoch == epoch && (self.call.is_ok() || now.duration_since(self.made) < ASK_AGAIN)
    }
}

impl GrpcUnary {
    pub(super) fn new(changes: JobChanges) -> Self {
        Self {
            changes,
            known: Arc::default(),
            keeps_reply: false,
        }
    }

    /// Replies are kept as JSON from now on.
    pub(super) fn keep_reply(&mut self) {
        self.keeps_reply = true;
    }

    pub(super) fn round(
        &self,
        ready: Option<Ready>,
        settings: ProbeSettings,
        limiter: Arc<RoundLimiter>,
    ) -> ModuleRound {
        let round = UnaryRound {
            job: self.changes.job(),
            known: self.known.clone(),
            settings,
            limiter,
            keeps_reply: self.keeps_reply,
        };
        round_of(async move {
            match round.run(ready).await {
                Ok(report) | Err(report) => report,
            }
        })
    }

    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> ModuleSignal {
        self.changes.next().await
    }
}

struct UnaryRound {
    job: Arc<ModuleJob>,
    known: Arc<Mutex<Option<KnownCall>>>,
    settings: ProbeSettings,
    limiter: Arc<RoundLimiter>,
    keeps_reply: bool,
}

impl UnaryRound {
    /// `Err`: the method was not called.
    async fn run(mut self, ready: Option<Ready>) -> Result<ModuleReport, ModuleReport> {
        let (Some(ready), ModuleKind::GrpcUnary(check)) = (ready, &self.job.clone().spec.kind) else {
            // A session whose kind changes is started anew.
            return Err(ModuleReport::not_ready());
        };
        let call = self.call(&ready, check).await?;
        let (path, request) = (path_of(&call), Bytes::copy_from_slice(call.request()));
        let question = async |transport: &Transport| ask(transport, &path, request).await;
        let (epoch, ended) = match ask_all(Some(ready), self.settings, &self.limiter, [question]).await {
            Ok(ended) => ended,
            Err(report) => return Err(report),
        };
        let Some((report, reply)) = ended.into_iter().next() else {
            return Err(ModuleReport::failed(Some(epoch), ProbeResult::Internal, None));
        };
        let mut report = ModuleReport {
            epoch: Some(epoch),
            result: report.result.into(),
            success: false,
            took: report.took,
            detail: report.error,
            said: None,
        };
        if report.result == ProbeResult::Ok {
            read(&mut report, call, reply, self.keeps_reply).await;
        }
        report.success = check.statuses.contains(&report.result);
        if !report.success && report.detail.is_none() {
            let expected: Vec<&str> = check.statuses.iter().map(|status| status.label()).collect();
            report.detail = Some(format!("expected {}", expected.join(" or ")).into());
        }
        Ok(report)
    }

    /// The call: the known one, or one that is made now. What that takes is no time of the rest of the round.
    async fn call(&mut self, ready: &Ready, check: &UnaryCheck) -> Result<Arc<Call>, ModuleReport> {
        let epoch = ready.epoch;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known = known.filter(|known| known.is_valid(epoch, Instant::now()));
        if let Some(known) = &known
            && Arc::ptr_eq(&known.job, &self.job)
        {
            return known.call.clone().map_err(|why| no_schema(epoch, why));
        }
        let types = match known {
            Some(known) => known.types,
            None => self.types(ready, check).await?,
        };
        let call = match &types {
            Ok(types) => Call::new(types, check)
                .map(Arc::new)
                .map_err(|misfit| misfit.to_string().into()),
            Err(why) => Err(why.clone()),
        };
        let known = KnownCall {
            epoch,
            types,
            job: self.job.clone(),
            call: call.clone(),
            made: Instant::now(),
        };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        call.map_err(|why| no_schema(epoch, why))
    }

    /// The types. The inner error is kept with the connection, the outer one is only this round's.
    async fn types(
        &mut self,
        ready: &Ready,
        check: &UnaryCheck,
    ) -> Result<Result<Arc<TypePool>, Arc<str>>, ModuleReport> {
        let files = match &check.schema {
            UnarySchema::Reflection => match self.reflected(ready, &check.service).await? {
                Ok(files) => files,
                Err(why) => return Ok(Err(why)),
            },
            UnarySchema::Files(encoded) => {
                let mut files = SchemaFiles::default();
                let mut encoded = encoded.iter();
                if let Err(error) = encoded.try_for_each(|file| files.add(file)) {
                    return Ok(Err(error.to_string().into()));
                }
                files
            }
        };
        let made = heavy(self.settings.timeout, move || files.types()).await;
        let made = made.ok_or_else(|| late(ready.epoch))?;
        Ok(made.map_err(|error| error.to_string().into()))
    }

    /// Asks the server. What that takes is no time of the rest of the round.
    async fn reflected(
        &mut self,
        ready: &Ready,
        service: &str,
    ) -> Result<Result<SchemaFiles, Arc<str>>, ModuleReport> {
        let within = self.settings.timeout;
        let question = async |transport: &Transport| match reflect(transport, service, within).await {
            Ok(files) => QueryAnswer::ok(Some(Ok(files))),
            Err(Unreflected::NoSchema(why)) => QueryAnswer::ok(Some(Err(text::quote(why).into()))),
            Err(Unreflected::Failed(status)) => QueryAnswer::failed(&status),
        };
        let (_, ended) = ask_all(Some(ready.clone()), self.settings, &self.limiter, [question]).await?;
        let Some((report, files)) = ended.into_iter().next() else {
            return Err(late(ready.epoch));
        };
        let took = report.took.unwrap_or(within);
        self.settings.timeout = within.saturating_sub(took).max(Duration::from_millis(1));
        files.ok_or_else(|| {
            let detail = report.error.map(|error| format!("reflection: {error}").into());
            ModuleReport::failed(Some(ready.epoch), report.result.into(), detail)
        })
    }
}

fn no_schema(epoch: u64, why: Arc<str>) -> ModuleReport {
    ModuleReport::failed(Some(epoch), ProbeResult::NoSchema, Some(why))
}

fn late(epoch: u64) -> ModuleReport {
    let detail = "this exporter was busy with the schemas and replies of other targets";
    ModuleReport::failed(Some(epoch), ProbeResult::DeadlineExceeded, Some(detail.into()))
}

/// Names of a schema are parts of a path.
fn path_of(call: &Call) -> PathAndQuery {
    PathAndQuery::try_from(call.path()).unwrap_or_else(|_| PathAndQuery::from_static("/"))
}

async fn ask(transport: &Transport, path: &PathAndQuery, request: Bytes) -> QueryAnswer<Bytes> {
    let transport = transport.clone().with_limit(MAX_REPLY);
    match raw_call::unary(&transport, path, request).await {
        RawReply::One(reply) => QueryAnswer::ok(reply),
        RawReply::Unreadable(what) => QueryAnswer::invalid(what),
        RawReply::Failed(status) => QueryAnswer::failed(&status),
    }
}

/// Reads the reply of a round that ended with OK.
async fn read(report: &mut ModuleReport, call: Arc<Call>, reply: Bytes, keeps_reply: bool) {
    let is_small = reply.len() <= SMALL_REPLY;
    let work = move || {
        let read = call.read(&reply)?;
        let json = if keeps_reply { call.json(&reply) } else { None };
        Ok((read, json))
    };
    let read = match is_small {
        true => Some(work()),
        false => heavy(Duration::from_secs(10), work).await,
    };
    match read {
        Some(Ok((read, json))) => {
            if let Some(why) = read.unexpected {
                report.result = ProbeResult::UnexpectedReply;
                report.detail = Some(why.into());
            }
            report.said = Some(Said::Reply(Some(UnaryReply {
                info: read.info,
                values: read.values,
                json: json.map(Arc::from),
            })));
        }
        Some(Err(dualtor_proto::wire::Malformed)) => {
            report.result = ProbeResult::InvalidReply;
            report.detail = Some("the reply is not of the method's type".into());
        }
        None => {
            report.result = ProbeResult::ResourceExhausted;
            report.detail = Some("this exporter was busy with the replies of other targets".into());
        }
    }
}

/// Does work whose cost a server decides. `None`: its turn did not come in this time. A panic in it is this round's.
async fn heavy<T: Send + 'static>(within: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let _turn = timeout(within, HEAVY.acquire()).await.ok()?.ok()?;
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Some(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is shutting down.
            Err(_) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::runtime::defect::caught;

    #[tokio::test]
    async fn a_panic_over_a_reply_on_another_thread_is_that_rounds_and_the_next_has_its_turn() {
        let within = Duration::from_secs(60);
        let round = async move { heavy(within, || -> u8 { panic!("a schema") }).await };
        let ended = caught(Box::pin(round)).await;
        let defect = ended.expect_err("a defect").to_string();
        assert!(defect.starts_with("a schema"), "{defect}");
        assert_eq!(heavy(within, || 7).await, Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn that_there_is_no_schema_is_known_for_five_minutes_on_one_connection() {
        let text = "modules: {m: {grpc_unary: {method: p.S/M}, targets: [{address: \"127.0.0.1:1\"}]}}";
        let config = Config::parse(text, Path::new("/c.yml")).expect("valid");
        let known = KnownCall {
            epoch: 7,
            types: Err("none".into()),
            job: config.modules[0].jobs().next().expect("a target"),
            call: Err("none".into()),
            made: Instant::now(),
        };
        let after = |seconds| Instant::now() + Duration::from_secs(seconds);
        assert!(known.is_valid(7, after(299)));
        assert!(!known.is_valid(8, after(0)), "another connection");
        assert!(!known.is_valid(7, after(300)), "asked again");
    }
}
