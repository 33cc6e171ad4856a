//! Bodies that are counted as they go, and that may end badly.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;

use super::Inner;
use crate::listener::Switch;

/// Bytes handed to the connection at a time.
const CHUNK: usize = 16 << 10;

/// What comes after a body's bytes.
#[derive(Clone)]
pub(super) enum Then {
    End,
    Reset(Switch),
    Silence,
    /// A byte a second, from the first on.
    Trickle,
}

pub(super) struct Counted {
    pub(super) inner: Arc<Inner>,
    pub(super) call: usize,
    pub(super) bytes: Bytes,
    pub(super) then: Then,
}

impl Counted {
    pub(super) fn into_body(self) -> Body {
        Body::from_stream(futures_util::stream::unfold(self, |mut source| async move {
            source.next().await.map(|item| (item, source))
        }))
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.bytes.is_empty() {
            match &self.then {
                Then::End | Then::Trickle => return None,
                Then::Silence => std::future::pending().await,
                Then::Reset(switch) => {
                    // What was sent shall arrive first: a reset makes the other end forget what it has not read.
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    switch.reset();
                    return Some(Err(io::ErrorKind::ConnectionReset.into()));
                }
            }
        }
        let most = if matches!(self.then, Then::Trickle) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            1
        } else {
            CHUNK
        };
        let chunk = self.bytes.split_to(self.bytes.len().min(most));
        if let Some(call) = self.inner.calls.lock().get_mut(self.call) {
            call.bytes += chunk.len() as u64;
        }
        Some(Ok(chunk))
    }
}
