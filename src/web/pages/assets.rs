//! What pages load: one script, one style sheet, one icon, all in the binary. A file's name has a hash of its content, so browsers
//! may keep it for ever, and a new version is loaded at once.

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// One file.
#[derive(Debug)]
struct Asset {
    content: &'static str,
    kind: &'static str,
    stem: &'static str,
    ending: &'static str,
}

const SCRIPT: Asset = Asset {
    content: concat!(
        include_str!("fleet.js"),
        include_str!("services.js"),
        include_str!("live.js"),
        include_str!("probe_now.js")
    ),
    kind: "text/javascript; charset=utf-8",
    stem: "live",
    ending: "js",
};
const STYLE: Asset = Asset {
    content: concat!(include_str!("palette.css"), include_str!("page.css")),
    kind: "text/css; charset=utf-8",
    stem: "page",
    ending: "css",
};
const ICON: Asset = Asset {
    content: include_str!("icon.svg"),
    kind: "image/svg+xml",
    stem: "icon",
    ending: "svg",
};

impl Asset {
    fn name(&self) -> String {
        let Self {
            content,
            stem,
            ending,
            ..
        } = self;
        format!("{stem}-{:016x}.{ending}", hash(content))
    }
}

/// FNV-1a, 64 bits. It must only tell our own versions apart.
const fn hash(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let (mut hash, mut n) = (0xcbf2_9ce4_8422_2325_u64, 0);
    while n < bytes.len() {
        hash = (hash ^ bytes[n] as u64).wrapping_mul(0x0100_0000_01b3);
        n += 1;
    }
    hash
}

/// The paths of script, style sheet and icon, from the first page.
pub(super) fn script() -> String {
    format!("static/{}", SCRIPT.name())
}

pub(super) fn style() -> String {
    format!("static/{}", STYLE.name())
}

pub(super) fn icon() -> String {
    format!("static/{}", ICON.name())
}

pub(super) async fn serve(Path(name): Path<String>) -> Response {
    let Some(asset) = [SCRIPT, STYLE, ICON]
        .into_iter()
        .find(|asset| asset.name() == name)
    else {
        return (StatusCode::NOT_FOUND, "there is no such file\n").into_response();
    };
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=31536000, immutable"),
        ),
    ];
    (head, asset.content).into_response()
}
