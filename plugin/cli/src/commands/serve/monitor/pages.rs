//! The pages: `/metrics`, `/healthz`, `/readyz`.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;

use super::sources::Sources;

/// Longest time for a page.
const TIME: Duration = Duration::from_secs(5);
const TEXT: &str = "text/plain; charset=utf-8";

type Page = Response<Full<Bytes>>;

/// The answer to a request.
pub(crate) async fn answer(method: &Method, path: &str, sources: Arc<Sources>) -> Page {
    if *method != Method::GET && *method != Method::HEAD {
        let mut page = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        page.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return page;
    }
    match path {
        "/metrics" => match within(sources, super::sources::Sources::page).await {
            Some(Ok(metrics)) => page(StatusCode::OK, chunked_metrics::CONTENT_TYPE, metrics),
            _ => text(StatusCode::SERVICE_UNAVAILABLE, "the numbers could not be read in time\n"),
        },
        // Whoever reads this knows that the process answers.
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match within(sources, super::sources::Sources::unready).await {
            Some(None) => text(StatusCode::OK, "ok\n"),
            Some(Some(why)) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            None => text(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer in time\n"),
        },
        _ => text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"),
    }
}

/// Runs `work` where it may block; `None` when that takes too long.
async fn within<T: Send + 'static>(
    sources: Arc<Sources>,
    work: impl FnOnce(&Sources) -> T + Send + 'static,
) -> Option<T> {
    let working = tokio::task::spawn_blocking(move || work(&sources));
    tokio::time::timeout(TIME, working).await.ok()?.ok()
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Page {
    page(status, TEXT, text)
}

fn page(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Page {
    let mut page = Response::new(Full::new(body.into()));
    *page.status_mut() = status;
    page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    page.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page
}
