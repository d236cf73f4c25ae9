//! Reads web.config.file and looks at the files that it names, for `doctor`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::collect::patiently;
use super::collected::{WebFileSeen, WebSeen};
use crate::cli::exporter_command::DEFAULT_LISTEN;
use crate::web::WebFile;

/// As the exporter finds where to serve: `listen` are the flags, `switch` is what CONFIG_DB sets.
pub(super) async fn web_side(
    mut listen: Vec<String>,
    switch: Option<String>,
    file: Option<PathBuf>,
) -> WebSeen {
    let is_assumed = listen.is_empty() && switch.is_none() && file.is_none();
    if listen.is_empty() {
        listen.push(switch.unwrap_or_else(|| DEFAULT_LISTEN.to_owned()));
    }
    let mut seen = WebSeen {
        listen,
        is_assumed,
        file: None,
        secret_files: Vec::new(),
    };
    let Some(path) = file else { return seen };
    let named = path.clone();
    let look = move || {
        let loaded = WebFile::load(&named);
        let secrets = loaded.as_ref().map(WebFile::secret_files);
        let secrets = secrets.unwrap_or_default().into_iter().filter_map(|secret| {
            let data = std::fs::metadata(&secret).ok()?;
            Some((secret, data.permissions().mode() & 0o777))
        });
        let secrets: Vec<(PathBuf, u32)> = secrets.collect();
        let file = loaded.map(|file| WebFileSeen {
            summary: file.summary(),
            knows_clients: file.knows_clients(),
            expiry: file.certificate_expiry(),
        });
        (file.map_err(|error| error.to_string()), secrets)
    };
    let (file, secrets) = match patiently(look).await {
        Ok(looked) => looked,
        Err(reason) => (Err(reason), Vec::new()),
    };
    seen.secret_files = secrets;
    seen.file = Some((path, file));
    seen
}
