//! Answers that are not what was asked for: JSON under `/api/v1`, a line of text elsewhere. Whoever reads one, a program or a person,
//! finds what is wrong in it.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse as _;

use super::web_paths::Place;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// In which form a client gets an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorForm {
    Json,
    Text,
}

impl ErrorForm {
    /// At the path of a route, without `--web.route-prefix`.
    pub(super) fn at(path: &str) -> Self {
        match path.strip_prefix("/api/v1") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Self::Json,
            _ => Self::Text,
        }
    }

    /// Where a request leads.
    pub(super) fn of(place: &Place) -> Self {
        match place {
            Place::Route(uri) => Self::at(uri.path()),
            Place::Home(_) | Place::Elsewhere => Self::Text,
        }
    }

    /// An answer. `code` is of the closed set in docs/api.md.
    pub(super) fn answer(self, status: StatusCode, code: &'static str, text: &str) -> Response<Body> {
        match self {
            Self::Json => {
                let body = serde_json::json!({"error": {"code": code, "message": text}});
                let head = [(header::CONTENT_TYPE, JSON), (header::CACHE_CONTROL, NO_STORE)];
                (status, head, format!("{body}\n")).into_response()
            }
            Self::Text => (status, format!("{text}\n")).into_response(),
        }
    }

    /// The answer at a path that leads nowhere.
    pub(super) fn nothing_here(self) -> Response<Body> {
        self.answer(
            StatusCode::NOT_FOUND,
            "not_found",
            "nothing is served at this path",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_answers_in_json() {
        for path in ["/api/v1", "/api/v1/", "/api/v1/nothing/here"] {
            assert_eq!(ErrorForm::at(path), ErrorForm::Json, "{path}");
        }
        for path in ["/", "/api/v10/fleet", "/api", "/ports/api/v1/", "//api/v1/fleet"] {
            assert_eq!(ErrorForm::at(path), ErrorForm::Text, "{path}");
        }
        assert_eq!(ErrorForm::of(&Place::Elsewhere), ErrorForm::Text);
    }
}
