//! Probes one SoC on request, for the web server. The look runs here, on the workers that probe: the web thread may be busy with a
//! scrape, and would measure its own delay.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::make_view::Sources;
use crate::config::files::Reader;
use crate::model::ProbeSettings;
use crate::soc::looked::Looked;
use crate::web::ProbeSource;

/// Someone waits for the answer. A dial (12 s by default), a round (0.5 s), and the notes about TLS files (2 s) take less.
const WITHIN: Duration = Duration::from_secs(20);

/// Needs a tokio runtime.
pub(super) fn probe_source(sources: &Sources, probe: &watch::Sender<ProbeSettings>) -> ProbeSource {
    let (inventory, tls, probe) = (
        sources.switch.inventory.clone(),
        sources.tls.clone(),
        probe.subscribe(),
    );
    let (runtime, reader) = (Handle::current(), Arc::<Reader>::default());
    Arc::new(move |id| {
        let target = inventory
            .borrow()
            .targets
            .iter()
            .find(|target| target.id == *id)?
            .clone();
        let deadline = probe.borrow().timeout;
        let (tls, reader, runtime) = (tls.clone(), reader.clone(), runtime.clone());
        Some(Box::pin(async move {
            let looking = async move { Looked::at(target, deadline, &tls, &reader).await };
            let looking = AbortOnDropHandle::new(runtime.spawn(timeout(WITHIN, looking)));
            match looking.await {
                Ok(Ok(Ok(looked))) => Ok(looked.to_json()),
                Ok(Ok(Err(error))) => Err(error.to_string()),
                Ok(Err(_)) => Err(format!("there was no result within {WITHIN:?}")),
                Err(_) => Err("the exporter is stopping".to_owned()),
            }
        }))
    })
}
