//! Asks each target of the probe modules once, for `doctor`: one dial and one round, some at a time, all of it bounded.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::{Instant, timeout, timeout_at};

use super::collected::ModuleSeen;
use crate::config::Config;
use crate::model::{ModuleJob, ModuleSpec};
use crate::soc::channel::TlsStore;
use crate::soc::module_look::ModuleLooked;

/// Targets that are asked at the same time.
const AT_A_TIME: usize = 16;
/// How long one dial may take. The exporter's own deadline is longer, but people wait.
const DIAL: Duration = Duration::from_secs(4);
/// How long all of them may take.
const ALL: Duration = Duration::from_secs(20);

/// One per target, in the order of the configuration.
pub(super) async fn ask_modules(config: &Config) -> Vec<ModuleSeen> {
    let deadline = Instant::now() + ALL;
    // The certificate files of the modules are not the SoCs'.
    let tls = TlsStore::default();
    let jobs: Vec<Arc<ModuleJob>> = config.modules.iter().flat_map(ModuleSpec::jobs).collect();
    let each = jobs.into_iter().map(|job| ask(job, &tls, deadline));
    stream::iter(each).buffered(AT_A_TIME).collect().await
}

async fn ask(job: Arc<ModuleJob>, tls: &TlsStore, deadline: Instant) -> ModuleSeen {
    let most = DIAL + job.spec.probe.timeout;
    let asked = timeout(most, ModuleLooked::at(job.clone(), tls));
    let looked = match timeout_at(deadline, asked).await {
        Ok(Ok(Ok(looked))) => Ok(looked),
        Ok(Ok(Err(error))) => Err(error.to_string()),
        Ok(Err(_)) => Err(format!("no answer within {} s", most.as_secs_f64())),
        Err(_) => Err("it was not asked: there was no time left".to_owned()),
    };
    ModuleSeen { job, looked }
}
