//! The HTTP server that shows the pages: few connections, short requests, nothing that lasts.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_stream::{Stream, StreamExt as _};

use super::pages;
use super::sources::Sources;

/// Connections at once; more are closed.
const CONNECTIONS: usize = 32;
/// Time for a request's head to arrive, and for the next one on the same connection.
const HEAD: Duration = Duration::from_secs(30);
/// Longest life of a connection: whoever reads slowly must not keep it.
const LIFE: Duration = Duration::from_secs(600);
/// Longest head of a request, in bytes, and most headers.
const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 64;
/// Pause after a connection could not be accepted: no file descriptors are left.
const BREATH: Duration = Duration::from_millis(100);

/// Shows the pages on any number of listeners. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Endpoint {
    sources: Arc<Sources>,
    places: Arc<Semaphore>,
}

impl Endpoint {
    pub(crate) fn new(sources: Arc<Sources>) -> Self {
        Self { sources, places: Arc::new(Semaphore::new(CONNECTIONS)) }
    }

    /// Serves these connections until it is dropped.
    pub(crate) async fn serve<C>(self, incoming: impl Stream<Item = io::Result<C>>)
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut incoming = std::pin::pin!(incoming);
        let mut connections = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                next = incoming.next() => match next {
                    Some(Ok(connection)) => {
                        // All places taken: it is closed.
                        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                            let sources = Arc::clone(&self.sources);
                            connections.spawn(async move {
                                serve_one(connection, sources).await;
                                drop(place);
                            });
                        }
                    }
                    Some(Err(error)) => {
                        tracing::debug!(%error, "a connection for metrics is not accepted");
                        tokio::time::sleep(BREATH).await;
                    }
                    None => return,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn serve_one(connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, sources: Arc<Sources>) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let sources = Arc::clone(&sources);
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        async move { Ok::<_, Infallible>(pages::answer(&method, &path, sources).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    let served = server.serve_connection(TokioIo::new(connection), service);
    // However it ends, the next one is not concerned.
    let _ = tokio::time::timeout(LIFE, served).await;
}
