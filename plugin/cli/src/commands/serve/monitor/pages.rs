//! The pages: `/metrics`, `/healthz`, `/readyz`.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use tokio::sync::Semaphore;

use super::sources::Sources;

/// Longest time for a page.
const TIME: Duration = Duration::from_secs(5);
/// Pages that are made at once, those included that nobody waits for any more: a store that does not answer must not use up the
/// threads that others need.
const AT_ONCE: usize = 4;
static MAKING: Semaphore = Semaphore::const_new(AT_ONCE);
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
async fn within<S: Send + Sync + 'static, T: Send + 'static>(
    sources: Arc<S>,
    work: impl FnOnce(&S) -> T + Send + 'static,
) -> Option<T> {
    let working = async {
        let place = MAKING.acquire().await.ok()?;
        let work = move || {
            let _place = place;
            work(&sources)
        };
        tokio::task::spawn_blocking(work).await.ok()
    };
    tokio::time::timeout(TIME, working).await.ok()?
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_store_that_does_not_answer_takes_few_threads() {
        let counts = Arc::<(AtomicUsize, AtomicBool)>::default();
        for _ in 0..10 {
            tokio::spawn(within(Arc::clone(&counts), |(begun, answers)| {
                begun.fetch_add(1, Ordering::SeqCst);
                while !answers.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(counts.0.load(Ordering::SeqCst), AT_ONCE);
        counts.1.store(true, Ordering::SeqCst);
        assert_eq!(within(counts, |_| 7).await, Some(7), "places are given back");
    }
}
