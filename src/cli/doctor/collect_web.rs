//! Reads web.config.file and looks at the files that it names, for `doctor`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::collect::patiently;
use super::collected::{WebFileSeen, WebSeen};
use crate::web::WebFile;

/// `None`: no flag says how the exporter serves.
pub(super) async fn web_side(mut listen: Vec<String>, file: Option<PathBuf>) -> Option<WebSeen> {
    if listen.is_empty() {
        file.as_ref()?;
        listen.push(":9075".to_owned());
    }
    let mut seen = WebSeen {
        listen,
        file: None,
        secret_files: Vec::new(),
    };
    let Some(path) = file else { return Some(seen) };
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
    Some(seen)
}
