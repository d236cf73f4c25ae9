//! The body of a rendered answer as a request takes it: packed, or as text; none for HEAD.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, Method, header};
use futures_util::stream;

use super::answer::{Answer, AnswerBody};
use super::negotiate::{header_lines, takes_gzip};

/// The header of a packed body; `None`: it is not packed.
pub(super) type EncodingHeader = Option<[(HeaderName, &'static str); 1]>;

/// `render` does nothing for HEAD.
pub(super) async fn reply_body<E>(
    method: &Method,
    headers: &HeaderMap,
    render: impl Future<Output = Result<Arc<Answer>, E>>,
) -> Result<(EncodingHeader, Body), E> {
    let gzip = takes_gzip(header_lines(headers, &header::ACCEPT_ENCODING));
    let body = if method == Method::HEAD {
        no_body()
    } else {
        let answer = render.await?;
        Body::new(if gzip {
            AnswerBody::packed(answer)
        } else {
            AnswerBody::plain(answer)
        })
    };
    Ok((gzip.then_some([(header::CONTENT_ENCODING, "gzip")]), body))
}

/// For HEAD. Without a length: to know it, the answer would have to be rendered.
pub(super) fn no_body() -> Body {
    Body::from_stream(stream::empty::<Result<bytes::Bytes, Infallible>>())
}
